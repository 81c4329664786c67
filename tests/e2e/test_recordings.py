"""Streams, timelines, shots and other sensors through the real command."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests import skeletons, videos
from tests.contract.test_second_sensor import CHECKOUT, RATE, package  # noqa: F401 - a fixture
from tests.e2e.conftest import run_vlar
from tests.unit.media import planted_shots as planted
from tests.unit.plugins.streams.test_streams import served
from vlar.media.lookup import reader

from .conftest import COMMAND


def test_a_dead_camera_is_one_line(vlar_command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"rtsp://me:secret@127.0.0.1:{taken.getsockname()[1]}/1"
        done = vlar_command(
            "classify", address, "-l", "walking, running", "--every", "2s", "--json"
        )
    assert done.code == 2
    assert done.out == ""
    assert "cannot be opened" in done.advice
    assert "secret" not in done.err


def test_a_stream_is_answered_until_it_is_stopped(vlar_command, tmp_path: Path):
    body = videos.make_video(tmp_path / "a.ts", 200, gop=5).read_bytes()
    # Four times as fast as a camera: at full speed it would be decoded while the model is loaded.
    with served(body, pace_s=0.1) as address:
        command = [str(COMMAND), "classify", address, "-l", "walking, running", "--json"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            rows = []
            while len(rows) < 2:
                row = json.loads(process.stdout.readline())
                rows += [row] if "predictions" in row else []
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert all(row["path"] == address and row["at"] for row in rows)
    assert rows[1]["start_s"] >= rows[0]["end_s"]


def test_a_folder_is_watched(vlar_command, sparse_clips: dict[str, Path], tmp_path: Path):
    (tmp_path / "in").mkdir()
    shutil.copy(next(iter(sparse_clips.values())), tmp_path / "in")
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    watch = ("watch", tmp_path / "in", "--library", tmp_path / "l.vlar", "--settle", "100ms")
    done = vlar_command(*watch, "--once", "--json")
    assert done.code == 1
    assert [row["status"] for row in done.rows if "status" in row] == ["added"]
    assert "broken.mp4" in done.err


STAYS = [(2.0, 4), (9.0, 3), (2.0, 3), (9.0, 4), (9.0, 0), (2.0, 3)]

NAMES = {2.0: "slow beat", 9.0: "fast beat"}


@pytest.fixture
def work(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """Slow and fast beats, one after the other, and the package that reads them."""
    places = [str(package), str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    waves = [np.sin(2 * np.pi * hertz * np.arange(s * RATE) / RATE) for hertz, s in STAYS]
    path = tmp_path / "work.npy"
    np.save(path, np.concatenate(waves).astype(np.float32))
    return path


def test_segments_and_figures(work: Path, tmp_path: Path):
    broken = work.with_name("broken.npy")
    broken.write_bytes(b"nothing")
    found = run_vlar(
        "timeline", work, broken, "-m", "sine", "-l", "slow beat, fast beat", "--every", "125ms",
        "--window", "1s", "--order", "slow beat, fast beat", "--kpi", "--json",
        "--out", tmp_path / "t.csv",
    )  # fmt: skip
    assert found.code == 1
    assert "broken.npy: not a signal" in found.err
    segments = [row for row in found.rows if "label" in row]
    expected = [(NAMES[hertz], s) for hertz, s in STAYS if s]
    assert [row["label"] for row in segments] == [name for name, _ in expected]
    ends = np.cumsum([seconds for _, seconds in expected])
    assert np.abs(np.array([row["end_s"] for row in segments]) - ends).max() <= 0.25
    (kpi,) = (row["kpi"] for row in found.rows if "kpi" in row)
    assert (kpi["cycles"], kpi["complete_cycles"], kpi["order_violations"]) == (3, 2, 0)
    with (tmp_path / "t.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == [name for name, _ in expected]


def test_plain_lines_as_they_come(work: Path):
    found = run_vlar(
        "timeline", work, "-m", "sine", "-l", "slow beat, fast beat", "--every", "250ms",
        "--window", "1s", "--online", "--delay", "2s", "--kpi", "--order", "fast beat, slow beat",
    )  # fmt: skip
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[0].partition(",")[0] in NAMES.values()  # the answer first, then its file
    assert f" %  {work}  0:00.0 to 0:0" in lines[0]
    assert sum("slow beat, " in line for line in lines) == 3
    assert "cycles: 2 complete of 3" in found.out
    assert "slow beat where fast beat was due (skipped)" in found.out


def test_what_cannot_be_used_costs_one_line(work: Path):
    common = ("timeline", work, "-m", "sine", "-l", "slow beat, fast beat")
    for arguments, advice in (
        (("--kpi", "--order", "slow beat, fist beat"), "fast beat"),
        (("--delay", "1s"), "--online"),
        (("--order", "slow beat"), "--kpi"),
    ):
        found = run_vlar(*common, *arguments)
        assert found.code == 2
        assert advice in found.err
        assert "Traceback" not in found.err


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    planted.install()
    return planted.film(tmp_path / "film.mkv", [("red", 12), ("green", 18)])


def test_shots_of_a_film(film: Path, tmp_path: Path):
    plain = run_vlar("shots", film)
    spans = [f"{film}  0.000 to 1.200 s", f"{film}  1.200 to 3.000 s"]
    assert (plain.code, plain.out.splitlines()) == (0, spans)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    both = run_vlar("shots", film, broken, "--json")
    assert both.code == 1
    assert [row.get("shot") for row in both.rows if "shot" in row] == [1, 2]
    assert [row for row in both.rows if "error" in row]
    assert [row["start_s"] for row in both.rows if "shot" in row] == [0.0, 1.2]


def test_bad_input_costs_one_line(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    alone = run_vlar("shots", broken)
    assert alone.code == 2
    assert "broken.mp4: not a readable video" in alone.err
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "empty"))
    absent = run_vlar("shots", film)
    assert absent.code == 2
    assert "vlar models get shots" in absent.advice
    for spec, advice in (("lite+", "empty part"), ("lite+lite", "twice"), ("lite+mot", "motion")):
        found = run_vlar("classify", film, "--labels", "a,b", "--model", spec)
        assert found.code == 2
        assert advice in found.advice


LABELS = "wave one hand, squat down, walk"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels, three files each, of subjects that the names tell."""
    folder = tmp_path_factory.mktemp("skeletons")
    for label, wave in (("wave one hand", True), ("squat down", False)):
        place = folder / label
        place.mkdir()
        for subject in range(3):
            file = place / f"a01_s{subject + 1:02}_e01.json"
            skeletons.write_ucla(file, wave, frames=60 + 8 * subject)
    return folder


