"""Decoding less: key frames alone, and ``lowres`` of the codec, with wrong frames counted.

Eight frames of each clip, as an encoder of 224 pixels reads them, against vlar's own reader. A
frame of key frames alone is wrong where it is not the frame on screen at its time; it shows other
content where the small grey pictures differ by more than a frame of a scene from its neighbour.
``lowres`` halves the picture while it is decoded, in codecs that have it.

    python benchmarks/reduced_decoding.py --json benchmarks/results/reduced_decoding.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from all import SHARED
from decode import SAME_GREY, cpu_ms

from vlar.media.video.decode import read_clip
from vlar.media.video.sample import frame_times
from vlar.types import Window

SIDE = 224
ENDINGS = {".mp4", ".avi", ".webm", ".mkv", ".mov", ".mpg"}


def small(frame: av.VideoFrame) -> np.ndarray:
    """Pixels of a frame with the shorter side at 224, as the full decode is compared."""
    scale = min(1.0, SIDE / min(frame.width, frame.height))
    size = {"width": round(frame.width * scale), "height": round(frame.height * scale)}
    return frame.reformat(**size, format="rgb24", interpolation="AREA").to_ndarray()


def shown(path: Path, times_s: np.ndarray, **settings: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Time and pixels of the frame on screen at each time, by settings of the decoder."""
    rows: list[tuple[float, np.ndarray]] = []
    last: tuple[float, av.VideoFrame] | None = None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        if "skip_frame" in settings:
            stream.codec_context.skip_frame = settings["skip_frame"]
        if "lowres" in settings:
            stream.codec_context.options = {"lowres": settings["lowres"]}
        start = stream.start_time or 0
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            time_s = float((frame.pts - start) * stream.time_base)
            while len(rows) < len(times_s) and last and times_s[len(rows)] + 1e-6 < time_s:
                rows.append((last[0], small(last[1])))
            last = time_s, frame
            if len(rows) == len(times_s):
                break
    if last is None:
        raise av.error.InvalidDataError(0, "no frame", str(path))
    rows += [(last[0], small(last[1]))] * (len(times_s) - len(rows))
    return np.array([time_s for time_s, _ in rows]), [pixels for _, pixels in rows]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference of two pictures in grey levels."""
    if a.shape != b.shape:  # of half the size: enlarged
        b = np.asarray(
            Image.fromarray(b).resize((a.shape[1], a.shape[0]), Image.Resampling.BICUBIC)
        )
    return float(np.abs(a.astype(np.int16) - b).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--every", type=int, default=6, help="take one file of N")
    parser.add_argument("--commit", default="", help="commit that has this script")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folders = [SHARED, SHARED.parent / "clips", SHARED.parent / "long"]
    paths = [p for f in folders for p in sorted(f.rglob("*")) if p.suffix.lower() in ENDINGS]
    counts: Counter[str] = Counter()
    ratios: dict[str, list[float]] = defaultdict(list)
    worst = 0.0
    for path in paths[:: options.every]:
        try:
            span = Window(0.0, min(read_clip(path, None, 8).window.end_s, 60.0))
            times_s = frame_times(span, 8)
            ours, _ = cpu_ms(partial(read_clip, path, span, 8))
            plain, (exact_s, full) = cpu_ms(partial(shown, path, times_s))
            keys, (key_s, found) = cpu_ms(partial(shown, path, times_s, skip_frame="NONKEY"))
        except Exception as error:  # noqa: BLE001 - a file that cannot be read is counted
            counts["unreadable"] += 1
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        counts["clips"] += 1
        counts["frames"] += len(times_s)
        counts["wrong frames"] += int((np.abs(key_s - exact_s) > 1e-6).sum())
        counts["other content"] += sum(
            apart(a, b) > SAME_GREY for a, b in zip(full, found, strict=True)
        )
        counts["clips without a wrong frame"] += bool((np.abs(key_s - exact_s) < 1e-6).all())
        ratios["key frames / vlar"].append(keys / ours)
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            codec, side = context.name, min(context.width, context.height)
        counts[f"codec {codec}"] += 1
        if side < 2 * SIDE:
            counts["smaller than 448"] += 1
        try:
            low, (low_s, half) = cpu_ms(partial(shown, path, times_s, lowres="1"))
        except Exception:  # noqa: BLE001 - h264 and others refuse to open
            counts["lowres refused"] += 1
            continue
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.options = {"lowres": "1"}
            frame = next(container.decode(video=0))
            halved = min(frame.width, frame.height) < side
        if not halved:
            counts["lowres without effect"] += 1
            continue
        counts["lowres"] += 1
        counts["lowres wrong frames"] += int((np.abs(low_s - exact_s) > 1e-6).sum())
        ratios["lowres / plain"].append(low / plain)
        worst = max(worst, *(apart(a, b) for a, b in zip(full, half, strict=True)), 0.0)
    report: dict[str, Any] = {
        "question": "Wrong frames and CPU time of key frames alone and of lowres.",
        "command": f"python benchmarks/reduced_decoding.py --every {options.every}",
        "commit": options.commit,
        "figures": "docs/videos.md",
        **dict(counts),
        **{name: round(median(values), 2) for name, values in ratios.items()},
        "lowres mean grey levels apart": round(worst, 1),
    }
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
