"""Value of bodies: zero-shot figures of ``lite`` with ``lite-motion``, block by block.

    vlar models get lite-motion
    python evals/motion.py --videos DIR [--cache DIR] [--half choose|report] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names. Halves,
label lists and measures are those of ``zero_shot.py``. Compared are

objects   the objects block alone
motion    the motion block alone
both      the vector as it is
deleted   the vector, after the table's entries that decide on any label of the list were taken out
          (the labels then borrow from the verbs nearest in meaning)

Then the film clips (jhmdb) label by label, with the camera's motion taken off and without, and the
CPU time of a clip. The weights of the blocks and the usual values of the attributes were set on the
half "choose". No weight of the verb table was fitted to a result; its first 720 lines were written
without looking at a label list, later phrases after many labels had been read as texts.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from cached import features_of
from harness import arguments, half_of, manifest, store
from zero_shot import measure

import vlar
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.media.video.decode import read_clip
from vlar.numeric import unit
from vlar.pose.features import POSE_WIDTH

SETS = ("weizmann", "utd-mhad", "jhmdb", "gmdcsa24", "hmdb51", "ucf101")
FILM = ("run", "wave", "throw", "catch", "walk", "jump", "clap")


def main() -> None:
    options = arguments(__doc__, "videos", "cache", "json", half=["choose", "report"])
    model = vlar.load("lite")
    encoder = model.encoder
    assert isinstance(encoder, LiteEncoder)
    if len(encoder.blocks) < 2:
        sys.exit("lite-motion is not there; run: vlar models get lite-motion")
    parts = {name: _load(name, options.videos, model, options.cache) for name in SETS}
    found = []
    for half in options.half:
        for name, rows in (*parts.items(), ("union", _union(parts))):
            for how, figures in _compare(encoder, name, rows, half).items():
                found.append({"how": how, **asdict(figures)})
                print(
                    f"{name:10} {half:7} n {figures.n_clips:3} C {figures.n_labels:3} {how:8} "
                    f"top-1 {100 * figures.top1:5.1f}  top-5 {100 * figures.top5:5.1f}  "
                    f"mAP {figures.mean_average_precision:.3f}",
                    flush=True,
                )
    films = _films(encoder, parts["jhmdb"])
    for row in films:
        print(row)
    cost = _cost(encoder, options.videos)
    print(cost)
    data = {"fingerprint": encoder.fingerprint, "figures": found, "films": films, **cost}
    store(options.json, data)


def _load(name: str, videos: Path, model: vlar.Model, cache: Path | None) -> dict[str, np.ndarray]:
    rows = manifest(videos, name)
    features = np.stack([features_of(videos, row["path"], model, cache) for row in rows])
    still = features.copy()
    still[..., -6:-2] = 0  # the camera's steps
    pool = model.encoder.pool
    return {
        "label": np.array([row["readable_label"] for row in rows]),
        "film": np.array([row["label"] for row in rows]),
        "half": half_of(row["group"] for row in rows),
        "vector": np.concatenate([pool(row[None]) for row in features]),
        "camera left in": np.concatenate([pool(row[None]) for row in still]),
    }


def _union(parts: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.concatenate([part[key] for part in parts.values()]) for key in parts["jhmdb"]}


def _compare(encoder: LiteEncoder, name: str, rows: dict[str, np.ndarray], half: str) -> dict:
    labels = sorted(set(rows["label"]))
    here = rows["half"] == (0 if half == "choose" else 1)
    truth = np.array([labels.index(label) for label in rows["label"][here]])
    video, text = rows["vector"][here], encoder.encode_text(labels)
    objects = encoder.blocks[0].width
    motion = slice(objects, objects + encoder.blocks[1].width)
    scores = {
        "objects": video[:, :objects] @ unit(text[:, :objects]).T,
        "motion": video[:, motion] @ unit(text[:, motion]).T,
        "both": video @ text.T,
        "deleted": video @ _without_own_verbs(encoder, labels).T,
    }
    for score in scores.values():
        silent = np.ptp(score, axis=1) < 1e-9  # no preference: counts as wrong
        score[silent, truth[silent]] -= 1
    return {how: measure(name, "cosine", half, score, truth) for how, score in scores.items()}


def _without_own_verbs(encoder: LiteEncoder, labels: list[str]) -> np.ndarray:
    body = encoder.body
    assert body is not None
    own = {number for label in labels for number in body.table.matches(label)}
    text = encoder.encode_text(labels)
    first, objects = encoder.blocks[0], encoder.blocks[0].width
    found = np.zeros_like(text)
    found[:, :objects] = first.weight * unit(text[:, :objects])
    weights = np.stack([body.table.lookup(label, own).weights for label in labels])
    found[:, objects : objects + body.width] = encoder.blocks[1].weight * unit(weights)
    return unit(found)


def _films(encoder: LiteEncoder, rows: dict[str, np.ndarray]) -> list[dict[str, object]]:
    labels = sorted(set(rows["label"]))
    text = encoder.encode_text(labels)
    objects = encoder.blocks[0].width
    answers = {
        "objects": rows["vector"][:, :objects] @ unit(text[:, :objects]).T,
        "camera left in": rows["camera left in"] @ text.T,
        "both": rows["vector"] @ text.T,
    }
    found: list[dict[str, object]] = []
    for film in FILM:
        here = rows["film"] == film
        row: dict[str, object] = {"film": film, "clips": int(here.sum())}
        for how, scores in answers.items():
            best = np.array(labels)[scores[here].argmax(axis=1)]
            row[how] = round(float((best == rows["label"][here]).mean()), 3)
        found.append(row)
    return found


def _cost(encoder: LiteEncoder, videos: Path, n_clips: int = 6) -> dict[str, float]:
    body = encoder.body
    assert body is not None
    spent, whole = [], []
    for row in manifest(videos, "jhmdb")[: 7 * n_clips : 7]:
        clip = read_clip(videos / row["path"], None, encoder.n_frames)
        start = time.process_time()
        features = body.features(clip.data, clip.times_s)
        body.video(np.zeros((1, encoder.blocks[0].width), np.float32), features[None])
        spent.append(time.process_time() - start)
        start = time.process_time()
        encoder.encode([clip])
        whole.append(time.process_time() - start)
        assert features.shape[1] == POSE_WIDTH
    return {
        "bodies_cpu_s_a_clip": round(float(np.median(spent)), 3),
        "bodies_cpu_s_a_clip_most": round(float(np.max(spent)), 3),
        "lite_cpu_s_a_clip": round(float(np.median(whole)), 3),
    }


if __name__ == "__main__":
    main()
