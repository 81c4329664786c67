"""Answers of people: the table, the page, and what may stand in them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.generators.opinions.test_asking import QUESTION, clip
from vlar.errors import UsageError
from vlar.generators.opinions.asking import ask
from vlar.generators.opinions.base import load_answerer
from vlar.generators.opinions.question import Question


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write(file: Path, table: list[dict[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A table with the questions about two clips, nothing filled in."""
    file = tmp_path / "answers.csv"
    judge = load_answerer(f"sheet:{file}")
    for seed in (0, 1):
        found = ask(judge, clip(seed), QUESTION)
        assert found.error is not None
        assert found.error[0] == "waiting"
        assert str(file) in found.error[1]
    assert not file.exists()
    judge.close()
    return file


def test_the_first_run_writes_the_questions(file: Path):
    table = rows(file)
    assert list(table[0]) == ["question", "path", "start_s", "end_s", "options", "answer"]
    assert len(table) == 2
    assert table[0]["answer"] == ""
    assert {part[3:] for part in table[0]["options"].split(", ")} == set(QUESTION.options)
    assert [part[0] for part in table[0]["options"].split(", ")] == list("ABCD")


@pytest.mark.parametrize("as_text", [True, False])
def test_a_filled_table_is_read(file: Path, as_text: bool):
    table = rows(file)
    for row in table:
        letter = next(p[0] for p in row["options"].split(", ") if p[3:] == "jump")
        row["answer"] = "jump" if as_text else letter.lower()
    write(file, table)
    judge = load_answerer(f"sheet:{file}")
    found = ask(judge, clip(), QUESTION)
    np.testing.assert_array_equal(found.probability, [0, 0, 1, 0])
    assert found.asked == 1
    turned = ask(judge, clip(1), QUESTION.rotated(3))  # the same question in another order
    assert turned.probability is not None
    assert QUESTION.rotated(3).options[int(turned.probability.argmax())] == "jump"


def test_new_questions_join_and_answers_stay(file: Path):
    table = rows(file)
    table[0]["answer"] = "A"
    write(file, table)
    judge = load_answerer(f"sheet:{file}")
    ask(judge, clip(), QUESTION)
    ask(judge, clip(7), QUESTION)
    judge.close()
    again = rows(file)
    assert [row["answer"] for row in again] == ["A", "", ""]
    assert again[:2] == table


def test_an_answer_that_is_not_an_option_is_named(file: Path):
    table = rows(file)
    table[0]["answer"] = "swimming"
    write(file, table)
    found = ask(load_answerer(f"sheet:{file}"), clip(), QUESTION)
    assert found.error is not None
    assert "'swimming' is not one of A. " in found.error[1]


def test_the_page_shows_pictures_and_holds_the_whole_table(file: Path):
    page = file.with_suffix(".html").read_text("utf-8")
    assert page.count("<fieldset>") == 2
    assert page.count("data:image/jpeg;base64,") == 2 * 4
    assert page.count('type="radio"') == 2 * 4
    found = re.search(r'<script type="application/json" id="rows">(.*?)</script>', page, re.S)
    assert found is not None
    assert json.loads(found[1]) == rows(file)
    assert "http://" not in page
    assert "https://" not in page


def test_texts_cannot_leave_their_place_on_the_page_nor_begin_a_formula(tmp_path: Path):
    from dataclasses import replace

    file = tmp_path / "a.csv"
    judge = load_answerer(f"sheet:{file}")
    nasty = Question(("</script><script>alert(1)</script>", '"><img src=x onerror=y>'))
    ask(judge, replace(clip(), path=Path("=cmd|' /C calc'!A0.mp4")), nasty)
    judge.close()
    page = file.with_suffix(".html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert rows(file)[0]["path"].startswith("'=")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na.mp4,run\n", "the column 'question' is missing"),
        (b"\xff\xfe\x00", "not a UTF-8"),
        (b'question,answer\n"a,b\n', "not readable as CSV"),
    ],
)
def test_a_table_of_something_else_is_refused(tmp_path: Path, content: bytes, message: str):
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    refused(UsageError, message, load_answerer, f"sheet:{file}")


def test_a_place_that_cannot_be_is_refused(tmp_path: Path):
    for argument in (tmp_path / "a.txt", tmp_path / "none" / "a.csv"):
        refused(UsageError, "cannot be used", load_answerer, f"sheet:{argument}")
