"""Copies, and clips inside other recordings, of planted pictures and vectors."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.videos import make_noise_video
from vlar.library.copies import NEAREST, DuplicateMember, groups
from vlar.library.discovery import nearest_rows
from vlar.library.movement import ALIKE, SIDE, Thumbnails, agreement
from vlar.library.rows import RowTable
from vlar.numeric import unit
from vlar.types import Float32, UInt8

DIM = 64
PATHS = {number: f"{number}" for number in range(1000)}
BEHIND = np.random.default_rng(7).uniform(40, 200, (SIDE, SIDE))  # one camera, for all


def film(seed: int, length_s: float) -> UInt8:
    """A bright spot that wanders before the background, ten pictures a second."""
    random = np.random.default_rng(seed)
    steps = random.normal(scale=1.5, size=(round(10 * length_s), 2))
    places = np.cumsum(steps, axis=0) + random.uniform(8, 24, 2)
    places = 4 + np.abs((places % 48) - 24)  # reflected at the edges
    rows, columns = np.mgrid[:SIDE, :SIDE]
    far = (rows - places[:, :1, None]) ** 2 + (columns - places[:, 1:, None]) ** 2
    return (BEHIND + 55 * np.exp(-far / 18)).astype(np.uint8)


def noisy(pictures: UInt8, seed: int = 0) -> UInt8:
    """A copy that lost something."""
    noise = np.random.default_rng(seed).normal(scale=2.0, size=pictures.shape)
    return np.clip(0.9 * pictures + 8 + noise, 0, 255).astype(np.uint8)


def grouped(*films: UInt8 | None, spread: float = 0.02) -> list[list[DuplicateMember]]:
    """Groups of recordings 0, 1, and so on, whose windows resemble each other at .99 or more."""
    counts = [2 if f is None else max(len(f) // 20, 1) for f in films]
    owners = np.repeat(np.arange(len(films)), counts)
    starts_s = np.concatenate([2.0 * np.arange(count) for count in counts])
    table = RowTable(np.arange(len(owners)), owners, starts_s, starts_s + 4)
    random = np.random.default_rng(0)
    vectors = unit(np.ones(DIM) + spread * random.normal(size=(len(owners), DIM)))
    return groups(table, *nearest(vectors.astype(np.float32), owners), PATHS, films.__getitem__)


def nearest(vectors: Float32, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return nearest_rows(vectors, owners, vectors, owners, NEAREST)


def ids(found: list[list[DuplicateMember]]) -> list[list[int]]:
    return [[int(member.path) for member in group] for group in found]


CLIP = film(1, 12.0)
OTHERS = [film(seed, 12.0) for seed in range(10, 18)]
HOST = np.concatenate([film(2, 42.3), CLIP[11:-6], film(3, 30.0)])


def test_a_copy_is_found_among_clips_of_one_camera_and_nothing_else():
    assert ids(grouped(CLIP, *OTHERS)) == []  # the control: vectors alike, movements not
    (group,) = grouped(CLIP, *OTHERS, noisy(CLIP[4:]))
    assert [m.path for m in group] == ["0", "9"]
    whole, trimmed = group
    assert (whole.start_s, trimmed.start_s) == pytest.approx((0.4, 0.0))
    assert whole.end_s == pytest.approx(12.0, abs=0.2)
    assert ALIKE <= whole.similarity == trimmed.similarity <= 1


def test_a_crop_is_found_by_its_size():
    edge = 2  # of 32 pixels at each side
    small = CLIP[:, edge:-edge, edge:-edge].astype(np.float64)
    at = np.linspace(0, small.shape[1] - 1, SIDE).round().astype(int)
    cropped = small[:, at][:, :, at].astype(np.uint8)
    assert agreement(CLIP, cropped).cosine > ALIKE
    assert agreement(OTHERS[0], cropped).cosine < 0.5


def test_a_clip_inside_another_recording_is_found_with_its_times():
    ((clip, host),) = grouped(CLIP, noisy(HOST), *OTHERS)
    assert (clip.path, host.path) == ("0", "1")
    assert (clip.start_s, host.start_s) == pytest.approx((1.1, 42.3), abs=0.25)
    assert (clip.end_s, host.end_s) == pytest.approx((11.4, 52.6), abs=0.35)


def test_a_recording_that_holds_two_clips_joins_neither_to_the_other():
    other = film(4, 11.0)
    host = np.concatenate([CLIP[7:], film(5, 20.3), other[9:]])
    assert ids(grouped(CLIP, other, host, *OTHERS)) == [[0, 2], [1, 2]]
    host = np.concatenate([film(6, 15.0), other])
    assert ids(grouped(CLIP, other, host, noisy(other), *OTHERS)) == [[1, 2, 3]]


def test_where_nothing_moves_nothing_is_joined():
    still = np.broadcast_to(BEHIND.astype(np.uint8), (80, SIDE, SIDE))
    assert ids(grouped(still, still.copy(), noisy(still), noisy(still, 1))) == []


def test_without_pictures_windows_of_a_cosine_decide():
    assert ids(grouped(None, None, spread=0.01)) == [[0, 1]]
    assert ids(grouped(None, CLIP, spread=0.01)) == [[0, 1]]
    assert ids(grouped(None, None, spread=0.3)) == []
    assert grouped(CLIP) == []


def test_pictures_of_files_are_read_once_and_none_of_what_is_not_a_video(tmp_path: Path):
    make_noise_video(tmp_path / "a.mp4", 50, fps=25)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    read = Thumbnails({1: str(tmp_path / "a.mp4"), 2: str(tmp_path / "b.mp4"), 3: "/no/such.mp4"})
    pictures = read[1]
    assert pictures is not None
    assert pictures.shape[1:] == (SIDE, SIDE)
    assert 19 <= len(pictures) <= 21
    assert read[1] is pictures
    assert read[2] is read[3] is None


@pytest.mark.slow
def test_many_rows_take_time_by_their_pairs_alone():
    random = np.random.default_rng(0)
    nothing: Callable[[int], UInt8 | None] = lambda _: None  # noqa: E731

    def seconds(count: int) -> float:
        vectors = unit(random.normal(size=(count, DIM))).astype(np.float32)
        starts_s = np.tile(2.0 * np.arange(20), count // 20)
        owners = np.repeat(np.arange(count // 20), 20)
        table = RowTable(np.arange(count), owners, starts_s, starts_s + 4)
        began = time.process_time()
        assert groups(table, *nearest(vectors, owners), PATHS, nothing) == []
        return time.process_time() - began

    seconds(2_000)
    assert seconds(20_000) < 150 * max(seconds(2_000), 0.05)
