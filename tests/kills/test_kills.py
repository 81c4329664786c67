"""``kill -9`` at random moments loses nothing: indexing, a changing library, a training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.kills import index, library, training

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")

SMALL_AND_LONG = [3, pytest.param(20, marks=pytest.mark.slow)]


@pytest.mark.parametrize("kills", SMALL_AND_LONG)
def test_nothing_committed_is_lost_and_the_next_run_completes(tmp_path: Path, kills: int):
    outcomes = list(index.outcomes(tmp_path, 8 if kills < 10 else 30, kills, seed=5))
    assert all(outcome.good for outcome in outcomes), outcomes
    assert any(outcome.killed for outcome in outcomes)


@pytest.mark.parametrize("kills", SMALL_AND_LONG)
def test_no_change_is_lost_and_verify_is_clean(tmp_path: Path, kills: int):
    wrong, changes = library.faults(tmp_path / "l.vlar", kills)
    assert not wrong
    assert changes > 0


@pytest.mark.slow
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path):
    pytest.importorskip("torch")
    stops = training.trained(tmp_path, kills=10, epochs=60)
    equal, count = training.compare(tmp_path / "whole", tmp_path / "killed")
    assert len(stops) == 10
    assert equal, f"steps {stops}, {count} arrays"
