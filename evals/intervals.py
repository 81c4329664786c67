"""Intervals of recordings of bodies and sound, asked in words.

    python evals/intervals.py --data DIR [--seeds 1] [--json FILE]

Takes of UTD-MHAD follow each other, six in a recording, and each has the sound of another clip of
ESC-10 for as long as it lasts, so two events are there at once. Takes of odd subjects with sounds
of folds 1 and 3 teach, one take and one sound at a time; even subjects with folds 2 and 4 are
asked. A query is the name of an action or of a sound. R1 is the share of queries whose best
interval overlaps the right one by half. All methods choose among the same intervals: ``tim`` reads
the whole recording once, with ``relative`` it also learns how far two tokens of different sensors
are apart in time (the further loss of the paper), ``each`` has a query for actions and one for
sounds, each with a loss over its own labels (the paper's form), ``losses each`` has these losses on
one query, ``cut out`` is the network of ``fusion`` on each interval cut out, ``words alone`` has
not learned.

Control: the intervals of a recording are permuted among its queries.
"""

from __future__ import annotations

import csv
import json
import tempfile
import time
import wave
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, store, stored
from torch import nn
from torch.nn import functional

import vlar
from vlar.adapters.trainable import TrainingBatch, TrainingOutput
from vlar.encoders.base import Encoder, load_encoder
from vlar.heads.support import SupportItem
from vlar.media.bundle import BundlePart, write_bundle
from vlar.media.lookup import reader
from vlar.methods.fusion.adapter import Fusion
from vlar.methods.fusion.intervals import Intervals
from vlar.methods.fusion.presence import draw
from vlar.methods.fusion.tokens import Fused, Seen
from vlar.metrics.spans import overlap
from vlar.model.core import ModelCore
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask
from vlar.types import Clip, Window

TAKES, RATE_HZ, WINDOW_S = 6, 16_000, 2.5
LENGTHS_S, STEP_S = (2.0, 3.0, 4.0), 0.5
PAIRS, WEIGHT = 32, 0.3  # pairs of tokens of a recording, and the weight of their loss
forward, init, training_step = Intervals.forward, Intervals.__init__, Fusion.training_step
METHODS = ("words alone", "tim", "relative", "each", "losses each", "cut out")


@dataclass(frozen=True)
class Recording:
    """A recording, and what is asked about it.

    Attributes:
        path: The bundle.
        spans: (n, 2) seconds of each take.
        names: An action and a sound of each.
    """

    path: Path
    spans: np.ndarray
    names: list[tuple[str, str]]


def clips_of(data: Path, odd: bool) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    """Takes and sounds of one half, with their labels."""
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: list[list[tuple[Path, str]]] = []
    for prefix, name in (("utd_mhad/skeleton/", "s"), ("esc10/", "fold")):
        own = [row for row in rows if row["path"].startswith(prefix)]
        found.append([(data / row["path"], row["label"]) for row in own
                      if int(row["group"].removeprefix(name)) % 2 == odd])  # fmt: skip
    return found[0], found[1]


def laid_out(files: list[Path], out: Path) -> np.ndarray:
    """Write the first body of recordings one after the other; (n, 2) seconds of each."""
    clips = [vlar.read_clip(path) for path in files]
    facts, rate = clips[0].meta, clips[0].meta["rate_hz"]
    kept = {"layout": facts["layout"], "unit": "m", "rate_hz": rate}
    points = np.concatenate([clip.data[:, :1] for clip in clips]).astype(np.float32)
    np.savez(out, facts=np.array(json.dumps(kept)), points=points)
    ends = np.cumsum([0, *(len(clip.data) for clip in clips)]) / rate
    return np.stack([ends[:-1], ends[1:]], axis=1)


