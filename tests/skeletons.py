"""Small skeleton files of every format, with known joints, written by the tests."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from vlar.media.readers.skeleton import standing
from vlar.media.skeleton.layouts import layout, remap

FRAMES = 40
RATE_HZ = 30.0


def walker(frames: int = FRAMES, wave: bool = True) -> np.ndarray:
    """(T, 20, 3) a person in metres in the layout ``kinect20``; the right arm waves."""
    points = np.repeat(standing()[None], frames, axis=0)
    time_s = np.arange(frames) / RATE_HZ
    if wave:
        points[:, [9, 10, 11], 1] = [0.6, 0.8, 0.9]
        swing = 0.25 * np.sin(2 * np.pi * 1.5 * time_s)
        points[:, [9, 10, 11], 0] += swing[:, None] * np.array([0.3, 1.0, 1.2])
    else:
        points[:, :, 1] -= 0.25 * np.linspace(0, 1, frames)[:, None] * (standing()[:, 1] > -0.3)
    return points


def body(name: str, frames: int = FRAMES, wave: bool = True) -> np.ndarray:
    """(T, V, 3) the same person in another layout."""
    return remap(walker(frames, wave), "kinect20", name)


def write_ntu(path: Path, frames: int = FRAMES, wave: bool = True) -> np.ndarray:
    points = body("ntu25", frames, wave)
    lines = [str(frames)]
    for frame in points:
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.0 0.0 2", "25"]
        lines += [f"{x:.5f} {y:.5f} {z:.5f} 0 0 0 0 1 0 0 0 2" for x, y, z in frame]
    path.write_text("\n".join(lines) + "\n")
    return points


def picture(name: str, frames: int = FRAMES) -> np.ndarray:
    """(T, V, 2) the person in pixels, y down."""
    points = body(name, frames)[..., :2] * np.array([200.0, -200.0]) + 400
    return points.astype(np.float32)


def write_openpose(folder: Path, name: str = "openpose25", frames: int = FRAMES) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    points = picture(name, frames)
    for number, frame in enumerate(points):
        flat = np.concatenate([frame, np.full((len(frame), 1), 0.9)], axis=1).ravel().tolist()
        people = [{"person_id": [-1], "pose_keypoints_2d": flat}]
        (folder / f"{number:06}_keypoints.json").write_text(json.dumps({"people": people}))
    return points


def write_coco(path: Path) -> np.ndarray:
    points = picture("coco17")
    rows = [
        {
            "image_id": number,
            "keypoints": np.concatenate([frame, np.full((17, 1), 2.0)], axis=1).ravel().tolist(),
        }
        for number, frame in enumerate(points)
    ]
    path.write_text(json.dumps({"annotations": rows}))
    return points


def write_mediapipe(path: Path) -> np.ndarray:
    """CSV, JSON or NPY, by the ending; shares of a picture of 1000 x 800."""
    points = picture("mediapipe33") / np.array([1000, 800], np.float32)
    rows = np.concatenate(
        [points, np.zeros_like(points[..., :1]), np.ones_like(points[..., :1])], 2
    )
    if path.suffix == ".npy":
        np.save(path, rows.astype(np.float32))
    elif path.suffix == ".json":
        frames = [
            [dict(zip(("x", "y", "z", "visibility"), map(float, p), strict=True)) for p in frame]
            for frame in rows
        ]
        path.write_text(json.dumps({"width": 1000, "height": 800, "frames": frames}))
    else:
        names = [f"{axis}_{joint}" for joint in range(33) for axis in ("x", "y", "z", "visibility")]
        lines = [",".join(["frame_id", *names])]
        lines += [f"{t}," + ",".join(map(str, row.ravel())) for t, row in enumerate(rows)]
        path.write_text("# width=1000 height=800 rate_hz=30\n" + "\n".join(lines) + "\n")
    return points


def write_pyskl(path: Path, people: int = 1, count: int = 2, **more: Any) -> np.ndarray:
    points = np.stack([picture("coco17")] * people)
    row = {
        "frame_dir": "clip", "label": 3, "img_shape": (800, 1000), "total_frames": FRAMES,
        "keypoint": points, "keypoint_score": np.ones(points.shape[:3], np.float32), **more,
    }  # fmt: skip
    stored = {"split": {"train": ["clip"]}, "annotations": [row] * count}
    path.write_bytes(pickle.dumps(stored, protocol=4))
    return points


def write_ctr_gcn(path: Path, count: int = 2) -> np.ndarray:
    points = body("ntu25")
    rows = np.zeros((count, 60, 2, 25, 3), np.float32)
    rows[:, :FRAMES, 0] = points
    labels = np.eye(5, dtype=np.float32)[np.arange(count)]
    np.savez(path, x_train=rows.reshape(count, 60, -1), y_train=labels)
    return points


def write_ucla(path: Path, wave: bool = True, frames: int = FRAMES) -> np.ndarray:
    points = walker(frames, wave)
    record = {"file_name": "a01_s01_e00_v01", "skeletons": points.tolist(), "label": 1}
    path.write_text(json.dumps(record))
    return points


def write_utd(path: Path, wave: bool = True) -> np.ndarray:
    from scipy.io import savemat

    points = body("kinect20_utd", wave=wave)
    savemat(path, {"d_skel": points.transpose(1, 2, 0).astype(np.float64)}, do_compression=True)
    return points


def write_ut(path: Path) -> np.ndarray:
    points = walker()
    array = np.zeros((2, 1, 2, 60, 20, 3))
    array[:, :, :, :FRAMES] = points
    lengths = np.full((2, 1, 2), FRAMES, np.uint8)
    if path.suffix == ".npz":
        np.savez(path, complete_skeleton=array, action_length=lengths)
    else:
        from scipy.io import savemat

        savemat(path, {"complete_skeleton": array, "action_length": lengths})
    return points


def write_msr(path: Path) -> np.ndarray:
    points = body("kinect20_msr")
    rows = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2).reshape(-1, 4)
    np.savetxt(path, rows, fmt="%.6f")
    return points


def write_sbu(path: Path) -> np.ndarray:
    """(T, 2, 15, 3) two people in shares of the picture; the second crouches."""
    places = np.stack([body("sbu15"), body("sbu15", wave=False)], axis=1)
    points = places * np.array([0.3, -0.3, 0.6]) + np.array([0.3, 0.5, 0])
    points[:, 1, :, 0] += 0.3
    lines = [
        ",".join([str(612 + number), *(f"{value:.5g}" for value in frame.ravel())]) + ","
        for number, frame in enumerate(points)
    ]
    path.write_text("\n".join(lines) + "\n")
    return points.astype(np.float32)


def write_sfinge(path: Path) -> np.ndarray:
    random = np.random.default_rng(0)
    points = random.normal(size=(FRAMES, len(layout("leap20").joints), 3)).astype(np.float32)
    rows = np.concatenate([points, np.zeros((*points.shape[:2], 4))], axis=2)
    lines = [";".join(f"{value:.6f}" for value in row.ravel()) + ";" for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return points


def write_named(path: Path, unit: str = "mm", name: str = "h36m17") -> np.ndarray:
    points = body(name)
    names = [f"{joint}_{axis}" for joint in layout(name).joints for axis in "xyz"]
    lines = [f"# layout={name} unit={unit} rate_hz=30", ",".join(names)]
    factor = {"mm": 1000, "cm": 100}.get(unit, 1)
    lines += [",".join(f"{value:.4f}" for value in row) for row in
              (points * factor).reshape(FRAMES, -1)]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return points