def test_a_skeleton_file_answers_words_at_once(recordings: Path, tmp_path: Path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"skeletons": [[[1, 2]]]}')
    other = reader("imu").example(tmp_path)
    wave = recordings / "wave one hand" / "a01_s01_e01.json"
    done = run_vlar(
        "classify", wave, broken, other, "--labels", LABELS, "--model", "skeleton", "--json"
    )
    assert done.code == 1
    answer, bad, wrong = done.rows
    assert answer["predictions"][0]["label"] == "wave one hand"
    keys = "path start_s end_s model calibrated predictions unknown unknown_probability lost"
    assert list(answer) == keys.split()
    assert "not (T, 20, 3)" in bad["error"]["message"]
    assert "not a readable skeleton file" in wrong["error"]["message"]


def test_examples_and_a_library_of_skeletons(recordings: Path, tmp_path: Path):
    table = tmp_path / "rows.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        for path in sorted(recordings.rglob("*.json")):
            writer.writerow((path, path.parent.name))
    mine, library = tmp_path / "mine", tmp_path / "l.vlar"
    made = run_vlar("adapt", table, "--model", "skeleton", "--out", mine)
    assert made.code == 0, made.err
    squat = recordings / "squat down" / "a01_s02_e01.json"
    (row,) = run_vlar("classify", squat, "--model", mine, "--json").rows
    assert (row["predictions"][0]["label"], row["unknown"]) == ("squat down", False)

    added = run_vlar("index", "add", library, recordings, "--model", "skeleton")
    assert added.code == 0, added.err
    hits = run_vlar("query", library, "someone waves a hand", "-k", 3, "--json").rows
    assert {Path(hit["path"]).parent.name for hit in hits} == {"wave one hand"}
    again = shutil.copy(squat, tmp_path / "again.json")
    hits = run_vlar("query", library, f'LIKE "{again}"', "-k", 1, "--json").rows
    assert {Path(hit["path"]).parent.name for hit in hits} == {"squat down"}


def test_all_sensors_are_checked_and_many_recordings_split(tmp_path: Path):
    for name in ("imu", "audio", "depth"):
        reader(name).example(tmp_path)
    (tmp_path / "cut.skeleton").write_text("5\n1\n")
    done = run_vlar("check", tmp_path)
    assert done.code == 1
    assert "3 of 4 recordings are fine" in done.out
    assert "cut off" in done.out
    skeletons.write_pyskl(tmp_path / "many.pkl", count=3)
    split = run_vlar("pose", tmp_path / "many.pkl", "--skeletons", tmp_path / "split")
    assert split.code == 0, split.err
    assert len(list((tmp_path / "split").glob("*.npz"))) == 3
