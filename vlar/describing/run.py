"""Describing a label list: batches to a writer, several at once, each answer kept at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlar.describing.base import (
    Answer,
    Asked,
    Describer,
    NoAnswerError,
    load_describer,
)
from vlar.describing.draft_store import Draft
from vlar.errors import UsageError, VlarError
from vlar.registry import unknown_name
from vlar.text.bank import KINDS, Bank
from vlar.text.labels import LabelList, parse_labels
from vlar.types import JsonDict, ProgressCallback

_STOP_AFTER = 3  # batches in a row without an answer: the server is gone for good
Outcome = tuple[list[Asked], "list[Answer] | BaseException"]


@dataclass(frozen=True)
class Described:
    """How a label fared in this run.

    Attributes:
        answer: What was found, after what other labels already had was left out.
        problem: Why it has no description at all; None where it has one.
    """

    answer: Answer
    problem: str | None = None

    def to_dict(self) -> JsonDict:
        """JSON object."""
        data: JsonDict = {
            "label": self.answer.label,
            "descriptions": {row.kind: row.text for row in self.answer.descriptions},
            "notes": list(self.answer.notes),
        }
        data |= {"source": self.answer.source} if self.answer.source else {}
        data |= {"error": self.problem} if self.problem else {}
        return data


@dataclass(frozen=True)
class DescribeReport:
    """What came out.

    Attributes:
        bank: All the labels with all their descriptions.
        rows: The labels of this run, in the order in which they were answered.
        kept: Labels that an earlier run had finished.
        remarks: What was changed in the label list.
    """

    bank: Bank
    rows: tuple[Described, ...]
    kept: int
    remarks: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Described, ...]:
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
        labels: As ``classify`` takes them.
        out: The bank's file, written after every batch; one that an earlier run left is continued.
        llm: ``openai:MODEL``, ``local:FOLDER`` or ``offline``. One never stands in for another.
        kinds: Which kinds of description, of ``vlar.text.bank.KINDS``.
        model: Whose text tower will read them; longer texts are asked for again and then cut.
        batch: Labels a question; None for what suits the writer.
        concurrency: Questions at once, where the writer is a server.
        licence: Of the bank; None for what the writer says.
        progress: Told of labels done.

    Returns:
        The bank and what became of each label; a label that failed has an entry without texts.

    Raises:
        LabelError: the labels or ``out`` cannot be used.
        UsageError: another argument has no usable value.
    """
    listed = parse_labels(labels)
    asked_kinds = check_kinds(kinds)
    from vlar.model.model import load

    describer = load_describer(llm, load(model).encoder)
    draft = Draft(listed, Path(out).expanduser() if out is not None else None, describer, licence)
    todo = draft.missing(asked_kinds)
    if progress:
        progress(0, total=len(todo))
    rows: list[Described] = []
    try:
        for asked, outcome in _outcomes(
            describer, _batches(todo, batch or describer.batch), concurrency
        ):
            rows += _taken(draft, asked, outcome)
            draft.write(now=False)
            if progress:
                progress(len(asked))
    finally:
        describer.close()
        draft.write()
    return DescribeReport(draft.bank, tuple(rows), len(listed) - len(todo), listed.notes)


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds, each once.

    Raises:
        UnknownNameError: one does not exist.
        UsageError: there is none.
    """
    asked = tuple(dict.fromkeys(kind.strip() for kind in kinds if kind.strip()))
    for kind in asked:
        if kind not in KINDS:
            raise unknown_name("kind of description", kind, KINDS)
    if not asked:
        raise UsageError(f"no kind of description was asked for; choose from {', '.join(KINDS)}")
    return asked


def _batches(todo: Sequence[Asked], size: int) -> list[list[Asked]]:
    """Labels that want the same kinds, together."""
    groups: dict[tuple[str, ...], list[Asked]] = {}
    for row in todo:
        groups.setdefault(row.kinds, []).append(row)
    return [rows[i : i + size] for rows in groups.values() for i in range(0, len(rows), size)]


def _taken(
    draft: Draft, asked: Sequence[Asked], outcome: list[Answer] | BaseException
) -> list[Described]:
    if isinstance(outcome, VlarError):
        return [Described(Answer(row.label, ()), outcome.message) for row in asked]
    if isinstance(outcome, BaseException):
        raise outcome
    rows: list[Described] = []
    for answer in map(draft.take, outcome):
        problem = None if draft.has_texts(answer.label) else _problem(answer)
        rows.append(Described(answer, problem))
    return rows


def _problem(answer: Answer) -> str:
    return f"no usable description ({'; '.join(answer.notes) or 'nothing was said'})"


def _outcomes(
    describer: Describer, batches: Sequence[list[Asked]], concurrency: int
) -> Iterator[Outcome]:
    """Each batch with its answers, or with the error that all of its labels share.

    After a refusal, or several batches in a row without an answer, the rest is not asked.
    """
    workers = min(max(concurrency, 1), len(batches)) if describer.concurrent else 1
    silent = 0
    waiting = {id(batch): batch for batch in batches}
    for batch, outcome in _answered(describer, batches, workers):
        del waiting[id(batch)]
        yield batch, outcome
        silent = silent + 1 if isinstance(outcome, NoAnswerError) else 0
        hopeless = isinstance(outcome, VlarError) and not isinstance(outcome, NoAnswerError)
        if hopeless or silent >= _STOP_AFTER:
            describer.close()
            for rest in waiting.values():
                yield rest, outcome
            return


def _answered(
    describer: Describer, batches: Sequence[list[Asked]], workers: int
) -> Iterator[Outcome]:
    if workers <= 1:
        for batch in batches:
            yield batch, _try(describer, batch)
        return
    # Daemon threads and not a pool: a pool would hold an interrupted program until its last
    # question is answered.
    questions: queue.SimpleQueue[list[Asked]] = queue.SimpleQueue()
    answers: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    stopped = threading.Event()
    for batch in batches:
        questions.put(batch)

    def work() -> None:
        while not stopped.is_set():
            try:
                batch = questions.get_nowait()
            except queue.Empty:
                return
            answers.put((batch, _try(describer, batch)))

    for number in range(workers):
        threading.Thread(target=work, name=f"vlar-describe-{number}", daemon=True).start()
    try:
        for _ in batches:
            yield answers.get()
    finally:
        stopped.set()


def _try(describer: Describer, batch: list[Asked]) -> list[Answer] | BaseException:
    try:
        return describer.answer(batch)
    except Exception as error:  # noqa: BLE001 - it is raised again in the caller's thread
        return error
