"""Segments of recordings, from a model of a sensor that only this test knows."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.contract.test_second_sensor import RATE, SineEncoder, SineReader
from tests.known_parts import known
from tests.refusals import refused
from vlar.behaviour.timeline.decoding import AnswerSegment
from vlar.behaviour.timeline.recordings import SegmentStream, TimelineRules, TimeStep, find_segments
from vlar.behaviour.timeline.work_cycles import measure
from vlar.errors import UnknownNameError, UsageError
from vlar.types import Classification, Failure, Prediction

LABELS = ["slow beat", "fast beat"]
HERTZ = {"slow beat": 2.0, "fast beat": 9.0}
FRAME_S = 1 / 16
WORK = [("slow beat", 4.0), ("fast beat", 3.0), ("slow beat", 2.0), ("fast beat", 5.0)] * 2
RULES = TimelineRules(every_s=FRAME_S, window_s=1.0, shortest_s=1.0)


@pytest.fixture(scope="module")
def model():
    with known(("reader", "sine", SineReader), ("encoder", "sine", SineEncoder)):
        yield vlar.Model(SineEncoder())


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """The work: beats one after the other, each with a phase of its own."""
    random = np.random.default_rng(0)
    parts = []
    for label, seconds in WORK:
        times_s = np.arange(int(seconds * RATE)) / RATE
        phase = random.uniform(0, 6)
        parts.append(np.sin(2 * np.pi * HERTZ[label] * times_s + phase))
    signal = np.concatenate(parts) + 0.02 * random.normal(size=sum(map(len, parts)))
    path = tmp_path_factory.mktemp("work") / "work.npy"
    np.save(path, signal.astype(np.float32))
    return path


def rows_of(model, recording, **options) -> list[AnswerSegment]:
    found = list(find_segments(model, recording, LABELS, RULES, **options))
    assert all(isinstance(row, AnswerSegment) for row in found)
    return found


def test_a_known_concatenation_has_exact_counts_and_times(model, recording):
    rows = rows_of(model, recording)
    assert [row.label for row in rows] == [label for label, _ in WORK]
    ends = np.cumsum([seconds for _, seconds in WORK])
    assert np.abs(np.array([row.end_s for row in rows]) - ends).max() <= 2 * FRAME_S
    assert rows[0].start_s == 0.0
    for one, after in itertools.pairwise(rows):
        assert one.end_s == after.start_s
    process = measure(rows, LABELS)
    assert [step.count for step in process.steps] == [4, 4]
    assert (len(process.complete), len(process.cycles), process.violations) == (4, 4, ())
    assert process.steps[0].mean_s == pytest.approx(3.0, abs=2 * FRAME_S)


def test_segments_as_they_come_are_those_of_the_whole(model, recording):
    assert rows_of(model, recording, online=True) == rows_of(model, recording)


def test_permuted_labels_give_permuted_segments(model, recording):
    """A control: the answer follows the sound, not the place in the list."""
    turned = list(find_segments(model, recording, LABELS[::-1], RULES))
    assert [row.label for row in turned] == [label for label, _ in WORK]


def test_a_least_length_is_kept_and_a_high_cost_leaves_one_segment(model, recording):
    long = TimelineRules(every_s=FRAME_S, window_s=1.0, shortest_s=2.5)
    rows = list(find_segments(model, recording, LABELS, long))
    assert min(row.duration_s for row in rows) >= 2.5
    dear = TimelineRules(every_s=FRAME_S, window_s=1.0, switch=100.0)
    assert len(list(find_segments(model, recording, LABELS, dear))) == 1


def test_a_broken_recording_does_not_end_the_batch(model, recording, tmp_path):
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"no signal")
    rows = list(find_segments(model, [broken, tmp_path / "no.npy", recording], LABELS, RULES))
    assert [type(row) for row in rows[:2]] == [Failure, Failure]
    assert "not a signal" in rows[0].message
    assert rows[2:] == rows_of(model, recording)


def test_windows_that_cannot_be_read_say_nothing():
    stream = SegmentStream(["a", "b"], TimelineRules(every_s=1, window_s=None, shortest_s=2))
    sure = np.array([0.9, 0.05, 0.05])
    steps = [TimeStep("x", at, at + 1.0, None if at in (2, 3) else sure) for at in range(6)]
    (row,) = stream.all_of(steps)
    assert (row.label, row.start_s, row.end_s) == ("a", 0, 6)
    assert row.probability == pytest.approx(0.9 * 4 / 6)


def test_nothing_that_fits_is_unknown_and_steps_come_from_answers():
    def answer(at, unknown):
        best = (Prediction("a", 1 - unknown, 0.5),)
        return Classification(Path("x"), at, at + 1.0, "m", best, unknown > 0.5, unknown)

    stream = SegmentStream(["a"], TimelineRules(every_s=1, window_s=None, shortest_s=2))
    rows = [answer(at, 0.9 if 3 <= at < 6 else 0.1) for at in range(9)]
    found = [s for row in rows for s in stream.push(TimeStep.of(row, ["a"]))] + stream.finish()
    assert [(s.label, s.start_s, s.end_s) for s in found] == [
        ("a", 0, 3), (None, 3, 6), ("a", 6, 9),
    ]  # fmt: skip


def test_without_unknown_every_moment_has_a_label():
    rules = TimelineRules(every_s=1, window_s=None, shortest_s=0, unknown=False)
    steps = [TimeStep("x", at, at + 1.0, np.array([0.1, 0.05, 0.85])) for at in range(4)]
    (row,) = SegmentStream(["a", "b"], rules).all_of(steps)
    assert (row.label, row.end_s) == ("a", 4)
    (open_row,) = SegmentStream(["a", "b"], dataclasses.replace(rules, unknown=True)).all_of(steps)
    assert open_row.label is None


def test_a_label_may_have_a_least_length_of_its_own():
    rules = TimelineRules(every_s=0.5, shortest_s={"a": 2.0, "": 1.0})
    assert rules.shortest(["a", "b"]) == [4, 2, 2]
    with pytest.raises(UnknownNameError, match="least duration"):
        TimelineRules(shortest_s={"wlak": 1.0}).shortest(["walk"])


def test_rules_out_of_range():
    for settings in [
        {"every_s": 0}, {"window_s": 0.1}, {"switch": float("inf")},
        {"delay_s": -1}, {"shortest_s": -1},
    ]:  # fmt: skip
        refused(UsageError, "timeline is", TimelineRules, **settings)
