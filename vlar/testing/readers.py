"""The contract of a reader, as a check."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import DecodeError
from vlar.media.base import Reader
from vlar.media.lookup import find, read_clip, reader, reader_for
from vlar.testing.contract import refused, registered, run
from vlar.types import Clip, Failure, Sampling, Window

SAMPLING = Sampling(4, shorter_side=64, size=(32, 48))
ALL = Sampling(4, all_samples=True)


@dataclass
class Case:
    """A reader and a recording of its sensor.

    Attributes:
        reader: The reader, as the registry makes it.
        path: The recording.
        sampling: Samples that an encoder of the sensor asks for: some, or all.
        folder: A folder for more files.
    """

    reader: Reader
    path: Path
    sampling: Sampling
    folder: Path


def check_reader(part: Any, *, recording: str | Path | None = None) -> None:
    """Try a reader on a short recording.

    Args:
        part: The reader: a class, an object, or a registered name.
        recording: A short recording of the sensor, alone in its folder; default the one that
            ``Reader.example`` writes.

    Raises:
        AssertionError: it breaks the contract of ``vlar.media.base.Reader``.
    """
    part = registry.get("reader", part) if isinstance(part, str) else part
    cls: type[Reader] = part if isinstance(part, type) else type(part)
    with registered("reader", cls.modality, cls), tempfile.TemporaryDirectory() as folder:
        source = reader(cls.modality)
        path = Path(recording) if recording is not None else example_of(source, Path(folder) / "a")
        sampling = replace(SAMPLING, all_samples=cls.gives_all)
        run("reader", cls.modality, STEPS, Case(source, path, sampling, Path(folder)))


def example_of(source: Reader, folder: Path) -> Path:
    """The recording that a reader writes, alone in a new folder.

    Raises:
        AssertionError: it writes none.
    """
    folder.mkdir()
    try:
        return source.example(folder)
    except NotImplementedError as error:
        raise AssertionError(
            f"reader {source.modality!r}: Reader.example writes a short recording, which the "
            "checks of the reader and of its encoders read; write it, or give one (recording=PATH)."
        ) from error


def _name(m: Case) -> None:
    """A reader is registered by the name of its sensor, by which encoders name their clips."""
    assert registry.get("reader", m.reader.modality) is type(m.reader)
    assert reader(m.reader.modality) is m.reader


def _claims(m: Case) -> None:
    """Recordings are claimed by their path and nothing else is, so that folders can be searched."""
    recording = m.path
    assert m.reader.claims(recording), f"{recording.name} is not claimed"
    assert not m.reader.claims(recording.with_suffix(".docx")), "a .docx is claimed"
    assert reader_for(recording) is m.reader
    assert m.reader.find([recording.parent, recording]) == [recording]
    assert find([recording.parent], m.reader.modality) == find([recording.parent]) == [recording]
    missing = recording.with_name("missing.docx")
    assert m.reader.find([missing]) == [missing]


def _clip(m: Case) -> None:
    """A clip holds its sensor, path and window, and as many samples as asked for, by time."""
    length_s = m.reader.probe(m.path).duration_s
    assert length_s > 0
    clip = m.reader.read_clip(m.path, None, m.sampling)
    assert clip.modality == m.reader.modality
    assert clip.path == m.path
    assert clip.window.start_s == 0
    assert np.isclose(clip.window.end_s, length_s), f"{clip.window} of {length_s} s"
    assert len(clip.data) == len(clip.times_s)
    assert m.reader.gives_all or len(clip.data) == SAMPLING.n_frames, f"{len(clip.data)} samples"
    assert (np.diff(clip.times_s) >= 0).all(), "times fall"
    half = Window(0.0, length_s / 2)
    assert m.reader.read_clip(m.path, half, m.sampling).window == half
    assert read_clip(m.path, half, 4).modality == m.reader.modality


def _numbers(m: Case) -> None:
    """Samples and times are finite, since an encoder sums them; only gaps (has_gaps) are NaN."""
    clip = m.reader.read_clip(m.path, None, m.sampling)
    assert np.isfinite(clip.times_s).all(), "times are NaN or infinite"
    if getattr(clip.data, "dtype", None) is not None and clip.data.dtype.kind == "f":
        finite = np.isfinite(clip.data)
        assert finite.any() if m.reader.has_gaps else finite.all(), "samples are NaN or infinite"


def _all_samples(m: Case) -> None:
    """A reader of all samples gives each once, so that neighbouring windows add up to the whole."""
    if not m.reader.gives_all:
        return
    length_s = m.reader.probe(m.path).duration_s
    whole = m.reader.read_clip(m.path, None, ALL)
    assert len(whole.data) == len(whole.times_s) > 0
    assert (np.diff(whole.times_s) >= 0).all()
    cuts = [0.0, 0.3 * length_s, 0.6 * length_s, length_s]
    spans = [Window(*pair) for pair in pairwise(cuts)]
    parts = [m.reader.read_clip(m.path, span, ALL) for span in spans]
    for part in parts:
        assert part.window.start_s <= part.times_s.min(initial=np.inf)
        assert part.times_s.max(initial=-np.inf) < part.window.end_s
    np.testing.assert_array_equal(np.concatenate([part.data for part in parts]), whole.data)
    np.testing.assert_array_equal(np.concatenate([part.times_s for part in parts]), whole.times_s)


def _windows(m: Case) -> None:
    """Many windows are read as each alone, since a batch may not change what is seen."""
    length_s = m.reader.probe(m.path).duration_s
    spans = [Window(0.0, length_s / 2), Window(length_s / 4, length_s)]
    alone = [m.reader.read_clip(m.path, span, m.sampling) for span in spans]
    for clips in (
        list(m.reader.read_windows(m.path, spans, m.sampling)),
        list(m.reader.read([(m.path, span) for span in spans], m.sampling)),
    ):
        assert [clip.window for clip in clips if isinstance(clip, Clip)] == spans
        for one, other in zip(clips, alone, strict=True):
            assert isinstance(one, Clip)
            np.testing.assert_array_equal(one.data, other.data)
    assert list(m.reader.read_windows(m.path, [], m.sampling)) == []


def _failures(m: Case) -> None:
    """Unreadable files are Failures in a batch and DecodeErrors alone, as is a window too late."""
    broken = m.folder / m.path.name
    broken.write_bytes(b"no recording")
    missing = m.folder / f"missing{m.path.suffix}"
    rows = list(m.reader.read([(broken, None), (m.path, None), (missing, None)], m.sampling))
    assert [type(row) for row in rows] == [Failure, Clip, Failure]
    assert [row.path for row in rows] == [broken, m.path, missing]
    for path in (broken, missing):
        refused(DecodeError, path.name, m.reader.read_clip, path, None, m.sampling)
        refused(DecodeError, path.name, m.reader.probe, path)
    late_s = m.reader.probe(m.path).duration_s + 100
    late = Window(late_s, late_s + 1)
    try:
        m.reader.read_clip(m.path, late, m.sampling)
    except DecodeError:
        return
    raise AssertionError("a window past the end is read; raise DecodeError")


def _blank(m: Case) -> None:
    """Blank clips are the same every time; there are none or at least 3, since 2 prove nothing."""
    first, second = m.reader.blank(m.sampling), m.reader.blank(m.sampling)
    for one, other in zip(first, second, strict=True):
        assert one.modality == m.reader.modality
        assert len(one.data) == len(one.times_s)
        np.testing.assert_array_equal(one.data, other.data)
    assert len(first) == 0 or len(first) >= 3, f"{len(first)} blank clips"


STEPS = (_name, _claims, _clip, _numbers, _all_samples, _windows, _failures, _blank)
