"""The contract of a describer: labels in, descriptions with their origin out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlar import registry
from vlar.errors import LabelError
from vlar.generators.descriptions.bank_validation import TokenLimit
from vlar.language.bank import Description, write_bank
from vlar.language.descriptions import descriptions_of
from vlar.language.labels import LabelList, parse_labels
from vlar.methods.clauses import verb_of
from vlar.methods.semantic_units import Unit, extract_units, unit_bank


@dataclass(frozen=True)
class LabelRequest:
    """A label that lacks descriptions.

    Attributes:
        label: The label as the user spells it.
        text: The label in plain words.
        kinds: The kinds that are missing, of ``vlar.language.bank.KINDS``; at least one.
    """

    label: str
    text: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class LabelDescriptions:
    """Descriptions of one label by a describer.

    Attributes:
        label: The label of the request.
        descriptions: In the order of the requested kinds; kinds may be missing.
        source: Origin of the texts, if that differs from label to label; else None.
        notes: Cut, dropped or missing texts, one sentence each.
    """

    label: str
    descriptions: tuple[Description, ...]
    source: str | None = None
    notes: tuple[str, ...] = ()


class Describer(ABC):
    """Writes descriptions of labels.

    Attributes:
        batch_size: Labels per call, unless the user chooses another number.
        concurrent: True if several calls at once are faster.
    """

    batch_size: int = 8
    concurrent: bool = False

    @classmethod
    @abstractmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> Describer:
        """Make the describer.

        Args:
            argument: What follows the name in ``NAME:ARGUMENT``; empty if nothing does.
            limit: The encoder that will read the texts.

        Raises:
            UsageError: the argument is not usable.
        """

    @abstractmethod
    def provenance(self) -> dict[str, str]:
        """Provenance of the bank: ``source``, ``made``, and further facts that distinguish two
        describers.

        A bank is continued only by a describer with equal values.
        """

    @abstractmethod
    def licence(self) -> str:
        """Default licence of the bank."""

    @abstractmethod
    def describe(self, requests: Sequence[LabelRequest]) -> list[LabelDescriptions]:
        """Describe a batch of labels.

        Args:
            requests: At least one; all of them lack the same kinds.

        Returns:
            One row per request, in their order. A label may get no description.

        Raises:
            NoAnswerError: this batch got no answer.
            RefusedError: no batch will get an answer.
        """

    def close(self) -> None:
        """Stop waiting for answers. May be called twice, and from another thread."""
        return


def load_describer(spec: str, limit: TokenLimit) -> Describer:
    """The describer that a spec names, such as ``openai:MODEL``, ``local:FOLDER`` or ``offline``.

    Args:
        spec: ``NAME`` or ``NAME:ARGUMENT``.
        limit: The encoder that will read the texts.

    Raises:
        UnknownNameError: no describer has this name.
        UsageError: the spec is empty, or its argument is not usable.
    """
    return registry.load("describer", spec, limit)


def write_units(labels: str | Path | LabelList, out: Path) -> list[Unit]:
    """Write the units that the banks' descriptions of some labels name.

    Args:
        labels: The list, as ``parse_labels`` takes it; descriptions of its own bank count too.
        out: The file.

    Raises:
        LabelError: no label has a description, or the file cannot be written.
    """
    listed = parse_labels(labels)
    described = descriptions_of(listed.texts, listed.entries)
    units = extract_units(described, verb_of)
    if not units:
        raise LabelError(
            f"{listed.source}: no bank describes these labels, so they name no units; write "
            "descriptions first (vlar describe LABELS --out bank.json), and give that bank"
        )
    write_bank(unit_bank(units, f"descriptions of {len(listed)} labels ({listed.source})"), out)
    return units
