"""Quality of `unknown`: kept clips, strangers, blank and noise, calibration, queries.

    python evals/unknown.py [--data ../shared/videos] [--model lite] [--out results.json]

Everything is zero-shot. The groups of the clips (source video or person) are halved by hash:
constants of `vlar.heads` were chosen on half A; B is the report. Vectors are kept in the cache
folder under the encoder's fingerprint, so a second run takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, manifest
from ranked import average_precision

from vlar.encoders.base import load_encoder
from vlar.files import resources
from vlar.heads.logistic import fit_temperature
from vlar.heads.zero_shot import UNKNOWN_PRIOR, ContentFree, log_mean_exp, match_probability, score
from vlar.media.video.decode import ClipRequest, read_clips
from vlar.metrics.calibration import expected_calibration_error
from vlar.metrics.classification import top_k
from vlar.metrics.openset import auroc
from vlar.model.model import Model
from vlar.types import Clip, Failure, Window

SETS = ("ucf101", "jhmdb", "weizmann")
DRAWS = 10


@dataclass(frozen=True)
class Clips:
    """Rows of one set: (N, D) vectors, label index into ``labels``, half A or B."""

    vectors: np.ndarray
    answers: np.ndarray
    labels: list[str]
    half_a: np.ndarray


def load_rows(model: Model, data: Path) -> tuple[list[dict[str, str]], np.ndarray, np.ndarray]:
    """LibraryManifest rows, their vectors, and the vectors of their first frame held still."""
    rows = manifest(data, *SETS)
    kept = resources.cache_dir() / "evals" / f"unknown-{model.fingerprint[:16]}-{len(rows)}.npz"
    if kept.is_file():
        stored = np.load(kept)
        return rows, stored["moving"], stored["still"]
    moving, still = [], []
    requests = [ClipRequest(data / row["path"], None, model.words.n_frames) for row in rows]
    for number, clip in enumerate(read_clips(requests, shorter_side=model.words.shorter_side)):
        if isinstance(clip, Failure):
            sys.exit(clip.message)
        moving.append(model.words.encode([clip])[0].vector)
        middle = clip.data[len(clip.data) // 2]
        frozen = replace(clip, data=np.stack([middle, middle]), times_s=clip.times_s[:2])
        still.append(model.words.encode([frozen])[0].vector)
        print(f"\r{number + 1}/{len(rows)} clips", end="", file=sys.stderr)
    print(file=sys.stderr)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(kept, moving=np.stack(moving), still=np.stack(still))
    return rows, np.stack(moving), np.stack(still)


def clips_of(rows: list[dict[str, str]], vectors: np.ndarray, name: str) -> Clips:
    """The rows of one set."""
    chosen = [i for i, row in enumerate(rows) if row["dataset"] == name]
    labels = sorted({rows[i]["readable_label"] for i in chosen})
    halves = [hashlib.sha256(rows[i]["group"].encode()).digest()[0] % 2 == 0 for i in chosen]
    answers = np.array([labels.index(rows[i]["readable_label"]) for i in chosen])
    return Clips(vectors[chosen], answers, labels, np.array(halves))


def fpr95(scores: np.ndarray, known: np.ndarray) -> float:
    """Share of strangers kept where 95 % of the known are kept."""
    return float((scores[~known] >= np.quantile(scores[known], 0.05)).mean())


def kept_known(model: Model, clips: Clips, half: np.ndarray) -> dict[str, float]:
    """All labels are given: what should be kept is kept, and how honest the probabilities are."""
    concepts = model.words.encode_labels(clips.labels)
    vectors, answers = clips.vectors[half], clips.answers[half]
    scores = score(
        vectors,
        concepts,
        model.words.background,
        logit_scale=model.encoder.logit_scale,
        content_free=model.words.content_free,
    )
    right = scores.probability.argmax(axis=1) == answers
    return {
        "clips": len(answers),
        "labels": len(clips.labels),
        "top1": float(right.mean()),
        "top5": top_k(scores.probability, answers, 5),
        "top1_by_cosine": float((scores.similarity.argmax(axis=1) == answers).mean()),
        "top5_by_cosine": top_k(scores.similarity, answers, 5),
        "kept": float((~scores.is_unknown).mean()),
        "kept_of_right": float((~scores.is_unknown[right]).mean()),
        "kept_of_wrong": float((~scores.is_unknown[~right]).mean()),
        "ece": expected_calibration_error(scores.probability.max(axis=1), right),
        "fitted_logit_scale": fit_temperature(scores.similarity, answers),
    }


def pooled_calibration(model: Model, parts: list[tuple[Clips, np.ndarray]]) -> dict[str, float]:
    """The best answers of all sets together: 15 bins need more clips than one set has."""
    stated, right = [], []
    for clips, half in parts:
        scores = score(
            clips.vectors[half],
            model.words.encode_labels(clips.labels),
            model.words.background,
            logit_scale=model.encoder.logit_scale,
            content_free=model.words.content_free,
        )
        stated.append(scores.probability.max(axis=1))
        right.append(scores.probability.argmax(axis=1) == clips.answers[half])
    probability, correct = np.concatenate(stated), np.concatenate(right)
    return {
        "clips": len(correct),
        "mean_probability": float(probability.mean()),
        "share_right": float(correct.mean()),
        "ece": expected_calibration_error(probability, correct),
    }


def strangers(model: Model, clips: Clips, half: np.ndarray) -> dict[str, dict[str, float]]:
    """Rejection of the clips of a half of the labels, drawn ten times, when the other half is
    given.
    """
    concepts = model.words.encode_labels(clips.labels)
    vectors, answers = clips.vectors[half], clips.answers[half]
    random = np.random.default_rng(0)
    found: dict[str, list[tuple[float, float]]] = {}
    decided: list[tuple[float, float]] = []
    for _ in range(DRAWS):
        given = random.permutation(len(clips.labels))[: len(clips.labels) // 2]
        known = np.isin(answers, given)
        for name, values in confidences(model, vectors, concepts[given]).items():
            found.setdefault(name, []).append((auroc(values, known), fpr95(values, known)))
            if name == "vlar":
                decided.append(((values[known] >= 0.5).mean(), (values[~known] < 0.5).mean()))
    return {
        "decision": {
            "known_kept": float(np.mean([k for k, _ in decided])),
            "strangers_rejected": float(np.mean([r for _, r in decided])),
        },
        **{
            name: {
                "auroc": float(np.mean([a for a, _ in pairs])),
                "auroc_spread": float(np.std([a for a, _ in pairs])),
                "fpr95": float(np.mean([f for _, f in pairs])),
            }
            for name, pairs in found.items()
        },
    }


def confidences(
    model: Model, vectors: np.ndarray, concepts: np.ndarray, background: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The rule and the usual baselines; higher means known."""
    scale = model.encoder.logit_scale
    ours = score(
        vectors,
        concepts,
        model.words.background if background is None else background,
        logit_scale=scale,
        content_free=model.words.content_free,
    )
    logits = scale * ours.similarity.astype(np.float64)
    energy = log_mean_exp(logits)
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    return {
        "vlar": 1.0 - ours.unknown,
        "max softmax": softmax.max(axis=1),
        "entropy": (softmax * np.log(softmax + 1e-12)).sum(axis=1),
        "energy": energy,
        "max cosine": ours.similarity.max(axis=1),
    }


