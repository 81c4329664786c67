"""What every writer of descriptions offers: labels in, descriptions with their origin out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from vlar import registry
from vlar.errors import UsageError, VlarError
from vlar.text.bank import Description
from vlar.text.check import TokenLimit


class NoAnswerError(VlarError):
    """A batch of labels got no usable answer; other batches may."""

    kind = "no_answer"


class RefusedError(VlarError):
    """No batch can get an answer: a wrong key, address or model."""

    kind = "refused"


@dataclass(frozen=True)
class Asked:
    """A label that wants descriptions.

    Attributes:
        label: As the user spells it.
        text: In plain words.
        kinds: What is still missing.
    """

    label: str
    text: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a writer found to say about one label.

    Attributes:
        label: As it was asked.
        descriptions: In the order of the asked kinds; kinds may be missing.
        source: Where they come from, where that differs from label to label.
        notes: What was cut, dropped or is missing, one sentence each.
    """

    label: str
    descriptions: tuple[Description, ...]
    source: str | None = None
    notes: tuple[str, ...] = ()


class Describer(ABC):
    """Writes descriptions of labels.

    Attributes:
        batch: Labels a call, unless the user says otherwise.
        concurrent: True where several calls at once help.
    """

    batch: int = 8
    concurrent: bool = False

    @abstractmethod
    def provenance(self) -> dict[str, str]:
        """``source`` and ``made`` of a bank's provenance, and what else tells two makers apart."""

    @abstractmethod
    def licence(self) -> str:
        """What the bank's licence is, unless the user says otherwise."""

    @abstractmethod
    def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Describe a batch of labels that want the same kinds; a label may get none.

        Raises:
            NoAnswerError: this batch got no answer.
            RefusedError: no batch will get one.
        """

    def close(self) -> None:
        """Stop waiting for answers; called once, from another thread than ``answer``."""
        return


def load_describer(spec: str, limit: TokenLimit) -> Describer:
    """The writer a spec names: ``openai:MODEL``, ``local:PATH``, ``offline``.

    Args:
        spec: ``NAME`` or ``NAME:ARGUMENT``.
        limit: The encoder that will read the texts.

    Raises:
        UnknownNameError: no writer has this name.
        UsageError: the spec is empty, or its argument is not usable.
    """
    name, _, argument = spec.strip().partition(":")
    if not name:
        raise UsageError("--llm is empty; use openai:MODEL, local:PATH or offline")
    return registry.get("describer", name).from_spec(argument, limit)
