"""Annotated recordings of sensors without points: windows of an encoder, from file to bouts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.refusals import refused
from vlar.behaviour.annotated.forest import Growth
from vlar.behaviour.annotated.recordings import bouts, plan_of, recording_of, restored_plan
from vlar.behaviour.annotated.windows import WindowPlan, WindowRecording, read_windows
from vlar.behaviour.measures.agreement import bout_f1
from vlar.errors import DecodeError, ModelError, UsageError
from vlar.segments import Segment, write

HEAD = "time_s,wrist_acc_x_g,wrist_acc_y_g,wrist_acc_z_g,gyro_x_dps,gyro_y_dps,gyro_z_dps"


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few trees are enough for a rest and a shake."""
    few = Growth(trees=12, columns=60, least=3.0)
    for name in ("_FINAL", "_FOLD", "_CONTEXT"):
        monkeypatch.setattr(f"vlar.behaviour.annotated.fit.{name}", few)


def recording(path: Path, seed: int) -> list[Segment]:
    """Write 60 s of a wrist that rests or shakes; its bouts."""
    random = np.random.default_rng(seed)
    times = np.arange(3000) * 0.02
    edges = np.cumsum(random.uniform(5, 9, 12)).clip(max=60)
    edges = np.unique(np.round([0, *edges], 2))
    labels = ["shake" if n % 2 else "rest" for n in range(len(edges) - 1)]
    strength = np.array([1.5 if n % 2 else 0.01 for n in range(len(labels))])
    wave = strength[np.searchsorted(edges, times, side="right") - 1] * np.sin(6 * np.pi * times)
    rows = random.normal(0, 0.01, (3000, 6)) + wave[:, None] * [1, 0.4, 0, 90, 20, 5]
    rows[:, 2] += 1
    lines = [",".join(f"{v:.4f}" for v in (t, *row)) for t, row in zip(times, rows, strict=True)]
    path.write_text("\n".join([HEAD, *lines]))
    spans = zip(edges[:-1].tolist(), edges[1:].tolist(), labels, strict=True)
    return [Segment(path.name, begin, end, label) for begin, end, label in spans]


def windows(seed: int, width: int = 6) -> WindowRecording:
    vectors = np.random.default_rng(seed).normal(size=(40, width)).astype(np.float32)
    return WindowRecording(Path(f"{seed}.mp4"), vectors, 20.0)


def test_a_plan_is_kept_whole() -> None:
    recordings = [windows(0), windows(1)]
    plan = plan_of(recordings, None)
    kept = restored_plan(plan.to_dict())
    assert isinstance(kept, WindowPlan)
    (rows,), (again,) = plan.features(recordings[0], 0.1), kept.features(recordings[0], 0.1)
    assert rows.shape == (200, plan.plain_features(recordings[0]))
    np.testing.assert_array_equal(rows, again)


def test_a_window_that_cannot_be_read_leaves_the_others() -> None:
    recordings = [windows(0), windows(1)]
    recordings[0].vectors[3:5] = np.nan
    plan = plan_of(recordings, None)
    assert isinstance(plan, WindowPlan)
    assert np.isfinite(plan.directions).all()
    (rows,) = plan.features(recordings[0], 0.1)
    assert np.isfinite(rows[100:]).any(axis=1).all()


@pytest.mark.parametrize("change", [
    {"mean": "?"}, {"width": 5}, {"directions": ""}, {"mean": None},
])  # fmt: skip
def test_malformed_directions_are_refused(change: dict[str, object]) -> None:
    facts = plan_of([windows(0)], None).to_dict()
    refused(ModelError, "malformed", restored_plan, {**facts, **change})


def test_vectors_of_another_encoder_are_refused() -> None:
    plan = plan_of([windows(0)], None)
    refused(ModelError, "another encoder", next, plan.features(windows(0, width=7), 0.1))


def test_bouts_of_a_sensor_without_points(tmp_path: Path) -> None:
    truth = [s for n in range(2) for s in recording(tmp_path / f"{n}.csv", n)]
    asked = recording(tmp_path / "asked.csv", 9)
    write(tmp_path / "truth.csv", truth)
    model = vlar.behaviour.learn(
        [tmp_path / "0.csv", tmp_path / "1.csv"], tmp_path / "truth.csv", model="imu"
    )
    model.save(tmp_path / "model")
    rows = bouts(vlar.load(tmp_path / "model"), tmp_path / "asked.csv")
    figures = bout_f1(asked, [Segment("asked.csv", r.start_s, r.end_s, r.label) for r in rows])
    assert min(figures.values()) > 0.8


def bundle(folder: Path, seed: int) -> list[Segment]:
    """Write a bundle of a wrist and of three points, which begin 1 s later; its bouts."""
    spans = recording(folder / f"{seed}.csv", seed)
    times = np.arange(1200) * 0.05
    places = np.random.default_rng(seed).normal(0, 1, (1200, 6)).cumsum(axis=0)
    lines = ["time_s," + ",".join(f"{p}_{c}" for p in ("nose", "back", "tail") for c in "xy")]
    lines += [",".join(f"{v:.3f}" for v in (t, *row)) for t, row in zip(times, places, strict=True)]
    (folder / f"{seed}_points.csv").write_text("\n".join(lines))
    parts = {"imu": f"{seed}.csv", "tracks": {"path": f"{seed}_points.csv", "offset_s": 1}}
    (folder / f"{seed}.bundle.json").write_text(json.dumps(parts))
    return [replace(span, recording=f"{seed}.bundle.json") for span in spans]


def test_points_in_a_bundle_have_the_features_of_points_alone(tmp_path: Path) -> None:
    truth = [s for n in range(2) for s in bundle(tmp_path, n)]
    encoder = vlar.load("bundle:tracks+imu").encoder
    both = recording_of(encoder, tmp_path / "0.bundle.json")
    plan = plan_of([both], None)
    (rows,) = restored_plan(plan.to_dict()).features(both, 0.1)
    points = recording_of(None, tmp_path / "0_points.csv")
    alone = np.concatenate([*plan_of([points], None).features(points, 0.1)])
    width = alone.shape[1]
    assert np.isnan(rows[:10, -width:]).all()
    np.testing.assert_array_equal(rows[10:, -width:], alone[: len(rows) - 10])
    paths = [tmp_path / f"{n}.bundle.json" for n in range(2)]
    model = vlar.behaviour.learn(paths, truth, model="bundle:tracks+imu")
    asked = recording(tmp_path / "asked.csv", 9)
    rows = bouts(model, tmp_path / "asked.csv")  # without points
    figures = bout_f1(asked, [Segment("asked.csv", r.start_s, r.end_s, r.label) for r in rows])
    assert min(figures.values()) > 0.8
    facts = plan.to_dict()
    for change in ({"width": -1}, {"windows": {}}, {"tracks": 3}):
        refused(ModelError, "malformed", restored_plan, {**facts, **change})
    wrists = [recording_of(encoder, tmp_path / f"{n}.csv") for n in range(2)]
    refused(UsageError, "none of the bundles has tracks", plan_of, wrists, None)


def test_a_recording_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time_s,wrist_acc_x_g\n")
    refused(DecodeError, "", read_windows, vlar.load("imu").encoder, tmp_path / "a.csv")
