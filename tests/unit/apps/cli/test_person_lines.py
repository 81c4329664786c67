"""The lines of an answer about one person."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlar.apps.cli import output
from vlar.types import Classification, Person, Prediction


def test_the_person_and_the_notes_are_shown(capsys: pytest.CaptureFixture[str]):
    person = Person(2, 3, (0.4, 0.1, 0.6, 0.9), 0.98)
    best = (Prediction("running", 0.9, 0.4),)
    row = Classification(
        Path("a.mp4"),
        0.0,
        2.0,
        "lite",
        best,
        False,
        0.1,
        person=person,
        notes=("it may be another",),
    )
    output.classification(row)
    shown = capsys.readouterr().out
    assert "person 2 of 3 from the left: 40% to 60% across, 10% to 90% down" in shown
    assert "note: it may be another" in shown
    assert row.to_dict()["person"] == {
        "number": 2, "of": 3, "box": [0.4, 0.1, 0.6, 0.9], "score": 0.98
    }  # fmt: skip
