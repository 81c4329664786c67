"""Recordings of several sensors as one: the file, the clock of the parts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from vlar.errors import DecodeError
from vlar.library.recording import stamp_of
from vlar.media.bundle import BundlePart, bundle_parts, write_bundle
from vlar.media.lookup import read_clip, reader, reader_for
from vlar.media.video.files import content_hash
from vlar.types import Clip, Failure, Sampling, Window

SAMPLING = Sampling(
    8, sensors=(("skeleton", Sampling(30)), ("imu", Sampling(40, fps=None))), frames_fixed=True
)


@pytest.fixture
def joints(tmp_path: Path) -> Path:
    """Three seconds of joints."""
    return reader("skeleton").example(tmp_path)


@pytest.fixture
def imu(tmp_path: Path) -> Path:
    """Four seconds of an IMU."""
    return reader("imu").example(tmp_path)


def bundle(folder: Path, **parts: Any) -> Path:
    path = folder / "a.bundle.json"
    path.write_text(json.dumps(parts))
    return path


def test_each_part_is_sampled_by_itself_in_the_common_span(joints: Path, imu: Path):
    path = bundle(joints.parent, skeleton=joints.name, imu=imu.name)
    assert reader_for(path).modality == "bundle"
    assert reader("bundle").probe(path).duration_s == pytest.approx(3.0)
    clip = reader("bundle").read_clip(path, None, SAMPLING)
    assert list(clip.parts) == ["skeleton", "imu"]
    for name, count in (("skeleton", 30), ("imu", 40)):
        alone = reader(name).read_clip(
            joints if name == "skeleton" else imu, Window(0, 3.0), Sampling(count)
        )
        np.testing.assert_array_equal(clip.parts[name].data, alone.data)
        np.testing.assert_array_equal(clip.parts[name].times_s, alone.times_s)
    assert clip.lost == 0


def test_only_the_sensors_that_are_wanted_are_read(joints: Path, imu: Path):
    path = bundle(joints.parent, skeleton=joints.name, imu=imu.name)
    one = Sampling(8, sensors=(("imu", Sampling(40)),))
    clip = reader("bundle").read_clip(path, None, one)
    assert list(clip.parts) == ["imu"]
    assert clip.window == Window(0, pytest.approx(4))
    audio = Sampling(8, sensors=(("audio", Sampling(8)), ("depth", Sampling(8))))
    says = "it holds skeleton and imu, and the model reads audio and depth"
    refused(DecodeError, says, reader("bundle").read_clip, path, None, audio)


@pytest.mark.parametrize("offset_s", [0.5, -0.5])
def test_an_offset_moves_a_part_on_the_clock_of_the_first(joints: Path, imu: Path, offset_s: float):
    row = {"path": imu.name, "offset_s": offset_s}
    path = bundle(joints.parent, skeleton=joints.name, imu=row)
    clip = reader("bundle").read_clip(path, Window(1, 2), SAMPLING)
    assert clip.window == Window(1, 2)
    alone = reader("imu").read_clip(imu, Window(1 - offset_s, 2 - offset_s), Sampling(40))
    np.testing.assert_array_equal(clip.parts["imu"].data, alone.data)
    np.testing.assert_allclose(clip.parts["imu"].times_s, alone.times_s + offset_s)
    whole = reader("bundle").read_clip(path, None, SAMPLING).window
    assert (whole.start_s, whole.end_s) == (max(0, offset_s), pytest.approx(3.0))


def test_a_window_holds_the_parts_that_were_recorded_in_it(joints: Path, imu: Path):
    path = bundle(joints.parent, skeleton=joints.name, imu={"path": imu.name, "offset_s": 2})
    before, across = (
        reader("bundle").read_clip(path, Window(*span), SAMPLING) for span in ((0, 1), (1, 3))
    )
    assert (list(before.parts), before.window) == (["skeleton"], Window(0, 1))
    assert (list(across.parts), across.window) == (["skeleton", "imu"], Window(2, 3))


def test_a_window_after_all_parts_is_refused(joints: Path, imu: Path):
    path = bundle(joints.parent, skeleton=joints.name, imu=imu.name)
    says = "nothing was recorded from 9 s on; its parts end at 3 s"
    refused(DecodeError, says, reader("bundle").read_clip, path, Window(9, 10), SAMPLING)


def test_parts_by_share_cover_the_same_take(joints: Path, imu: Path):
    row = {"path": imu.name, "clock": "share"}
    path = bundle(joints.parent, skeleton=joints.name, imu=row)
    whole = reader("bundle").read_clip(path, None, SAMPLING)
    alone = reader("imu").read_clip(imu, None, Sampling(40))
    np.testing.assert_array_equal(whole.parts["imu"].data, alone.data)
    np.testing.assert_array_equal(whole.parts["imu"].times_s, alone.times_s)
    half = reader("bundle").read_clip(path, Window(1.5, 3), SAMPLING)
    length_s = reader("imu").probe(imu).duration_s
    alone = reader("imu").read_clip(imu, Window(length_s / 2, length_s), Sampling(40))
    np.testing.assert_array_equal(half.parts["imu"].data, alone.data)


def test_a_plain_recording_is_a_bundle_of_one_part(imu: Path):
    clip = reader("bundle").read_clip(imu, None, SAMPLING)
    alone = reader("imu").read_clip(imu, None, Sampling(40))
    assert list(clip.parts) == ["imu"]
    np.testing.assert_array_equal(clip.parts["imu"].data, alone.data)
    assert reader("bundle").find([imu.parent]) == [imu]


def test_a_part_that_cannot_be_read_is_named_and_the_rest_is_there(joints: Path, imu: Path):
    imu.write_text("time_s,acc_x_g\n")
    path = bundle(joints.parent, skeleton=joints.name, imu=imu.name)
    clip = reader("bundle").read_clip(path, None, SAMPLING)
    assert list(clip.parts) == ["skeleton"]
    assert clip.lost == 0.5
    assert "its part imu cannot be read" in clip.meta["failed"]["imu"]
    assert imu.name in clip.meta["failed"]["imu"]
    joints.unlink()
    refused(DecodeError, "its part skeleton", reader("bundle").probe, path)


def test_a_read_clip_without_a_number_holds_all_samples(joints: Path, imu: Path):
    clip = read_clip(bundle(joints.parent, skeleton=joints.name, imu=imu.name))
    assert [len(part.data) for part in clip.parts.values()] == [90, 200]


def test_a_changed_part_changes_hash_and_stamp(joints: Path, imu: Path):
    path = bundle(joints.parent, skeleton=joints.name, imu=imu.name)
    before = content_hash(path), stamp_of(path)
    imu.write_text(imu.read_text() + "4.1,0,0,1,0,0,0\n")
    assert content_hash(path) != before[0]
    assert stamp_of(path) != before[1]


def test_what_is_written_is_read(joints: Path, imu: Path, tmp_path: Path):
    parts = {"skeleton": BundlePart(joints), "imu": BundlePart(imu, 0.12)}
    place = tmp_path / "deep" / "er"
    place.mkdir(parents=True)
    assert bundle_parts(write_bundle(place / "b.bundle.json", parts)) == parts


WRONG: list[tuple[Any, str]] = [
    ({}, "1 to 16 sensors"),
    ([1], "1 to 16 sensors"),
    ({"imu": 3}, "'imu' is not a path"),
    ({"imu": {"offset_s": 1}}, "'imu' is not a path"),
    ({"imu": {"path": "a", "rate": 1}}, "'imu' is not a path"),
    ({"imu": ""}, "the path of 'imu'"),
    ({"imu": {"path": "a.csv", "offset_s": "1"}}, "offset_s is 1, not a number"),
    ({"imu": {"path": "a.csv", "offset_s": 1e30}}, "offset_s is 1e[+]30"),
    ({"imu": {"path": "a.csv", "clock": "mine"}}, "the clock of 'imu'"),
    ({"imu": "a.bundle.json"}, "it lists the bundle 'a.bundle.json'"),
    ({"radar": "a.csv"}, "'radar' is not a sensor; use audio"),
    ({"bundle": "a.csv"}, "'bundle' is not a sensor"),
    ({"imu": "gone.csv"}, "its part imu cannot be read.*gone.csv"),
]


@pytest.mark.parametrize(("parts", "says"), WRONG, ids=[says for _, says in WRONG])
def test_what_is_no_bundle_is_refused(parts: Any, says: str, tmp_path: Path):
    path = tmp_path / "a.bundle.json"
    path.write_text(json.dumps(parts))
    caught = refused(DecodeError, says, reader("bundle").read_clip, path, None, SAMPLING)
    assert "\n" not in str(caught.value)


def test_two_parts_of_one_sensor_are_refused(imu: Path):
    path = imu.parent / "a.bundle.json"
    path.write_text('{"imu": "example.csv", "imu": "example.csv"}')
    refused(DecodeError, "the name 'imu' twice", reader("bundle").probe, path)


@pytest.mark.parametrize("offset_s", [3.0, 99.0, -4.0])
def test_parts_without_a_common_span_are_refused(joints: Path, imu: Path, offset_s: float):
    row = {"path": imu.name, "offset_s": offset_s}
    path = bundle(joints.parent, skeleton=joints.name, imu=row)
    refused(DecodeError, "no common span.*correct offset_s", reader("bundle").probe, path)
    found = list(reader("bundle").read_windows(path, [Window(0, 1)], SAMPLING))
    assert [type(one) for one in found] == [Failure]


def test_a_link_does_not_lead_out_of_the_folder(imu: Path, tmp_path: Path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.csv").symlink_to(imu)
    says = "a link leads 'link.csv' out"
    path = bundle(inside, imu="link.csv")
    refused(DecodeError, says, reader("bundle").read_clip, path, None, SAMPLING)
    (tmp_path / "link.csv").symlink_to(imu)  # a link within the folder
    assert isinstance(
        reader("bundle").read_clip(bundle(tmp_path, imu="link.csv"), None, SAMPLING), Clip
    )
    openly = bundle(inside, imu="../example.csv")
    assert isinstance(reader("bundle").read_clip(openly, None, SAMPLING), Clip)


def test_people_are_those_of_the_parts(tmp_path: Path):
    path = bundle(tmp_path, skeleton="a1_s2_t3_skeleton.mat", imu="x.csv")
    assert reader("bundle").person(path) == "subject 2"
    path.write_text("no")
    assert reader("bundle").person(path) is None
