"""Describing a label list: batches of labels to a describer, saved after every batch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from vlar.errors import UsageError, VlarError
from vlar.generators.backends import in_threads
from vlar.generators.chat import NoAnswerError
from vlar.generators.descriptions.bank_validation import same
from vlar.generators.descriptions.base import (
    Describer,
    LabelDescriptions,
    LabelRequest,
    load_describer,
)
from vlar.language.bank import KINDS, PART_KINDS, Bank, Description, Entry, load_bank, write_bank
from vlar.language.labels import LabelList, parse_labels
from vlar.registry import unknown_name
from vlar.types import JsonDict, ProgressCallback

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
        entries = {same(entry.text): entry for entry in before.entries} if before else {}
        self._entries = {
            label: replace(entries.pop(same(text), Entry(label, text)), label=label, text=text)
            for label, text in zip(listed.keys, listed.texts, strict=True)
        }
        self._others = tuple(entries.values())  # earlier labels that this list leaves out
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
        """Return whether a label has any description, of this run or an earlier one."""
        return bool(self._entries[label].descriptions)

    def add(self, row: LabelDescriptions) -> LabelDescriptions:
        """Add descriptions of a label.

        Returns:
            The row without sentences that another label already has; its notes name them.
        """
        descriptions: list[Description] = []
        notes = list(row.notes)
        for description in row.descriptions:
            owner = self._owners.setdefault(same(description.text), row.label)
            if owner == row.label:
                descriptions.append(description)
            else:
                kind = description.kind
                notes.append(f"{kind} is the same sentence as that of {owner!r}, left out")
        entry = self._entries[row.label]
        self._entries[row.label] = replace(
            entry,
            descriptions=(*entry.descriptions, *descriptions),
            source=_joined(entry.source, row.source if descriptions else None),
        )
        return replace(row, descriptions=tuple(descriptions), notes=tuple(notes))

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


def _joined(one: str | None, other: str | None) -> str | None:
    return "; ".join(dict.fromkeys(text for text in (one, other) if text)) or None


_STOP_AFTER = 3  # batches in a row without an answer: the server is gone
Result = list[LabelDescriptions] | VlarError
BatchResult = tuple[list[LabelRequest], Result]


@dataclass(frozen=True)
class LabelOutcome:
    """Result of this run for one label.

    Attributes:
        found: The new descriptions, without sentences that other labels already have.
        problem: Why the label has no description at all; None if it has one.
    """

    found: LabelDescriptions
    problem: str | None = None

    def to_dict(self) -> JsonDict:
        """JSON object."""
        data: JsonDict = {
            "label": self.found.label,
            "descriptions": {row.kind: row.text for row in self.found.descriptions},
            "notes": list(self.found.notes),
        }
        data |= {"source": self.found.source} if self.found.source else {}
        data |= {"error": self.problem} if self.problem else {}
        return data


@dataclass(frozen=True)
class DescribeReport:
    """Result of ``describe``.

    Attributes:
        bank: All labels with all their descriptions.
        rows: The labels of this run, in the order in which they were answered.
        n_before: Number of labels that an earlier run had finished.
        remarks: Changes to the label list, one sentence each.
    """

    bank: Bank
    rows: tuple[LabelOutcome, ...]
    n_before: int
    remarks: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[LabelOutcome, ...]:
        """Labels without any description."""
        return tuple(row for row in self.rows if row.problem)


def describe(
    labels: str | Path | Sequence[str] | LabelList,
    out: str | Path | None = None,
    *,
    llm: str = "offline",
    kinds: Sequence[str] = KINDS,
    model: str = "lite",
    batch: int | None = None,
    concurrency: int = 4,
    licence: str | None = None,
    progress: ProgressCallback | None = None,
) -> DescribeReport:
    """Write descriptions for labels.

    Args:
        labels: A label list in any form that ``classify`` accepts.
        out: File of the bank, written after every batch; the bank of an earlier run is continued.
        llm: ``openai:MODEL``, ``local:FOLDER`` or ``offline``. No describer replaces another.
        kinds: Kinds of description to write, of ``vlar.language.bank.KINDS`` and ``PART_KINDS``.
        model: The model whose text encoder will read the texts. Texts above its token limit are
            requested again and then cut.
        batch: Labels per question, at least 1; None for the describer's default.
        concurrency: Questions at once, at least 1, if the describer is a server.
        licence: Licence of the bank; None for the describer's default.
        progress: Called with the number of labels done.

    Returns:
        The bank and the outcome of each label; a failed label has an entry without texts.

    Raises:
        LabelError: the labels or ``out`` cannot be used.
        UsageError: another argument has no usable value.
    """
    listed = parse_labels(labels)
    asked_kinds = check_kinds(kinds)
    from vlar.model.model import load

    describer = load_describer(llm, load(model).encoder)
    draft = DraftBank(
        listed, Path(out).expanduser() if out is not None else None, describer, licence
    )
    missing = draft.missing(asked_kinds)
    if progress:
        progress(0, total=len(missing))
    rows: list[LabelOutcome] = []
    try:
        for requests, result in _results(
            describer, _batches(missing, batch or describer.batch_size), concurrency
        ):
            rows += _add_to(draft, requests, result)
            draft.write(now=False)
            if progress:
                progress(len(requests))
    finally:
        describer.close()
        draft.write()
    return DescribeReport(draft.bank, tuple(rows), len(listed) - len(missing), listed.notes)


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds, without duplicates.

    Raises:
        UnknownNameError: a kind does not exist.
        UsageError: the list is empty.
    """
    names = tuple(dict.fromkeys(kind.strip() for kind in kinds if kind.strip()))
    for kind in names:
        if kind not in (*KINDS, *PART_KINDS):
            raise unknown_name("kind of description", kind, (*KINDS, *PART_KINDS))
    if not names:
        raise UsageError(f"the list of kinds is empty; choose from {', '.join(KINDS)}")
    return names


