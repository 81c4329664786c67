"""Threshold of still footage for ``vlar index add --skip-still``.

    python evals/still.py --videos DIR [--long DIR] [--stills 40] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label) and clips in which something happens. Windows of
4 s every 2 s with 32 pictures are read, as ``lite`` does. Still footage is made of them: the middle
picture of a clip for 6 s, with the noise of a sensor (standard deviation 2, 4 or 8 grey levels),
encoded as H.264 (CRF 23, 28, 35). A threshold is chosen on half of the clips (by a hash of their
paths) and reported on the other half.

moving skipped  share of windows of clips that would be left out
clips lost      clips of which every window would be left out
still skipped   share of still windows that would be left out
--long          unlabelled long recordings: how many seconds would be left out
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
from cached import write_film
from harness import arguments, manifest, store

from vlar.library.ingest.reader import uncovered_s
from vlar.media.video.decode import read_clip, read_windows
from vlar.media.video.frames import STILL, movement
from vlar.media.video.sample import windows
from vlar.media.video.source import probe
from vlar.types import Clip, Failure, UInt8

THRESHOLDS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
NOISE, QUALITY = (2, 4, 8), (23, 28, 35)
FRAMES, SIDE, FPS, STILL_S = 32, 240, 12, 6


def is_chosen(path: str) -> bool:
    """Return whether a clip belongs to the half that thresholds are chosen on."""
    return hashlib.sha256(path.encode()).digest()[0] % 2 == 0


def movements(path: Path) -> list[float]:
    """The movement of each window of a video."""
    spans = windows(probe(path).duration_s, 4.0, 2.0)
    clips = read_windows(path, spans, FRAMES, shorter_side=SIDE)
    return [movement(clip.data) for clip in clips if not isinstance(clip, Failure)]


def still_video(picture: UInt8, noise: float, crf: int, path: Path, seed: int) -> Path:
    """Write seconds of one picture as a camera that does not move records it."""
    random = np.random.default_rng(seed)
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    seen = (
        picture[:height, :width] + random.normal(0, noise, (height, width, 1))
        for _ in range(FPS * STILL_S)
    )
    frames = (each.clip(0, 255).astype(np.uint8) for each in seen)
    return write_film(path, frames, FPS, crf=str(crf), preset="veryfast")


def main() -> int:
    options = arguments(
        __doc__, "videos", "json", long=(Path, "folder of long recordings"),
        stills=(40, "clips to make still footage of"),
    )  # fmt: skip
    paths = [row["path"] for row in manifest(options.videos)]
    moving = {path: movements(options.videos / path) for path in paths}
    still: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(paths[:: max(1, len(paths) // options.stills)]):
            middle = read_clip(options.videos / path, n_frames=1, shorter_side=SIDE).data[0]
            noise, crf = NOISE[number % 3], QUALITY[number // 3 % 3]
            file = still_video(middle, noise, crf, Path(folder) / "still.mp4", number)
            still[f"{path} noise {noise} crf {crf}"] = movements(file)
    data: dict[str, object] = {"threshold": STILL, "table": []}
    for half in ("choose", "report"):
        wanted = half == "choose"
        clips = [m for path, m in moving.items() if is_chosen(path) == wanted]
        stills = [v for key, m in still.items() if is_chosen(key.split()[0]) == wanted for v in m]
        flat = np.array([value for m in clips for value in m])
        for threshold in THRESHOLDS:
            row = {
                "half": half,
                "threshold": threshold,
                "moving skipped": round(float((flat < threshold).mean()), 4),
                "clips lost": sum(max(m) < threshold for m in clips),
                "clips": len(clips),
                "still skipped": round(float((np.array(stills) < threshold).mean()), 4),
                "still windows": len(stills),
            }
            data["table"] += [row]  # type: ignore[operator]
            print(row)
    least = sorted((max(m), path) for path, m in moving.items())[:8]
    print("clips that move least:", [(round(value, 2), path) for value, path in least])
    if options.long:
        data["long"] = [long_row(path) for path in sorted(options.long.rglob("*.mp4"))]
    store(options.json, data)
    return 0


def long_row(path: Path) -> dict[str, object]:
    """Skipped share of a long recording."""
    spans = windows(probe(path).duration_s, 4.0, 2.0)
    clips = list(read_windows(path, spans, FRAMES, shorter_side=SIDE))
    moves = [movement(c.data) if isinstance(c, Clip) else float("inf") for c in clips]
    out = [span for span, value in zip(spans, moves, strict=True) if value < STILL]
    kept = [span for span, value in zip(spans, moves, strict=True) if value >= STILL]
    row: dict[str, object] = {
        "path": path.name,
        "windows": len(spans),
        "left out": len(out),
        "seconds left out": round(uncovered_s(out, kept), 1),
        "least": round(min(moves), 2),
    }
    print(row)
    return row


if __name__ == "__main__":
    raise SystemExit(main())
