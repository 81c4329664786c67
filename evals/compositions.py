"""Recognition of pairs of verb and object that training never showed.

    python evals/compositions.py --videos DIR --cache DIR [--seeds 5] [--json FILE]

The content of a clip is the object, the change of its time is the verb: played, reversed, frozen,
stopped, started late, bounced, looped. Frames are only repeated and reordered, so their features
are those of the clip's own frames (``lite``, objects and appearance). Of each of JHMDB's 21 labels
three sources are trained on and two are asked about; 60 % of the pairs are seen. A seed draws both.

Rows: C2C's scores; the product of the independent scores of the same network; closed forms of verbs
and of objects, their log probabilities added; the answer of ``vlar adapt --method c2c``, which is
both of them; and controls: verbs shuffled among the training clips of an object, and chance. For
the seeds of ``--more`` also: C2C that reads verbs from frames as the paper does, without the
enhanced losses, and from the mean frame alone.

``--space`` asks the same with camera movement as the verb: it pans left, pans right, zooms in,
zooms out, or shakes. These composites are encoded. ``--pan`` asks the smallest question with them:
left or right?
``--forms`` compares the inputs of verbs, ``--mixtures`` weights of closed forms and C2C; both
were chosen with ``--pool weizmann``.
``--something`` names verb and object of Something-Something clips apart, without examples.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cached import features_of
from composites import load, pictures
from harness import Namespace, arguments, manifest, store

import vlar
from vlar.evaluation.compositional import evaluate_pairs
from vlar.heads.signatures import signature
from vlar.heads.support import SupportItem
from vlar.methods.c2c.adapter import C2C
from vlar.methods.c2c.learner import learn_pairs
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.model.method import AdaptTask, Method
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask
from vlar.types import Encoded

FRAMES = 16
_HALF = list(range(0, FRAMES, 2))
TIMES = {
    "play": list(range(FRAMES)),
    "reverse": list(range(FRAMES))[::-1],
    "freeze": [FRAMES // 2] * FRAMES,
    "stop": [*_HALF, *[FRAMES - 1] * (FRAMES // 2)],
    "start late": [*[0] * (FRAMES // 2), *_HALF],
    "bounce": [*_HALF, *range(FRAMES - 1, 0, -2)],
    "loop": [*_HALF, *_HALF],
}
SPACES = ("panning left", "panning right", "zooming in", "zooming out", "shaking")
Pool = dict[str, list[tuple[str, dict[str, np.ndarray]]]]
"""By label: sources, each with its group and its frames (T, F) under every verb."""
Rows = dict[str, dict[str, float]]
"""Figures in percent by method."""
_SEEN = 0.6
_TRAIN, _SOURCES = 3, 5
_PICTURES = 3560  # entries of the features that one frame gives: objects and appearance
_MIXTURES = (
    (1, 0), (1, 0.25), (1, 1), (0.5, 0.75), (0.5, 1), (0.25, 0.5), (0.25, 0.75), (0, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Clips:
    """n composites.

    Attributes:
        features: (n, T, F) float32.
        pairs: n pairs of verb and object.
        groups: n sources.
    """

    features: np.ndarray
    pairs: list[tuple[str, str]]
    groups: list[str]

    def items(self) -> list[SupportItem]:
        """Items of a support set."""
        rows = zip(self.pairs, self.groups, strict=True)
        return [
            SupportItem(Path(str(n)), None, (" ".join(p),), g, {"verb": p[0], "object": p[1]})
            for n, (p, g) in enumerate(rows)
        ]

    def dataset(self) -> Dataset:
        """Data set of a training."""
        items = self.items()
        return Dataset.of(sorted({item.label for item in items}), items)


def main() -> int:
    options = arguments(
        __doc__, "videos", "cache!", "json", seeds=[0, 1, 2, 3, 4],
        more=([0, 1, 2, 3, 4], "seeds that also try closed forms and other forms"),
        space=(False, "verbs are movements of the camera"),
        pool=("jhmdb", "data set whose clips are the objects"),
        forms=({"nargs": "*", "default": [], "metavar": "FORM"}, "verbs of C2C alone"),
        mixtures=(False, "also try other weights"), pan=False,
        something=(Path, "CSV of ids with verb and object"),
    )  # fmt: skip
    model = pictures()
    if options.something:
        return _something(options)
    pool = _moved(options, model) if options.space or options.pan else _pool(options)
    if options.pan:
        return _pan(options, model, pool)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        verbs = "space" if options.space else "time"
        name = "-".join(["pairs", options.pool, verbs, str(seed), *options.forms])
        kept = options.cache / f"{name}.json"  # a seed takes a minute or two
        if not kept.exists() and not options.mixtures:
            train, asked, seen = _split(pool, seed)
            answers = _answers(model, train, asked, seed, few=seed not in options.more)
            if options.forms:
                answers = _forms(model, train, asked, seed, options.forms)
            kept.write_text(json.dumps({n: _figures(s, asked, seen) for n, s in answers}))
        rows = {} if options.mixtures else json.loads(kept.read_text())
        if not options.forms:
            rows |= _adapted_rows(options, model, pool, verbs, seed)
        for name, figures in rows.items():
            found.setdefault(name, []).append(figures)
            print(seed, name, figures, flush=True)
    _report(found, options)
    return 0


def _pool(options: Namespace) -> Pool:
    """The sources of each label, with what is done to their time, from the frames of each."""
    model, pool = vlar.load(), {}
    rows = manifest(options.videos, options.pool)
    for row in rows:
        sources = pool.setdefault(row["readable_label"], [])
        if row["group"] in [group for group, _ in sources]:
            continue
        frames = features_of(options.videos, row["path"], model, options.cache)
        frames = frames[:: len(frames) // FRAMES, :_PICTURES]
        made = {verb: frames[places] for verb, places in TIMES.items()}
        sources.append((row["group"], made))
    return {label: sources[:_SOURCES] for label, sources in sorted(pool.items())}


def _moved(options: Namespace, model) -> Pool:
    """The sources of each label with what the camera does."""
    pool: Pool = {}
    made = load(options.videos, options.pool, model, options.cache, 3, SPACES, every=2)
    for features, label, group in zip(made.features, made.objects, made.groups, strict=True):
        verbs = dict(zip(SPACES, features[..., :_PICTURES], strict=True))
        pool.setdefault(str(label), []).append((str(group), verbs))
    return dict(sorted(pool.items()))


def _split(pool: Pool, seed: int) -> tuple[Clips, Clips, set[tuple[str, str]]]:
    """Training clips of seen pairs, clips of all pairs to ask about, and the seen pairs."""
    random = np.random.default_rng(seed)
    verbs = list(next(iter(pool.values()))[0][1])
    every = list(itertools.product(verbs, pool))
    parts = {*verbs, *pool}
    seen: set[tuple[str, str]] = set()
    while {part for pair in seen for part in pair} != parts:  # each part is learned from something
        order = [every[at] for at in random.permutation(len(every))]
        seen = set(order[: round(_SEEN * len(every))])
    rows: tuple[list, list] = [], []
    for label, sources in pool.items():
        mixed = [sources[at] for at in random.permutation(len(sources))]
        learned = round(_TRAIN / _SOURCES * len(mixed))
        for turn, (group, made) in enumerate(mixed):
            for verb, frames in made.items():
                if turn >= learned or (verb, label) in seen:
                    rows[turn >= learned].append((frames, (verb, label), group))
    train, asked = (
        Clips(np.stack([r[0] for r in part]), [r[1] for r in part], [r[2] for r in part])
        for part in rows
    )
    return train, asked, seen


def _answers(
    model, train: Clips, asked: Clips, seed: int, *, few: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Scores (n, V * O) of each method, verb by verb; ``few`` leaves other trainings out."""
    trained, product = _trained(model, train, asked, seed)
    yield "C2C", trained
    yield "product of the same branches", product
    yield "control: verbs shuffled", _trained(model, _shuffled(train, seed), asked, seed)[0]
    yield "control: chance", np.random.default_rng(seed).random(trained.shape)
    if few:
        return
    plain = {"mixed": 0.0, "prior": 0.0, "dependence": 0.0}
    for name, settings in (
        ("C2C, verbs from frames", {"verbs_from": "frames"}),
        ("C2C, plain losses", plain),
        ("C2C, mean frame alone", {"ordered": False}),
    ):
        yield name, _trained(model, train, asked, seed, settings)[0]


