"""Gain of several views of a long video (``vlar.media.views``), zero-shot with bodies.

    vlar models get lite-motion
    python evals/long_videos.py --videos DIR [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names.

repeated  every third Weizmann clip of the half "choose", played to and fro for 15 and 60 s (a made
          file); right of ten labels as a short clip, by one look and by several
real      the clips of that half from 5.5 s on (ucf101, gmdcsa24, kinetics, hmdb51), by one look and
          by several: top-1 and mean log2 rank

Several looks are taken from 5.5 s on here, independent of the encoder's ``longest_s``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from cached import write_film
from harness import arguments, manifest, store

import vlar
from vlar.media.video.decode import read_clip
from vlar.media.video.source import probe
from vlar.media.views import Views, ViewSampler

REAL = ("gmdcsa24", "kinetics", "ucf101", "hmdb51")
FROM_S = 5.5
LONG_S = (15, 60)
FPS = 20


def main() -> None:
    options = arguments(__doc__, "videos", "json")
    model = vlar.load("lite")
    if len(model.encoder.blocks) < 2:
        sys.exit("lite-motion is not there; run: vlar models get lite-motion")
    found = [*_repeated(model, options.videos), *_real(model, options.videos)]
    for row in found:
        print(row)
    store(options.json, {"fingerprint": model.fingerprint, "figures": found})


def _repeated(model: vlar.Model, videos: Path) -> list[dict[str, object]]:
    rows = _half(videos, "weizmann")[::3]
    labels = sorted({row["readable_label"] for row in manifest(videos, "weizmann")})
    text = model.encode_queries(labels)
    right: dict[str, list[bool]] = {}
    spent: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            short = model.view_sampler.one_view
            truth = labels.index(row["readable_label"])
            looks = short.sample(videos / row["path"])
            right.setdefault("as it is", []).append(_rank(model, looks, text, truth) == 0)
            for seconds in LONG_S:
                file = Path(folder) / "long.mp4"
                _to_and_fro(videos / row["path"], file, seconds)
                start = time.process_time()
                looks = _several(model).sample(file)
                several = _rank(model, looks, text, truth) == 0
                spent.append(time.process_time() - start)
                one = _rank(model, looks[:1], text, truth) == 0
                right.setdefault(f"{seconds} s, one look", []).append(one)
                right.setdefault(f"{seconds} s, several", []).append(several)
    found = [{"how": how, "clips": len(hits), "right": sum(hits)} for how, hits in right.items()]
    return [*found, {"how": "cpu s of several looks", "median": round(float(np.median(spent)), 2)}]


def _real(model: vlar.Model, videos: Path) -> list[dict[str, object]]:
    ranks: dict[str, list[int]] = {"one look": [], "several": []}
    sampler = _several(model)
    for name in REAL:
        labels = sorted({row["readable_label"] for row in manifest(videos, name)})
        text = model.encode_queries(labels)
        for row in _half(videos, name):
            path = videos / row["path"]
            if probe(path).duration_s <= FROM_S:
                continue
            truth = labels.index(row["readable_label"])
            looks = sampler.sample(path)
            ranks["one look"].append(_rank(model, looks[:1], text, truth))
            ranks["several"].append(_rank(model, looks, text, truth))
    return [
        {
            "how": f"real, {how}",
            "clips": len(values),
            "top1": round(float(np.mean(np.array(values) == 0)), 3),
            "rank": round(float(np.log2(1 + np.array(values)).mean()), 3),
        }
        for how, values in ranks.items()
    ]


def _several(model: vlar.Model) -> ViewSampler:
    return replace(model.view_sampler, sampling=replace(model.encoder.sampling, longest_s=FROM_S))


def _half(videos: Path, name: str) -> list[dict[str, str]]:
    rows = manifest(videos, name)
    groups = sorted({row["group"] for row in rows})
    return [row for row in rows if groups.index(row["group"]) % 2 == 0]


def _rank(model: vlar.Model, looks: Views, text: np.ndarray, truth: int) -> int:
    scores = model.encode_views(looks).vector @ text.T
    return int((scores > scores[truth]).sum())


def _to_and_fro(clip: Path, file: Path, seconds: int) -> None:
    duration_s = probe(clip).duration_s
    frames = read_clip(clip, None, max(2, round(duration_s * FPS))).data
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    shown = (frames[order[i % len(order)]] for i in range(seconds * FPS))
    write_film(file, shown, FPS, crf="16")


if __name__ == "__main__":
    main()
