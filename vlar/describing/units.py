"""Semantic units of a label list, as a bank that people can read and correct."""

from __future__ import annotations

from pathlib import Path

from vlar.errors import LabelError
from vlar.motion_language.verbs_in_text import verb_of
from vlar.text.bank import write_bank
from vlar.text.description_lookup import descriptions_of
from vlar.text.labels import LabelList, parse_labels
from vlar.text.units import Unit, extract_units, unit_bank


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
            "descriptions first (vlar describe LABELS --out bank.json), and give --units that bank"
        )
    write_bank(unit_bank(units, f"descriptions of {len(listed)} labels ({listed.source})"), out)
    return units
