"""The limit of processor time that the suite holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest


def run(
    monkeypatch: pytest.MonkeyPatch, spent_s: float, mark: str = "", slowness: float = 1
) -> Any:
    """Properties of a test that takes a time."""
    times_s = iter((0.0, spent_s))
    item: Any = SimpleNamespace(get_closest_marker=mark.__eq__, user_properties=[])
    with monkeypatch.context() as patch:  # the same hook measures this test
        patch.setattr(conftest, "_processor_s", lambda: next(times_s))
        patch.setattr(conftest, "slowness", lambda: slowness)
        hook: Any = conftest.pytest_runtest_call(item)
        next(hook)
        with pytest.raises(StopIteration):
            next(hook)
    return item.user_properties


def test_a_dear_test_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, conftest.DEAR_S - 0.1) == []
    assert run(monkeypatch, 2.0) == [("processor_s", 2.0)]


def test_what_belongs_to_the_slow_ones_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    long_s = conftest.MOST_S + 1
    with pytest.raises(pytest.fail.Exception, match=f"took {long_s} s"):
        run(monkeypatch, long_s)


def test_a_slow_machine_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    long_s = conftest.MOST_S + 1
    assert run(monkeypatch, long_s, slowness=2) == [("processor_s", long_s)]


@pytest.mark.parametrize("mark", ["slow", "gpu"])
def test_marked_tests_take_what_they_need(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, 100.0, mark) == []


def test_the_loop_of_a_machine_is_at_least_one() -> None:
    assert conftest.slowness() >= 1
