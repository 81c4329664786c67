"""Accuracy at a place without labels: the arithmetic, and what a folder of recordings gives."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import skeletons
from tests.command_line import invoke
from vlar.errors import LabelError, SupportError, UsageError
from vlar.evaluation.unlabelled import Answers, differences, estimate, figures_of
from vlar.model.model import Model, load

HELD = np.array([[0.9, 1.0]] * 40 + [[0.5, 0.0]] * 10)
"""Answers held out, of which 80 % are right."""


def answers(sure: float = 0.82, n: int = 100, of_first: float = 0.5) -> Answers:
    """N answers with one confidence, of which a share is the first of two labels."""
    column = (np.arange(n) >= round(of_first * n)).astype(np.int64)
    expected = np.array([0.5, 0.5])
    return Answers(("a", "b"), column, np.full(n, sure), HELD, expected, n, "examples")


def test_a_place_like_the_held_out_examples_has_their_accuracy():
    found = figures_of(answers())
    assert found.estimate == pytest.approx(0.8, abs=1e-6)
    assert found.shares.mean() == pytest.approx(0.8, abs=1e-2)
    assert 0.6 < found.low < 0.8 < found.high < 1
    assert found.affinity == 1


@pytest.mark.parametrize("place", [answers(0.5), answers(of_first=1.0), answers(0.5, 100, 1.0)])
def test_less_confidence_and_answers_of_few_labels_lower_it_and_widen_the_interval(place: Answers):
    usual, found = figures_of(answers()), figures_of(place)
    assert found.estimate < usual.estimate - 0.1
    assert found.high - found.low > usual.high - usual.low
    assert found.low < usual.low


def test_a_place_with_some_of_the_labels_can_be_as_right_as_confidence_states():
    found = figures_of(answers(of_first=0.95))
    assert found.estimate < 0.75
    assert found.high >= 0.8
    assert found.shares[0] < found.shares[-1]  # the label that takes the answers is the worse one


def test_labels_that_the_examples_show_rarely_are_expected_rarely():
    place = answers(of_first=0.9)
    rare = replace(place, expected=np.array([0.9, 0.1]))
    assert figures_of(rare).estimate > figures_of(place).estimate
    assert figures_of(rare).estimate == pytest.approx(0.8, abs=1e-6)


def test_few_recordings_widen_the_interval():
    few, many = figures_of(answers(n=10)), figures_of(answers())
    assert few.high - few.low > many.high - many.low


def test_without_answers_held_out_confidence_stands_alone_in_a_wide_interval():
    alone = replace(answers(), held=np.zeros((0, 2)), rule="words")
    unsure = figures_of(replace(alone, confidence=np.full(100, 0.3)))
    usual, found = figures_of(answers()), figures_of(alone)
    assert found.high - found.low > usual.high - usual.low
    assert unsure.estimate < found.estimate


def test_facts_of_the_place_are_compared_with_those_of_the_examples():
    taught = {"rate": 30.0, "size": 240.0, "light": 0.5}
    assert differences(taught, taught) == []
    dark = differences({"rate": 30.0, "size": 240.0, "light": 0.1}, taught)
    assert len(dark) == 1
    assert dark[0].startswith("light")
    assert "0.5" in dark[0]
    assert differences({"rate": 5.0}, {})[0].startswith("samples a second: 5")
    assert differences({"rate": 15.0}, taught)[0].endswith("it learned at 30")
    assert differences({"rate": 15.0}, {}) == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two movements, ``mine``, and recordings of a new place in ``new``."""
    folder = tmp_path_factory.mktemp("place")
    rows = ["path,label,group"]
    for wave, label in ((True, "waving"), (False, "squatting")):
        for number in range(6):
            name = f"{label}{number}.skeleton"
            skeletons.write_ntu(folder / name, 30 + 2 * number, wave)
            rows.append(f"{name},{label},person{number}")
        (folder / "new" / label).mkdir(parents=True)
        for number in range(2):
            file = folder / "new" / label / f"{label}{number}.skeleton"
            skeletons.write_ntu(file, 41 + number, wave)
    (folder / "rows.csv").write_text("\n".join([*rows, ""]))
    done = invoke(
        ["adapt", str(folder / "rows.csv"), "--model", "skeleton", "--out", str(folder / "mine")]
    )
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def mine(place: Path) -> Model:
    return load(str(place / "mine"))


def test_a_saved_model_keeps_its_answers_held_out_and_the_facts_of_its_recordings(mine: Model):
    assert len(mine.report.held) == 12
    assert {right for _, right in mine.report.held} <= {0.0, 1.0}
    assert mine.report.right == sum(right for _, right in mine.report.held)
    assert mine.report.facts == {"rate": pytest.approx(30.0), "points": 25.0}


def test_the_estimate_of_a_folder(place: Path, mine: Model):
    found = estimate(mine, place / "new")
    assert found == estimate(mine, place / "new")
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert set(found.labels) == {"waving", "squatting"}
    assert len(found.label_next) == found.n == 4
    assert found.notes == found.differs == []


def test_no_label_is_read(place: Path, mine: Model, tmp_path: Path):
    found = estimate(mine, place / "new")
    for old, new in (("waving", "squatting"), ("squatting", "waving")):
        shutil.copytree(place / "new" / old, tmp_path / new)
    names = [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*.skeleton"))]
    rows = [f"{name},squatting" for name in names]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows, ""]))
    renamed = estimate(mine, tmp_path)
    for key in ("estimate", "low", "high", "labels", "differs", "n"):
        assert getattr(renamed, key) == getattr(found, key)
    assert {Path(p).name for p in renamed.label_next} == {Path(p).name for p in found.label_next}


def test_a_model_that_kept_no_answers_falls_back_and_says_so(place: Path, mine: Model):
    report = replace(mine.report, held=(), facts={})
    found = estimate(Model(mine.encoder, adapted=mine.head, report=report), place / "new")
    assert "adapt again" in found.notes[0]
    assert found.high - found.low > 0.3


def _broken(file: Path, place: Path) -> None:
    text = (place / "waving0.skeleton").read_text()
    file.write_text(text[: len(text) // 2])


def test_what_cannot_be_estimated_is_refused(place: Path, mine: Model, tmp_path: Path):
    with pytest.raises(UsageError, match="no recording"):
        estimate(mine, tmp_path)
    with pytest.raises(LabelError, match="one label"):
        estimate(mine, place / "new", "waving")
    _broken(tmp_path / "broken.skeleton", place)
    with pytest.raises(SupportError, match="no recording can be read"):
        estimate(mine, tmp_path)


def test_a_recording_that_cannot_be_read_is_named_and_the_others_count(place: Path, tmp_path: Path):
    shutil.copytree(place / "new", tmp_path / "new")
    _broken(tmp_path / "new" / "broken.skeleton", place)
    done = invoke(["evaluate", str(place / "mine"), str(tmp_path / "new"), "--unlabelled"])
    assert done.exit_code == 1
    assert done.stdout.startswith("4 recordings, about ")
    assert "broken.skeleton" in done.stderr
