"""Verbs of sentences."""

from __future__ import annotations

import pytest

from vlar.language.clean import gerund
from vlar.language.motion.clauses import verbs_in_text


@pytest.mark.parametrize(
    ("verb", "wanted"),
    [("sit", "sitting"), ("dance", "dancing"), ("tie", "tying"), ("row", "rowing"),
     ("box", "boxing"), ("play", "playing"), ("catch", "catching"), ("dye", "dyeing"),
     ("swim", "swimming"), ("jump", "jumping")],
)  # fmt: skip
def test_gerunds(verb: str, wanted: str):
    assert gerund(verb) == wanted


def test_verbs_are_found_in_any_form():
    found = verbs_in_text("A woman jumped while her friend was throwing the ball.")
    assert found == ("jump", "jumping", "throw", "throwing")
    assert verbs_in_text("a red ball on green grass") == ()
    assert verbs_in_text("") == ()
