"""Events made from a video: where the logarithm of the brightness crosses a step.

A pixel that gets brighter or darker by ``step`` since its last event gives the next one, at a time
that is linear between two frames. A real camera has noise and answers between frames; what learns
from such events proves how parts fit together, never how well they recognise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vlar.errors import UsageError, explained
from vlar.files.reading import require_memory
from vlar.media.video.sequential import FrameChunk, read_frames
from vlar.media.video.source import probe
from vlar.methods.events.representations import EVENT, Events
from vlar.types import Float32

STEP = 0.2
_DARK = 0.02  # of full brightness; darker changes count less
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def events_between(frames: Iterable[FrameChunk], step: float = STEP) -> Iterator[Events]:
    """The events from each frame to the next, in the order of time.

    Args:
        frames: (n, H, W, 3) uint8 pictures with their times.
        step: Change of the natural logarithm of the brightness that gives an event, above 0.
    """
    if not step > 0:
        raise UsageError(f"the step is {step!r}; it must be above 0, such as {STEP}")
    before: Float32 | None = None
    before_us, level = 0.0, np.zeros(0, np.float32)
    for chunk in frames:
        for time_s, picture in zip(chunk.times_s.tolist(), chunk.pixels, strict=True):
            now = np.log(picture @ _GREY / 255 + np.float32(_DARK))
            if before is None:
                level = now.copy()
            else:
                yield _crossings(before, now, level, (before_us, 1e6 * time_s), step)
            before, before_us = now, 1e6 * time_s


def _crossings(
    before: Float32, now: Float32, level: Float32, times_us: tuple[float, float], step: float
) -> Events:
    """Events between two frames; ``level`` (H, W), that of each pixel's last event, is changed."""
    change = now - level
    counts = (np.abs(change) / step).astype(np.intp)
    y, x = np.nonzero(counts)
    count, sign = counts[y, x], np.sign(change[y, x])
    which = np.repeat(np.arange(len(count)), count)
    rank = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + 1
    crossed = level[y, x][which] + sign[which] * rank * step
    start, end = before[y, x][which], now[y, x][which]
    share = np.clip((crossed - start) / (end - start), 0, 1)
    events = np.empty(len(which), EVENT)
    events["x"], events["y"], events["p"] = x[which], y[which], sign[which] > 0
    events["t"] = np.rint(times_us[0] + share * (times_us[1] - times_us[0]))
    level[y, x] += sign * count * step
    return events[np.argsort(events["t"], kind="stable")]


def write_events(video: str | Path, out: str | Path, *, side: int = 240, step: float = STEP) -> int:
    """Write the synthetic events of a video as an ``.npz`` file, which states that they are.

    Args:
        video: A video, or a folder of pictures.
        out: The file to write.
        side: Pixels of the shorter side of the sensor; a smaller video keeps its own.
        step: See ``events_between``.

    Returns:
        How many there are.

    Raises:
        DecodeError: the video cannot be read.
        UsageError: the file cannot be written, they take too much memory, or nothing changes.
    """
    info = probe(Path(video))
    scale = min(1.0, side / min(info.width, info.height))
    size = max(1, round(scale * info.height)), max(1, round(scale * info.width))
    turns = info.rotation_deg // 90
    stored = size[::-1] if turns % 2 else size
    parts: list[Events] = []
    frames = (
        FrameChunk(chunk.times_s, np.rot90(chunk.pixels, turns, (1, 2)))
        for chunk in read_frames(video, *stored)
    )
    for part in events_between(frames, step):
        parts.append(part)
        try:
            require_memory(3.0 * EVENT.itemsize * sum(map(len, parts)))
        except ValueError as error:
            raise UsageError(f"{video}: {error}; take a smaller side, or cut the video") from None
    events = np.concatenate([np.empty(0, EVENT), *parts])
    if not len(events):
        raise UsageError(f"{video}: its brightness does not change, so it has no event")
    with (
        explained(UsageError, f"{out}: cannot be written", "check it"),
        Path(out).open("wb") as file,
    ):
        np.savez_compressed(file, events=events, size=np.array(size), synthetic=np.array(True))
    return len(events)
