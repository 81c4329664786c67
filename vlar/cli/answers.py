"""Where answers of ``vlar classify`` go: to stdout, and into tables."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.cli import explain as explanation
from vlar.cli import output

if TYPE_CHECKING:
    from vlar.model.model import Model
    from vlar.tables import TableFile
    from vlar.text.labels import LabelList
    from vlar.types import Classification, Failure, JsonDict


def _live(row: Classification, address: str) -> JsonDict:
    from vlar.live.stream import live_dict

    return live_dict(row, address)


class Answers:
    """Where answers go: to stdout, and into tables.

    Attributes:
        address: Of a stream, whose answers are not kept; None for recordings.
        good: The answers so far.
        n_good: Their number.
        failed: Number of recordings and spans that gave none.
        n_labels: Length of the label list.
    """

    def __init__(self, as_json: bool, mode: str, tables: Sequence[TableFile]) -> None:
        self.address: str | None = None
        self.good: list[Classification] = []
        self.n_good = self.failed = self.n_labels = 0
        self._as_json, self._mode, self._tables = as_json, mode, tables
        self._explained: tuple[Model, dict[str, str]] | None = None

    def explain(self, model: Model, labels: LabelList | None) -> None:
        """Show how labels were read, and with each answer what decided."""
        texts = dict(zip(labels.labels, labels.texts, strict=True)) if labels else {}
        explanation.labels(model, list(texts.values()) or list(model.default_labels))
        self._explained = model, texts

    def take(self, row: Classification | Failure) -> None:
        """Print an answer or a failure, count it and write it."""
        from vlar.types import Failure

        for table in self._tables:
            table.write(row)
        if isinstance(row, Failure):
            self.failed += 1
            output.failure(row, self._as_json)
            return
        self.n_good += 1
        if self.address is None:
            self.good.append(row)
        if self._as_json:
            output.json_line(row if self.address is None else _live(row, self.address))
        else:
            several, yes_or_no = self._mode == "multi", self.n_labels == 1
            output.classification(row, several=several, yes_or_no=yes_or_no)
        if self._explained is not None:
            explanation.answer(self._explained[0], row, self._explained[1])


def tables(stack: ExitStack, csv: Path | None, parquet: Path | None) -> list[TableFile]:
    """The files of ``--csv`` and ``--parquet``, open until the stack ends."""
    from vlar.errors import UsageError
    from vlar.tables import TableFile

    files: list[TableFile] = []
    for file, ending in ((csv, ".csv"), (parquet, ".parquet")):
        if file is None:
            continue
        if file.suffix.lower() != ending:
            raise UsageError(f"--{ending[1:]} {str(file)!r}: the name does not end in {ending}")
        files.append(stack.enter_context(TableFile(file)))
    return files
