"""Copies, and clips inside other recordings, of planted vectors."""

from __future__ import annotations

import time

import numpy as np
import pytest

from vlar.library.copies import Matched, groups
from vlar.library.rows import RowTable
from vlar.numeric import unit
from vlar.types import Float32

DIM, WINDOW_S, STRIDE_S = 64, 4.0, 2.0


def scene(seed: int, length_s: float, place: int = 0) -> Float32:
    """What a camera shows of a place, as (T, D) each tenth of a second."""
    seconds = np.random.default_rng(seed).normal(size=(int(length_s) + 2, DIM)) * 1.25
    at_s = np.arange(round(10 * length_s)) / 10
    whole, share = at_s.astype(int), (at_s % 1)[:, None]
    behind = np.random.default_rng(1000 + place).normal(size=DIM)
    return (behind + (1 - share) * seconds[whole] + share * seconds[whole + 1]).astype(np.float32)


def windows(frames: Float32) -> tuple[Float32, np.ndarray]:
    """Vectors (N, D) of windows, the means of their frames, and starts (N,)."""
    last_s = max(len(frames) / 10 - WINDOW_S, 0.0)
    starts_s = np.append(np.arange(0, last_s, STRIDE_S), last_s)
    means = [frames[round(10 * s) : round(10 * (s + WINDOW_S))].mean(axis=0) for s in starts_s]
    return unit(np.stack(means)).astype(np.float32), starts_s


def table(*recordings: Float32) -> tuple[RowTable, Float32]:
    """Rows of recordings 0, 1, and so on."""
    parts = [windows(frames) for frames in recordings]
    owners = np.repeat(np.arange(len(parts)), [len(starts_s) for _, starts_s in parts])
    starts_s = np.concatenate([starts_s for _, starts_s in parts])
    rows = RowTable(np.arange(len(owners)), owners, starts_s, starts_s + WINDOW_S)
    return rows, np.concatenate([vectors for vectors, _ in parts])


CLIP = scene(1, 13.0)
OTHERS = [scene(seed, 14.0, place=seed) for seed in range(10, 18)]
# Two minutes; from 42.3 s on, the clip without its first 1.1 and last .6 seconds.
HOST = np.concatenate([scene(2, 42.3, place=2), CLIP[11:-6], scene(3, 60.0, place=3)])


def ids(found: list[list[Matched]]) -> list[list[int]]:
    return [[matched.video_id for matched in group] for group in found]


def test_a_clip_inside_another_recording_is_found_with_its_times():
    found = groups(*table(CLIP, HOST, *OTHERS))
    assert ids(found) == [[0, 1]]
    clip, host = found[0]
    lag_s = 42.3 - 1.1
    assert host.start_s - clip.start_s == pytest.approx(lag_s, abs=STRIDE_S / 2)
    assert (clip.start_s, clip.end_s) == pytest.approx((1.1, 12.4), abs=STRIDE_S)
    assert (host.start_s, host.end_s) == pytest.approx((42.3, 53.6), abs=STRIDE_S)
    assert clip.similarity >= 0.9
    assert groups(*table(CLIP, HOST, *OTHERS), 0.99) == []  # its windows are no copies


def test_other_takes_of_one_place_are_not_joined():
    takes = [scene(seed, 14.0) for seed in range(30, 38)]  # of the place of the clip
    longer = np.concatenate([scene(2, 20.0, place=2), scene(39, 14.0), scene(3, 20.0, place=3)])
    rows, vectors = table(CLIP, longer, *takes)
    first = vectors[rows.video_ids == 0] @ vectors[rows.video_ids > 1].T
    assert first.max() > 0.75  # they do look alike
    assert groups(rows, vectors) == []


def test_a_recording_that_holds_two_clips_joins_neither_to_the_other():
    other = scene(4, 11.0, place=4)
    host = np.concatenate([CLIP[7:], scene(5, 20.3, place=5), other[9:]])
    assert sorted(ids(groups(*table(CLIP, other, host, *OTHERS)))) == [[0, 2], [1, 2]]


def test_what_holds_a_clip_joins_its_copies():
    found = groups(*table(CLIP, HOST, CLIP.copy(), *OTHERS))
    assert ids(found) == [[0, 1, 2]]


def test_blocks_and_the_order_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch):
    rows, vectors = table(CLIP, HOST, CLIP.copy(), *OTHERS)
    whole = groups(rows, vectors)
    order = np.random.default_rng(0).permutation(len(rows))
    assert ids(groups(rows.where(order), vectors[order])) == ids(whole)
    monkeypatch.setattr("vlar.library.copies._BLOCK", 7)
    monkeypatch.setattr("vlar.library.copies._BLOCK_FIGURES", 33)
    assert ids(groups(rows, vectors)) == ids(whole)
    assert groups(*table(CLIP)) == []


def test_one_window_and_windows_of_no_step_are_no_fault():
    rows, vectors = table(CLIP[:30], CLIP[:35], *OTHERS)
    groups(rows, vectors)
    same = RowTable(rows.ids, rows.video_ids, rows.starts_s * 0, rows.ends_s * 0 + 4)
    groups(same, vectors)


@pytest.mark.slow
def test_many_rows_take_time_by_their_pairs_alone():
    random = np.random.default_rng(0)

    def seconds(count: int) -> float:
        vectors = unit(random.normal(size=(count, DIM))).astype(np.float32)
        starts_s = np.tile(2.0 * np.arange(20), count // 20)
        rows = RowTable(np.arange(count), np.arange(count) // 20, starts_s, starts_s + 4)
        begin = time.process_time()
        groups(rows, vectors)
        return time.process_time() - begin

    assert seconds(10_000) < 30 * max(seconds(2_500), 0.2)  # 16 times the pairs
