"""Formats of pose tools and of motion capture, written here and read again."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from vlar.behaviour.tracks.recording import read_tracks
from vlar.errors import DecodeError
from vlar.media.lookup import reader_for

h5py = pytest.importorskip("h5py")
FRAMES = 12
POINTS = np.arange(FRAMES * 2 * 3 * 2, dtype=float).reshape(FRAMES, 2, 3, 2) + 1
NAMES = [b"nose", b"neck", b"tail"]


def levels(group: Any, prefix: str, names: list[tuple[str, ...]]) -> None:
    """The names of columns as pandas keeps them in its fixed form."""
    for level, texts in enumerate(zip(*names, strict=True)):
        known = sorted(set(texts))
        group[f"{prefix}_level{level}"] = np.array([text.encode() for text in known])
        group[f"{prefix}_label{level}"] = np.array([known.index(text) for text in texts], np.int8)


def columns() -> list[tuple[str, ...]]:
    return [("s", animal, point, axis) for animal in ("a", "b") for point in ("nose", "neck",
            "tail") for axis in ("x", "y", "likelihood")]  # fmt: skip


def flat() -> np.ndarray:
    return np.concatenate([POINTS, np.full((FRAMES, 2, 3, 1), 0.5)], axis=-1).reshape(FRAMES, -1)


def dlc_fixed(file: Any) -> None:
    group = file.create_group("df_with_missing")
    levels(group, "axis0", columns())
    levels(group, "block0_items", columns())
    group["block0_values"] = flat()


def dlc_table(file: Any) -> None:
    rows = np.zeros(FRAMES, [("index", "<i8"), ("values_block_0", "<f8", (18,))])
    rows["values_block_0"] = flat()
    table = file.create_group("tracks").create_dataset("table", data=rows)
    table.attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(columns(), 0))


def sleap(file: Any) -> None:
    file["tracks"] = POINTS.transpose(1, 3, 2, 0)
    file["node_names"] = np.array(NAMES)
    file["track_names"] = np.array([b"a", b"b"])
    file["track_occupancy"] = np.ones((FRAMES, 2))
    file["edge_inds"] = np.array([[0, 1], [1, 2]])


def jabs(file: Any) -> None:
    """Version 4: the instances of every second frame stand in the other order."""
    group = file.create_group("poseest")
    stored, identity = POINTS[..., ::-1].copy(), np.tile([1, 2], (FRAMES, 1))
    stored[1::2], identity[1::2] = stored[1::2, ::-1], identity[1::2, ::-1]
    group["points"], group["confidence"] = stored.astype(np.uint16), np.ones((FRAMES, 2, 3))
    group["instance_count"] = np.full(FRAMES, 2)
    group["instance_track_id"], group["instance_embed_id"] = identity, identity
    group.attrs["cm_per_pixel"] = 0.05


def nwb(file: Any) -> None:
    pose = file.create_group("processing/behavior/PoseEstimation")
    for number, name in enumerate(NAMES):
        series = pose.create_group(name.decode())
        series["data"], series["confidence"] = POINTS[:, 0, number], np.ones(FRAMES)
        series["data"].attrs["unit"] = "pixels"
        series["timestamps"] = np.arange(FRAMES) / 25 + 3
    pose["nodes"], pose["edges"] = np.array(NAMES), np.array([[0, 1]])


@pytest.mark.parametrize("write", [dlc_fixed, dlc_table, sleap, jabs])
def test_two_animals_of_hdf5(tmp_path: Path, write: Any):
    path = tmp_path / "pair.h5"
    with h5py.File(path, "w") as file:
        write(file)
    assert reader_for(path).modality == "tracks"
    refused(DecodeError, "--fps", read_tracks, path)
    tracks = read_tracks(path, fps=30).tracks
    np.testing.assert_array_equal(tracks.points, POINTS)
    if write is not jabs:
        assert tracks.names == ("nose", "neck", "tail")
        assert tracks.animals == ("a", "b")


def test_a_series_of_nwb_has_a_clock(tmp_path: Path):
    path = tmp_path / "one.nwb"
    with h5py.File(path, "w") as file:
        nwb(file)
    recording = read_tracks(path)
    assert recording.rate_hz == pytest.approx(25)
    assert recording.tracks.bones == (("nose", "neck"),)
    order = [recording.tracks.names.index(name.decode()) for name in NAMES]
    np.testing.assert_array_equal(recording.tracks.points[:, 0, order], POINTS[:, 0])


def sleap_csv(tracks: str = "ab", at: int = 3) -> str:
    """Frames from 3 on in SLEAP's long form; the second animal is absent in the last one."""
    lines = ["track,frame_idx,instance.score,nose.x,nose.y,nose.score,tail.x,tail.y,tail.score"]
    for frame in range(FRAMES):
        for row, track in enumerate(tracks):
            if row == 0 or frame < FRAMES - 1:
                (x, y), (u, v) = POINTS[frame, row, 0], POINTS[frame, row, 2]
                lines.append(f"{track.strip()},{frame + at},0.9,{x},{y},0.5,{u},{v},0.25")
    return "\n".join(lines) + "\n"