def content_free_kinds(size: tuple[int, int]) -> dict[str, np.ndarray]:
    """(T, H, W, 3) clips that show nothing, none of them among the encoder's references."""
    random = np.random.default_rng(99)
    height, width = size
    shape = (4, height, width)

    def plain(*colour: int) -> np.ndarray:
        return np.broadcast_to(np.array(colour, np.uint8), (*shape, 3)).copy()

    impulse = plain(90, 90, 90)
    impulse[random.random(shape) < 0.05] = 255
    lines = random.integers(0, 256, (4, height, 1, 1)).repeat(width, 2).repeat(3, 3)
    smooth = random.uniform(0, 256, (4, height // 4 + 1, width // 4 + 1, 3))
    smooth = smooth.repeat(4, 1).repeat(4, 2)[:, :height, :width]
    ramp = np.linspace(255, 0, height)[None, :, None, None]
    return {
        "near black": plain(9, 9, 9),
        "off white": plain(240, 245, 242),
        "green": plain(30, 150, 40),
        "yellow": plain(240, 220, 30),
        "uniform noise": random.integers(0, 256, (*shape, 3), dtype=np.uint8),
        "strong grey noise": random.normal(120, 70, (*shape, 1)).clip(0, 255).repeat(3, 3),
        "weak noise on white": random.normal(230, 6, (*shape, 3)).clip(0, 255),
        "static noise picture": random.integers(0, 256, (1, height, width, 3)).repeat(4, 0),
        "impulse noise": impulse,
        "noise lines": lines,
        "coarse noise (4 px)": smooth,
        "vertical gradient": np.broadcast_to(ramp, (*shape, 3)),
    }


def nothing_shown(model: Model, real: np.ndarray, still: np.ndarray) -> dict[str, Any]:
    """Unknown probability of clips that show nothing, against the labels of ucf101's kind."""
    labels = ["riding a bike", "cooking", "talking", "a dog running", "swimming", "playing guitar"]
    concepts = model.words.encode_queries(labels)
    size = (model.encoder.preprocess.height, model.encoder.preprocess.width)
    kinds = content_free_kinds((size[0] + 16, size[1] + 96))
    shown = (clip.astype(np.uint8) for clip in kinds.values())
    clips = [
        Clip(Path("blank"), Window(0.0, 1.0), "video", frames, np.arange(len(frames)) / len(frames))
        for frames in shown
    ]
    rows = np.stack([each.vector for each in model.words.encode(clips)])
    scores = score(
        rows,
        concepts,
        model.words.background,
        logit_scale=model.encoder.logit_scale,
        content_free=model.words.content_free,
    )
    test = ContentFree(model.words.content_free)
    return {
        "unknown_probability": dict(zip(kinds, scores.unknown.round(3).tolist(), strict=True)),
        "rejected": float(scores.is_unknown.mean()),
        "real_clips_taken_for_nothing": float((test.probability(real) > 0.5).mean()),
        "still_photos_taken_for_nothing": float((test.probability(still) > 0.5).mean()),
    }


def queries(model: Model, clips: Clips, half: np.ndarray) -> dict[str, float]:
    """Every label as a query over the clips: are match probabilities honest and comparable?"""
    concepts = model.words.encode_labels(clips.labels)
    vectors, answers = clips.vectors[half], clips.answers[half]
    scale = model.encoder.logit_scale
    stated = np.stack(
        [match_probability(vectors, c, model.words.background, logit_scale=scale) for c in concepts]
    )
    right = np.arange(len(concepts))[:, None] == answers[None]
    asked = right.any(axis=1)
    cosine = concepts @ vectors.T
    return {
        "base_rate": float(right.mean()),
        "mean_probability": float(stated.mean()),
        "ece": expected_calibration_error(stated.ravel(), right.ravel()),
        "auroc_all_pairs": auroc(stated.ravel(), right.ravel()),
        "auroc_all_pairs_cosine": auroc(cosine.ravel(), right.ravel()),
        "map": mean_precision(stated[asked], right[asked]),
        "map_cosine": mean_precision(cosine[asked], right[asked]),
    }


def mean_precision(scores: np.ndarray, right: np.ndarray) -> float:
    """Mean average precision over the queries (rows)."""
    return float(np.mean([average_precision(*row) for row in zip(scores, right, strict=True)]))


def main() -> None:
    """Print the report; write it as JSON where asked."""
    options = arguments(__doc__, "model", data=Path("../shared/videos"), out=Path)
    if not (options.data / "manifest.csv").is_file():
        sys.exit(f"no manifest.csv in {options.data}; name the folder of clips with --data")
    model = Model(load_encoder(options.model))
    rows, moving, still = load_rows(model, options.data)
    report: dict[str, Any] = {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "logit_scale": model.encoder.logit_scale,
        "unknown_prior": UNKNOWN_PRIOR,
        "nothing_shown": nothing_shown(model, moving, still),
    }
    sets = {name: clips_of(rows, moving, name) for name in SETS}
    report["calibration A"] = pooled_calibration(model, [(c, c.half_a) for c in sets.values()])
    report["calibration B"] = pooled_calibration(model, [(c, ~c.half_a) for c in sets.values()])
    for name, clips in sets.items():
        for half, mask in (("A", clips.half_a), ("B", ~clips.half_a)):
            report[f"{name} {half}"] = {
                "all labels known": kept_known(model, clips, mask),
                "half of the labels known": strangers(model, clips, mask),
                "labels as queries": queries(model, clips, mask),
            }
    text = json.dumps(rounded(report), indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """The same structure with three decimals."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
