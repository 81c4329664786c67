"""The bank while it is being written: its entries, what they lack, and its file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from vlar.describing.base import Describer, LabelDescriptions, LabelRequest
from vlar.errors import UsageError
from vlar.text.bank import Bank, Description, Entry, load_bank, write_bank
from vlar.text.check import same
from vlar.text.labels import LabelList

_WRITING_SHARE = 20  # writing the file takes at most this part (1/20) of the time


class DraftBank:
    """Labels with the descriptions written so far.

    The file holds every label from the first write on, so that it is a label list in the user's
    order at any moment. Descriptions of an earlier run are kept.

    Args:
        listed: The labels.
        out: The file; None for none.
        describer: The describer; a file that another one wrote is refused.
        licence: Licence of the bank; None for the describer's default.

    Raises:
        UsageError: another describer made the file.
        LabelError: the file cannot be read or written.
    """

    def __init__(
        self, listed: LabelList, out: Path | None, describer: Describer, licence: str | None
    ) -> None:
        self._out = out
        provenance = describer.provenance()
        before = _existing(out, provenance)
        known = {same(entry.text): entry for entry in before.entries} if before else {}
        pairs = zip(listed.keys, listed.texts, strict=True)
        self._entries = {
            label: _resumed(Entry(label, text), known.pop(same(text), None))
            for label, text in pairs
        }
        self._others = tuple(known.values())  # earlier labels that this list leaves out
        today = datetime.now(timezone.utc).date().isoformat()
        self._bank = Bank(
            name=out.stem if out else "described",
            licence=licence or (before.licence if before else describer.licence()),
            provenance=before.provenance if before else {**provenance, "date": today},
            entries=(),
        )
        self._owners = {
            same(row.text): entry.label
            for entry in self._entries.values()
            for row in entry.descriptions
        }
        self._next_write_s = 0.0
        self.write()

    @property
    def bank(self) -> Bank:
        """The bank as it is now."""
        return replace(self._bank, entries=(*self._entries.values(), *self._others))

    def missing(self, kinds: Sequence[str]) -> list[LabelRequest]:
        """Requests for the labels that lack one of these kinds, in order."""
        rows = [
            LabelRequest(entry.label, entry.text, tuple(k for k in kinds if not entry.describe(k)))
            for entry in self._entries.values()
        ]
        return [row for row in rows if row.kinds]

    def has_texts(self, label: str) -> bool:
        """Whether a label has any description, of this run or an earlier one."""
        return bool(self._entries[label].descriptions)

    def add(self, row: LabelDescriptions) -> LabelDescriptions:
        """Add descriptions of a label.

        Returns:
            The row without sentences that another label already has; its notes name them.
        """
        kept: list[Description] = []
        notes = list(row.notes)
        for description in row.descriptions:
            owner = self._owners.setdefault(same(description.text), row.label)
            if owner == row.label:
                kept.append(description)
            else:
                kind = description.kind
                notes.append(f"{kind} is the same sentence as that of {owner!r}, left out")
        entry = self._entries[row.label]
        self._entries[row.label] = replace(
            entry,
            descriptions=(*entry.descriptions, *kept),
            source=_joined(entry.source, row.source if kept else None),
        )
        return replace(row, descriptions=tuple(kept), notes=tuple(notes))

    def write(self, *, now: bool = True) -> None:
        """Write the file.

        Args:
            now: False to skip the write if too little time has passed since the last one: long
                lists would otherwise be written all the time.

        Raises:
            LabelError: the file cannot be written.
        """
        if self._out is None or (not now and time.monotonic() < self._next_write_s):
            return
        start_s = time.monotonic()
        write_bank(self.bank, self._out)
        end_s = time.monotonic()
        self._next_write_s = end_s + _WRITING_SHARE * (end_s - start_s)


def _existing(out: Path | None, provenance: dict[str, str]) -> Bank | None:
    if out is None or not out.exists():
        return None
    bank = load_bank(out)
    differs = [key for key, value in provenance.items() if bank.provenance.get(key) != value]
    if differs:
        had = bank.provenance.get(differs[0], "nothing")
        raise UsageError(
            f"{str(out)!r} exists and was made otherwise ({differs[0]}: {had[:120]!r}, now "
            f"{provenance[differs[0]][:120]!r}); choose another --out, or remove the file"
        )
    return bank


def _resumed(entry: Entry, before: Entry | None) -> Entry:
    if before is None:
        return entry
    return replace(before, label=entry.label, text=entry.text)


def _joined(one: str | None, other: str | None) -> str | None:
    return "; ".join(dict.fromkeys(text for text in (one, other) if text)) or None
