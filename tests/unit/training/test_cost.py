"""Costs of a training, its folds, and arrays on disk."""

from __future__ import annotations

import logging
import tempfile
from itertools import count
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.training.fakes import ordered_clips
from vlar.errors import TrainingError
from vlar.training import progress as cost
from vlar.training.progress import TrainingCost
from vlar.training.sources import FeatureSource, on_disk


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the seconds between two looks at the clock."""

    def every(seconds: float) -> None:
        ticks = count(0)
        monkeypatch.setattr(cost.time, "monotonic", lambda: next(ticks) * seconds)

    return every


def test_the_estimate_leaves_the_first_step_out(clock: Any, caplog: pytest.LogCaptureFixture):
    clock(1.0)
    calls: list[tuple[int, int | None]] = []

    def progress(n: int = 0, total: int | None = None) -> None:
        calls.append((n, total))

    with caplog.at_level(logging.INFO, "vlar"):
        counted = TrainingCost("temporal by temporal/adapt", 160, progress, 320)
        counted.start()
        for _ in range(4):
            counted(4)
    assert calls == [(0, 480), (4, None), (4, None), (4, None), (4, None)]
    # 0.25 s a clip: 160 clips take 40 s, and 480 two minutes.
    (record,) = caplog.records
    assert record.getMessage() == (
        "training temporal by temporal/adapt: 480 clips go through it, about 2 minutes"
    )


def test_where_one_training_takes_over_a_minute_two_halves_are_held_out(
    clock: Any, caplog: pytest.LogCaptureFixture
):
    clock(40.0)
    with caplog.at_level(logging.INFO, "vlar"):
        counted = TrainingCost("lora by general/adapt", 8, None, 32)
        counted.start()
        counted(4)  # a step of 40 s is not waited for
        assert "16 clips go through it, about 3 minutes" in caplog.text
        assert counted.is_long()
    assert counted.passes == 16
    assert "at most two halves are held out" in caplog.text
    features, dataset = ordered_clips(24)
    source = FeatureSource(features)
    assert len(source.folds(dataset)) > 2
    halves = source.folds(dataset, long=True)
    assert len(halves) == 2
    np.testing.assert_array_equal(np.sum(halves, axis=0), np.ones(24))


def test_a_short_training_keeps_its_folds(clock: Any, caplog: pytest.LogCaptureFixture):
    clock(1.0)
    with caplog.at_level(logging.INFO, "vlar"):
        counted = TrainingCost("temporal by temporal/adapt", 8, None, 32)
        counted.start()
        counted(8)
        assert not counted.is_long()
    assert counted.passes == 40
    assert not caplog.records


def test_rows_come_back_as_they_were_and_one_is_in_memory_at_a_time():
    alive: list[int] = []

    def rows():
        for number in range(5):
            alive.append(number)
            yield np.full((3, 2), number, np.float64)[::-1]

    found = on_disk(rows())
    assert isinstance(found, np.memmap)
    assert found.shape == (5, 3, 2)
    assert found.dtype == np.float32
    assert np.array_equal(found[:, 0, 0], range(5))
    assert alive == list(range(5))


def test_no_rows_give_nothing():
    assert on_disk(iter(())) is None


def test_a_disk_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch):
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    refused(TrainingError, r"No space left.*TMPDIR", on_disk, [np.zeros(2, np.float32)])
