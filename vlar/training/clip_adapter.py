"""The base of adapters that work inside the towers of a CLIP.

Letters: N clips, T frames, H W pixels, D joint width, C texts.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import Self

from vlar.adapters.base import Adapter
from vlar.adapters.views import require, require_blocks
from vlar.encoders.base import Encoder
from vlar.encoders.torch_encoder import TorchEncoder, encode_batches
from vlar.language.prompts import fill, load_templates
from vlar.numeric import unit
from vlar.training.trainable import Trainable
from vlar.types import Clip, Encoded, Float32, JsonDict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.training.trainable import TrainingBatch

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
        batch: Batch of the step.
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


class ClipAdapter(Adapter, Trainable):
    """An adapter whose image and text towers are those of a CLIP, changed.

    A method gives its settings (with ``n_frames``), builds its network
    in ``_build`` and reads clips in ``_frames``. Everything else is shared: a copy of the towers
    where ``tune_towers`` is set, the fingerprint, batches, vectors, token counts.

    Attributes:
        base: The wrapped CLIP, which never changes; ``encoder`` with its type.
        inner: The encoder whose towers the network runs on: a copy where the towers are tuned.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vit_blocks",)
    changes = frozenset({"n_frames", "templates", "max_tokens", "logit_scale", "states_scale"})
    base: TorchEncoder
    inner: TorchEncoder

    def __init__(self, encoder: TorchEncoder, config: Any, name: str | None = None) -> None:
        self._wrap(encoder, name or self.method)
        self.base, self.config = encoder, config
        self.inner = encoder.twin() if self._tunes_towers else encoder
        self.n_frames, self.templates = config.n_frames, "plain"
        self._build()
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Self:
        require(encoder, cls.needs, cls.method)
        blocks = require_blocks(encoder, cls.method)
        return cls(blocks, cls.read_config(settings or {}))

    @abstractmethod
    def _build(self) -> None:
        """Build the network on ``inner.towers``, at the method's start."""

    @abstractmethod
    def _parts(self) -> nn.Module:
        """The parameters the method adds to the towers."""

    @abstractmethod
    def _log_scale(self) -> Tensor:
        """The log of the factor from cosine to logit."""

    @abstractmethod
    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pixels of clips to their features, and to context where text depends on the video.

        Args:
            pixels: (n, T, 3, height, width), normalised, on the device.

        Returns:
            (n, T, D), not normalised, and (n, k, E) or None.
        """

    @property
    def _tunes_towers(self) -> bool:
        return bool(getattr(self.config, "tune_towers", False))

    @property
    def module(self) -> nn.Module:
        from torch import nn

        if not self._tunes_towers:
            return self._parts()
        return nn.ModuleDict({"parts": self._parts(), "towers": self.inner.towers.model})

    def refresh(self) -> None:
        from vlar.encoders.clip.towers import weights_hash

        self.logit_scale = float(self._log_scale().detach().exp())
        self.states_scale = True  # it was trained with this one
        settings = json.dumps(self.settings, sort_keys=True)
        self.fingerprint = weights_hash(self.module, self.encoder.fingerprint + settings)

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        named = list(self.module.named_parameters())
        for _, parameter in named:
            parameter.requires_grad_(True)
        return named

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return encode_batches(self.inner.pixel_batches(clips), self._frames, self.pool, self.name)

    def pool(self, features: Float32) -> Float32:
        import numpy as np

        return unit(features.mean(axis=1, dtype=np.float32))

    def count_tokens(self, text: str) -> int:
        return self.base.count_tokens(text)
