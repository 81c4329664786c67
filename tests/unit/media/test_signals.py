"""Signals by time: what a clip of T samples holds, gaps; the readers of IMU, sound and depth."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vlar
from tests import videos
from tests.refusals import refused
from vlar.errors import DecodeError
from vlar.media import signals
from vlar.media.lookup import find, reader, reader_for
from vlar.media.signals import at_times, evenly, means
from vlar.plugins.integrity.check import check_recordings
from vlar.types import Sampling, Window


def test_as_many_samples_as_there_are_are_the_samples():
    data = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    times_s = (np.arange(30) + 0.5) / 10
    np.testing.assert_array_equal(at_times(data, 10.0, times_s), data)
    between = at_times(data, 10.0, np.array([1.0]))[0]  # between the samples 9 and 10
    np.testing.assert_allclose(between, (data[9] + data[10]) / 2, atol=1e-6)


def test_what_is_not_seen_does_not_spread():
    data = np.array([[0.0], [np.nan], [2.0]], np.float32)
    found = at_times(data, 1.0, np.array([0.9, 1.1, 1.4, 2.1]))[:, 0]
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, False])
    mean = means(data, 1.0, np.array([1.5]), 3.0)
    np.testing.assert_allclose(mean, [[1.0]])


def test_times_become_even_and_gaps_stay_empty():
    times_s = np.concatenate([np.arange(10), np.arange(30, 40)]) / 20 + 5
    data = times_s[:, None].astype(np.float32)
    even, rate_hz = evenly(times_s, data)
    assert rate_hz == pytest.approx(20)
    assert len(even) == 40
    assert np.isnan(even[11:29]).all()
    seen = np.isfinite(even[:, 0])
    np.testing.assert_allclose(even[seen, 0], (5 + np.arange(40) / 20)[seen], atol=1e-4)
    with pytest.raises(ValueError, match="do not rise"):
        evenly(np.array([0.0, 1.0, 1.0]), np.zeros((3, 1), np.float32))


HEADER = "timestamp_ms,wrist_acc_x_g,wrist_acc_y_g,wrist_acc_z_g,wrist_gyro_x_dps"


def write_imu(path: Path, header: str = HEADER, rows: int = 50, first: str = "") -> Path:
    lines = [f"{20 * i},1,0,-1,180" for i in range(rows) if not 20 <= i < 40]
    path.write_text("\n".join([*([first] if first else []), header, *lines]) + "\n")
    return path


def test_an_imu_table_is_in_si_units(tmp_path: Path):
    clip = vlar.read_clip(write_imu(tmp_path / "a.csv"))
    assert (clip.modality, clip.data.shape) == ("imu", (50, 6))
    assert clip.meta["devices"] == ("wrist",)
    assert clip.meta["rate_hz"] == pytest.approx(50)
    np.testing.assert_allclose(clip.data[0, :3], [9.80665, 0, -9.80665], rtol=1e-5)
    np.testing.assert_allclose(clip.data[0, 3], np.pi, rtol=1e-5)
    assert np.isnan(clip.data[:, 4:]).all()  # axes that the device lacks
    assert np.isnan(clip.data[25, 0])  # 20 rows that were dropped


@pytest.mark.parametrize(
    ("header", "first", "said"),
    [
        (HEADER.replace("_dps", "_rpm"), "", "unit 'rpm'"),
        (HEADER.replace("_g,", ","), "", "unit None"),
        (HEADER.replace("timestamp_ms", "clock"), "", "no column of times"),
        (HEADER.replace("timestamp_ms", "clock"), "# rate_hz=fast", "states no rate"),
        (HEADER + ",extra", "", "number of cells"),
    ],
)
def test_imu_tables_that_are_refused(header: str, first: str, said: str, tmp_path: Path):
    path = write_imu(tmp_path / "a.csv", header, first=first)
    assert reader("imu").claims(path)
    refused(DecodeError, said, vlar.read_clip, path)


def test_an_imu_without_a_number_is_refused(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("time_s,acc_x_g\n0,\n0.1,\n0.2,\n")
    refused(DecodeError, "no sample in it is a number", vlar.read_clip, path)


def test_an_imu_of_matlab(tmp_path: Path):
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"d_iner": np.tile([1.0, 0, 0, 180, 0, 0], (100, 1))})
    clip = vlar.read_clip(tmp_path / "a.mat")
    assert (clip.modality, clip.window) == ("imu", Window(0.0, 2.0))
    np.testing.assert_allclose(clip.data[0], [9.80665, 0, 0, np.pi, 0, 0], rtol=1e-5)
    assert not reader("skeleton").claims(tmp_path / "a.mat")


def test_sound_of_a_file_and_of_a_video(tmp_path: Path):
    path = reader("audio").example(tmp_path)
    clip = vlar.read_clip(path)
    assert (clip.modality, clip.data.dtype, clip.data.ndim) == ("audio", np.float32, 1)
    assert len(clip.data) == pytest.approx(3 * 16_000, abs=200)
    half = vlar.read_clip(path, Window(1.0, 2.0))
    np.testing.assert_allclose(half.data, clip.data[16_000:32_000], atol=1e-6)
    video = videos.make_video(tmp_path / "a.mp4", 8, fps=4)
    assert reader_for(video) is reader("video")
    refused(DecodeError, "no sound track", vlar.read_clip, video, modality="audio")
    assert find([tmp_path], "audio") == [video, path]


def test_a_title_that_is_not_utf_8_is_no_fault_of_the_sound(tmp_path: Path):
    path = reader("audio").example(tmp_path)
    title = "café ".encode("latin-1")
    info = b"INFOINAM" + len(title).to_bytes(4, "little") + title + b"\0" * (len(title) % 2)
    content = path.read_bytes() + b"LIST" + len(info).to_bytes(4, "little") + info
    path.write_bytes(content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:])
    assert vlar.read_clip(path).data.any()


def test_sound_that_is_not_there(tmp_path: Path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
    (tmp_path / "b.wav").write_text("RIFF is no sound")
    for name in ("a.wav", "b.wav"):
        refused(DecodeError, name, vlar.read_clip, tmp_path / name, modality="audio")


def write_depth(folder: Path, frames: int = 6, *, colour: bool = False) -> np.ndarray:
    folder.mkdir()
    values = (np.arange(frames)[:, None, None] * 100 + 1000 + np.zeros((1, 8, 10))).astype(
        np.uint16
    )
    for number, frame in enumerate(values):
        Image.fromarray(frame).save(folder / f"{number:03}_depth.png")
        if colour:
            picture = np.full((8, 10, 3), 99, np.uint8)
            Image.fromarray(picture).save(folder / f"{number:03}_rgb.png")
    return values


@pytest.mark.parametrize("colour", [False, True])
def test_a_folder_of_depth_pictures(colour: bool, tmp_path: Path):
    values = write_depth(tmp_path / "d", colour=colour)
    assert reader("depth").claims(tmp_path / "d")
    assert reader_for(tmp_path / "d") is reader("depth")
    assert find([tmp_path], "depth") == [tmp_path / "d"]
    clip = vlar.read_clip(tmp_path / "d")
    np.testing.assert_array_equal(clip.data, values)
    few = reader("depth").read_clip(tmp_path / "d", None, Sampling(3))
    np.testing.assert_array_equal(few.data, values[[1, 3, 5]])
    (tmp_path / "d" / "depth.json").write_text(json.dumps({"unit_m": 0.002, "rate_hz": 10}))
    clip = vlar.read_clip(tmp_path / "d")
    np.testing.assert_array_equal(clip.data, 2 * values)
    assert clip.window == Window(0.0, 0.6)


def test_depth_that_is_refused(tmp_path: Path):
    write_depth(tmp_path / "d")
    (tmp_path / "d" / "003_depth.png").write_bytes(
        (tmp_path / "d" / "003_depth.png").read_bytes()[:40]
    )
    refused(DecodeError, r"003_depth\.png is damaged", vlar.read_clip, tmp_path / "d")
    (tmp_path / "d" / "depth.json").write_text('{"unit_m": -1}')
    refused(DecodeError, "unit_m is -1", reader("depth").probe, tmp_path / "d")
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.uint16))
    refused(DecodeError, "all its distances are missing", vlar.read_clip, tmp_path / "a.npy")


def test_recordings_of_all_sensors_are_checked(tmp_path: Path):
    good = [reader(name).example(tmp_path) for name in ("skeleton", "imu", "audio")]
    (tmp_path / "broken.skeleton").write_text("3\n1\n")
    reports = list(check_recordings([*good, tmp_path / "broken.skeleton"]))
    assert [report.ok for report in reports] == [True, True, True, False]
    assert [round(report.duration_s, 1) for report in reports[:3]] == [3.0, 4.0, 3.0]
    assert "cut off" in reports[3].message


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("a1_s2_t3_skeleton.mat", "subject 2"),
        ("a01_s10_e01_v02.json", "subject 10"),
        ("S001C001P013R001A001.skeleton", "subject 13"),
        ("walk.csv", None),
        ("clips_2.csv", None),
    ],
)
def test_who_was_recorded(name: str, who: str | None):
    assert reader("skeleton").person(Path(name)) == who
    assert reader("video").person(Path(name)) is None


def test_a_list_of_files_is_not_followed_by_the_sound_reader(tmp_path: Path):
    audio = reader("audio")
    sound = audio.example(tmp_path)
    assert len(audio.read_clip(sound, None, Sampling(8)).data) == 8
    listed = tmp_path / "list.wav"
    listed.write_text(f"ffconcat version 1.0\nfile {sound.name}\n")
    with pytest.raises(DecodeError, match=r"list\.wav: its sound cannot be read"):
        audio.read_clip(listed, None, Sampling(8))


@pytest.mark.parametrize("block", [7, 64, 4_000_000])
def test_means_do_not_depend_on_the_blocks_they_are_summed_in(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(signals, "_BLOCK", block)
    chance = np.random.default_rng(3)
    data = chance.normal(size=(100, 3)).astype(np.float32)
    data[chance.random(data.shape) < 0.2] = np.nan
    data[40:50, 1] = np.nan
    found = signals.means(data, 10.0, np.arange(10) + 0.5, 1.0)
    expected = [
        [np.nan if np.isnan(column).all() else np.nanmean(column) for column in part.T]
        for part in np.split(data, 10)
    ]
    assert np.isnan(expected[4][1])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_large_recordings_are_not_kept_together() -> None:
    kept = signals._Kept()
    made: list[str] = []

    def get(name: str, n: int) -> None:
        def load() -> signals.Recorded:
            made.append(name)
            return signals.Recorded(np.zeros(n, np.float32), 1.0)

        kept.get(name, load)

    for name in "abab":
        get(name, 10)
    assert made == ["a", "b"]
    for name in "cdea":
        get(name, 10)
    assert made == [*"abcde", "a"]
    for name in "xyxxy":
        get(name, 70_000_000)
    assert made[6:] == ["x", "y", "x", "y"]
