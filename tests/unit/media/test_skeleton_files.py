"""Every format of skeleton files: what is written is read, and what is broken is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import skeletons
from tests.refusals import refused
from vlar.errors import DecodeError
from vlar.media.lookup import reader
from vlar.media.readers.skeleton import recordings
from vlar.media.skeleton import export
from vlar.media.skeleton.export import unpack
from vlar.media.skeleton.formats.base import link
from vlar.media.skeleton.layouts import layout, remap

ONE = {  # name, layout and unit of a file with one recording
    "a.skeleton": (skeletons.write_ntu, "ntu25", "m"),
    "openpose": (skeletons.write_openpose, "openpose25", "px"),
    "coco.json": (skeletons.write_coco, "coco17", "px"),
    "mediapipe.csv": (skeletons.write_mediapipe, "mediapipe33", "picture"),
    "mediapipe.json": (skeletons.write_mediapipe, "mediapipe33", "picture"),
    "mediapipe.npy": (skeletons.write_mediapipe, "mediapipe33", "picture"),
    "one.pkl": (lambda path: skeletons.write_pyskl(path, count=1)[0], "coco17", "px"),
    "ucla.json": (skeletons.write_ucla, "kinect20", "m"),
    "utd.mat": (skeletons.write_utd, "kinect20_utd", "m"),
    "msr.txt": (skeletons.write_msr, "kinect20_msr", "m"),
    "sfinge.txt": (skeletons.write_sfinge, "leap20", "m"),
    "named.csv": (skeletons.write_named, "h36m17", "m"),
}


@pytest.mark.parametrize("name", ONE)
def test_what_is_written_is_read(name: str, tmp_path: Path):
    write, of_layout, unit = ONE[name]
    path = tmp_path / name
    points = write(path)
    assert reader("skeleton").claims(path)
    clip = vlar.read_clip(path)
    assert (clip.modality, clip.meta["layout"], clip.meta["unit"]) == ("skeleton", of_layout, unit)
    assert clip.data.shape[:3] == (len(points), 1, len(layout(of_layout).joints))
    assert clip.data.dtype == np.float32
    np.testing.assert_allclose(clip.data[:, 0, :, : points.shape[2]], points, atol=2e-3)


def test_both_people_of_sbu_are_read_in_metres(tmp_path: Path):
    path = tmp_path / "s02s01_a06_t001_skeleton_pos.txt"
    points = skeletons.write_sbu(path)
    for sensor in ("imu", "depth", "audio", "video"):
        assert not reader(sensor).claims(path)
    clip = vlar.read_clip(path)
    assert (clip.meta["layout"], clip.meta["unit"]) == ("sbu15", "m")
    assert clip.meta["rate_hz"] == 15.0
    x, y, z = np.moveaxis(points, -1, 0)
    metres = np.stack([1.28 - 2.56 * x, 0.96 - 1.92 * y, 1.28 * z], axis=-1)
    np.testing.assert_allclose(clip.data, metres, atol=4e-4)


def test_a_pair_of_sbu_is_held_out_with_either_of_the_two_acting():
    who = reader("skeleton").person
    assert who(Path("s02s01_a06_t001.txt")) == who(Path("s01s02_a01_t002.txt"))
    assert who(Path("s02s01_a06_t001.txt")) == "subjects 1 and 2"
    assert who(Path("s02s03_a06_t001.txt")) == "subjects 2 and 3"


def test_lines_of_other_numbers_are_not_sbu(tmp_path: Path):
    path = tmp_path / "a.txt"
    empty = ",".join(["1", "", *["0.5"] * 90])
    large = ",".join(["1", *["400"] * 90])
    for first in (",".join(["1"] * 90), ",".join(["1.5"] * 91), large, empty):
        path.write_text(first + "\n")
        assert not reader("skeleton").claims(path)


def test_other_readers_do_not_claim_skeletons(tmp_path: Path):
    for name, (write, *_) in ONE.items():
        write(tmp_path / name)
        for sensor in ("imu", "depth", "audio", "video"):
            assert not reader(sensor).claims(tmp_path / name), (name, sensor)


def test_layouts_that_are_the_same_body_agree(tmp_path: Path):
    """UTD-MHAD, MSR-Action3D and NW-UCLA have orders of their own for the same twenty joints."""
    skeletons.write_utd(tmp_path / "a.mat")
    skeletons.write_msr(tmp_path / "a.txt")
    skeletons.write_ucla(tmp_path / "a.json")
    found = [vlar.read_clip(tmp_path / f"a.{end}") for end in ("mat", "txt", "json")]
    same = [remap(clip.data, str(clip.meta["layout"]), "kinect20") for clip in found]
    np.testing.assert_allclose(same[0], same[1], atol=1e-4)
    np.testing.assert_allclose(same[0], same[2], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "write", "count"),
    [
        ("a.pkl", skeletons.write_pyskl, 2),
        ("a.npz", skeletons.write_ctr_gcn, 2),
        ("ut.npz", skeletons.write_ut, 4),
        ("ut.mat", skeletons.write_ut, 4),
    ],
)
def test_a_file_of_many_is_split(
    name: str, write: Callable[[Path], np.ndarray], count: int, tmp_path: Path
):
    points = write(tmp_path / name)
    with pytest.raises(DecodeError, match=r"several recordings.* vlar pose .* --skeletons"):
        vlar.read_clip(tmp_path / name)
    assert unpack(tmp_path / name, tmp_path / "split") == count
    files = sorted((tmp_path / "split").glob("*.npz"))
    table = (tmp_path / "split" / "rows.csv").read_text().splitlines()
    assert len(files) == len(table) - 1 == count
    clip = vlar.read_clip(files[-1])
    first = points[0] if points.ndim == 4 else points
    np.testing.assert_allclose(clip.data[:, 0], first, atol=1e-4)


def test_zeros_of_padding_are_not_people(tmp_path: Path):
    skeletons.write_ctr_gcn(tmp_path / "a.npz")
    bodies = recordings(tmp_path / "a.npz")[0]
    assert len(bodies.points) == skeletons.FRAMES  # of 60 rows
    assert np.isnan(bodies.points[:, 1]).all()  # the second person
    assert np.isfinite(bodies.points[:, 0]).all()


def test_people_are_followed_though_a_file_lists_them_anew(tmp_path: Path):
    left = skeletons.picture("openpose25")
    right = left + np.array([400, 0], np.float32)
    people = [np.concatenate([p, np.ones((*p.shape[:2], 1), np.float32)], 2) for p in (left, right)]
    swapped = [np.stack([people[(i + t) % 2][t] for i in (0, 1)]) for t in range(len(left))]
    linked = link(swapped)
    assert linked.shape[1] == 2
    np.testing.assert_allclose(linked[:, 0, :, :2], left)
    np.testing.assert_allclose(linked[:, 1, :, :2], right)


def test_a_table_has_a_clock_people_and_joints_that_are_not_seen(tmp_path: Path):
    joints = layout("coco17").joints
    names = [f"{joint}_{axis}" for joint in joints for axis in "xy"]
    rows = []
    for frame in range(6):
        for person in (0, 1):
            cells = ["" if frame == 2 else str(10.0 * person + at) for at in range(34)]
            rows.append(",".join([str(frame / 20), str(person), *cells]))
    path = tmp_path / "a.csv"
    path.write_text("\n".join(
        ["# layout=coco17 unit=px", ",".join(["time_s", "person", *names]), *rows]))  # fmt: skip
    clip = vlar.read_clip(path)
    assert clip.data.shape == (6, 2, 17, 2)
    assert clip.meta["rate_hz"] == pytest.approx(20)
    assert np.isnan(clip.data[2]).all()
    assert np.isfinite(clip.data[[0, 1, 3, 4, 5]]).all()


def test_our_own_file_keeps_everything(tmp_path: Path):
    skeletons.write_openpose(tmp_path / "op")
    bodies = recordings(tmp_path / "op")[0]
    export.write(tmp_path / "a.npz", bodies)
    again = recordings(tmp_path / "a.npz")[0]
    np.testing.assert_array_equal(again.points, bodies.points)
    np.testing.assert_array_equal(again.confidence, bodies.confidence)
    assert (again.layout, again.unit, again.rate_hz) == ("openpose25", "px", 30.0)


def broken_ntu(joints: int, numbers: int) -> str:
    lines = ["1", "1", "1 0 1 1 1 1 0 0 0 2", str(joints)]
    return "\n".join([*lines, *[" ".join(["1"] * numbers)] * joints]) + "\n"


BROKEN = {
    "look-alike.skeleton": (broken_ntu(26, 3), "26 joints where NTU has 25"),
    "columns.skeleton": (broken_ntu(25, 3), "3 numbers where NTU has 12"),
    "cut.skeleton": (broken_ntu(25, 12)[:200], "numbers where|cut off"),
    "nobody.skeleton": ("2\n0\n0\n", "no body"),
    "many.skeleton": ("99999999\n1\n", "number of frames"),
    "ragged.json": ('{"skeletons": [[[1,2,3]], [[1,2]]]}', "not lists of numbers|shape"),
    "joints.json": (json.dumps({"skeletons": [[[1, 2, 3]] * 21]}), "not .T, 20, 3"),
    "nan.json": ('{"skeletons": [[[NaN, 1, 2]]]}', "not a number"),
    "part.txt": ("1 2 3 1\n" * 21, "not frames of 20 joints"),
    "short.json": (json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 3]}]}), "18 or 25 joints"),
    "none.json": (json.dumps({"people": [], "pose_keypoints_2d": 0}), "no person"),
    "unit.csv": ("# layout=coco17 unit=feet rate_hz=30\na,b\n1,2\n", "unit 'feet'"),
    "layout.csv": ("# layout=ntu52 unit=m rate_hz=30\na,b\n1,2\n", "did you mean 'ntu25'"),
    "setting.csv": ("# layout=ntu25 colour=red\na\n1\n", "sets 'colour'"),
    "mat.mat": ("MATLAB 5.0 MAT-file" + " " * 200, "."),
    "empty.npz": ("PK", "."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_line(name: str, tmp_path: Path):
    text, said = BROKEN[name]
    path = tmp_path / name
    path.write_text(text)
    caught = refused(DecodeError, said, reader("skeleton").probe, path)
    assert str(path) in str(caught.value)
    assert "\n" not in caught.value.message


def test_the_wrong_layout_names_remap(tmp_path: Path):
    """A table of the 17 joints of Human3.6M that states the 17 joints of COCO."""
    path = tmp_path / "a.csv"
    skeletons.write_named(path)
    text = path.read_text().replace("layout=h36m17", "layout=kinect20")
    numbered = ",".join(f"{joint}_{axis}" for joint in range(17) for axis in "xyz")
    lines = text.splitlines()
    path.write_text("\n".join([lines[0], numbered, *lines[2:]]))
    refused(DecodeError, r"coco17 or h36m17, and convert it with remap", vlar.read_clip, path)


def test_a_truncated_matlab_file_and_arrays_of_objects(tmp_path: Path):
    skeletons.write_utd(tmp_path / "a_skeleton.mat")
    data = (tmp_path / "a_skeleton.mat").read_bytes()
    (tmp_path / "a_skeleton.mat").write_bytes(data[: len(data) // 2])
    assert reader("skeleton").claims(tmp_path / "a_skeleton.mat")
    refused(DecodeError, "cut off", vlar.read_clip, tmp_path / "a_skeleton.mat")
    np.savez(tmp_path / "o.npz", x_train=np.array([object()], dtype=object))
    with pytest.raises(DecodeError, match="not plain numbers"):
        vlar.read_clip(tmp_path / "o.npz", modality="skeleton")


@pytest.mark.parametrize("name", ["sample.pkl"])
def test_the_public_pickle_is_read_and_states_what_it_lacks(name: str):
    shared = Path(__file__).resolve().parents[4] / "shared" / "modalities" / "formats" / name
    if not shared.exists():
        pytest.skip("the shared recordings are not here")
    refused(DecodeError, "hold no 'keypoint'", recordings, shared)
