"""The strings a class is read as, and the one vector they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlar.text.prompts import fill, load_templates

if TYPE_CHECKING:
    from torch import Tensor

    from vlar.adapters.trainable import TrainingBatch

FROSTER = "froster"
_SUBJECTS = ("a photo of", "a video of", "a example of", "a demonstration of")  # sic, for parity
_VERBS = ("using", "doing", "during", "performing", "practicing")
_ENDS = ("{}.", "a person {}.", *(f"a person {verb} {{}}." for verb in _VERBS))


def class_strings(text: str, prompts: str) -> list[str]:
    """The P strings of a class.

    The set ``froster`` is FROSTER's: a class text is ``Name: sentence about it``, or a bare name;
    28 strings put the name into a template before the whole text, the last is the whole text. Any
    other name is a template set, as ``load_templates`` finds it.

    >>> class_strings("Waving: An arm moves.", "froster")[8]
    'a video of a person Waving. Waving: An arm moves.'
    """
    if prompts != FROSTER:
        return fill(load_templates(prompts), [text])[0]
    name = text.partition(":")[0].strip()
    filled = [f"{subject} {end.replace('{}', name)}" for subject in _SUBJECTS for end in _ENDS]
    return [*(f"{prompt} {text}" for prompt in filled), text]


@dataclass(frozen=True)
class ClassStrings:
    """C classes as strings, of which a training step reads a few.

    Attributes:
        ids: (P, C, L) token ids.
        every: How many of the last strings every step reads.
        rows: The strings that were drawn; None before.
        vectors: (P, C, E) unit vectors of the strings, where a frozen tower reads them.
    """

    ids: Tensor
    every: int = 0
    rows: tuple[int, ...] | None = None
    vectors: Tensor | None = None

    @classmethod
    def of(
        cls, labels: Sequence[str], prompts: str, token_ids: Callable[[list[str]], Tensor]
    ) -> ClassStrings:
        """The strings of C labels.

        Args:
            labels: C class texts.
            prompts: Name of the set; see ``class_strings``.
            token_ids: Texts to ids (texts, L).
        """
        import torch

        columns = [class_strings(label, prompts) for label in labels]
        ids = torch.stack([token_ids(list(row)) for row in zip(*columns, strict=True)])
        return cls(ids, every=1 if prompts == FROSTER else 0)

    def drawn(self) -> ClassStrings:
        """One of the strings, drawn by torch's own generator, and those every step reads."""
        import torch

        if self.rows is not None:
            return self
        free = len(self.ids) - self.every
        first = int(torch.randint(free, ()))
        return replace(self, rows=(first, *range(free, len(self.ids))))

    @property
    def chosen(self) -> Tensor:
        """(p, C, L) token ids of the drawn strings; of all where none were drawn."""
        return self.ids if self.rows is None else self.ids[list(self.rows)]


def shared_class_vectors(
    batch: TrainingBatch, text: Callable[[Tensor], Tensor], ids: Tensor
) -> Tensor:
    """``class_vectors`` in a training step; several processes share the classes.

    Args:
        batch: Of the step.
        text: Token ids (n, L) to features (n, E).
        ids: (p, C, L).
    """

    def some(ids: Tensor) -> Tensor:
        return class_vectors(text, ids.transpose(0, 1))

    return batch.spread(some, ids.transpose(0, 1))


def class_vectors(text: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """Class vectors (C, E) of unit length: the scaled mean of the unit vectors of the strings.

    Args:
        text: Token ids (n, L) to features (n, E).
        ids: (p, C, L).
    """
    return mean_vector(unit_vectors(text, ids))


def unit_vectors(text: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """Each string for itself: ids (p, C, L) to (p, C, E) float32 of unit length."""
    from torch.nn import functional as F  # noqa: N812 - the name everybody uses

    return F.normalize(text(ids.flatten(0, 1)).float(), dim=-1).unflatten(0, ids.shape[:2])


def mean_vector(strings: Tensor) -> Tensor:
    """(p, C, E) to the mean over the strings, scaled to length 1: (C, E)."""
    from torch.nn import functional as F  # noqa: N812 - the name everybody uses

    return F.normalize(strings.mean(dim=0), dim=-1)