def test_two_animals_of_the_long_table_of_sleap(tmp_path: Path):
    path = tmp_path / "pair.analysis.csv"
    path.write_text(sleap_csv())
    assert reader_for(path).modality == "tracks"
    tracks = read_tracks(path, fps=30).tracks
    assert tracks.animals == ("a", "b")
    assert tracks.names == ("nose", "tail")
    assert tracks.points.shape == (FRAMES + 3, 2, 2, 2)
    assert not np.isfinite(tracks.points[:3]).any()
    np.testing.assert_array_equal(tracks.points[3:, 0], POINTS[:, 0][:, [0, 2]])
    np.testing.assert_array_equal(tracks.points[3:-1, 1], POINTS[:-1, 1][:, [0, 2]])
    assert not np.isfinite(tracks.points[-1, 1]).any()
    assert tracks.confidence is not None
    np.testing.assert_array_equal(tracks.confidence[5, 1], [0.5, 0.25])
    path.write_text(sleap_csv(tracks=" "))  # one animal without a track
    np.testing.assert_array_equal(read_tracks(path, fps=30).tracks.points[3:, 0],
                                  POINTS[:, 0][:, [0, 2]])  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (sleap_csv("aa"), "it repeats a frame"),
        (sleap_csv("  "), "it repeats a frame"),
        (sleap_csv("a "), "name no track"),
        (sleap_csv().replace("a,3,", "a,3.5,"), "not a whole number"),
        (sleap_csv().replace("a,3,", "a,900000000,"), "far beyond their count"),
        ("frame,nose_x,nose_y\n0,1,1\n0,5,5\n1,2,2\n1,6,6\n", "it repeats a frame"),
        ("animal_id;nose_x;nose_y\n1;1;1\n2;5;5\n", "'animal_id' names several tracks"),
        ('time_s,identity,nose_x,nose_y\n0,"a,b",1,1\n.1,"c",5,5\n', "names several tracks"),
    ],
)
def test_a_long_table_that_is_not_understood_is_refused(tmp_path: Path, text: str, told: str):
    path = tmp_path / "long.csv"
    path.write_text(text)
    refused(DecodeError, told, read_tracks, path, fps=30)


def test_a_table_of_one_track_is_read_by_its_frames(tmp_path: Path):
    path = tmp_path / "one.csv"
    path.write_text("frame,animal_id,nose_x,nose_y\n0,7,1,1\n1,7,2,2\n")
    np.testing.assert_array_equal(read_tracks(path, fps=30).tracks.points[:, 0, 0, 0], [1, 2])


def nwb_pair(path: Path, clock: str, **changes: Any) -> Path:
    """Two animals; the second comes two frames later, with its points in another order."""
    with h5py.File(path, "w") as file:
        for row, animal in enumerate("ba"):
            pose = file.create_group(f"processing/behavior/track={animal}")
            pose.attrs["neurodata_type"] = "PoseEstimation"
            pose["original_videos"] = [changes.get("video", "v.mp4") if row else "v.mp4"]
            late = 2 * row if clock else 0
            for number in (range(3), (2, 0, 1))[row]:
                name = changes.get("name", "tail") if row and number == 2 else NAMES[number]
                series = pose.create_group(name if isinstance(name, str) else name.decode())
                series.attrs["neurodata_type"] = "PoseEstimationSeries"
                points = POINTS[late : FRAMES - changes.get("cut", 0) * row, row, number]
                series["data"], series["confidence"] = points, np.full(len(points), 0.25 + row / 2)
                if clock == "timestamps":
                    series["timestamps"] = np.arange(late, late + len(points)) / 25 + 3
                if clock == "rate":
                    series["starting_time"] = 3 + (late + changes.get("off", 0) * row) / 25
                    series["starting_time"].attrs["rate"] = 25.0
    return path


@pytest.mark.parametrize("clock", ["timestamps", "rate", ""])
def test_two_animals_of_nwb_are_joined_by_their_clocks(tmp_path: Path, clock: str):
    recording = read_tracks(nwb_pair(tmp_path / "pair.nwb", clock), fps=None if clock else 25)
    tracks = recording.tracks
    assert recording.rate_hz == pytest.approx(25)
    assert tracks.points.shape == (FRAMES, 2, 3, 2)
    assert tracks.confidence is not None
    late = 2 if clock else 0
    for row, animal in enumerate("ba"):
        at = tracks.animals.index(animal)
        order = [tracks.names.index(name.decode()) for name in NAMES]
        skip = late * row
        np.testing.assert_allclose(tracks.points[skip:, at][:, order], POINTS[skip:, row])
        assert not np.isfinite(tracks.points[:skip, at]).any()
        assert (tracks.confidence[skip:, at] == 0.25 + row / 2).all()


