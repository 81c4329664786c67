"""Silence of the motion block of ``lite`` where a body cannot be read.

    vlar models get lite-motion
    python evals/silence.py --videos DIR [--json OUT]

DIR holds ``manifest.csv`` and the clips it names. Of every few clips of five sets, those in which a
body is seen well are turned upside down, cut through the person (left, right, upper and lower half)
and cut to two frames; printed is the length of the motion block, 0 (silent) to 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from harness import arguments, manifest, store

import vlar
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.media.video.decode import read_clip
from vlar.pose.body import HIPS, SHOULDERS
from vlar.pose.features import motion_vector, people_from_features
from vlar.types import Clip

EVERY = {"weizmann": 6, "utd-mhad": 4, "jhmdb": 14, "ucf101": 14, "gmdcsa24": 4}  # clips of a set
SEEN_WELL = 0.6  # length of the motion block
LEAST = 16  # pixels of a half


def main() -> None:
    options = arguments(__doc__, "videos", "json")
    model = vlar.load("lite")
    encoder = model.encoder
    assert isinstance(encoder, LiteEncoder)
    if encoder.body is None:
        sys.exit("lite-motion is not there; run: vlar models get lite-motion")
    lengths: dict[str, list[float]] = {}
    for name, every in EVERY.items():
        for row in manifest(options.videos, name)[::every]:
            clip = read_clip(options.videos / row["path"], None, model.n_frames)
            for how, length in _lengths(encoder, clip):
                lengths.setdefault(how, []).append(length)
    found = {how: _summary(values) for how, values in lengths.items()}
    for how, figures in found.items():
        print(f"{how:12}", *(f"{key} {value}" for key, value in figures.items()))
    store(options.json, {"fingerprint": encoder.fingerprint, "length": found})


def _lengths(encoder: LiteEncoder, clip: Clip) -> Iterator[tuple[str, float]]:
    body = encoder.body
    assert body is not None
    features = body.features(clip.data, clip.times_s)
    whole = float(np.linalg.norm(motion_vector(features)))
    if whole < SEEN_WELL:
        return
    yield "as it is", whole
    height, width = clip.data.shape[1:3]
    picture = people_from_features(features)[0].picture  # in frame heights
    waist = float(np.median(picture[:, HIPS, 1])) * height
    middle = float(np.median(picture[:, (*SHOULDERS, *HIPS), 0])) * height
    low = int(np.clip(waist, LEAST, height - LEAST))
    at = int(np.clip(middle, LEAST, width - LEAST))
    cuts = {
        "upside down": clip.data[:, ::-1],
        "left half": clip.data[:, :, :at],
        "right half": clip.data[:, :, at:],
        "upper half": clip.data[:, :low],
        "lower half": clip.data[:, low:],
    }
    for how, frames in cuts.items():
        row = body.features(np.ascontiguousarray(frames), clip.times_s)
        yield how, float(np.linalg.norm(motion_vector(row)))
    two = [0, len(clip.data) - 1]
    row = body.features(clip.data[two], clip.times_s[two])
    yield "two frames", float(np.linalg.norm(motion_vector(row)))


def _summary(values: list[float]) -> dict[str, float]:
    median, most = np.percentile(values, [50, 90])
    return {"n": len(values), "median": round(float(median), 2), "p90": round(float(most), 2)}


if __name__ == "__main__":
    main()