def _forms(
    model, train: Clips, asked: Clips, seed: int, forms: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Scores (n, V * O) of C2C with verbs read in several ways, and of its own branches."""
    for form in forms:
        trained, product = _trained(model, train, asked, seed, {"verbs_from": form})
        yield f"C2C, verbs from {form}", trained
        yield f"product, verbs from {form}", product


def _words(asked: Clips) -> tuple[list[str], list[str]]:
    return sorted({verb for verb, _ in asked.pairs}), sorted({noun for _, noun in asked.pairs})


def _every(asked: Clips) -> list[tuple[str, str]]:
    return list(itertools.product(*_words(asked)))


def _trained(
    model, train: Clips, asked: Clips, seed: int, settings: dict | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """C2C's scores, and the products of its independent scores."""
    import torch

    task = TrainingTask.by_recipe(
        _Encoder(model.encoder), "c2c", settings=settings or {}, seed=seed
    )
    training, _ = train_on(task, train.dataset(), FeatureSource(train.features))
    adapter = training.adapter
    assert isinstance(adapter, C2C)
    with torch.no_grad():
        inputs = torch.from_numpy(adapter.training_inputs(asked.features))
        output = adapter.network(inputs, training.classes.verbs, training.classes.objects)
    product = output.verb[:, :, None] * output.object[:, None]
    return tuple(part.flatten(1).double().numpy() for part in (output.pair, product))


class _Encoder:
    """An encoder that shows single frames: objects and appearance."""

    def __new__(cls, encoder):
        import copy

        seen = copy.copy(encoder)
        seen.frame_blocks = encoder.frame_blocks[:2]
        seen.frame_dim = _PICTURES
        return seen


def _adapted_rows(options: Namespace, model, pool: Pool, verbs: str, seed: int) -> Rows:
    """Figures of what a user gets, of closed forms alone, and of other weights of the two."""
    start = f"adapted-{options.pool}-{verbs}-{seed}"
    if options.mixtures:
        return _kept(options.cache / f"{start}-mixtures.json", _mixtures, model, pool, seed)
    rows = _kept(options.cache / f"{start}.json", _as_adapted, model, pool, seed)
    return rows | _kept(options.cache / f"{start}-shuffled.json", _mixed_up, model, pool, seed)


def _kept(file: Path, measure: Callable[..., Rows], *arguments) -> Rows:
    """Stored result of a measurement, measured now if it is missing."""
    if not file.exists():
        file.write_text(json.dumps(measure(*arguments)))
    return json.loads(file.read_text())


def _mixtures(model, pool: Pool, seed: int) -> Rows:
    train, asked, seen = _split(pool, seed)
    closed, trained, _ = _adapted(model, train, asked, seed)
    rows = {f"weights {a:g}, {b:g}": a * closed + b * trained for a, b in _MIXTURES}
    return {name: _figures(scores, asked, seen) for name, scores in rows.items()}


def _as_adapted(model, pool: Pool, seed: int) -> Rows:
    train, asked, seen = _split(pool, seed)
    closed, _, whole = _adapted(model, train, asked, seed)
    rows = {"vlar adapt --method c2c": whole, "closed forms of verbs and objects": closed}
    return {name: _figures(scores, asked, seen) for name, scores in rows.items()}


def _mixed_up(model, pool: Pool, seed: int) -> Rows:
    train, asked, seen = _split(pool, seed)
    whole = _adapted(model, _shuffled(train, seed), asked, seed)[2]
    return {"control: vlar adapt, verbs shuffled": _figures(whole, asked, seen)}


def _adapted(
    model, train: Clips, asked: Clips, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (n, V * O) of closed forms, of C2C, and of both as a user gets them."""
    encoder = _Encoder(model.encoder)
    items = train.items()
    none = np.zeros(1, np.float32)
    examples = EncodedExamples(items, [Encoded(rows, none) for rows in train.features], ())
    labels = sorted({item.label for item in items})
    core = ModelCore(encoder, templates=encoder.templates)
    task = AdaptTask(Method.of("c2c"), None, items, seed=seed)
    found = learn_pairs(core, task, examples, labels)
    assert isinstance(found.adapter, C2C)
    head, every = found.head, _every(asked)
    similarity = found.adapter.pair_similarity(found.adapter.context(asked.features), every)
    signatures = signature(asked.features, encoder.frame_blocks, head.kind)
    both = head.pair_logits(signatures, similarity, every)
    scaled = found.adapter.pair_scale * similarity.astype(np.float64)
    closed = (both - head.trained_weight * similarity.astype(np.float64)) / head.closed_weight
    return closed, scaled, both


def _shuffled(train: Clips, seed: int) -> Clips:
    """The clips of each object with their verbs exchanged at random."""
    random, pairs = np.random.default_rng(seed), list(train.pairs)
    for noun in sorted({noun for _, noun in pairs}):
        own = [at for at, pair in enumerate(pairs) if pair[1] == noun]
        verbs = [pairs[at][0] for at in random.permutation(own)]
        for at, verb in zip(own, verbs, strict=True):
            pairs[at] = verb, noun
    return Clips(train.features, pairs, train.groups)


def _disordered(clips: Clips, seed: int) -> Clips:
    """The frames of each clip in an order of its own."""
    random = np.random.default_rng(seed)
    mixed = [frames[random.permutation(len(frames))] for frames in clips.features]
    return Clips(np.stack(mixed), clips.pairs, clips.groups)


def _figures(scores: np.ndarray, asked: Clips, seen: set[tuple[str, str]]) -> dict[str, float]:
    """Percent. The bias of ``hm`` and ``auc`` is chosen with the right answers."""
    every = _every(asked)
    found = evaluate_pairs(scores, every, asked.pairs, train_pairs=seen, target_pairs=every)
    new = np.array([pair not in seen for pair in asked.pairs])
    given = [every[at] for at in scores.argmax(axis=1)]
    verb, noun = (
        np.array([a[at] == b[at] for a, b in zip(given, asked.pairs, strict=True)])
        for at in range(2)
    )
    figures = {
        "unseen": found.unseen,
        "seen": found.seen,
        "hm": found.best_hm,
        "auc": found.auc,
        "verb of unseen": float(verb[new].mean()),
        "object of unseen": float(noun[new].mean()),
    }
    return {name: round(100 * value, 1) for name, value in figures.items()}


def _report(found: dict[str, list[dict[str, float]]], options: Namespace) -> None:
    rows = []
    for name, each in found.items():
        means = {k: round(float(np.mean([row[k] for row in each])), 1) for k in each[0]}
        base = found.get("product of the same branches", each)
        apart = [mine["unseen"] - other["unseen"] for mine, other in zip(each, base, strict=False)]
        error = float(np.std(apart, ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else 0.0
        rows.append(
            {"method": name, **means, "unseen - product": round(float(np.mean(apart)), 1),
             "s.e.": round(error, 1), "seeds": [row["unseen"] for row in each]}
        )  # fmt: skip
        print(rows[-1], flush=True)
    settings = {"command": "python evals/compositions.py --videos DIR --cache DIR",
                "model": "lite, objects and appearance",
                "seeds": len(options.seeds)}  # fmt: skip
    store(options.json, {**settings, "results": rows})


def _pan(options: Namespace, model, pool: Pool) -> int:
    """The share of clips whose direction is right: chance is 50 %."""
    rows: dict[str, list[float]] = {}
    for seed in options.seeds:
        kept = options.cache / f"pan-{options.pool}-{seed}.json"
        if not kept.exists():
            kept.write_text(json.dumps(_one_pan(model, pool, seed)))
        found = json.loads(kept.read_text())
        for name, value in found.items():
            rows.setdefault(name, []).append(value)
        print(seed, found, flush=True)
    results = []
    for name, each in rows.items():
        error = np.std(each, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else 0.0
        means = {"right": round(float(np.mean(each)), 1), "s.e.": round(float(error), 1)}
        results.append({"method": name, **means, "seeds": each})
        print(results[-1], flush=True)
    store(options.json, {"command": "python evals/compositions.py --pan", "results": results})
    return 0


def _one_pan(model, pool: Pool, seed: int) -> dict[str, float]:
    """Percent of the clips of one draw, by what is trained."""
    train, asked = _left_and_right(pool, seed)
    ways: dict[str, tuple[Clips, Clips, dict]] = {
        "in order": (train, asked, {}),
        "verbs from frames": (train, asked, {"verbs_from": "frames"}),
        "mean frame alone": (train, asked, {"ordered": False}),
        "control: frames shuffled": (_disordered(train, seed), _disordered(asked, seed + 1), {}),
        "control: verbs shuffled": (_shuffled(train, seed), asked, {}),
    }
    found = {}
    for name, (learned, shown, settings) in ways.items():
        scores, _ = _trained(model, learned, shown, seed, settings)
        given = [_every(shown)[at] for at in scores.argmax(axis=1)]
        right = [a == b for a, b in zip(given, shown.pairs, strict=True)]
        found[name] = round(100 * float(np.mean(right)), 1)
    return found


def _left_and_right(pool: Pool, seed: int) -> tuple[Clips, Clips]:
    """Clips of half of the labels, and of the others, each panned to both sides."""
    labels = np.random.default_rng(seed).permutation(sorted(pool))
    parts = []
    for some in (labels[::2], labels[1::2]):
        rows = [
            (made[verb], (verb, "a clip"), group)
            for label in some for group, made in pool[label] for verb in SPACES[:2]
        ]  # fmt: skip
        frames, pairs, groups = (list(column) for column in zip(*rows, strict=True))
        parts.append(Clips(np.stack(frames), pairs, groups))
    return parts[0], parts[1]


def _something(options: Namespace) -> int:
    """Verb and object of Something-Something clips by their texts alone, top-1 of each list."""
    model = vlar.load()
    with options.something.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    clips = [row for row in manifest(options.videos) if "something" in row["dataset"]]
    named = []
    for row in rows:
        path = next((c["path"] for c in clips if row["existing_path"] in c["path"]), None)
        if path:
            named.append((path, row["verb"].replace("[", "").replace("]", ""), row["object"]))
    features = np.stack([features_of(options.videos, p, model, options.cache) for p, _, _ in named])
    vectors = model.encoder.pool(features)
    for at, part in ((1, "verb"), (2, "object")):
        words = sorted({row[at] for row in named})
        scores = vectors @ model.words.encode_labels(words).T
        truth = np.array([words.index(row[at]) for row in named])
        order = (-scores).argsort(axis=1)
        top1, top3 = (float((order[:, :k] == truth[:, None]).any(axis=1).mean()) for k in (1, 3))
        mixed = np.random.default_rng(0).permutation(truth)
        control = float((order[:, 0] == mixed).mean())
        print(f"{part}: {len(named)} clips, {len(words)} words, top-1 {100 * top1:.1f}, "
              f"top-3 {100 * top3:.1f}; chance {100 / len(words):.1f}, words permuted "
              f"{100 * control:.1f}", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
