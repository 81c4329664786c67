from __future__ import annotations

import tempfile

import numpy as np
import pytest

from vlar.errors import TrainingError
from vlar.training.sources import on_disk


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
    with pytest.raises(TrainingError, match=r"No space left.*TMPDIR"):
        on_disk([np.zeros(2, np.float32)])
