"""Precision of ``Library.duplicates`` on pairs of one camera, and copies that it finds.

Every clip of a data set of one camera (or a few rooms) is in one library, with copies of some:
encoded again, and trimmed by 0.4 s. Pairs of different clips that are joined are false.

    nice python -m evals.duplicates --videos DIR --work FOLDER --json evals/results/duplicates.json
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np

from evals.harness import arguments, echo, manifest, store
from vlar.library.library import Library

SETS = ("gmdcsa24", "utd-mhad", "weizmann")
COPIED = 10  # clips of each set that have copies
TRIM_S = 0.4


def copied(clip: Path, target: Path, start_s: float) -> None:
    """Encode a clip again, from a second on, as H.264 of CRF 28."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as out:
        video = source.streams.video[0]
        stream = out.add_stream("libx264", rate=video.average_rate, options={"crf": "28"})
        stream.width, stream.height = video.width // 2 * 2, video.height // 2 * 2
        stream.pix_fmt = "yuv420p"
        for frame in source.decode(video):
            if (frame.time or 0.0) >= start_s:
                pixels = frame.to_ndarray(format="rgb24")[: stream.height, : stream.width]
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels))))
        out.mux(stream.encode())


def measured(clips: list[Path], work: Path, model: str) -> dict[str, int]:
    """Copies that are found, and pairs of different clips that are joined."""
    source = {clip: clip for clip in clips}
    kinds: dict[str, list[Path]] = {"encoded": [], "trimmed": []}
    for number, clip in enumerate(clips[:COPIED]):
        for kind, start_s in zip(kinds, (0.0, TRIM_S), strict=True):
            target = work / f"{number}_{kind}.mp4"
            if not target.exists():
                copied(clip, target, start_s)
            source[target] = clip
            kinds[kind].append(target)
    with Library(work / "library", model) as library:
        library.add([str(path) for path in source])
        groups = library.duplicates()
    pairs = {
        pair
        for group in groups
        for pair in combinations(sorted(Path(m.path) for m in group.members), 2)
    }
    right = {pair for pair in pairs if source[pair[0]] == source[pair[1]]}
    of_kind = {
        kind: sum(tuple(sorted((path, source[path]))) in right for path in paths)
        for kind, paths in kinds.items()
    }
    n_copied = min(COPIED, len(clips))
    return {
        "clips": len(clips), "planted of each": n_copied, **of_kind,
        "pairs joined": len(pairs), "false": len(pairs) - len(right),
        "pairs of different clips": len(source) * (len(source) - 1) // 2 - 3 * n_copied,
    }  # fmt: skip


def main() -> None:
    """Measure each set in a library of its own."""
    options = arguments(__doc__, "videos!", "model", "json", work=(Path, "folder for copies"))
    results: list[dict[str, Any]] = []
    for name in SETS:
        clips = sorted(options.videos / row["path"] for row in manifest(options.videos, name))
        work = options.work / name
        work.mkdir(parents=True, exist_ok=True)
        results.append({"set": name, **measured(clips, work, options.model)})
        echo(results[-1])
        store(options.json, results)


if __name__ == "__main__":
    main()
