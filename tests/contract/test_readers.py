"""What every registered reader must keep to.

``Reader.example`` writes a short recording of the sensor, so that this file needs no list of them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from vlar import registry
from vlar.errors import DecodeError
from vlar.media.base import Reader
from vlar.media.lookup import find, read_clip, reader, reader_for
from vlar.types import Clip, Failure, Sampling, Window

SAMPLING = Sampling(4, shorter_side=64, size=(32, 48))
ALL = Sampling(4, all_samples=True)


@pytest.fixture(scope="module", params=registry.names("reader"))
def each(request: pytest.FixtureRequest) -> Reader:
    return reader(request.param)


@pytest.fixture(scope="module")
def recording(each: Reader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return each.example(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def sampling(each: Reader) -> Sampling:
    """What an encoder of the sensor asks for: a number of samples, or all."""
    return replace(SAMPLING, all_samples=each.gives_all)


def test_it_is_known_by_its_sensor(each: Reader) -> None:
    assert registry.get("reader", each.modality) is type(each)
    assert reader(each.modality) is each


def test_it_claims_its_recordings_and_finds_them(each: Reader, recording: Path) -> None:
    assert each.claims(recording)
    assert not each.claims(recording.with_suffix(".docx"))
    assert reader_for(recording) is each
    assert each.find([recording.parent, recording]) == [recording]
    assert find([recording.parent], each.modality) == find([recording.parent]) == [recording]
    missing = recording.with_name("missing.docx")
    assert each.find([missing]) == [missing]


def test_a_clip_holds_what_was_asked_for(each: Reader, recording: Path, sampling: Sampling) -> None:
    length_s = each.probe(recording).duration_s
    assert length_s > 0
    clip = each.read_clip(recording, None, sampling)
    assert clip.modality == each.modality
    assert clip.path == recording
    assert clip.window == Window(0.0, pytest.approx(length_s))
    assert len(clip.data) == len(clip.times_s)
    assert each.gives_all or len(clip.data) == SAMPLING.n_frames
    assert (np.diff(clip.times_s) >= 0).all()
    half = Window(0.0, length_s / 2)
    assert each.read_clip(recording, half, sampling).window == half
    assert read_clip(recording, half, 4).modality == each.modality


def test_a_reader_of_all_samples_gives_each_once(each: Reader, recording: Path):
    if not each.gives_all:
        return
    length_s = each.probe(recording).duration_s
    whole = each.read_clip(recording, None, ALL)
    assert len(whole.data) == len(whole.times_s) > 0
    assert (np.diff(whole.times_s) >= 0).all()
    cuts = [0.0, 0.3 * length_s, 0.6 * length_s, length_s]
    spans = [Window(*pair) for pair in pairwise(cuts)]
    parts = [each.read_clip(recording, span, ALL) for span in spans]
    for part in parts:
        assert part.window.start_s <= part.times_s.min(initial=np.inf)
        assert part.times_s.max(initial=-np.inf) < part.window.end_s
    np.testing.assert_array_equal(np.concatenate([part.data for part in parts]), whole.data)
    np.testing.assert_array_equal(np.concatenate([part.times_s for part in parts]), whole.times_s)


def test_many_windows_are_read_as_each_alone(
    each: Reader, recording: Path, sampling: Sampling
) -> None:
    length_s = each.probe(recording).duration_s
    spans = [Window(0.0, length_s / 2), Window(length_s / 4, length_s)]
    alone = [each.read_clip(recording, span, sampling) for span in spans]
    for found in (
        list(each.read_windows(recording, spans, sampling)),
        list(each.read([(recording, span) for span in spans], sampling)),
    ):
        assert [clip.window for clip in found if isinstance(clip, Clip)] == spans
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_array_equal(one.data, other.data)
    assert list(each.read_windows(recording, [], sampling)) == []


def test_what_cannot_be_read_is_a_value_in_its_place(
    each: Reader, recording: Path, sampling: Sampling, tmp_path: Path
) -> None:
    broken = tmp_path / recording.name
    broken.write_bytes(b"no recording")
    missing = tmp_path / f"missing{recording.suffix}"
    found = list(each.read([(broken, None), (recording, None), (missing, None)], sampling))
    assert [type(one) for one in found] == [Failure, Clip, Failure]
    assert [one.path for one in found] == [broken, recording, missing]
    for path in (broken, missing):
        refused(DecodeError, path.name, each.read_clip, path, None, sampling)
        refused(DecodeError, path.name, each.probe, path)
    after_s = each.probe(recording).duration_s + 100
    refused(DecodeError, "", each.read_clip, recording, Window(after_s, after_s + 1), sampling)


def test_blank_clips_are_the_same_every_time(each: Reader, sampling: Sampling) -> None:
    first, second = each.blank(sampling), each.blank(sampling)
    for one, other in zip(first, second, strict=True):
        assert one.modality == each.modality
        assert len(one.data) == len(one.times_s)
        np.testing.assert_array_equal(one.data, other.data)
    assert len(first) == 0 or len(first) >= 3  # fewer cannot be told from chance
