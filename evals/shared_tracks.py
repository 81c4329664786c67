"""Effect on a window of tracking its people on from the window before.

    vlar models get lite-motion
    python evals/shared_tracks.py --videos DIR [--window 4] [--half choose|report] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names. Each clip
that has at least two overlapping windows (of ``--window`` seconds, by half) is encoded twice with
``lite`` and ``lite-motion``: every window by itself, and in a session (``vlar.encoders.session``),
as ``vlar index add`` does. Only the motion block can differ. Among the labels of the clip's data
set, the script counts windows whose best label is right, by motion alone and with the objects, and
clips by the mean of their windows. ``nobody`` is the control: the motion blocks of other clips.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from harness import Namespace, arguments, manifest, store

import vlar
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.media.lookup import reader
from vlar.media.video.sample import windows
from vlar.media.video.source import probe
from vlar.numeric import unit
from vlar.types import Clip

SETS = ("weizmann", "utd-mhad", "gmdcsa24", "hmdb51", "ucf101", "kinetics")
WAYS = ("alone", "session", "other clips")


def main() -> None:
    options = arguments(
        __doc__, "videos", "json", window=(4.0, "seconds of a window"), half=["choose", "report"]
    )
    encoder = vlar.load("lite").encoder
    assert isinstance(encoder, LiteEncoder)
    if encoder.body is None:
        sys.exit("lite-motion is not there; run: vlar models get lite-motion")
    counts: dict[tuple[str, str], list[float]] = {}
    cosines: list[float] = []
    for name in SETS:
        _add(encoder, options, name, counts, cosines)
    found = [
        {"half": half, "how": how, "mean": round(float(np.mean(rows)), 4), "n": len(rows)}
        for (half, how), rows in sorted(counts.items())
    ]
    for row in found:
        print(row)
    spread = np.percentile(cosines, [0, 1, 10, 50]).round(4).tolist()
    print(f"cosine of the two vectors of a window: least, 1 %, 10 %, median {spread}")
    data = {"fingerprint": encoder.fingerprint, "window_s": options.window, "cosines": spread}
    store(options.json, {**data, "figures": found})


def _add(
    encoder: LiteEncoder,
    options: Namespace,
    name: str,
    counts: dict[tuple[str, str], list[float]],
    cosines: list[float],
) -> None:
    """Count the windows and clips of one data set."""
    rows = manifest(options.videos, name)
    groups = sorted({row["group"] for row in rows})
    labels = sorted({row["readable_label"] for row in rows})
    texts = encoder.encode_text(labels)
    last: np.ndarray | None = None
    for row in rows:
        half = ("choose", "report")[groups.index(row["group"]) % 2]
        path = options.videos / row["path"]
        duration_s = probe(path).duration_s
        if half not in options.half or duration_s < 1.5 * options.window:
            continue
        truth = labels.index(row["readable_label"])
        alone, shared = _both(
            encoder, path, windows(duration_s, options.window, options.window / 2)
        )
        cosines += (alone * shared).sum(axis=1).tolist()
        other = _with_motion_of(encoder, alone, last)
        last = alone
        for way, vectors in zip(WAYS, (alone, shared, other), strict=True):
            for how, part in _parts(encoder).items():
                scores = vectors[:, part] @ unit(texts[:, part]).T
                right = [_share_right(score, truth) for score in scores]
                counts.setdefault((half, f"windows {how} {way}"), []).extend(right)
                mean = _share_right(scores.mean(axis=0), truth)
                counts.setdefault((half, f"clips {how} {way}"), []).append(mean)


def _both(encoder: LiteEncoder, path: Path, spans: list) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the windows (N, D), each by itself and in a session."""
    read = reader("video").read_windows(path, spans, encoder.sampling)
    session = encoder.session(features=False)
    alone, shared = [], []
    for clip in read:
        assert isinstance(clip, Clip)
        shared.append(session.encode([clip])[0].vector)
        row = shared[-1].copy()  # its objects are the same
        start = encoder.blocks[0].width
        row[start:] = encoder.encode_blocks([clip], ["motion", "unseen_body"])[0][start:]
        alone.append(row)
    return np.stack(alone), np.stack(shared)


def _parts(encoder: LiteEncoder) -> dict[str, slice]:
    objects, motion = (block.width for block in encoder.blocks[:2])
    return {"motion": slice(objects, objects + motion), "both": slice(0, objects + motion)}


def _with_motion_of(
    encoder: LiteEncoder, vectors: np.ndarray, other: np.ndarray | None
) -> np.ndarray:
    start = encoder.blocks[0].width
    mixed = vectors.copy()
    mixed[:, start:] = 0 if other is None else other[:1, start:]
    return mixed


def _share_right(scores: np.ndarray, truth: int) -> float:
    """1 if the true label is the best one; equal scores are shared, silence is wrong."""
    if np.ptp(scores) < 1e-9:
        return 0.0
    best = np.flatnonzero(scores >= scores.max() - 1e-9)
    return float(truth in best) / len(best)


if __name__ == "__main__":
    main()
