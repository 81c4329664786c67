from __future__ import annotations

import pytest

from vlar.generators.descriptions import offline
from vlar.generators.descriptions.bank_validation import check_bank
from vlar.generators.descriptions.run import describe
from vlar.language.bank import KINDS, load_bank


@pytest.fixture(autouse=True)
def no_tower(monkeypatch: pytest.MonkeyPatch):
    """Nearness in meaning, by hand: (cosine, text) of labels of the banks."""
    near: dict[str, list[tuple[float, str]]] = {
        "chopping onions": [(0.75, "chopping wood")],
        "closing a tin": [(0.95, "opening can")],
        "slowly riding a camel home": [(0.85, "riding camel")],
    }
    known = {e.label: e for e in load_bank("kinetics600").entries}

    class Near:
        def __init__(self, texts, values):
            del texts, values

        def search(self, text: str, k: int = 5):
            del k
            rows = [(c, t) for c, t in near.get(text, []) if t in known]
            return [(c, ("kinetics600", known[t])) for c, t in rows]

    monkeypatch.setattr("vlar.generators.descriptions.offline.SimilarTexts", Near)


def one(label: str, kinds=KINDS):
    (row,) = describe([label], None, kinds=kinds).rows
    return row


@pytest.mark.parametrize(
    ("label", "bank", "entry"),
    [
        ("ApplyEyeMakeup", "ucf101", "ApplyEyeMakeup"),
        ("Applying eyeliner", "ucf101", "ApplyEyeMakeup"),
        ("Draws the sword", "hmdb51", "draw_sword"),
        ("slowly riding a camel home", "kinetics600", "riding camel"),
    ],
)
def test_what_a_bank_knows_is_taken_with_its_origin(label: str, bank: str, entry: str):
    row = one(label)
    assert row.problem is None
    assert f"bank {bank}, label {entry!r}" in (row.found.source or "")
    known = {e.label: e for e in load_bank(bank).entries}[entry]
    assert set(known.descriptions) <= set(row.found.descriptions)


def test_another_verb_is_another_action_however_near():
    row = one("closing a tin")
    assert "opening" not in (row.found.source or "")


def test_the_movement_of_the_same_verb_is_borrowed_and_said():
    row = one("chopping onions")
    (motion,) = row.found.descriptions
    assert motion.kind == "motion"
    assert row.found.source == (
        "composed from the movement of bank kinetics600, label 'chopping wood'"
    )
    assert "nothing is known about scene" in row.found.notes[0]


def test_verb_table_and_object_notes_speak_for_the_rest():
    row = one("tiptoeing with a cello")
    kinds = {d.kind: d.text for d in row.found.descriptions}
    assert kinds["scene"].startswith("To be seen: cello, ")
    assert "legs" in kinds["motion"]
    assert "the verb table ('tiptoe')" in (row.found.source or "")


def test_what_nothing_is_known_about_gets_nothing():
    row = one("quantum chromodynamics")
    assert row.found.descriptions == ()
    assert "no bank, verb or object notes" in (row.problem or "")


def test_the_bank_says_what_it_is(tmp_path):
    out = tmp_path / "bank.json"
    report = describe(["eat", "tiptoeing with a cello"], out)
    assert report.bank.provenance["source"].startswith("composed from vlar's banks")
    assert "without a language model" in report.bank.provenance["made"]
    assert report.bank.licence == "Apache-2.0"
    assert all(e.source and e.source.startswith("composed from") for e in load_bank(out).entries)
    assert not [fault for fault in check_bank(out) if fault.severe]


def test_a_second_run_that_finds_nothing_new_is_no_failure(tmp_path):
    out = tmp_path / "bank.json"
    describe(["tiptoeing with a cello"], out)
    before = out.read_bytes()
    report = describe(["tiptoeing with a cello"], out)
    assert not report.failed
    assert out.read_bytes() == before


def test_every_clause_belongs_to_an_attribute():
    from vlar.methods.clauses import CLAUSES
    from vlar.pose.attributes.base import attribute_names

    assert set(CLAUSES) <= set(attribute_names())


def test_every_movement_of_the_verb_table_reads_as_a_sentence():
    from vlar.generators.descriptions.offline import motion_sentence
    from vlar.language.motion.verb_table import VerbTable

    table = VerbTable.packaged()
    sentences = [motion_sentence(table.lookup(phrase)) for phrase in table.first_phrases]
    told = [text for text in sentences if text]
    assert len(told) > 0.8 * len(sentences)
    for text in told:
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(text.split()) <= 45


def test_the_composer_reads_every_bank_but_the_objects():
    assert "ucf101" in offline._banks()
    assert offline.OBJECT_BANK not in offline._banks()


def test_parts_of_the_body_are_described_when_they_are_asked_for():
    from vlar.language.bank import PART_KINDS

    row = one("clapping hands", PART_KINDS)
    told = {each.kind: each.text for each in row.found.descriptions}
    assert set(told) == set(PART_KINDS)
    assert "palms strike each other" in told["part:hand"]
    assert told["part:head"] == "the head does not move"
    assert not {each.kind for each in one("clapping hands").found.descriptions} & set(PART_KINDS)
