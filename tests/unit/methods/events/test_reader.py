"""The reader of events: formats by their content, windows, sizes, thinning, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests import event_files
from tests.refusals import refused
from vlar.errors import DecodeError
from vlar.media.lookup import read_clip, reader
from vlar.methods.events import recording
from vlar.methods.events.reader import EventReader
from vlar.methods.events.representations import EVENT
from vlar.types import Sampling, Window

ALL = Sampling(4, all_samples=True)


def read(path: Path, window: Window | None = None, **how):
    return EventReader(**how).read_clip(path, window, ALL)


def test_files_of_five_bytes_an_event(tmp_path: Path):
    events = event_files.made()
    path = event_files.write(tmp_path / "a.bs2", event_files.nmnist(events))
    clip = read_clip(path)
    np.testing.assert_array_equal(clip.data, events)
    assert clip.data.dtype == EVENT
    np.testing.assert_allclose(clip.times_s, events["t"] * 1e-6)
    assert clip.lost == 0
    assert (clip.meta["size"], clip.meta["format"]) == ((34, 34), "nmnist")
    assert clip.meta["assumed"] == ("size",)
    assert clip.window == Window(0, pytest.approx(0.300001))


@pytest.mark.parametrize("name", ["a.npy", "a.raw", "a"])
def test_arrays_of_numpy_by_their_content(tmp_path: Path, name: str):
    events = event_files.made(size=(200, 300))
    other = np.zeros(len(events), [("ts", "<i4"), ("y", "<u2"), ("x", "<i2"), ("on", "<i1")])
    other["ts"], other["on"] = events["t"] + 77, 2 * events["p"].astype(int) - 1
    other["x"], other["y"] = events["x"], events["y"]
    np.testing.assert_array_equal(read(event_files.write(tmp_path / name, other)).data, events)
    clip = read(tmp_path / name)
    assert (clip.meta["format"], clip.meta["start_us"]) == ("npy", 77)
    assert clip.meta["assumed"] == ("unit of time", "size")


def test_archives_of_numpy_state_size_and_origin(tmp_path: Path):
    events = event_files.made()
    columns = {name: events[name] for name in "xyp"}
    path = event_files.write(
        tmp_path / "a.npz", {**columns, "t": events["t"] * 1e-6, "size": np.array([60, 80])}
    )
    clip = read(path)
    np.testing.assert_array_equal(clip.data, events)
    assert clip.meta["size"] == (60, 80)
    assert "synthetic" not in clip.meta
    path = event_files.write(tmp_path / "b.npz", {"events": events, "synthetic": np.array(True)})
    assert read(path).meta["synthetic"] is True


def test_times_of_arrays_are_sorted(tmp_path: Path):
    events = event_files.made()
    order = np.random.default_rng(2).permutation(len(events))
    path = event_files.write(tmp_path / "a.npy", events[order])
    clip = read(path)
    np.testing.assert_array_equal(clip.data["t"], events["t"])
    half = read(path, Window(0.1, 0.2))
    assert len(half.data) == ((events["t"] >= 100_000) & (events["t"] < 200_000)).sum()


def test_a_size_is_given_by_argument_or_next_to_the_file(tmp_path: Path):
    path = event_files.write(tmp_path / "a.bin", event_files.nmnist(event_files.made()))
    assert read(path, size=(50, 70)).meta["size"] == (50, 70)
    assert "size" not in read(path, size=(50, 70)).meta["assumed"]
    (tmp_path / "events.json").write_text('{"size": [40, 60]}')
    assert read(event_files.write(tmp_path / "b.bin", path.read_bytes())).meta["size"] == (40, 60)


def test_a_clock_of_23_bits_wraps(tmp_path: Path):
    events = event_files.made(length_us=20_000_000)
    path = event_files.write(tmp_path / "a.bin", event_files.nmnist(events))
    np.testing.assert_array_equal(read(path).data, events)


def test_pieces_and_windows_give_each_event_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recording, "PIECE_BYTES", 137)
    events = event_files.made(2000, length_us=12_000_000)
    path = event_files.write(tmp_path / "a.bin", event_files.nmnist(events))
    np.testing.assert_array_equal(read(path).data, events)
    edges = np.linspace(0, 12.000001, 9)
    parts = [read(path, Window(*pair)).data for pair in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), events)


@pytest.mark.parametrize("piece", [200, 1 << 20])
def test_too_many_events_are_thinned_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
):
    monkeypatch.setattr(recording, "MOST_EVENTS", 300)
    monkeypatch.setattr(recording, "PIECE_BYTES", piece)
    events = event_files.made(1000)
    path = event_files.write(tmp_path / "a.bin", event_files.nmnist(events))
    clip = read(path)
    assert len(clip.data) == len(clip.times_s) == 300
    assert clip.lost == pytest.approx(0.7)
    assert clip.meta["kept"] == pytest.approx(0.3)
    ranks = np.searchsorted(events["t"], clip.data["t"])
    assert np.diff(ranks).max() <= 6
    assert np.isin(clip.data, events).all()
    assert "kept" not in read(path, Window(0, 0.05)).meta


def test_a_cut_file_is_read_to_its_last_whole_event(tmp_path: Path):
    events = event_files.made()
    path = event_files.write(tmp_path / "a.bin", event_files.nmnist(events)[:-3])
    clip = read(path)
    np.testing.assert_array_equal(clip.data, events[:-1])
    assert clip.lost == pytest.approx(1 / 500)
    assert read(path, Window(0, 0.1)).lost == 0
    event_files.write(tmp_path / "b.npy", events)
    data = (tmp_path / "b.npy").read_bytes()
    clip = read(event_files.write(tmp_path / "c.npy", data[: -20 * EVENT.itemsize]))
    assert len(clip.data) == 480
    assert clip.lost == pytest.approx(20 / 500)


def test_people_are_known_by_the_names_of_data_sets():
    person = reader("events").person
    assert person(Path("C12P3M0S1_20231111_09_56_18.aedat4")) == "subject 3"
    assert person(Path("user07_led.aedat")) == "subject 7"
    assert person(Path("recording.bin")) is None


def unsorted() -> np.ndarray:
    events = event_files.made()
    events["t"][200:400] = events["t"][200:400][::-1]
    return events


def at(field: str, value: int) -> np.ndarray:
    events = event_files.made().astype([("x", "<i4"), ("y", "<i4"), ("t", "<i8"), ("p", "<i1")])
    events[field][7] = value
    return events


REFUSED = {
    "times that fall": ("a.bin", event_files.nmnist(unsorted()), "first bytes|times fall"),
    "no event": ("a.npy", event_files.made()[:0], "no event"),
    "one pixel": ("a.npy", np.ones(30, EVENT), "one pixel, x = 1, y = 1"),
    "empty file": ("a.bin", b"", "first bytes"),
    "beyond every sensor": ("a.npy", at("x", 4000), "x = 4000.*events.json"),
    "a negative place": ("a.npy", at("y", -1), "y are not all from 0"),
    "no time": ("a.npy", at("t", 1 << 62), "times are not all"),
    "two dimensions": ("a.npy", event_files.made().reshape(2, 250), "one-dimensional"),
    "arrays of other lengths": (
        "a.npz", {"x": np.ones(3), "y": np.ones(3), "t": np.ones(2), "p": np.ones(3)}, "equally",
    ),
    "a cut archive": ("a.npz", b"PK\3\4" + bytes(90), "archive"),
    "an archive of others": ("a.npz", {"x_train": np.ones(3)}, "first bytes"),
    "text": ("a.bin", b"no recording of events, only a text\n" * 9, "first bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path: Path, name: str):
    file, content, says = REFUSED[name]
    error = refused(DecodeError, says, read, event_files.write(tmp_path / file, content))
    assert "\n" not in error.value.message


def test_sizes_that_do_not_hold_the_events_are_refused(tmp_path: Path):
    path = event_files.write(tmp_path / "a.bin", event_files.nmnist(event_files.made()))
    refused(DecodeError, r"beyond the size \(H, W\) = \(20, 34\)", read, path, size=(20, 34))
    (tmp_path / "events.json").write_text('{"size": [40]}')
    refused(DecodeError, "two whole numbers", read, path)
