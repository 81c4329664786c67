"""``vlar adapt --method aligned`` on skeletons, and a list with a label that has no examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import run_vlar
from vlar.media.skeleton import layouts

JOINTS = layouts.layout("kinect20").joints
HEIGHTS = {
    "pelvis": 0.95, "spine": 1.1, "chest": 1.4, "head": 1.65, "shoulder": 1.4, "elbow": 1.1,
    "wrist": 0.9, "hand": 0.8, "hip": 0.93, "knee": 0.5, "ankle": 0.1, "foot": 0.03,
}  # fmt: skip
MOVING = {
    "wave": ("right_elbow", "right_wrist", "right_hand"),
    "kick": ("right_knee", "right_foot"),
    "nod": ("head",),
}


def recording(path: Path, moving: tuple[str, ...], seed: int) -> Path:
    """Two seconds of a body of which some joints go up and down."""
    random = np.random.default_rng(seed)
    points = np.zeros((60, len(JOINTS), 3), np.float32)
    for at, name in enumerate(JOINTS):
        side = -1 if name.startswith("left_") else 1
        width = 0.0 if name in ("pelvis", "spine", "chest", "head") else 0.2
        points[:, at] = (side * width, HEIGHTS[name.split("_")[-1]], 2.5)
        if name in moving:
            points[:, at, 1] += 0.3 + 0.3 * np.sin(np.linspace(0, 12, 60) + seed)
    points += random.normal(scale=0.004, size=points.shape).astype(np.float32)
    facts = {"layout": "kinect20", "unit": "m", "rate_hz": 30.0}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, facts=np.array(json.dumps(facts)), points=points[:, None])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("method", ["aligned", "parts"])
def test_labels_with_and_without_examples(tmp_path: Path, method: str):
    for label, joints in MOVING.items():
        for number in range(2):
            recording(tmp_path / "skeletons" / label / f"{number}.npz", joints, number)
    made = run_vlar(
        "adapt", tmp_path / "skeletons", "--model", "skeleton", "--method", method, "--out",
        tmp_path / "mine",
    )  # fmt: skip
    assert made.code == 0, made.err
    new = recording(tmp_path / "new.npz", MOVING["kick"], 5)
    own = run_vlar("classify", new, "--model", tmp_path / "mine", "--json")
    assert own.rows[0]["predictions"][0]["label"] == "kick"
    wider = run_vlar(
        "classify", new, "--model", tmp_path / "mine", "--labels", "wave, kick, squat", "--json"
    )
    assert wider.code == 0, wider.err
    assert {row["label"] for row in wider.rows[0]["predictions"]} == {"wave", "kick", "squat"}


GATED = """
method = "aligned"
model = "skeleton"
train = "{folder}"
out = "{out}"
[adapter]
gate = "always"
own = 0.5
"""
MORE = {
    "clap": ("left_wrist", "right_wrist", "left_hand", "right_hand"),
    "bow": ("head", "chest", "left_shoulder", "right_shoulder"),
    "step": ("left_ankle", "left_foot", "left_knee"),
}


@pytest.mark.slow
def test_a_gate_is_saved_and_answers_mixed_lists(tmp_path: Path):
    for label, joints in (MOVING | MORE).items():
        for number in range(4):
            recording(tmp_path / "skeletons" / label / f"{number}.npz", joints, number)
    made, config = tmp_path / "mine", tmp_path / "gate.toml"
    config.write_text(GATED.format(folder=tmp_path / "skeletons", out=made))
    trained = run_vlar("train", config)
    assert trained.code == 0, trained.err
    settings = json.loads((made / "vlar.json").read_text())["adapter"]["settings"]
    assert len(settings["gate_numbers"]) == 5
    new = recording(tmp_path / "new.npz", MOVING["kick"], 5)
    lists = ("wave, kick, bow, squat", "squat, bow, kick, wave")
    found = [
        run_vlar("classify", new, "--model", made, "--labels", labels, "--top", "4", "--json")
        for labels in lists
    ]
    assert [run.code for run in found] == [0, 0], found[0].err
    first, other = (
        {row["label"]: row["probability"] for row in run.rows[0]["predictions"]} for run in found
    )
    assert first == pytest.approx(other)
    seen = {label: share for label, share in first.items() if label != "squat"}
    assert max(seen, key=lambda label: seen[label]) == "kick"
