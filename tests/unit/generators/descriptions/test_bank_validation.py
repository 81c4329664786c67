from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.files import resources
from vlar.generators.descriptions.bank_validation import Fault, check_bank, text_fault
from vlar.language.bank import KINDS, load_bank

BANKS = resources.names("text_banks", ".json")
LABEL_LISTS = [name for name in BANKS if name != "imagenet_objects"]
# What a description of a movement mentions, in a person, an animal, a hand's work or a scene.
BODY = """head face arm hand finger torso trunk hip leg knee foot feet shoulder back wrist elbow
body chest palm fist forearm thumb toe heel neck waist mouth lip jaw eye ankle thigh belly chin
cheek tongue teeth limb spine"""


@dataclass(frozen=True)
class Limit:
    name: str = "words"
    max_tokens: int = 12

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def entry(label: str, *texts: str, **more: Any) -> dict[str, Any]:
    rows = [{"kind": k, "text": t} for k, t in zip(KINDS, texts, strict=False)]
    return {"label": label, "descriptions": rows, **more}


def full(label: str, **more: Any) -> dict[str, Any]:
    return entry(
        label, f"A place of {label}, lit.", f"An arm does {label} so.", f"{label}: x.", **more
    )


def faults(tmp_path: Path, *entries: dict[str, Any], limit: Limit | None = None, **changes: Any):
    bank = {
        "format": 1,
        "name": "mine",
        "licence": "CC0",
        "provenance": {"source": "me", "date": "2026-01-31", "made": "by hand"},
        "entries": list(entries),
    } | changes
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(bank))
    return check_bank(path, limit)


def test_a_good_bank_has_no_fault(tmp_path):
    assert faults(tmp_path, full("run", aliases=["sprint"]), full("eat"), limit=Limit()) == ()


@pytest.mark.parametrize(
    ("rows", "label", "kind", "value", "what"),
    [
        ([full("Run"), full("run ")], "run", None, "run", "reads the same as the label 'Run'"),
        ([full("run", aliases=["Run"])], "run", "alias", "Run", "is the label itself"),
        ([full("run", aliases=["eat"]), full("eat")], "run", "alias", "eat", "is the label 'eat'"),
        (
            [full("run", aliases=["go"]), full("eat", aliases=["Go"])],
            "eat",
            "alias",
            "Go",
            "is an alias of 'run' too",
        ),
        ([full("run", aliases=["go", "go"])], "run", "alias", "go", "comes twice"),
        (
            [
                entry("run", "A road.", "Legs.", "Fast."),
                entry("eat", "a  road", "Mouth.", "A road."),
            ],
            "eat",
            "phases",
            "A road.",
            "also describes 'run'",
        ),
        ([entry("run", "A road.", "Legs.", "A road.")], "run", "phases", "A road.", "comes twice"),
        ([entry("run", "A road.", "Running.", "Go.")], "run", "motion", "Running.", "only repeats"),
        (
            [entry("run", "A road.", "TODO legs", "Go.")],
            "run",
            "motion",
            "TODO legs",
            "placeholder",
        ),
        ([entry("run", "A road.", "--", "Go.")], "run", "motion", "--", "no words"),
        ([entry("run")], "run", None, "0", "descriptions are there"),
        (
            [
                entry(
                    "run",
                    "A road.",
                    "one two three four five six seven eight nine ten eleven",
                    "x.",
                )
            ],
            "run",
            "motion",
            "one two three four five six seven eight nine ten eleven",
            "has 13 tokens; words reads the first 12",
        ),
        (
            [full("run") | {"descriptions": [{"kind": "moton", "text": "Legs swing."}] * 3}],
            "run",
            "moton",
            "moton",
            "close to 'motion'",
        ),
    ],
)
def test_each_fault_names_its_place_and_what_to_do(tmp_path, rows, label, kind, value, what):
    found = [f for f in faults(tmp_path, *rows, limit=Limit()) if f.severe and what in f.what]
    assert found, faults(tmp_path, *rows, limit=Limit())
    fault = found[0]
    assert (fault.label, fault.kind, fault.value) == (label, kind, value)
    assert fault.advice
    assert str(tmp_path / "mine.json") in fault.message
    assert fault.to_dict()["severity"] == "error"


