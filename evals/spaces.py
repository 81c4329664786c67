"""Answers in made spaces of clips and texts: lists of 1 to 1,000 labels, and libraries.

    python evals/spaces.py [--half choose] [--json OUT]
    python evals/spaces.py --constants [--json OUT]
    python evals/spaces.py --lite DIR DIR [--cache DIR] [--json OUT]

A space has a modality gap (a cone), texts with topics, texts that lie near to all clips (hubs), and
clips whose right text lies a number of spreads above the others. The rules were chosen on the
spaces of the half "choose"; the figures of the half "report" are of 12 spaces with drawn
parameters and of other seeds. "before" is the rule without the bounds of
``vlar.heads.zero_shot.LabelScorer``, at the scale that the space states or that was guessed (100);
"after" is the rule that a model without constants of its own has.

unknown    right clips (their label is on the list) and foreign ones (no label fits) that are
           called unknown
ece        of stated answers, right and foreign clips in equal parts, 15 bins
multi      right labels that are found, and wrong labels of a foreign clip
library    windows of 20,000 that state 50 % or more for a phrase that none of them shows (mean of
           the phrases, and the worst); the share of windows that do show it which state 50 %, and
           5 %, from where on hits are shown
scale      the estimated factor, by the one that fits best on labelled clips (three spaces a level)

Controls: the labels permuted (top-1 at chance), and a space without any alignment, in which right
clips and foreign ones look alike. ``--lite`` runs the lists on real clips of the default
model, whose answers keep the rule without bounds; half of the labels are on no list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cached import vectors_of
from harness import arguments, echo, manifest, some, store

import vlar
from vlar.heads.concept_heads import make_scorer
from vlar.heads.logistic import fit_temperature
from vlar.heads.zero_shot import (
    GENERICNESS_WEIGHT,
    ContentFree,
    ZeroShotScorer,
    match_scorer,
    upper_spread,
)
from vlar.language.bank import load_bank
from vlar.library.query.search import _AHEAD
from vlar.metrics.calibration import expected_calibration_error
from vlar.model.core import _UNFITTED, SPREAD_LOGITS
from vlar.numeric import unit
from vlar.types import WEAK_MATCH, Float32

SIZES = (1, 2, 5, 20, 100, 400, 1000)
BANK, CLIPS, WINDOWS, PHRASES = 789, 300, 20_000, 5
GUESS = 100.0
_TEXT = 0.6  # share of a text's squared length that its meaning has


@dataclass(frozen=True)
class Parameters:
    """One space.

    Attributes:
        base: Cosine of a clip and an unrelated text.
        spread: Standard deviation of these cosines over texts.
        right: Cosine of a clip and its own text.
        varies: Standard deviation of that over clips.
        scale: Logit scale that the model states; None for a guessed one.
        meanings: Dimensions of meaning.
        topics: Topics of texts; 0 for independent texts.
        shared: Share of a meaning that its topic has.
        hubs: Share of the spread that is a text's own, the same for all clips.
        tail: Power of the spectrum of meanings; 0 for a flat one.
        dim: D.
    """

    base: float
    spread: float
    right: float
    varies: float
    scale: float | None = GUESS
    meanings: int = 64
    topics: int = 0
    shared: float = 0.0
    hubs: float = 0.0
    tail: float = 0.0
    dim: int = 512


CHOOSE = {
    "CLIP-like": Parameters(0.14, 0.05, 0.32, 0.02),
    "SigLIP-like": Parameters(0.03, 0.05, 0.16, 0.02, 117.0),
    "weak": Parameters(0.05, 0.04, 0.10, 0.02, None),
    "strong cone": Parameters(0.18, 0.02, 0.21, 0.01),
    "topics": Parameters(0.10, 0.05, 0.25, 0.03, GUESS, 96, 30, 0.5, 0.2, 0.5),
    "hubs": Parameters(0.19, 0.025, 0.28, 0.025, GUESS, 96, 40, 0.4, 0.3, 0.5),
}


def drawn(seed: int) -> dict[str, Parameters]:
    """Spaces of four kinds, three of each, with parameters that nothing was chosen on."""
    draw, spaces = np.random.default_rng(seed), dict[str, Parameters]()
    for number in range(3):
        common = {
            "dim": int(draw.choice([256, 768, 1024, 1536])),
            "meanings": int(draw.integers(48, 160)),
            "topics": int(draw.choice([0, 20, 60, 150])),
            "shared": draw.uniform(0.1, 0.5),
            "hubs": draw.uniform(0.0, 0.4),
            "tail": draw.uniform(0.0, 0.6),
        }
        kinds = {
            "CLIP-like": (draw.uniform(0.12, 0.22), draw.uniform(0.02, 0.05), (2.8, 4.5), GUESS),
            "SigLIP-like": (draw.uniform(-0.02, 0.06), draw.uniform(0.025, 0.05), (2.3, 4), 115.0),
            "weak": (draw.uniform(0.02, 0.1), draw.uniform(0.02, 0.06), (1.0, 2.2), None),
            "strong cone": (draw.uniform(0.3, 0.5), draw.uniform(0.01, 0.02), (1.2, 3), None),
        }
        for kind, (base, spread, height, scale) in kinds.items():
            right = base + draw.uniform(*height) * spread
            space = Parameters(base, spread, right, draw.uniform(0.2, 0.7) * spread, scale)
            spaces[f"{kind} {number + 1}"] = replace(space, **common)
    return spaces


class Space:
    """Meanings, their texts and clips that show them."""

    def __init__(self, parameters: Parameters, seed: int) -> None:
        self.p, self.draw = parameters, np.random.default_rng(seed)
        self._lengths = np.arange(1, parameters.meanings + 1) ** (-parameters.tail / 2)
        self._topics = self._some(max(parameters.topics, 1))
        self._hub = 0.25 if parameters.hubs else 0.0
        self.bank = self.texts(self.meanings(BANK))

    def _some(self, count: int) -> np.ndarray:
        vectors = self.draw.normal(size=(count, self.p.meanings)) * self._lengths
        return vectors / np.sqrt((self._lengths**2).mean())

    def meanings(self, count: int) -> np.ndarray:
        """(count, meanings) unit vectors."""
        vectors = self._some(count)
        if self.p.topics:
            topics = self._topics[self.draw.integers(0, self.p.topics, count)]
            share = self.p.shared
            vectors = math.sqrt(share) * topics + math.sqrt(1 - share) * vectors
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def texts(self, meanings: np.ndarray) -> Float32:
        """(C, D) unit vectors: meaning, the cone of texts, and how near each is to all clips."""
        n, texts = self.p.meanings, np.zeros((len(meanings), self.p.dim))
        near = self._hub * self.draw.normal(size=len(meanings)).clip(-2.5, 2.5)
        texts[:, :n] = math.sqrt(_TEXT) * meanings
        texts[:, n + 1] = near
        texts[:, n] = np.sqrt(np.maximum(1 - _TEXT - near**2, 0))
        return unit(texts.astype(np.float32))

    def clips(self, meanings: np.ndarray, *, nothing: bool = False) -> Float32:
        """(N, D) unit vectors of clips that show meanings, and other things."""
        p, n, count = self.p, self.p.meanings, len(meanings)
        spread = p.spread * math.sqrt(1 - p.hubs)
        height = (p.right - p.base + p.varies * self.draw.normal(size=count)) / spread
        cosine = np.clip(0 if nothing else height / math.sqrt(n), -0.99, 0.99)
        cosine = np.broadcast_to(cosine, count)[:, None]
        others = self._some(count)
        others -= (others * meanings).sum(1, keepdims=True) * meanings
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        clips = np.zeros((count, p.dim))
        shown = cosine * meanings + np.sqrt(1 - cosine**2) * others
        clips[:, :n] = spread * math.sqrt(n / _TEXT) * shown
        clips[:, n] = p.base / math.sqrt(1 - _TEXT)
        clips[:, n + 1] = p.spread * math.sqrt(p.hubs) / self._hub if self._hub else 0.0
        rest = 1 - (clips**2).sum(1)
        if rest.min() < -1e-6:
            raise ValueError(f"{p} does not fit into a unit vector")
        noise = self.draw.normal(size=(count, p.dim - n - 2))
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        clips[:, n + 2 :] = np.sqrt(np.maximum(rest, 0))[:, None] * noise
        return unit(clips.astype(np.float32))

    def estimate(self) -> float:
        """The scale of ``ModelCore.logit_scale``, from 12 clips that show no one thing."""
        blank = self.clips(self.meanings(12), nothing=True)
        return SPREAD_LOGITS / float(np.median(upper_spread(blank @ self.bank.T)))

    def best(self) -> float:
        """The scale that fits 20 labels best on 2,000 labelled clips."""
        meanings = self.meanings(20)
        answers = self.draw.integers(0, 20, 2000)
        cosines = self.clips(meanings[answers]) @ self.texts(meanings).T
        return fit_temperature(cosines, answers)

    def scale(self, bounded: bool) -> float:
        """The scale before and after."""
        return self.p.scale or (self.estimate() if bounded else GUESS)


def lists(
    right: tuple[Float32, np.ndarray], foreign: Float32, texts: Float32, bank: Float32,
    scale: float, bounded: bool, content_free: Float32 | None = None,
) -> dict[str, float]:  # fmt: skip
    """The figures of one list of labels.

    Args:
        right: Vectors of clips, and the column of the label of each.
        foreign: Vectors of clips that no label fits.
        texts: (C, D).
        bank: (B, D).
        scale: Logit scale.
        bounded: After, or before.
        content_free: (M, D).
    """
    settings = {"logit_scale": scale, "bounded": bounded, "content_free": content_free}
    vectors, answers = right
    if len(texts) == 1:
        question = make_scorer(texts, bank, mode="multi", prior=0.5, **settings)
        yes, no = (question.score(rows).probability[:, 0] for rows in (vectors, foreign))
        return {"yes to right": float((yes >= 0.55).mean()),
                "no to foreign": float((no < 0.45).mean())}  # fmt: skip
    one = make_scorer(texts, bank, mode="one", **settings)
    multi = make_scorer(texts, bank, mode="multi", **settings)
    inside, outside = one.score(vectors), one.score(foreign)
    best = inside.probability.argmax(axis=1)
    shuffled = np.random.default_rng(0).permutation(answers)
    stated = [np.where(s.is_unknown, s.unknown, s.probability.max(1)) for s in (inside, outside)]
    hit = [(best == answers) & ~inside.is_unknown, outside.is_unknown]
    least = min(len(vectors), len(foreign))
    both = np.concatenate([s[:least] for s in stated]), np.concatenate([h[:least] for h in hit])
    found = multi.score(vectors).probability[np.arange(len(vectors)), answers]
    return {
        "top1": float((best == answers).mean()),
        "top1 permuted": float((best == shuffled).mean()),
        "unknown right": float(inside.is_unknown.mean()),
        "unknown foreign": float(outside.is_unknown.mean()),
        "ece": float(expected_calibration_error(*both)),
        "multi found": float((found >= 0.5).mean()),
        "multi wrong": float((multi.score(foreign).probability >= 0.5).sum(axis=1).mean()),
    }


def library(space: Space, bounded: bool) -> dict[str, float]:
    """The figures of phrases that are asked of a library."""
    meanings = space.meanings(PHRASES)
    texts, scale = space.texts(meanings), space.scale(bounded)
    windows = space.clips(space.meanings(WINDOWS))
    rows = list[list[float]]()
    for text, meaning in zip(texts, meanings, strict=True):
        scorer = match_scorer(text, space.bank, logit_scale=scale, bounded=bounded)
        moments = space.clips(np.repeat(meaning[None], 40, axis=0))
        parts = (np.concatenate([scorer.score(some).probability[:, 0] for some in whole])
                 for whole in (np.array_split(windows, 40), [moments]))  # fmt: skip
        none, shows = parts
        if bounded:
            none, shows = _UNFITTED.moment(none), _UNFITTED.moment(shows)
        row = [(none >= 0.5).sum(), (none[:1000] >= 0.5).sum(), none.max()]
        rows.append([*row, (shows >= 0.5).mean(), (shows >= 0.05).mean()])
    table = np.array(rows, np.float64)
    names = ("false of 20,000", "false of 1,000", "best false", "half stated", "shown")
    means = dict(zip(names, table.mean(axis=0).tolist(), strict=True))
    return {**means, "false of 20,000, worst": float(table[:, 0].max())}


def of_space(parameters: Parameters, seed: int) -> dict[str, Any]:
    """All figures of one space, before and after."""
    rows: dict[str, Any] = {"parameters": asdict(parameters)}
    for name, bounded in (("before", False), ("after", True)):
        space, figures = Space(parameters, seed), dict[str, Any]()
        figures["scale"] = space.scale(bounded)
        for size in SIZES:
            meanings = space.meanings(size)
            answers = space.draw.integers(0, size, CLIPS)
            clips = space.clips(meanings[answers]), answers
            foreign, texts = space.clips(space.meanings(CLIPS)), space.texts(meanings)
            figures[str(size)] = lists(clips, foreign, texts, space.bank, figures["scale"], bounded)
        rows[name] = figures | {"library": library(space, bounded)}
    space = Space(parameters, seed)
    estimate, best = space.estimate(), space.best()
    rows["scale"] = {"estimate": estimate, "best": best, "ratio": estimate / best}
    return rows


def constants(parameters: Parameters, seed: int) -> dict[str, float]:
    """Constants that no encoder has for itself: hubs, weak hits and hits that stand out.

    A library has 45 recordings of one window; of 120 phrases every second is shown by one.
    """
    space = Space(parameters, seed)
    scale, rows = space.scale(True), list[tuple[bool, float, float, bool]]()
    for number in range(120):
        meaning, shown = space.meanings(1), number % 2 == 0
        windows = space.clips(space.meanings(45))
        if shown:
            windows[0] = space.clips(meaning)[0]
        text = space.texts(meaning)[0]
        scorer = match_scorer(text, space.bank, logit_scale=scale, bounded=True)
        stated = _UNFITTED.moment(scorer.score(windows).probability[:, 0])
        first, second = np.argsort(-stated)[:2]
        ahead = np.log(stated / (1 - stated))[[first, second]] @ [1, -1]
        rows.append((shown, float(stated[first]), float(ahead), first == 0))
    table = np.array(rows, np.float64)
    right, none = table[(table[:, 0] == 1) & (table[:, 3] == 1)], table[table[:, 0] == 0]
    meanings = space.meanings(100)
    texts, answers = space.texts(meanings), np.arange(100).repeat(3)
    clips = space.clips(meanings[answers])
    top1 = list[float]()
    for weight in (0.0, GENERICNESS_WEIGHT):
        settings = {"logit_scale": scale, "bounded": True, "genericness": weight}
        best = ZeroShotScorer(texts, space.bank, **settings).score(clips).probability.argmax(axis=1)
        top1.append(float((best == answers).mean()))
    return {
        "first hit right": len(right) / (table[:, 0] == 1).sum(),
        "weak, right first hits": float((right[:, 1] < WEAK_MATCH).mean()) if len(right) else 0.0,
        "weak, nothing shown": float((none[:, 1] < WEAK_MATCH).mean()),
        "clear, right first hits": float((right[:, 2] >= _AHEAD).mean()) if len(right) else 0.0,
        "clear, nothing shown": float((none[:, 2] >= _AHEAD).mean()),
        "top1 of 100, plain cosines": top1[0],
        "top1 of 100, genericness": top1[1],
    }


def blank_check(seed: int) -> dict[str, Any]:
    """Real clips that the content-free check calls blank, where blanks differ from each other."""
    draw, rows = np.random.default_rng(seed), dict[str, Any]()
    for own in (0.9, 0.7, 0.5):
        cone = unit(draw.normal(size=(1, 512)).astype(np.float32))

        def near(count: int, share: float, cone: Float32 = cone) -> Float32:
            noise = unit(draw.normal(size=(count, 512)).astype(np.float32))
            return unit(math.sqrt(share) * cone + math.sqrt(1 - share) * noise)

        check, clips = ContentFree(near(12, own)), near(200, 0.5)
        demo = int((check.probability(clips[:3]) > 0.5).sum())
        called = float((check.probability(clips) > 0.5).mean())
        rows[f"mutual cosine {own}"] = {
            "called blank": called, "demo clips called blank": demo,
            "called blank after": 0.0 if demo > 1 else called,
        }  # fmt: skip
    return rows


def summary(spaces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the spaces of one kind."""
    kinds = dict[str, list[Mapping[str, Any]]]()
    for name, rows in spaces.items():
        kinds.setdefault(name.rstrip("0123456789 "), []).append(rows)
    means: dict[str, Any] = {}
    for kind, rows in kinds.items():
        means[kind] = {
            when: {
                part: {
                    key: round(float(np.mean([row[when][part][key] for row in rows])), 3)
                    for key in rows[0][when][part]
                }
                for part in (*map(str, SIZES), "library")
            }
            for when in ("before", "after")
        }
        ratios = [row["scale"]["ratio"] for row in rows]
        means[kind]["scale, estimate by best"] = [round(min(ratios), 2), round(max(ratios), 2)]
    return means


