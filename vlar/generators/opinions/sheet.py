"""``sheet:FILE.csv``: people answer. Questions are written as a table and as a page with pictures.

The first run writes the questions. A person fills the column ``answer`` with letters or texts, or
opens the page next to the table, chooses, and saves the table from there. The next run reads it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import UsageError
from vlar.files.reading import read_file
from vlar.generators.chat import NoAnswerError
from vlar.generators.opinions.base import Answer, Answerer, MediaItem, WaitingError
from vlar.generators.opinions.question import Question, data_url, parse_answer, pictures
from vlar.registry import register
from vlar.results import cell


@dataclass(frozen=True)
class SheetQuestion:
    """A question on the page.

    Attributes:
        cells: Its row in the table, without the answer.
        options: Letter and text of each option.
        shots: Pictures of the clip in the order of time, as ``data:`` addresses.
    """

    cells: Mapping[str, str]
    options: Sequence[tuple[str, str]]
    shots: Sequence[str]


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>What do these clips show?</title><style>
body{font:16px/1.4 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
fieldset{border:1px solid #8886;border-radius:.5rem;margin:1rem 0}label{display:block;padding:.2rem}
img{height:120px;margin:2px}button{font:inherit;padding:.5rem 1rem}
@media(prefers-color-scheme:dark){body{background:#181818;color:#eee}}
</style><h1>What do these clips show?</h1>
<p>Choose one option for each clip. Pictures are in the order of time. Leave a clip out where you
cannot decide. Then save the table, and put it in the place of the old one.</p>
"""
# Rows as the table has them; formulas cannot occur, since only known texts and letters are written.
_SCRIPT = """
const rows=JSON.parse(document.getElementById("rows").textContent);
const cell=t=>'"'+String(t).replaceAll('"','""')+'"';
document.getElementById("save").onclick=()=>{
 const lines=[["question","path","start_s","end_s","options","answer"].join(",")];
 for(const row of rows){
  const chosen=document.querySelector('input[name="'+row.question+'"]:checked');
  lines.push([row.question,row.path,row.start_s,row.end_s,row.options,chosen?chosen.value:row.answer]
   .map(cell).join(","));}
 const link=document.createElement("a");
 link.href=URL.createObjectURL(new Blob([lines.join("\\r\\n")+"\\r\\n"],{type:"text/csv"}));
 link.download=document.body.dataset.file;link.click();};
"""


def page(
    file_name: str, rows: Sequence[Mapping[str, str]], entries: Sequence[SheetQuestion]
) -> str:
    """The page as HTML."""
    safe = json.dumps([dict(row) for row in rows]).replace(
        "<", "\\u003c"
    )  # a text can neither end the script nor begin another
    return "\n".join(
        [
            _HEAD,
            f'<body data-file="{escape(file_name)}">',
            *(_fields(entry) for entry in entries),
            '<p><button id="save">Save the table</button></p>',
            f'<script type="application/json" id="rows">{safe}</script>',
            f"<script>{_SCRIPT}</script></body></html>\n",
        ]
    )


def _fields(entry: SheetQuestion) -> str:
    name = escape(entry.cells["question"])
    shots = "".join(f'<img alt="" src="{escape(shot)}">' for shot in entry.shots)
    options = "".join(
        f'<label><input type="radio" name="{name}" value="{letter}"> '
        f"{letter}. {escape(text)}</label>"
        for letter, text in entry.options
    )
    return f"<fieldset><div>{shots}</div>{options}</fieldset>"


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
        self._new: dict[str, SheetQuestion] = {}

    @classmethod
    def from_spec(cls, argument: str) -> SheetAnswerer:
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
        return f"sheet {self._file.absolute()}"

    def answer(self, shown: MediaItem, question: Question) -> Answer:
        """Choice of a person.

        Raises:
            WaitingError: nobody has answered this question yet; it joins the table.
            NoAnswerError: the cell is not one of the options.
        """
        key, order = _key(shown, question), _order(shown, question)
        shown_question = Question(tuple(question.options[n] for n in order))
        row = self._rows.get(key)
        answer_text = "" if row is None else row["answer"].strip()
        if not answer_text:
            if key not in self._new:
                self._new[key] = self._entry(key, shown, shown_question)
            raise WaitingError(
                f"nobody has answered this question yet; fill the column 'answer' of {self._file}, "
                f"or open {self.page_file} and save the table from there"
            )
        number = parse_answer(answer_text, shown_question.options)
        if number is None:
            raise NoAnswerError(
                f"{self._file}, question {key}: the answer {answer_text[:80]!r} is not one of "
                f"{shown_question.listing}; write its letter"
            )
        chosen = np.zeros(len(question))
        chosen[order[number]] = 1.0
        return Answer(chosen)

    def close(self) -> None:
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

    def _entry(self, key: str, shown: MediaItem, asked: Question) -> SheetQuestion:
        window = shown.window or shown.clip.window
        cells = {
            "question": key,
            "path": str(cell(str(shown.path))),
            "start_s": f"{window.start_s:g}",
            "end_s": f"{window.end_s:g}",
            "options": asked.listing,
        }
        shots = [data_url(shot) for shot in pictures(shown.clip, _N_PICTURES, _WIDTH)]
        return SheetQuestion(cells, tuple(asked.lettered()), tuple(shots))


def _key(shown: MediaItem, question: Question) -> str:
    """The same question about the same clip, whatever the order of its options."""
    text = "\n".join([shown.key, *sorted(question.options)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _order(shown: MediaItem, question: Question) -> list[int]:
    """Places of the options for a person: an order that reveals nothing."""
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