def test_few_descriptions_are_a_remark(tmp_path):
    (fault,) = faults(tmp_path, entry("run", "A road."))
    assert not fault.severe
    assert fault.value == "1"


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"provenance": {"source": "me", "date": "2026-01-31"}}, "made"),
        ({"provenance": {"source": "me", "date": "yesterday", "made": "x"}}, "yesterday"),
    ],
)
def test_provenance_must_be_whole(tmp_path, changes: dict[str, Any], value: str):
    (fault,) = faults(tmp_path, full("run"), **changes)
    assert fault.severe
    assert (fault.kind, fault.value) == ("provenance", value)


def test_a_missing_licence_and_a_broken_schema_are_faults_too(tmp_path):
    (fault,) = faults(tmp_path, full("run"), licence="")
    assert "at licence" in fault.what
    (fault,) = faults(tmp_path, {"lable": "a"}, {"label": 3})
    assert "entries.0.lable" in fault.what
    assert "entries.1.label" in fault.what
    assert check_bank(tmp_path / "missing.json")[0].severe
    assert check_bank("everyday")[0].severe


def test_shared_phrases_are_fine_where_shared_sentences_are_not(tmp_path):
    rows = [entry(x, "a lawn", f"{x} moves.", f"First {x}.") for x in ("dog", "cat")]
    assert not [f for f in faults(tmp_path, *rows) if f.severe]


@given(st.text(max_size=80), st.text(min_size=1, max_size=20))
def test_any_text_is_judged_and_a_long_one_never_passes(text: str, label: str):
    wrong = text_fault(text, label, Limit())
    if len(text.split()) > 10:
        assert wrong is not None
    if not any(c.isalpha() for c in text):
        assert wrong is not None


@given(st.sampled_from(["riding a bike", "apply eye makeup", "jump", "WAVE"]))
def test_a_label_never_describes_itself(label: str):
    for text in (label, label.upper(), f"A person is {label}.", f"Someone doing the {label}"):
        assert text_fault(text, label) is not None
    assert text_fault(f"{label} with both arms", label) is None


class ClipTokens:
    """CLIP's own tokeniser, whose 77 tokens are the tightest of the common encoders."""

    name = "clip"
    max_tokens = 77

    def __init__(self) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self._inner = SimpleTokenizer()

    def count_tokens(self, text: str) -> int:
        return len(self._inner.encode(text)) + 2


@pytest.fixture(scope="module")
def clip() -> ClipTokens:
    return ClipTokens()


@pytest.mark.parametrize("name", BANKS)
def test_every_packaged_bank_passes_and_fits_clip(name: str, clip: ClipTokens):
    found = check_bank(name, clip)
    assert not found, "\n".join(fault.message for fault in found[:5])


@pytest.mark.parametrize("name", LABEL_LISTS)
def test_every_label_has_three_to_six_descriptions_of_different_kinds(name: str):
    for row in load_bank(name).entries:
        kinds = [d.kind for d in row.descriptions]
        assert 3 <= len(kinds) <= 6, row.label
        assert len(set(kinds)) == len(kinds), row.label
        assert {"scene", "motion"} <= set(kinds) <= set(KINDS), row.label


@pytest.mark.parametrize("name", [n for n in LABEL_LISTS if n != "everyday_actions"])
def test_labels_are_spelled_as_the_data_set_does(name: str):
    from tests.conftest import CHECKOUT

    path = CHECKOUT.parent / "shared" / "splits" / f"{name}_labels.txt"
    if not path.is_file():
        pytest.skip("the label lists are not on this machine")
    entries = load_bank(name).entries
    assert sorted(e.label for e in entries) == sorted(path.read_text("utf-8").splitlines())
    for row in entries:
        assert row.text == row.text.strip()
        assert "_" not in row.text


@pytest.mark.parametrize(
    ("name", "share"), [("ucf101", 0.97), ("hmdb51", 0.97), ("kinetics600", 0.97), ("ssv2", 0.85)]
)
def test_movements_are_told_by_the_body(name: str, share: float):
    parts = set(BODY.split())
    rows = [e.describe("motion")[0] for e in load_bank(name).entries]
    told = [r for r in rows if parts & {w.rstrip("s.,;:") for w in r.casefold().split()}]
    assert len(told) / len(rows) >= share


def test_faults_are_plain_values():
    fault = Fault("f", "l", "k", "v" * 200, "is bad", "repair it")
    assert len(fault.message) < 150
    assert fault == Fault("f", "l", "k", "v" * 200, "is bad", "repair it")