def of_lite(folders: Sequence[Path], cache: Path | None) -> dict[str, Any]:
    """The lists on real clips of the default model, as it answers and with the bounds.

    ``videos/`` is the half on which a change would be chosen, ``clips/`` the other.
    """
    model = vlar.load("lite")
    core = model.words
    names = [text for name in ("kinetics400", "ucf101", "hmdb51", "ssv2", "everyday_actions")
             for text in load_bank(name).texts]  # fmt: skip
    rows: dict[str, Any] = {}
    spreads = [upper_spread(core.content_free @ core.background.T)]
    for folder in folders:
        listed = manifest(folder)
        vectors = vectors_of(model, folder, [row["path"] for row in listed], cache)
        spreads.append(upper_spread(vectors @ core.background.T))
        labels = np.array([row["readable_label"] for row in listed])
        known = sorted(set(labels.tolist()))[::2]
        inside = np.isin(labels, known)
        others = [n for n in dict.fromkeys(names) if n not in set(labels.tolist())]
        others = np.random.default_rng(0).choice(others, max(SIZES), replace=False).tolist()
        every = dict(zip([*known, *others], core.encode_labels([*known, *others]), strict=True))
        for size in SIZES[2:]:
            draw = np.random.default_rng(size)
            tables: dict[str, list[dict[str, float]]] = {"as it answers": [], "with bounds": []}
            for _ in range(3):
                kept = known if size >= len(known) else sorted(draw.choice(known, size, False))
                more = draw.choice(others, size - len(kept), replace=False).tolist()
                texts = np.stack([every[name] for name in (*kept, *more)])
                mask = np.isin(labels, kept)
                answers = np.array([kept.index(label) for label in labels[mask]])
                for name, bounded in (("as it answers", False), ("with bounds", True)):
                    figures = lists((vectors[mask], answers), vectors[~inside], texts,
                                    core.background, core.encoder.logit_scale, bounded,
                                    core.content_free)  # fmt: skip
                    tables[name].append(figures)
            for name, table in tables.items():
                mean = {k: round(float(np.mean([t[k] for t in table])), 3) for k in table[0]}
                rows.setdefault(folder.name, {}).setdefault(name, {})[str(size)] = mean
    scale = core.encoder.logit_scale
    rows["spread, logits"] = {
        name: round(float(np.median(spread)) * scale, 2)
        for name, spread in zip(("content-free", *(f.name for f in folders)), spreads, strict=True)
    }
    rows["scale"] = {
        "stated": scale, "estimate": SPREAD_LOGITS / float(np.median(spreads[0])),
        "fingerprint": core.fingerprint,
    }  # fmt: skip
    return rows


