"""Accuracy by the values of columns."""

from __future__ import annotations

import pytest

from vlar.metrics.figures import slices
from vlar.metrics.intervals import exact_interval
from vlar.metrics.result import slice_sentence


def test_a_slice_counts_its_own_clips():
    right = [True, False, True, True, False]
    cells = [{"light": light, "scene": "in"} for light in ("day", "day", "night", "", "night")]
    found = slices(right, cells, ["a", "b", "c", "d", "e"])
    assert [(row.where["by"], row.where["value"], row.n, row.value) for row in found] == [
        ("light", "-", 1, 1.0), ("light", "day", 2, 0.5), ("light", "night", 2, 0.5),
        ("scene", "in", 5, pytest.approx(0.6)),
    ]  # fmt: skip
    assert found[0].low is None
    exact = exact_interval(3, 5)
    assert (found[3].low, found[3].high) == (exact.low, exact.high)
    assert slices([True], [{}], ["a"]) == []


def test_a_slice_of_few_clips_is_marked():
    cells = [{"light": "day"}] * 20
    groups = [str(number) for number in range(20)]
    (many,) = slices([True, False] * 10, cells, groups)
    (few,) = slices([True, False] * 9, cells[:18], groups[:18])
    assert slice_sentence(many) == "light = day: 50.0 % (27 to 73) of 20"
    assert slice_sentence(few).endswith("of 18; fewer than 20 clips tell little")
