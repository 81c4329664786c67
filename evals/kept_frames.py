"""Frames that a library keeps: their bytes, and the first hits that they give in place of files.

Clips are decoded, packed as ``vlar index add --keep frames`` packs them, unpacked, and encoded by
``lite-objects``, a model of pictures. Every label is asked of these rows and of rows that were
decoded in full. The control gives each row the frames of another clip.

    python evals/kept_frames.py --videos DIR --cache DIR [--json FILE]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cached import array_of, file_of, vectors_of
from harness import arguments, echo, manifest, percent, store

import vlar
from vlar.library.kept_frames import packed, unpacked
from vlar.library.store.annotations import KeptFrames
from vlar.media.lookup import reader
from vlar.numeric import unit

OBJECTS = 1000  # numbers of the first block of ``lite``


def main() -> None:
    """Print the figures and write them as JSON."""
    given = arguments(__doc__, "videos", "cache", "json")
    rows = manifest(given.videos)
    labels = sorted({row["readable_label"] for row in rows})
    paths = [row["path"] for row in rows]
    full = vectors_of(vlar.load("lite"), given.videos, paths, given.cache)
    model = vlar.load("lite-objects").words
    right = unit(full[:, :OBJECTS])

    def of_frames(path: str) -> np.ndarray:
        clip = reader("video").read_clip(given.videos / path, None, model.sampling)
        picture = packed(clip)
        again = unpacked(
            KeptFrames(clip.window.start_s, clip.window.end_s, picture), clip, model.sampling
        )
        (row,) = model.encode([again])
        return np.append(row.vector, len(picture))

    made = np.stack(
        [
            array_of(
                given.cache and file_of(given.cache, f"kept {path}"),
                lambda path=path: of_frames(path),
            )
            for path in paths
        ]
    )
    vectors, sizes = made[:, :OBJECTS].astype(np.float32), made[:, OBJECTS]
    words = model.encode_queries(labels)
    first = hits(model, right, words)
    found = {
        "rows": len(rows),
        "labels": len(labels),
        "bytes, median": float(np.median(sizes)),
        "bytes, 95 of 100 below": float(np.quantile(sizes, 0.95)),
        "cosine with full": percent([float((right * vectors).sum(axis=1).mean())]),
    }
    for name, tried in (("frames", vectors), ("shuffled", np.roll(vectors, 7, axis=0))):
        same = hits(model, tried, words)
        found[f"{name}, same first"] = percent(same[:, 0] == first[:, 0])
        found[f"{name}, first in the first five"] = percent(
            (same[:, :5] == first[:, :1]).any(axis=1)
        )
    echo(found)
    store(given.json, found)


def hits(model: Any, vectors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(C, N) rows for each phrase, best first."""
    scores = np.stack([model.match_probability(vectors, word) for word in words])
    return np.argsort(-scores, axis=1, kind="stable")


if __name__ == "__main__":
    main()
