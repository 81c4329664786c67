"""Descriptions of labels: found in the banks, and joined into a label's vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlar.encoders.base import Block, BlockMix, Encoder
from vlar.errors import UsageError
from vlar.language.bank import Description, Entry
from vlar.language.descriptions import described_share, descriptions_of
from vlar.language.labels import parse_labels
from vlar.model.core import concept_vectors, described_vectors
from vlar.model.label_vectors import label_vectors
from vlar.model.model import Model
from vlar.numeric import unit

LETTERS = Block("letters", 26, 1.0, True)
LENGTH = Block("length", 1, 1.0, True)
PLAIN = ("{}",)


class Letters:
    """A text tower that counts letters, with a second block for the length of a text."""

    name, dim, max_tokens, fingerprint = "letters", 27, 400, "e" * 64
    blocks = (LETTERS, LENGTH)
    encode_text_block, encode_in_role = Encoder.encode_text_block, Encoder.encode_in_role
    two_roles, runs_on = False, ""

    def __init__(self) -> None:
        self.seen = 0

    def encode_text(self, texts: Sequence[str]):
        self.seen += len(texts)
        counts = [[*(text.count(chr(97 + i)) for i in range(26)), len(text)] for text in texts]
        return unit(np.array(counts, np.float32).reshape(-1, 27) + 0.01)

    def count_tokens(self, text: str) -> int:
        return len(text.split())


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Any:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))
    return Letters()


def test_labels_are_found_by_name_in_any_inflection_and_order_else_by_alias():
    found = descriptions_of(["archery", "doing push-ups", "climb stairs", "glorping a frumble"])
    assert all({"scene", "motion"} <= set(kinds) for kinds in found[:3])
    assert found[3] == {}
    assert described_share(found) == 0.75
    own = (Entry("glorp", "glorping", (Description("scene", "a frumble"),), ("frumbling",)),)
    assert descriptions_of(["glorps"], own) == [{"scene": ("a frumble",)}]
    assert descriptions_of(["frumbled"], own) == [{"scene": ("a frumble",)}]


def test_entries_of_several_banks_are_pooled_without_doubles():
    (once,) = descriptions_of(["archery"])
    entries = parse_labels("bank:ucf101").entries
    (twice,) = descriptions_of(["archery"], entries)
    assert {k: sorted(v) for k, v in once.items()} == {k: sorted(v) for k, v in twice.items()}
    assert len(once["scene"]) == len(set(once["scene"])) > 1


def test_a_block_is_the_weighted_mean_of_name_and_kinds(letters):
    mix = BlockMix("letters", {"name": 1.0, "scene": 2.0}, 1.5)
    described = [{"scene": ("oars on a lake", "a boat"), "contrast": ("no sail",)}, {}]
    vectors = described_vectors(letters, ["rowing", "a jump"], described, PLAIN, (mix,))
    names = concept_vectors(letters, ["rowing", "a jump"], PLAIN)
    one, two = (unit(letters.encode_text([t])[:, :26])[0] for t in described[0]["scene"])
    part = unit(unit(names[0, :26]) + 2.0 * unit((one + two) / 2))
    expected = np.append(1.5 * np.linalg.norm(names[0, :26]) * part, names[0, 26])
    np.testing.assert_allclose(vectors[0], unit(expected.astype(np.float32)), atol=1e-6)
    np.testing.assert_allclose(vectors[1], names[1], atol=1e-6)


def test_without_descriptions_or_mixes_concepts_are_those_of_the_names(letters):
    names = concept_vectors(letters, ["rowing"], PLAIN)
    mix = BlockMix("letters", {"name": 1.0, "scene": 1.0})
    for described, mixes in (([{}], (mix,)), ([{"motion": ("x",)}], (mix,)), ([{}], ())):
        same = described_vectors(letters, ["rowing"], described, PLAIN, mixes)
        np.testing.assert_array_equal(same, names)


def test_many_descriptions_are_encoded_once_and_again_where_they_change(letters):
    mix = BlockMix("letters", {"name": 1.0, "scene": 1.0})
    texts = [f"label {chr(97 + i)}" for i in range(20)]
    described = [{"scene": tuple(f"{text} seen {n}" for n in range(4))} for text in texts]
    first = described_vectors(letters, texts, described, PLAIN, (mix,))
    count = letters.seen
    again = described_vectors(letters, texts, described, PLAIN, (mix,))
    np.testing.assert_array_equal(first, again)
    assert letters.seen == count + len(texts)  # the few names, which are not worth a file
    described[0] = {"scene": ("something else",)}
    other = described_vectors(letters, texts, described, PLAIN, (mix,))
    assert (other[0] != first[0]).any()
    np.testing.assert_allclose(other[1:], first[1:], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.permutations(["rowing", "a jump", "diving", "chess"]))
def test_the_order_of_labels_does_not_matter(order):
    tower: Any = Letters()
    mix = BlockMix("letters", {"name": 1.0, "scene": 1.0})
    described = {t: {"scene": (f"{t} outdoors",)} for t in order}
    plain = sorted(order)
    vectors = described_vectors(tower, order, [described[t] for t in order], PLAIN, (mix,))
    sorted_ = described_vectors(tower, plain, [described[t] for t in plain], PLAIN, (mix,))
    np.testing.assert_allclose(vectors, sorted_[[plain.index(t) for t in order]], atol=1e-6)


def test_the_default_joins_descriptions_where_most_labels_have_them(lite_model: Model):
    listed = parse_labels(["archery", "push-ups", "glorping a frumble"])
    names = lite_model.words.encode_queries(listed.texts)
    auto = label_vectors(lite_model.words, listed)[0]
    assert (auto[:2] != names[:2]).any(axis=1).all()
    np.testing.assert_array_equal(label_vectors(lite_model.words, listed, "none")[0], names)
    scene = label_vectors(lite_model.words, listed, ["scene"])[0]
    np.testing.assert_array_equal(label_vectors(lite_model.words, listed, " scene ")[0], scene)
    assert (scene[:2] != auto[:2]).any(axis=1).all()
    few = parse_labels(["archery", "glorping a frumble", "blipping"])
    plain = lite_model.words.encode_queries(few.texts)
    np.testing.assert_array_equal(label_vectors(lite_model.words, few)[0], plain)


def test_kinds_that_no_label_has_are_refused(lite_model: Model):
    with pytest.raises(UsageError, match="no label has a description of the kind smell"):
        label_vectors(lite_model.words, parse_labels(["archery"]), "smell")
    with pytest.raises(UsageError, match="no kind of description was given"):
        label_vectors(lite_model.words, parse_labels(["archery"]), " , ")
