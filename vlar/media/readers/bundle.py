"""The reader ``bundle``: recordings of several sensors as one, on the clock of the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vlar import registry
from vlar.errors import DecodeError, VlarError
from vlar.media.base import Reader
from vlar.media.bundle import (
    ENDING,
    FAILED,
    BundlePart,
    bundle_parts,
    is_bundle,
    write_bundle,
)
from vlar.media.lookup import find, reader, reader_for
from vlar.registry import register
from vlar.types import Clip, Failure, Sampling, Window

_LEAST_S = 1e-6


@dataclass(frozen=True)
class BundleInfo:
    """Facts of a bundle.

    Attributes:
        path: The file.
        duration_s: End of the common span in seconds, on the clock of the first part.
        start_s: Begin of that span.
        spans: Span of each part that can be read, on that clock.
        lengths: Seconds of each of them, on its own clock.
        failed: Message of each part that cannot.
    """

    path: Path
    duration_s: float
    start_s: float
    spans: Mapping[str, Window]
    lengths: Mapping[str, float]
    failed: Mapping[str, str] = field(default_factory=dict[str, str])


@register("reader", "bundle")
class BundleReader(Reader):
    """Clips with ``Clip.parts``, a clip of each sensor; the samples are those of the first part.

    The whole bundle is the common span of its parts. A window holds the parts that were recorded
    in it, cut to their common span. Each part is sampled by itself (``Sampling.sensors``); only
    the sensors named there are read. A plain recording of another sensor is a bundle of one part.
    A part that cannot be read is left out and named in ``Clip.meta["failed"]``.
    """

    modality = "bundle"
    endings = frozenset({ENDING})
    isolate = True

    def parts(self, path: Path) -> dict[str, BundlePart]:
        """The parts of a bundle by sensor; a plain recording is its own part.

        Raises:
            DecodeError: it is not a readable bundle, or it names a sensor that no reader reads.
        """
        if not is_bundle(path):
            return {reader_for(path).modality: BundlePart(path)}
        parts = bundle_parts(path)
        names = [name for name in registry.names("reader") if name != self.modality]
        wrong = next((name for name in parts if name not in names), None)
        if wrong is not None:
            raise DecodeError(f"{path}: {wrong!r} is not a sensor; use {', '.join(names)}")
        return parts

    def claims(self, path: Path) -> bool:
        """A file by its name."""
        return is_bundle(path)

    def find(self, paths: Sequence[str | Path]) -> list[Path]:
        """The bundles; where a path holds none, its recordings of any sensor."""
        found_by_reader = (super(BundleReader, self).find([path]) or find([path]) for path in paths)
        return list(
            dict.fromkeys(recordings for several in found_by_reader for recordings in several)
        )

    def probe(self, path: Path) -> BundleInfo:
        """Facts of a bundle; each part is probed.

        Raises:
            DecodeError: no part can be read, or the parts have no common span.
        """
        return _info(path, self.parts(path))

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        (clip,) = _clips(path, self.parts(path), [window], sampling)
        if isinstance(clip, Failure):
            raise DecodeError(clip.message)
        return clip

    def read_windows(
        self, path: Path, windows: Sequence[Window], sampling: Sampling
    ) -> Iterator[Clip | Failure]:
        """Each part is read in one pass."""
        try:
            yield from _clips(path, self.parts(path), windows, sampling)
        except VlarError as error:
            yield from [Failure(path, error.kind, error.message)] * len(windows)

    def every_sample(self, path: Path, window: Window | None) -> Sampling:
        """Sampling of each part as its own reader gives it."""
        rows = [
            (sensor, reader(sensor).every_sample(part.path, window))
            for sensor, part in self.parts(path).items()
        ]
        return replace(rows[0][1], sensors=tuple(rows))

    def person(self, path: Path) -> str | None:
        """The person of the first part that names one."""
        try:
            parts = self.parts(path)
        except DecodeError:
            return None
        names = (reader(sensor).person(part.path) for sensor, part in parts.items())
        return next((name for name in names if name), None)

    def blank(self, sampling: Sampling) -> list[Clip]:
        """Clips in which every sensor shows nothing; none where a sensor has no such clip."""
        rows = [reader(sensor).blank(part_sampling) for sensor, part_sampling in sampling.sensors]
        parts = zip(*rows, strict=False)
        return [_bundled(Path("blank"), {c.modality: c for c in clips}, {}) for clips in parts]

    def example(self, folder: Path) -> Path:
        """Joints, and the IMU of the other wrist; their files lie in a hidden folder."""
        hidden = folder / ".parts"
        hidden.mkdir(exist_ok=True)
        parts = {name: BundlePart(reader(name).example(hidden)) for name in ("skeleton", "imu")}
        return write_bundle(folder / f"example{ENDING}", parts)


class HeldBundle(BundleReader):
    """Reads recordings that no bundle file lists, under the path of one of them.

    Args:
        parts: By sensor, the one whose clock counts first.
    """

    isolate = False

    def __init__(self, parts: Mapping[str, BundlePart]) -> None:
        self._held = dict(parts)

    def parts(self, path: Path) -> dict[str, BundlePart]:
        return self._held


def _clips(
    path: Path,
    listed: Mapping[str, BundlePart],
    windows: Sequence[Window | None],
    sampling: Sampling,
) -> Iterator[Clip | Failure]:
    samplings = dict(sampling.sensors)
    parts = {name: part for name, part in listed.items() if not samplings or name in samplings}
    if not parts:
        raise DecodeError(
            f"{path}: it holds {' and '.join(listed)}, and the model reads "
            f"{' and '.join(samplings)}; choose a model of its sensors"
        )
    info = _info(path, listed, tuple(parts))
    spans = [_cut(info, window) for window in windows]
    streams = {
        name: _stream(name, parts[name], info, spans, samplings.get(name, sampling))
        for name in info.spans
    }
    for window, span in zip(windows, spans, strict=True):
        got = {name: next(streams[name]) for name in _inside(info, span)} if span else {}
        failed = {**info.failed}
        failed |= {n: one.message for n, one in got.items() if isinstance(one, Failure)}
        clips = {name: one for name, one in got.items() if isinstance(one, Clip)}
        if clips:
            clip = _bundled(path, clips, failed)
            yield replace(clip, window=span) if span else clip
            continue
        start_s = window.start_s if window else 0.0
        message = next(iter(failed.values()), None) or (
            f"{path}: nothing was recorded from {start_s:g} s on; its parts end at "
            f"{info.duration_s:g} s: give an earlier start"
        )
        yield Failure(path, "decode", message)


def _info(
    path: Path, parts: Mapping[str, BundlePart], wanted: Sequence[str] | None = None
) -> BundleInfo:
    """Facts of the parts that are wanted, None for all; the first one is the clock of all."""
    lengths: dict[str, float] = {}
    failed: dict[str, str] = {}
    by_share = [name for name, part in parts.items() if part.by_share]
    clock = next(iter(parts))
    for name, part in parts.items():
        if wanted is None or name in wanted or (name == clock and by_share):
            try:
                lengths[name] = reader(name).probe(part.path).duration_s
            except VlarError as error:
                failed[name] = f"{path}: its part {name} cannot be read: {error.message}"
    if not lengths.keys() & (wanted or lengths.keys()):
        raise DecodeError(next(iter(failed.values())))
    whole_s = lengths.get(clock, next(iter(lengths.values())))
    spans = {
        name: Window(0.0, whole_s)
        if parts[name].by_share
        else Window(parts[name].offset_s, parts[name].offset_s + length_s)
        for name, length_s in lengths.items()
        if wanted is None or name in wanted
    }
    begin_s = max(span.start_s for span in spans.values())
    end_s = min(span.end_s for span in spans.values())
    if len(spans) > 1 and not end_s - begin_s > _LEAST_S:
        stated = ", ".join(f"{n} {s.start_s:g} to {s.end_s:g} s" for n, s in spans.items())
        raise DecodeError(
            f"{path}: its parts have no common span ({stated}, on the clock of {clock}); correct "
            "offset_s"
        )
    return BundleInfo(path, end_s, begin_s, spans, lengths, failed)


def _inside(info: BundleInfo, window: Window) -> list[str]:
    """Parts that were recorded in a window; a part alone decides for itself."""
    return [
        name
        for name, span in info.spans.items()
        if len(info.spans) == 1 or (span.start_s < window.end_s and span.end_s > window.start_s)
    ]


def _cut(info: BundleInfo, window: Window | None) -> Window | None:
    """A window cut to the common span of the parts in it; None where there is none."""
    span = window or Window(info.start_s, info.duration_s)
    names = _inside(info, span)
    if len(info.spans) == 1:
        return span
    if not names:
        return None
    begin_s = max(span.start_s, *(info.spans[name].start_s for name in names))
    return Window(begin_s, min(span.end_s, *(info.spans[name].end_s for name in names)))


def _stream(
    name: str, part: BundlePart, info: BundleInfo, spans: Sequence[Window | None], wanted: Sampling
) -> Iterator[Clip | Failure]:
    """The clips of a part in the windows that hold it, moved to the clock of the bundle."""
    source, part_span = reader(name), info.spans[name]
    wanted = replace(wanted, sensors=(), all_samples=wanted.all_samples and source.gives_all)
    windows = [
        _on_own_clock(span, part_span, info.lengths[name] if part.by_share else None)
        for span in spans
        if span is not None and name in _inside(info, span)
    ]
    for clip in source.read_windows(part.path, windows, wanted):
        # Sensors lined up by share keep the times of their file: no clock of theirs is true.
        if isinstance(clip, Failure) or part.by_share or not part_span.start_s:
            yield clip
        else:
            span = Window(
                clip.window.start_s + part_span.start_s, clip.window.end_s + part_span.start_s
            )
            yield replace(clip, window=span, times_s=clip.times_s + part_span.start_s)


def _on_own_clock(span: Window, own: Window, length_s: float | None) -> Window:
    """A window of a bundle on the clock of a part: moved, or by share of its length."""
    begin_s, end_s = span.start_s - own.start_s, span.end_s - own.start_s
    if length_s is None:
        return Window(begin_s, end_s)
    return Window(begin_s / own.duration_s * length_s, end_s / own.duration_s * length_s)


def _bundled(path: Path, parts: Mapping[str, Clip], failed: Mapping[str, str]) -> Clip:
    """A clip of the parts; the samples are those of the first."""
    first = next(iter(parts.values()))
    lost = (sum(clip.lost for clip in parts.values()) + len(failed)) / (len(parts) + len(failed))
    meta = {FAILED: dict(failed)} if failed else {}
    return Clip(path, first.window, "bundle", first.data, first.times_s, lost, meta, dict(parts))
