"""Words of a sentence as verbs of movement."""

from __future__ import annotations

import pytest

from vlar.methods.clauses import verb_of


@pytest.mark.parametrize(
    ("word", "verb"), [("bent", "bend"), ("fell", "fall"), ("lay", "lay"), ("hopping", "hop")]
)
def test_a_word_of_two_verbs_of_one_length_is_the_same_one_in_every_process(word: str, verb: str):
    assert verb_of(word) == verb
