"""``sheet:FILE.csv``: people answer. Questions are written as a table and as a page with pictures.

The first run writes the questions. A person fills the column ``answer`` with letters or texts, or
opens the page next to the table, chooses, and saves the table from there. The next run reads it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from vlar.answering.base import Answer, Answerer, Shown, WaitingError
from vlar.answering.parsing import parse_answer
from vlar.answering.pictures import data_url, pictures
from vlar.answering.question import Question
from vlar.answering.sheet_page import Entry, page
from vlar.describing.base import NoAnswerError
from vlar.errors import UsageError
from vlar.registry import register
from vlar.safety.files import read_file
from vlar.tables import cell

COLUMNS = ("question", "path", "start_s", "end_s", "options", "answer")
_MOST_BYTES = 50_000_000
_N_PICTURES = 6
_WIDTH = 240


@register("answerer", "sheet")
class SheetAnswerer(Answerer):
    """A table of answers that people fill.

    Args:
        file: The table; it need not exist yet.
    """

    order_free = True
    cached = False  # the table is the place of the answers

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows = _read(file) if file.exists() else {}
        self._new: dict[str, Entry] = {}

    @classmethod
    def from_spec(cls, argument: str) -> SheetAnswerer:
        """The table ``FILE.csv``.

        Raises:
            UsageError: the name does not end in .csv, its folder is missing, or it is not a table
                of answers.
        """
        file = Path(argument).expanduser()
        if file.suffix.lower() != ".csv" or not file.absolute().parent.is_dir():
            raise UsageError(
                f"sheet:{argument} cannot be used; give a file that ends in .csv in a folder that "
                "exists"
            )
        return cls(file)

    @property
    def page_file(self) -> Path:
        """The page for people, next to the table."""
        return self._file.with_suffix(".html")

    @property
    def identity(self) -> str:
        """The table."""
        return f"sheet {self._file.absolute()}"

    def answer(self, shown: Shown, question: Question) -> Answer:
        """What a person chose.

        Raises:
            WaitingError: nobody has answered this question yet; it joins the table.
            NoAnswerError: what stands there is not one of the options.
        """
        key, order = _key(shown, question), _order(shown, question)
        asked = Question(tuple(question.options[n] for n in order))
        row = self._rows.get(key)
        given = "" if row is None else row["answer"].strip()
        if not given:
            if key not in self._new:
                self._new[key] = self._entry(key, shown, asked)
            raise WaitingError(
                f"nobody has answered this question yet; fill the column 'answer' of {self._file}, "
                f"or open {self.page_file} and save the table from there"
            )
        place = parse_answer(given, asked.options)
        if place is None:
            raise NoAnswerError(
                f"{self._file}, question {key}: the answer {given[:80]!r} is not one of "
                f"{asked.listing}; write its letter"
            )
        chosen = np.zeros(len(question))
        chosen[order[place]] = 1.0
        return Answer(chosen)

    def close(self) -> None:
        """Write the new questions into the table, and the page.

        Raises:
            UsageError: they cannot be written.
        """
        if not self._new:
            return
        for key, entry in self._new.items():
            self._rows[key] = {**entry.cells, "answer": ""}
        text = io.StringIO(newline="")
        writer: csv.DictWriter[str] = csv.DictWriter(text, list(COLUMNS))
        writer.writeheader()
        writer.writerows(self._rows.values())
        part = self._file.with_name(f".{self._file.name}.part")
        try:
            part.write_text(text.getvalue(), encoding="utf-8", newline="")
            part.replace(self._file)
            self.page_file.write_text(
                page(self._file.name, list(self._rows.values()), list(self._new.values())),
                encoding="utf-8",
            )
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UsageError(
                f"{self._file}: the questions cannot be written ({error.strerror or error})"
            ) from error
        self._new = {}

    def _entry(self, key: str, shown: Shown, asked: Question) -> Entry:
        window = shown.window or shown.clip.window
        cells = {
            "question": key,
            "path": str(cell(str(shown.path))),
            "start_s": f"{window.start_s:g}",
            "end_s": f"{window.end_s:g}",
            "options": asked.listing,
        }
        shots = [data_url(shot) for shot in pictures(shown.clip, _N_PICTURES, _WIDTH)]
        return Entry(cells, tuple(asked.lettered()), tuple(shots))


def _key(shown: Shown, question: Question) -> str:
    """The same question about the same clip, whatever the order of its options."""
    text = "\n".join([shown.key, *sorted(question.options)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _order(shown: Shown, question: Question) -> list[int]:
    """Places of the options as a person sees them: an order that tells nothing."""
    by_text = sorted(range(len(question)), key=lambda n: question.options[n])
    seed = int(_key(shown, question), 16)
    return [by_text[n] for n in np.random.default_rng(seed).permutation(len(question))]


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        text = read_file(file, _MOST_BYTES).decode("utf-8-sig")
        rows = _rows(file, text)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not a UTF-8 text file; save the table as UTF-8 CSV") from error
    except csv.Error as error:
        why = str(error).replace("unexpected end of data", "it ends inside quotes")
        raise UsageError(
            f"{file}: not readable as CSV ({why}); quote fields with commas, and close each quote"
        ) from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error}); check it") from error
    return {
        str(row["question"]): {name: str(row.get(name) or "") for name in COLUMNS} for row in rows
    }


def _rows(file: Path, text: str) -> list[dict[Any, Any]]:
    """The rows of a table of answers.

    Raises:
        UsageError: a column is missing or there twice, a row has more fields than columns, or a
            null byte.
    """
    if "\0" in text:
        raise UsageError(f"{file}: it holds a null byte, so it is not a text file; give another")
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = list(table.fieldnames or ())
    for name in ("question", "answer"):
        if name not in names:
            raise UsageError(
                f"{file}: the column {name!r} is missing, so it is not a table of answers; give "
                "another file"
            )
    for name in COLUMNS:
        if names.count(name) > 1:
            raise UsageError(f"{file}: the column {name!r} is there twice; keep one of them")
    rows: list[dict[Any, Any]] = []
    for row in table:
        if None in row:
            raise UsageError(
                f"{file}, line {table.line_num}: more fields than the {len(names)} columns; quote "
                "fields with commas"
            )
        rows.append(row)
    return rows
