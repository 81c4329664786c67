"""Figures of repeated work."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.behaviour.timeline.decoding import AnswerSegment
from vlar.behaviour.timeline.work_cycles import measure
from vlar.errors import UsageError

ORDER = ("pick", "place", "press")


def work(*names: str, path: str = "a", seconds: float = 2.0) -> list[AnswerSegment]:
    """Segments of equal length, one after the other; ``-`` is waiting."""
    return [
        AnswerSegment(path, at * seconds, (at + 1) * seconds, None if name == "-" else name, 0.9)
        for at, name in enumerate(names)
    ]


def test_counts_durations_and_waiting():
    rows = [
        AnswerSegment("a", 0, 1, None, 0.9),
        AnswerSegment("a", 1, 3, "pick", 0.9),
        AnswerSegment("a", 3, 4, "place", 0.9),
        AnswerSegment("a", 4, 4.5, "rest", 0.9),
        AnswerSegment("a", 4.5, 8.5, "pick", 0.9),
    ]
    process = measure(rows, idle=["rest"])
    pick, place = process.steps
    assert (pick.label, pick.count, pick.total_s, pick.mean_s) == ("pick", 2, 6.0, 3.0)
    assert pick.spread_s == pytest.approx(2**0.5)
    assert (pick.shortest_s, pick.longest_s, pick.waiting_s) == (2.0, 4.0, 0.75)
    assert pick.share == pytest.approx(6 / 8.5)
    assert (place.count, place.spread_s, place.waiting_s) == (1, None, 0.0)
    assert (process.waiting_s, process.duration_s) == (1.5, 8.5)
    assert [(c.start_s, c.end_s) for c in process.cycles] == [(1, 4), (4.5, 8.5)]


def kinds(*names: str):
    process = measure(work(*names), ORDER)
    found = [(v.label, v.expected, v.kind) for v in process.violations]
    return len(process.cycles), len(process.complete), found


def test_an_order_that_is_kept():
    assert kinds(*ORDER, "-", *ORDER, "other", *ORDER) == (3, 3, [])


def test_violations_of_an_order():
    assert kinds("pick", "press", "pick", "place", "press") == (
        2, 1, [("press", "place", "skipped")],
    )  # fmt: skip
    assert kinds("pick", "place", "place", "press") == (1, 0, [("place", "press", "repeated")])
    assert kinds("pick", "place", "press", "place") == (
        2, 1, [("place", "pick", "back")],
    )  # fmt: skip
    assert kinds("pick", "place", *ORDER) == (2, 1, [("pick", "press", "skipped")])
    assert kinds("place", "press", *ORDER) == (2, 1, [("place", "pick", "skipped")])


def test_recordings_stay_apart():
    process = measure([*work("pick", "place"), *work("press", "pick", path="b")], ORDER)
    assert [(v.path, v.label, v.expected) for v in process.violations] == [("b", "press", "pick")]
    assert not process.complete


def test_one_segment_has_no_order_to_break():
    assert kinds("press") == kinds("-", "press", "other") == (1, 0, [])
    assert kinds("press", "-", "press")[2] != []


def test_a_step_that_was_not_done_is_in_the_table():
    steps = measure(work("pick"), ORDER).steps
    assert [(s.label, s.count, s.mean_s, s.waiting_s) for s in steps[1:]] == [
        ("place", 0, None, None), ("press", 0, None, None),
    ]  # fmt: skip
    assert measure([]).to_dict()["cycles"] == 0


@given(st.lists(st.sampled_from([*ORDER, "-"]), max_size=24))
def test_steps_and_cycles_add_up(names):
    rows = work(*names)
    process = measure(rows, ORDER)
    assert sum(step.count for step in process.steps) == sum(name != "-" for name in names)
    assert process.waiting_s + sum(s.total_s for s in process.steps) == pytest.approx(
        process.duration_s
    )
    kept = [name for name in names if name != "-"]
    due = [ORDER[(ORDER.index(name) + 1) % 3] for name in kept]
    wrong = sum(a != b for a, b in zip(["pick", *due], kept, strict=False))
    assert len(process.violations) == (wrong if len(kept) > 1 else 0)
    assert len(process.complete) <= len(process.cycles) <= len(kept)
    for one, after in itertools.pairwise(process.cycles):
        assert one.end_s <= after.start_s
    triples = ["".join(kept[i : i + 3]) for i in range(len(kept))]
    assert len(process.complete) <= triples.count("".join(ORDER))


def test_an_order_that_is_none():
    for order, idle in [(("pick", "pick"), ()), (("pick",), ("pick",)), (("unknown",), ())]:
        refused(UsageError, "each step of the work once", measure, work("pick"), order, idle)
