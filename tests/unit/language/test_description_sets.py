from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlar.errors import LabelError
from vlar.language.descriptions import load_descriptions
from vlar.language.labels import parse_labels

TEXTS = {"archery": ["A man draws a bow.", "An arrow flies."], "surfing": ["A wave breaks."]}
FORMS = {
    "set.json": json.dumps(TEXTS),
    "set.jsonl": "".join(
        json.dumps({"label": label, "description": text}) + "\n"
        for label, texts in TEXTS.items()
        for text in texts
    ),
    "lists.jsonl": "\n".join(json.dumps({"label": k, "text": v}) for k, v in TEXTS.items()),
    "set.csv": "label,description\narchery,A man draws a bow.\narchery,An arrow flies.\n"
    "surfing,A wave breaks.\n",
    "set.tsv": "label\tcaption\narchery\tA man draws a bow.\narchery\tAn arrow flies.\n"
    "surfing\tA wave breaks.\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_read_as_a_bank(name: str, tmp_path: Path):
    (tmp_path / name).write_text(FORMS[name])
    bank = load_descriptions(tmp_path / name)
    assert {entry.label: list(entry.describe("sentence")) for entry in bank.entries} == TEXTS
    listed = parse_labels(f"bank:{tmp_path / name}")
    assert listed.labels == ("archery", "surfing")
    assert len(listed.entries[0].descriptions) == 2


def test_a_label_file_may_be_such_a_set(tmp_path: Path):
    (tmp_path / "set.json").write_text(FORMS["set.json"])
    assert parse_labels(str(tmp_path / "set.json")).labels == ("archery", "surfing")


def test_banks_stay_banks():
    assert load_descriptions("ucf101").name == "ucf101"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"description": "x"}', "line 1: no object with 'label'"),
        ("a.jsonl", '{"label": "", "text": "x"}', "without a label"),
        ("a.jsonl", '{"label": "run"}', "'run' has no description"),
        ("a.jsonl", "{", "not valid JSON"),
        ("a.json", '{"run": []}', "'run'.*has no description"),
        ("a.json", '{"run": [3]}', "3 is not a text"),
        ("a.csv", "name,text\na,b\n", "no columns 'label'"),
        ("a.csv", "label,text\nrun,\n", "'run' has no description"),
        ("a.csv", "label,text\n,x\n", "line 2: a description without a label"),
        ("a.csv", "label,text\n", "holds no description"),
    ],
)
def test_what_is_wrong_is_named(name: str, content: str, said: str, tmp_path: Path):
    (tmp_path / name).write_text(content)
    with pytest.raises(LabelError, match=said):
        load_descriptions(tmp_path / name)