def written(
    takes: list[tuple[Path, str]], sounds: list[tuple[Path, str]], place: Path, name: str
) -> Recording:
    """Takes end to end, each with a sound as long as it lasts."""
    spans = laid_out([path for path, _ in takes], place / f"{name}.npz")
    samples: list[np.ndarray] = []
    for (start_s, end_s), (path, _) in zip(spans, sounds, strict=True):
        length = end_s - start_s
        part = reader("audio")
        clip = part.read_clip(path, Window(0.0, min(length, part.probe(path).duration_s)),
                              load_encoder("audio").sampling)  # fmt: skip
        count = round(length * RATE_HZ)
        at = np.linspace(0, len(clip.data) - 1, count)
        samples.append(np.interp(at, np.arange(len(clip.data)), clip.data))
    with wave.open(str(place / f"{name}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.concatenate(samples).clip(-1, 1) * 32767).astype("<i2").tobytes())
    parts = {
        "skeleton": BundlePart(place / f"{name}.npz"),
        "audio": BundlePart(place / f"{name}.wav"),
    }
    path = write_bundle(place / f"{name}.bundle.json", parts)
    names = [(action, sound) for (_, action), (_, sound) in zip(takes, sounds, strict=True)]
    return Recording(path, spans, names)


def encoded(encoder: Encoder, path: Path, windows: list[Window] | None) -> np.ndarray:
    """(S, T, F) of windows of a recording; None is the whole."""
    part = reader("bundle")
    wanted = windows or [Window(0.0, part.probe(path).duration_s)]
    clips = part.read_windows(path, wanted, encoder.sampling)
    return np.stack(
        [row.features for row in encoder.encode([c for c in clips if isinstance(c, Clip)])]
    )


def drawn(data: Path, odd: bool, count: int, takes: int, place: Path, seed: int) -> list[Recording]:
    """Recordings of different actions and different sounds."""
    random, (bodies, sounds) = np.random.default_rng(seed), clips_of(data, odd)
    found: list[Recording] = []
    for number in range(count):
        chosen: list[list[tuple[Path, str]]] = []
        for rows in (bodies, sounds):
            own = [rows[i] for i in random.permutation(len(rows))]
            first = {label: (path, label) for path, label in own}
            chosen.append([first[label] for label in random.permutation(sorted(first))[:takes]])
        found.append(written(*chosen, place, f"{'odd' if odd else 'even'}{number}"))
    return found


def candidates(end_s: float) -> np.ndarray:
    """(Q, 2) intervals in seconds that may be the answer."""
    return np.array([
        (start, start + length) for length in LENGTHS_S
        for start in np.arange(0, end_s - length + 1e-6, STEP_S)
    ])  # fmt: skip


def hits(scores: np.ndarray, asked: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """(n,) whether the best of intervals (Q, 2) by scores (Q, n) overlaps the right one by half."""
    best = asked[scores.argmax(axis=0)]
    return overlap(best, spans)[np.arange(len(spans)), np.arange(len(spans))] >= 0.5


def with_times(self: Any, seen: Seen) -> Fused:
    """The answers, and the loss of the distance in time of tokens of the two sensors."""
    last: list[torch.Tensor] = []
    hook = self.layers[-1].register_forward_hook(lambda *call: last.append(call[2]))
    fused = forward(self, seen)
    hook.remove()
    if not self.training:
        return fused
    rows, (_, parts, count, _) = last[0], seen.rows.shape
    laid = (rows.shape[1] - 1) // (parts * count)  # queries are fewer than tokens
    length = laid * count
    at = [torch.randint(length, (len(rows), PAIRS)) for _ in range(2)]
    numbers = torch.arange(len(rows))[:, None]
    pair = torch.cat([rows[numbers, at[0]], rows[numbers, length + at[1]]], dim=-1)
    apart = (at[0] - at[1]) / length
    return Fused(
        fused.vectors, {"relative": WEIGHT * (self.apart(pair)[..., 0] - apart).abs().mean()}
    )


def with_head(self: Any, config: Any, parts: Any) -> None:
    """A block with the network that reads two tokens."""
    init(self, config, parts)
    width = config.width
    self.apart = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 1))


def with_query(self: Any, config: Any, parts: Any) -> None:
    """A block with a query for sounds next to that for actions."""
    init(self, config, parts)
    self.of_sounds = nn.Parameter(0.02 * torch.randn(len(self.query)))


def exchanged(block: Any) -> None:
    """Let the other query ask."""
    block.query, block.of_sounds = block.of_sounds, block.query


def by_both(self: Any, seen: Seen) -> Fused:
    """The answers of the query for actions; those of the other are kept for the loss."""
    drawn = torch.get_rng_state()
    fused = forward(self, seen)
    torch.set_rng_state(drawn)  # the same clips laid end to end
    exchanged(self)
    self.heard = forward(self, seen).vectors
    exchanged(self)
    return fused


def step_by_kind(sounds: torch.Tensor, each: bool) -> Any:
    """A training step with a loss over actions and one over sounds (C bool)."""

    def step(self: Any, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        small, pooled = self.split_inputs(batch.inputs)
        chosen = self.network.there(small)
        if self.network.training:
            random = np.random.default_rng(int(torch.randint(2**31, ())))
            chosen = torch.from_numpy(draw(chosen.numpy(), random, self.config.drop))
        fused, _ = self.network.fused(small, chosen)
        heard = self.network.norm(self.network.block.heard) if each else fused
        base, words = self.of_parts(pooled[:, 0], chosen), self.network.concepts(classes)
        vectors = [
            functional.normalize(base + self.network.moved(answer), dim=-1)
            for answer in (fused, heard)
        ]
        actions, heard_logits = (self.logit_scale * answer @ words.T for answer in vectors)
        logits = torch.where(sounds, heard_logits, actions)
        losses: dict[str, torch.Tensor] = {}
        for name, own in (("actions", ~sounds), ("sounds", sounds)):
            share = batch.targets[:, own] / batch.targets[:, own].sum(dim=1, keepdim=True)
            losses[name] = functional.cross_entropy(logits[:, own], share)
        losses["total"] = sum(losses.values()) / 2
        return TrainingOutput(logits, losses, classes=words, vectors=vectors[0])

    return step


def trained(
    encoder: Encoder, method: str, dataset: Dataset, features: np.ndarray, seed: int,
    sounds: set[str],
) -> Any:  # fmt: skip
    """An adapter; all but ``fusion`` and ``tim`` are ``tim`` with what the method adds."""
    by_kind = step_by_kind(torch.tensor([t in sounds for t in dataset.labels]), method == "each")
    changed: dict[str, tuple[Any, Any, Any]] = {
        "relative": (with_times, with_head, training_step),
        "each": (by_both, with_query, by_kind),
        "losses each": (forward, init, by_kind),
    }
    Intervals.forward, Intervals.__init__, Fusion.training_step = changed.get(  # type: ignore[method-assign]
        method, (forward, init, training_step)
    )
    name = "fusion" if method == "cut out" else "tim"
    settings = {"laid": 8} if name == "tim" else {}
    task = TrainingTask.by_recipe(encoder, name, seed=seed, settings=settings)
    return train_on(task, dataset, FeatureSource(features))[0].adapter


def main() -> None:
    """Train on single takes, ask recordings, and keep the shares of each seed."""
    given = arguments(
        __doc__, "data", "json", seeds=5, recordings=(4, "that are asked"),
        takes=(120, "single takes that teach"),
    )  # fmt: skip
    torch.set_num_threads(1)
    encoder = load_encoder("bundle:skeleton+audio")
    rows: list[dict[str, Any]] = stored(given.json, [])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        teach = drawn(given.data, True, given.takes, 1, place, 0)
        features = np.concatenate([encoded(encoder, one.path, None) for one in teach])
        test = drawn(given.data, False, given.recordings, TAKES, place, 1)
        asked = [candidates(float(one.spans[-1, 1])) for one in test]
        cuts = [encoded(encoder, one.path, [Window(*pair) for pair in spans.tolist()])
                for one, spans in zip(test, asked, strict=True)]  # fmt: skip
        wholes = []
        for one in test:
            ends = np.linspace(0, one.spans[-1, 1], round(one.spans[-1, 1] / WINDOW_S) + 1)
            wholes.append(encoded(encoder, one.path, [Window(*p) for p in pairwise(ends.tolist())]))
    labels = sorted({name for one in teach for name in one.names[0]})
    sounds = {one.names[0][1] for one in teach}
    items = [SupportItem(one.path, None, one.names[0], str(n)) for n, one in enumerate(teach)]
    dataset = Dataset.of(labels, items)
    print(len(features), "takes teach,", sum(map(len, cuts)), "intervals", flush=True)
    for seed in range(given.seeds):
        for name in METHODS:
            if any(row["method"] == name and row["seed"] in (seed, "all") for row in rows):
                continue
            begin, whole = time.process_time(), name not in ("words alone", "cut out")
            adapter = (
                encoder
                if name == "words alone"
                else trained(encoder, name, dataset, features, seed, sounds)
            )
            spent = round(time.process_time() - begin, 1)
            shares = answered(adapter, test, asked, wholes if whole else cuts, whole)
            of = "all" if name == "words alone" else seed
            rows.append({"method": name, "seed": of, **shares, "cpu_s": spent})
            print(*rows[-1].values(), flush=True)
            store(given.json, rows)


def answered(
    adapter: Any, test: list[Recording], asked: list[np.ndarray], features: list[np.ndarray],
    whole: bool,
) -> dict[str, float]:  # fmt: skip
    """R1 in percent of actions and sounds, and with the intervals permuted."""
    right: dict[str, list[np.ndarray]] = {}
    for one, spans, x in zip(test, asked, features, strict=True):
        shares = (spans / one.spans[-1, 1]).clip(0, 1).astype(np.float32)
        for kind, what in enumerate(("action", "sound")):
            own = whole and kind and hasattr(adapter.network.block, "of_sounds")
            if own:
                exchanged(adapter.network.block)
            vectors = adapter.interval_vectors(x, shares) if whole else adapter.pool(x)
            if own:
                exchanged(adapter.network.block)
            words = ModelCore(adapter, templates=adapter.templates)
            scores = vectors @ words.encode_labels([names[kind] for names in one.names]).T
            right.setdefault(what, []).append(hits(scores, spans, one.spans))
            wrong = np.roll(one.spans, TAKES // 2, axis=0)
            right.setdefault(f"{what}, permuted", []).append(hits(scores, spans, wrong))
    return {k: round(100 * float(np.concatenate(v).mean()), 1) for k, v in right.items()}


if __name__ == "__main__":
    main()
