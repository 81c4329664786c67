"""Value of hands: zero-shot figures of ``lite-hands`` with and without its hands block.

    vlar models get lite-motion
    python evals/hands.py --videos DIR [--sets NAME...] [--half choose|report] [--cache DIR]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names; a set is a
data set, or a prefix of paths such as ``ego_``. Halves are those of ``zero_shot.py``. Compared are

without   the vectors without hands, which rank as those of ``lite``
hands     the vectors as they are
shuffled  the hands of the texts given to other labels (mean of 100 draws): must gain nothing

and the labels' top-1, top-5 and mean log2 rank (0 is always first; lower is better). ``--controls``
adds, for clips with hands: how often left and right change places in the mirror image, how often
opening becomes closing when time runs backwards, and how many hands are found where black boxes
hide them. ``--cost`` times hands next to ``lite`` in one process.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cached import features_of
from harness import arguments, echo, half_of, manifest, store

import vlar
from vlar.encoders.lite.encoder import LiteHandsEncoder
from vlar.media.video.decode import read_clip
from vlar.metrics.classification import ranks
from vlar.pose.attributes.base import hand_attribute_names
from vlar.pose.features import POSE_WIDTH
from vlar.pose.hand_features import HANDS_WIDTH, hand_tracks, measure_hand_features

SETS = ("something-something-v2", "jhmdb", "ucf101", "weizmann", "utd-mhad")
DRAWS = 100


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache", "json", sets=list(SETS), half=["choose", "report"],
        controls=(False, "mirror, time reversed, hidden"), cost=(False, "CPU time of a clip"),
    )  # fmt: skip
    model = vlar.load("lite-hands")
    encoder = model.encoder
    assert isinstance(encoder, LiteHandsEncoder)
    found: list[dict[str, Any]] = []
    for name in options.sets:
        rows = _rows(options.videos, name)
        features = [features_of(options.videos, r["path"], model, options.cache) for r in rows]
        found += _compare(encoder, name, rows, np.stack(features), options.half)
        if options.controls:
            found.append(_controls(encoder, options.videos, name, rows, features))
            echo(found[-1])
    if options.cost:
        found.append(_cost(encoder, options.videos, options.sets[0]))
        echo(found[-1])
    store(options.json, {"fingerprint": encoder.fingerprint, "figures": found})


def _rows(videos: Path, name: str) -> list[dict[str, str]]:
    rows = manifest(videos)
    chosen = [row for row in rows if row["dataset"] == name or row["path"].startswith(name)]
    if not chosen:
        sys.exit(f"{videos / 'manifest.csv'}: no clip of {name!r}")
    return chosen


def _compare(
    encoder: LiteHandsEncoder,
    name: str,
    rows: list[dict[str, str]],
    features: np.ndarray,
    halves: list[str],
) -> list[dict[str, Any]]:
    labels = sorted({row["readable_label"] for row in rows})
    truth = np.array([labels.index(row["readable_label"]) for row in rows])
    half = half_of(row["group"] for row in rows)
    width = encoder.blocks[-1].width
    bare = features.copy()
    bare[..., -HANDS_WIDTH:] = 0
    text, seen = encoder.encode_text(labels), _pooled(encoder, features)
    scores = {"without": _pooled(encoder, bare) @ text.T, "hands": seen @ text.T}
    base, hands = seen[:, :-width] @ text[:, :-width].T, seen[:, -width:]
    random = np.random.default_rng(0)
    draws = [base + hands @ random.permutation(text[:, -width:]).T for _ in range(DRAWS)]
    found: list[dict[str, Any]] = []
    for part in halves:
        here = half == (0 if part == "choose" else 1)
        ways = {how: ranks(score[here], truth[here]) for how, score in scores.items()}
        ways["shuffled"] = np.concatenate([ranks(draw[here], truth[here]) for draw in draws])
        for how, rank in ways.items():
            found.append(
                {
                    "set": name,
                    "half": part,
                    "how": how,
                    "clips": int(here.sum()),
                    "with_hands": int((np.linalg.norm(hands[here], axis=1) > 0).sum()),
                    "labels": len(labels),
                    "top1": round(100 * float((rank < 1).mean()), 1),
                    "top5": round(100 * float((rank < 5).mean()), 1),
                    "log2_rank": round(float(np.log2(1 + rank).mean()), 3),
                }
            )
            echo(found[-1])
    return found


def _pooled(encoder: LiteHandsEncoder, features: np.ndarray) -> np.ndarray:
    return np.concatenate([encoder.pool(clip[None]) for clip in features])


def _controls(
    encoder: LiteHandsEncoder,
    videos: Path,
    name: str,
    rows: list[dict[str, str]],
    features: list[np.ndarray],
) -> dict[str, Any]:
    names = hand_attribute_names()
    right, opens = names.index("hand_right"), names.index("hand_opens")
    moved, turned, hidden, n_clips = [], [], 0, 0
    for row, seen in zip(rows, features, strict=True):
        before = measure_hand_features(seen[:, -HANDS_WIDTH:])
        if not before.visible:
            continue
        n_clips += 1
        clip = read_clip(videos / row["path"], None, encoder.n_frames, shorter_side=480)
        mirror = _again(encoder, replace(clip, data=clip.data[:, :, ::-1].copy()))
        back = _again(encoder, replace(clip, data=clip.data[::-1].copy()))
        for pairs, other, at, least in ((moved, mirror, right, 0.1), (turned, back, opens, 0.2)):
            if abs(before.values[at]) > least and min(before.trust[at], other.trust[at]) > 0.6:
                pairs.append(before.values[at] * other.values[at] < 0)
        boxed = clip.data.copy()
        for points in hand_tracks(seen[:, -HANDS_WIDTH:]).points:
            there = points[points.any(axis=(1, 2)), :, :2].reshape(-1, 2) * len(boxed[0])
            low, high = there.min(axis=0) - 20, there.max(axis=0) + 20
            (left, top), (end, bottom) = low.clip(0).astype(int), high.clip(0).astype(int)
            boxed[:, top:bottom, left:end] = 0
        hidden += _again(encoder, replace(clip, data=boxed)).visible > 0
    return {
        "set": name,
        "clips_with_hands": n_clips,
        "mirror_swaps": f"{sum(moved)} of {len(moved)}",
        "reversed_swaps": f"{sum(turned)} of {len(turned)}",
        "hands_left_when_hidden": f"{hidden} of {n_clips}",
    }


def _again(encoder: LiteHandsEncoder, clip: Any) -> Any:
    assert encoder.body is not None
    return measure_hand_features(encoder.body.features(clip.data, clip.times_s)[:, -HANDS_WIDTH:])


def _cost(encoder: LiteHandsEncoder, videos: Path, name: str, n_clips: int = 12) -> dict[str, Any]:
    assert encoder.body is not None
    assert encoder.body.hands is not None
    plain = vlar.load("lite").encoder
    whole, extra = [], []
    rows = _rows(videos, name)
    for row in rows[:: max(1, len(rows) // n_clips)]:
        clip = read_clip(videos / row["path"], None, encoder.n_frames, shorter_side=480)
        start = time.process_time()
        features = plain.encode([clip])[0].features
        whole.append(time.process_time() - start)
        start = time.process_time()
        encoder.body.hands.features(clip.data, clip.times_s, features[:, -POSE_WIDTH:])
        extra.append(time.process_time() - start)
    ratio = np.array(extra) / np.array(whole)
    return {
        "set": name,
        "clips": len(whole),
        "lite_cpu_s": round(float(np.median(whole)), 3),
        "hands_cpu_s": round(float(np.median(extra)), 3),
        "share_of_lite": round(float(np.median(ratio)), 3),
        "share_of_lite_most": round(float(ratio.max()), 3),
    }


if __name__ == "__main__":
    main()