def _batches(missing: Sequence[LabelRequest], size: int) -> list[list[LabelRequest]]:
    """Batches of labels that lack the same kinds."""
    groups: dict[tuple[str, ...], list[LabelRequest]] = {}
    for row in missing:
        groups.setdefault(row.kinds, []).append(row)
    return [rows[i : i + size] for rows in groups.values() for i in range(0, len(rows), size)]


def _add_to(
    draft: DraftBank,
    requests: Sequence[LabelRequest],
    result: Result,
) -> list[LabelOutcome]:
    if isinstance(result, VlarError):
        return [LabelOutcome(LabelDescriptions(row.label, ()), result.message) for row in requests]
    rows: list[LabelOutcome] = []
    for described in map(draft.add, result):
        why = f"no usable description ({'; '.join(described.notes) or 'the answer was empty'})"
        rows.append(LabelOutcome(described, None if draft.has_texts(described.label) else why))
    return rows


def _results(
    describer: Describer, batches: Sequence[list[LabelRequest]], concurrency: int
) -> Iterator[BatchResult]:
    """Each batch with its descriptions, or with the error that all of its labels share.

    After a refusal, or after several batches in a row without an answer, the rest is not asked.
    """

    def attempt(batch: list[LabelRequest]) -> Result:
        try:
            return describer.describe(batch)
        except VlarError as error:
            return error

    workers = concurrency if describer.concurrent else 1
    unanswered = 0
    waiting = {id(batch): batch for batch in batches}
    for batch, result in in_threads(attempt, batches, workers, "vlar-describe"):
        del waiting[id(batch)]
        yield batch, result
        unanswered = unanswered + 1 if isinstance(result, NoAnswerError) else 0
        refused = isinstance(result, VlarError) and not isinstance(result, NoAnswerError)
        if refused or unanswered >= _STOP_AFTER:
            describer.close()
            yield from ((batch, result) for batch in waiting.values())
            return