@pytest.mark.parametrize(
    ("clock", "changes", "told"),
    [
        ("timestamps", {"video": "w.mp4"}, "differ in points, unit or video"),
        ("timestamps", {"name": "paw"}, "differ in points, unit or video"),
        ("rate", {"off": 0.5}, "clocks that cannot be joined"),
        ("rate", {"off": 1e300}, "clocks that cannot be joined"),
        ("rate", {"off": float("nan")}, "clocks that cannot be joined"),
        ("", {"cut": 1}, "clocks that cannot be joined"),
    ],
)
def test_animals_of_nwb_that_cannot_be_joined_are_refused(
    tmp_path: Path, clock: str, changes: dict[str, Any], told: str
):
    path = nwb_pair(tmp_path / "pair.nwb", clock, **changes)
    refused(DecodeError, told, read_tracks, path, fps=25)


class Harm:
    """Something that a pickle would run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("harm",)


def test_no_pickle_is_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        dlc_table(file)
        file["tracks/table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps([Harm()], 0))
    refused(DecodeError, "not plain texts", read_tracks, path, fps=30)
    assert "harm" not in capfd.readouterr().out


@pytest.mark.parametrize("cut", [100, 600, 2000])
def test_a_cut_file_is_one_sentence(tmp_path: Path, cut: int):
    path = tmp_path / "cut.slp"
    with h5py.File(path, "w") as file:
        sleap(file)
    path.write_bytes(path.read_bytes()[:cut])
    refused(DecodeError, "cut.slp", read_tracks, path, fps=30)


BVH = """HIERARCHY
ROOT hips
{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
 JOINT knee
 {
  OFFSET 0 -2 0
  CHANNELS 3 Zrotation Xrotation Yrotation
  End Site
  {
   OFFSET 0 -1 0
  }
 }
}
MOTION
Frames: 2
Frame Time: 0.04
1 5 0 0 0 0 0 0 0
1 5 0 90 0 0 0 0 0
"""
AMC = ":FULLY-SPECIFIED\n:DEGREES\n" + "".join(
    f"{frame}\nroot 0 {frame} 0 0 0 0\nlfemur {frame} 0 0\nltibia 4\n" for frame in (1, 5, 9)
)
ASF = """:units
  length 1
:bonedata
  begin
   name lfemur
   direction 0 -1 0
   length 2
   axis 0 0 0 XYZ
   dof rx ry rz
  end
  begin
   name ltibia
   direction 0 -1 0
   length 1
   axis 0 0 0 XYZ
   dof rx
  end
:hierarchy
  begin
   root lfemur
   lfemur ltibia
  end
"""


def test_joints_of_bvh_are_placed(tmp_path: Path):
    path = tmp_path / "a.bvh"
    path.write_text(BVH)
    recording = read_tracks(path)
    assert recording.rate_hz == pytest.approx(25)
    points = recording.tracks.points[:, 0]
    np.testing.assert_allclose(points[0], [[1, 5, 0], [1, 3, 0], [1, 2, 0]], atol=1e-5)
    np.testing.assert_allclose(points[1], [[1, 5, 0], [3, 5, 0], [4, 5, 0]], atol=1e-5)
    path.write_text(BVH.replace("Frames: 2", "Frames: 3"))
    refused(DecodeError, "3 frames", read_tracks, path)


def test_angles_of_amc_stay_angles_without_a_skeleton(tmp_path: Path):
    path = tmp_path / "01_02.amc"
    path.write_text(AMC)
    tracks = read_tracks(path, fps=30).tracks
    assert (tracks.unit, tracks.names) == ("deg", ("root", "lfemur", "ltibia"))
    np.testing.assert_array_equal(tracks.points[:, 0, 1, 0], [1, 5, 9])
    (tmp_path / "01.asf").write_text(ASF)
    placed = read_tracks(path, fps=30).tracks
    length = np.linalg.norm(placed.points[:, 0, 1] - placed.points[:, 0, 0], axis=-1)
    np.testing.assert_allclose(length, 2 * 0.0254, rtol=1e-4)
    path.write_text(AMC.replace("ltibia 4", "ltibia four", 1))
    refused(DecodeError, "'ltibia'", read_tracks, path, fps=30)


def test_mars_has_rows_of_x_and_of_y(tmp_path: Path):
    path = tmp_path / "mars.json"
    points = np.arange(5 * 2 * 2 * 7).reshape(5, 2, 2, 7) + 1
    path.write_text(
        json.dumps({"keypoints": points.tolist(), "scores": np.ones((5, 2, 7)).tolist()})
    )
    tracks = read_tracks(path, fps=30).tracks
    assert tracks.points.shape == (5, 2, 7, 2)
    np.testing.assert_array_equal(tracks.points[0, 0, 3], points[0, 0, :, 3])
    assert tracks.names[0] == "nose"
    path.write_text('{"keypoints": [[1]], "scores": [1]}')
    refused(DecodeError, "shape", read_tracks, path, fps=30)
