"""docs/scale.md holds what benchmarks/scale_model.py prints, and the simulation keeps its books."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]


def loaded() -> Any:
    spec = importlib.util.spec_from_file_location("scale_model", ROOT / "benchmarks/scale_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale_model"] = module
    spec.loader.exec_module(module)
    return module


MODEL = loaded()
SMALL = MODEL.Plan(files=40, workers=3, mean_s=10, restart_s=2, seed=5)


def test_the_page_has_the_tables_of_the_script_word_for_word():
    page = MODEL.PAGE.read_text("utf-8")
    assert MODEL.filled(page) == page, "run: python benchmarks/scale_model.py --write"


def test_a_changed_figure_changes_the_page(monkeypatch: pytest.MonkeyPatch):
    page = MODEL.PAGE.read_text("utf-8")
    slower = replace(MODEL.MEASURED["encode_bodies"], value=0.6)
    monkeypatch.setitem(MODEL.MEASURED, "encode_bodies", slower)
    assert MODEL.per_million() not in page


def test_measured_sizes_are_those_of_the_library_page():
    text = (ROOT / "docs" / "library.md").read_text("utf-8")
    for words in ("2209", "555 / 1137", "205 s", "8.0 ms", "18.6 ms", "11.8 ms", "take 136 s"):
        assert words in text, words
    assert MODEL.value("cache_ivf") + MODEL.value("database") == 2209
    # The formula of ivf, against the largest index that was measured.
    assert MODEL.ivf_query_s(5e6) == pytest.approx(MODEL.value("query_sq8"), rel=0.05)


@given(
    st.floats(0.0, 0.05), st.sampled_from([0.0, 0.002, 0.01]), st.sampled_from([0.0, 0.1]),
    st.floats(0.01, 4.0), st.integers(0, 100),
)  # fmt: skip
@settings(max_examples=25, deadline=None, derandomize=True)
def test_every_file_is_written_once_or_given_up(
    poison: float, dies_h: float, driver_h: float, write_s: float, seed: int
):
    plan = replace(
        SMALL, poison=poison, dies_h=dies_h, driver_h=driver_h, driver_s=5.0, write_s=write_s,
        queue_mb=2.0, seed=seed,
    )  # fmt: skip
    out = MODEL.simulate(plan)
    assert out.written + out.given_up == plan.files
    assert out.twice == 0
    assert out.most_mb <= plan.queue_mb
    assert out.seconds >= out.busy_s / plan.workers
    assert out.given_up >= round(poison * plan.files)


def test_a_file_that_outlives_every_driver_is_refused():
    with pytest.raises(ValueError, match="a file of 100 s never ends before the driver restarts"):
        MODEL.simulate(replace(SMALL, driver_h=0.02), [100.0])


def test_without_failures_it_is_the_work_of_the_workers():
    work = [10.0] * 30
    out = MODEL.simulate(replace(SMALL, write_s=0.0), work)
    assert (out.seconds, out.deaths, out.again, out.waited_s) == (100.0, 0, 0, 0.0)


def test_a_killed_worker_costs_its_file_and_its_start():
    out = MODEL.simulate(replace(SMALL, workers=1, write_s=0.0), [10.0] * 3, kills=[(15.0, 0)])
    assert out.seconds == 10 + 5 + 2 + 20  # half a file lost, two seconds to start
    assert (out.deaths, out.again, out.written) == (1, 1, 3)


def test_a_slow_writer_makes_workers_wait():
    out = MODEL.simulate(replace(SMALL, write_s=10.0, queue_mb=1.0), [10.0] * 30)
    assert out.seconds >= 300
    assert out.waited_s > 100
    assert out.most_mb <= 1.0