def main() -> None:
    """Run what is asked for."""
    asked = arguments(
        __doc__, "half", "cache", "json", lite=(some([], type=Path), "folders"), seed=7,
        constants=(False, "weak hits, hits that stand out and hubs"),
    )  # fmt: skip
    results: dict[str, Any] = {}
    if asked.lite:
        store(asked.json, results | of_lite(asked.lite, asked.cache))
        return
    if asked.constants:
        kinds = dict[str, list[dict[str, float]]]()
        for name, parameters in drawn(asked.seed).items():
            kinds.setdefault(name[:-2], []).append(constants(parameters, asked.seed))
        results |= {
            kind: {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
            for kind, rows in kinds.items()
        }
        store(asked.json, results)
        echo(results)
        return
    spaces = CHOOSE if asked.half == "choose" else drawn(asked.seed)
    rows = {}
    for name, parameters in spaces.items():
        rows[name] = of_space(parameters, asked.seed)
        print(name, rows[name]["scale"], flush=True)
    unaligned = Parameters(0.14, 0.03, 0.14, 0.0)
    results["kinds"] = summary(rows)
    results["control, no alignment"] = summary({"none": of_space(unaligned, asked.seed)})["none"]
    results["blank check"] = blank_check(asked.seed)
    results["spaces"] = {name: row["parameters"] for name, row in rows.items()}
    store(asked.json, results)
    if not asked.json:
        echo(results)


if __name__ == "__main__":
    main()
