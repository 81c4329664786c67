from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vlar.apps.cli import output
from vlar.heads.base import verdict
from vlar.types import Classification, Prediction


def answer(unknown: float, *probabilities: float) -> Classification:
    labels = ("riding a bike", "cooking", "talking")
    found = tuple(Prediction(n, p, 0.1) for n, p in zip(labels, probabilities, strict=False))
    alone = verdict(found[0].probability) if len(found) == 1 else None
    row = Classification(Path("a.mp4"), 0.0, 4.0, "lite", found, unknown > 0.5, unknown)
    return replace(row, verdict=alone)


def test_an_unsure_answer_tells_what_helps(capsys: pytest.CaptureFixture):
    row = replace(answer(0.4, 0.3, 0.25), body=0.0)
    output.classification(row)
    first, advice, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith("unsure: riding a bike 30 %, unknown 40 %")
    assert advice == (
        "  riding a bike and cooking compete; no body is seen; three examples of each label decide "
        "better: vlar adapt"
    )
    output.classification(replace(answer(0.1, 0.8, 0.1), body=0.9))
    assert "vlar adapt" not in capsys.readouterr().out
    output.classification(replace(answer(0.9, 0.05, 0.05), body=0.9))
    assert "a body is seen; three" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "options", "text"),
    [
        (answer(0.1, 0.634, 0.2), {}, "riding a bike, 63 %"),
        (
            answer(0.8, 0.12, 0.05),
            {},
            "unknown: nothing in the list fits (best: riding a bike, 12 %)",
        ),
        (answer(0.4, 0.3, 0.25), {}, "unsure: riding a bike 30 %, unknown 40 %"),
        (answer(0.2, 0.8), {}, "yes: riding a bike (80 %)"),
        (answer(0.5, 0.5), {}, 'unsure (50 % for "riding a bike")'),
        (answer(0.9, 0.1), {}, 'no (10 % for "riding a bike")'),
        (
            answer(0.1, 0.9, 0.6, 0.2),
            {"several": True},
            "riding a bike 90 %, cooking 60 %",
        ),
        (
            answer(0.7, 0.3, 0.2),
            {"several": True},
            "unsure: perhaps riding a bike 30 %, cooking 20 %",
        ),
        (
            answer(0.9, 0.1, 0.05),
            {"several": True},
            "unknown: nothing in the list fits (best: riding a bike, 10 %)",
        ),
    ],
)
def test_verdict(row: Classification, options: dict[str, bool], text: str):
    assert output.verdict(row, **options) == text
