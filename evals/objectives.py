"""Gain of each objective on real clips over the same training without it.

    python evals/objectives.py QUESTION --videos DIR [DIR ..] --cache DIR [--seeds 5]

QUESTION is one of

unknown     detection of clips of unknown labels: DEAR, evidence alone, shuffled labels
tail        labels with 6 to 1 examples, a test set with as many of each: BRL, balanced softmax
tree        coarse errors at equal fine accuracy: tree loss, PCAN, a shuffled tree, a tree from text
unlabelled  1, 2 and 4 examples a label and clips without labels: SeFAR, consistency
scene       scenes planted on the clips, in training one for each label: SOAR
subject     is the performer read from the vectors less than before: exchange of performers
csvr        1 and 3 examples a label, clips without labels: CSVR, its terms, shuffled key frames

Trained is ``temporal``, alone: no closed form answers with it, because it would hide what a loss
does. Every seed draws other clips; the test clips of a label are of other groups (source videos,
persons) than its examples. All methods of a seed use the same clips, so differences are paired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Namespace, arguments, store, stored
from measures import mcnemar, scene_bias, scene_distance
from pools import Clips, load_pool

import vlar
from vlar.heads.concept_heads import roll_up
from vlar.heads.fewshot.balanced import BalancedHead, logit_adjust
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.language.tree import Tree
from vlar.methods.dear.objective import evidence
from vlar.methods.sefar.objective import regulation
from vlar.metrics.intervals import paired
from vlar.metrics.openset import auroc, fpr_at
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.loop import Training
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

Objectives = Mapping[str, dict[str, Any]]
Rows = list[dict[str, Any]]
KINDS = {  # of the labels of JHMDB, by the part of the body and what it does
    "handling a thing": ("brushing hair", "pouring a drink", "picking something up",
                         "shooting a bow", "shooting a gun"),
    "playing with a ball": ("catching a ball", "throwing a ball", "kicking a ball",
                            "shooting a basketball", "swinging a baseball bat",
                            "swinging a golf club"),
    "going from place to place": ("walking", "running", "climbing stairs", "pushing an object"),
    "moving the whole body in place": ("sitting down", "standing up", "jumping",
                                       "doing pull-ups"),
    "moving the hands": ("clapping hands", "waving a hand"),
}  # fmt: skip
PARENTS = {label: kind for kind, labels in KINDS.items() for label in labels}


def main() -> None:
    questions = {"unknown": unknown, "tail": tail, "tree": tree, "unlabelled": unlabelled,
                 "scene": scene, "subject": subject, "csvr": csvr}  # fmt: skip
    options = arguments(
        __doc__, "videos+", "cache", "model", "json",
        question={"positional": True, "choices": list(questions)}, seeds=5,
        shots=([1, 2, 4], "of unlabelled, csvr"),
        pools=(["weizmann", "utd-mhad"], "of subject; csvr: one"),
        epochs=(30, "of each training; recipe: 120"),
    )  # fmt: skip
    lab = Lab(options)
    lab.keep(questions[options.question](lab))


class Lab:
    """Loads pools, trains, and answers."""

    def __init__(self, options: Namespace) -> None:
        self.model = vlar.load(options.model)
        _remember(self.model.encoder)
        self.folders, self.cache, self.pools = options.videos, options.cache, options.pools
        self.seeds, self.epochs, self.shots = options.seeds, options.epochs, options.shots
        self.file = options.json
        self.command = f"python evals/objectives.py {options.question} --seeds {options.seeds}"

    def kept(self) -> Rows:
        """Rows of a run before, which was stopped."""
        return stored(self.file, {"results": []})["results"]

    def keep(self, rows: Rows) -> None:
        store(self.file, {"command": self.command, "results": rows})

    def pool(self, name: str, least: int = 1) -> Clips:
        return load_pool(name, self.folders, self.model, self.cache, least)

    def train(
        self,
        pool: Clips,
        rows: np.ndarray,
        objectives: Objectives,
        seed: int,
        *,
        labels: Sequence[str] | None = None,
        label: np.ndarray | None = None,
        facts: Sequence[str] | None = None,
        free: np.ndarray | None = None,
        blocks: Sequence[str] = (),
        epochs: int = 0,
    ) -> Training:
        """One training of ``temporal`` on some clips, by its recipe.

        Args:
            pool: The clips.
            rows: Numbers of the labelled ones.
            objectives: With their settings.
            seed: Of the training.
            labels: All labels; default those of the rows.
            label: (n,) labels in place of the pool's, for controls.
            facts: A scene or subject for each row, as the group.
            free: Numbers of the unlabelled clips.
            blocks: Blocks of the features to read; empty means the default of the method.
            epochs: Other than those of all trainings.
        """
        y = (pool.label if label is None else label)[rows].tolist()
        names = tuple(labels or sorted(set(y)))
        groups = [str(name) for name in (pool.group[rows] if facts is None else facts)]
        dataset = Dataset.single(names, y, groups, [Path(pool.ids[row]) for row in rows])
        task = TrainingTask.by_recipe(
            self.model.encoder, "temporal", seed=seed, objectives=dict(objectives),
            settings={"blocks": tuple(blocks)} if blocks else None,
        )  # fmt: skip
        task = replace(task, numbers=task.numbers.replaced(epochs=epochs or self.epochs))
        if free is not None and not objectives:
            free = None
        source = FeatureSource(pool.features[rows], None if free is None else pool.features[free])
        return train_on(task, dataset, source)[0]

    @staticmethod
    def logits(training: Training, features: np.ndarray) -> np.ndarray:
        """(m, C) logits of clips."""
        return Lab.output(training, features).logits.double().numpy()

    @staticmethod
    def output(training: Training, features: np.ndarray) -> Any:
        from vlar.adapters.trainable import TrainingBatch

        inputs = torch.from_numpy(training.method.training_inputs(features))
        targets = torch.full((len(inputs), len(training.dataset.labels)), 1.0)
        with torch.no_grad():
            return training.method.training_step(TrainingBatch(inputs, targets), training.classes)


def _remember(encoder: Any) -> None:
    """Pool the features of a clip once: many trainings read the same clips."""
    pool, known = encoder.pool, dict[bytes, np.ndarray]()

    def pooled(features: np.ndarray) -> np.ndarray:
        keys = [hashlib.sha256(np.ascontiguousarray(clip).data).digest() for clip in features]
        for key, clip in zip(keys, features, strict=True):
            if key not in known:
                known[key] = pool(clip[None])[0]
        return np.stack([known[key] for key in keys])

    encoder.pool = pooled


def split(
    pool: Clips, labels: Sequence[str], test: int, random: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Rows of each label to learn from, in a drawn order, and all rows of the test.

    The test has at least ``test`` clips a label, of groups that the label's other rows do not have.
    """
    learn, held = {}, []
    for label in labels:
        own = random.permutation(np.flatnonzero(pool.label == label))
        groups: list[str] = []
        for row in own:
            if sum(np.isin(pool.group[own], groups)) < test:
                groups.append(pool.group[row])
        out = np.isin(pool.group[own], groups)
        learn[label] = own[~out]
        held += own[out][:test].tolist()
    return learn, np.array(held)


def table(rows: Rows, keys: Sequence[str]) -> None:
    """Print means over seeds, with the standard error of the difference to the first method."""
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        first = [row for row in rows if row["method"] == rows[0]["method"]]
        line = f"  {name:34s}"
        for key in keys:
            values = np.array([row[key] for row in own], float)
            gain = values - np.array([row[key] for row in first], float)
            error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
            line += f"  {key} {values.mean():.3f}"
            if name != rows[0]["method"]:
                line += f" ({gain.mean():+.3f} +- {error:.3f})"
        print(line, flush=True)


# Questions


def unknown(lab: Lab) -> Rows:
    rows: Rows = []
    pool = lab.pool("jhmdb")
    edl = {"calibration": 0.0, "debias": 0.0}
    for seed in range(lab.seeds):
        random = np.random.default_rng(seed)
        known = sorted(random.permutation(pool.labels)[:14])
        learn, held = split(pool, pool.labels, 2, random)
        train = np.concatenate([learn[label][:6] for label in known])
        test = np.concatenate([held, *(learn[name] for name in pool.labels if name not in known)])
        strange = ~np.isin(pool.label[test], known)
        wrong = pool.label.copy()
        wrong[train] = random.permutation(wrong[train])
        settings: dict[str, tuple[Objectives, np.ndarray]] = {
            "cross-entropy": ({}, pool.label),
            "dear, evidence alone": ({"dear": edl}, pool.label),
            "dear": ({"dear": {}}, pool.label),
            "dear, evidence alone, shuffled labels": ({"dear": edl}, wrong),
        }
        for name, (objectives, label) in settings.items():
            training = lab.train(pool, train, objectives, seed, labels=known, label=label)
            logits = lab.logits(training, pool.features[test])
            scores = {"energy": -np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1))
                      - logits.max(1)}  # fmt: skip
            if objectives:
                module = training.objectives.parts["dear"].module
                scale = module.get_submodule("evidence")
                scores = {"vacuity": _vacuity(scale, torch.from_numpy(logits).float())}
            right = np.array(known)[logits.argmax(1)] == pool.label[test]
            for score, values in scores.items():
                rows.append({"method": f"{name}: {score}", "seed": seed,
                             "auroc": auroc(values, strange), "fpr95": fpr_at(values, strange),
                             "closed": float(right[~strange].mean())})  # fmt: skip
        chance = random.random(len(test))
        rows.append({"method": "random scores", "seed": seed, "auroc": auroc(chance, strange),
                     "fpr95": fpr_at(chance, strange), "closed": float("nan")})  # fmt: skip
    table(rows, ("auroc", "fpr95", "closed"))
    return rows


def _vacuity(scale: torch.nn.Module, logits: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return evidence(scale(logits))[2].numpy()


def tail(lab: Lab) -> Rows:
    rows: Rows = []
    pool = lab.pool("jhmdb", least=8)
    for seed in range(lab.seeds):
        random = np.random.default_rng(seed)
        learn, test = split(pool, pool.labels, 2, random)
        order = random.permutation(pool.labels).tolist()
        sizes = np.round(6 * (1 / 6) ** (np.arange(len(order)) / (len(order) - 1))).astype(int)
        counts = {label: min(int(n), len(learn[label]))
                  for label, n in zip(order, sizes, strict=True)}  # fmt: skip
        train = np.concatenate([learn[label][: counts[label]] for label in pool.labels])
        few = [label for label in order if counts[label] <= 1]
        many = [label for label in order if counts[label] >= 4]
        y, groups = pool.label[train].tolist(), pool.group[train].tolist()
        n = [counts[label] for label in pool.labels]
        texts = lab.model.words.encode_queries(pool.labels)
        prior = lab.model.encoder.pool(pool.features) @ texts.T
        answers: dict[str, np.ndarray] = {}
        plain = lab.logits(lab.train(pool, train, {}, seed), pool.features[test])
        answers["cross-entropy"] = plain
        answers["cross-entropy, logit adjustment"] = logit_adjust(plain, n)
        for name, objectives in {
            "balanced-softmax": {"balanced-softmax": {}},
            "brl": {"brl": {}},
            "brl, mixing alone": {"brl": {"detached": 1.0, "mixed": 0.5}},
        }.items():
            training = lab.train(pool, train, objectives, seed)
            answers[name] = lab.logits(training, pool.features[test])
        for method in ("prototype", "auto"):
            head, _ = choose(pool.features[train], pool.blocks, y, prior[train],
                             groups=groups, method=method)  # fmt: skip
            signatures = signature(pool.features[test], pool.blocks, head.kind)
            answers[f"closed form: {method}"] = head.logits(signatures, prior[test])
            answers[f"closed form: {method}, --balance adjust"] = BalancedHead.of(head, y).logits(
                signatures, prior[test]
            )
        for name, logits in answers.items():
            right = np.array(pool.labels)[logits.argmax(1)] == pool.label[test]
            by_label = {label: float(right[pool.label[test] == label].mean()) for label in order}
            rows.append({"method": name, "seed": seed,
                         "macro": float(np.mean(list(by_label.values()))),
                         "many": float(np.mean([by_label[label] for label in many])),
                         "few": float(np.mean([by_label[label] for label in few]))})  # fmt: skip
    table(rows, ("macro", "many", "few"))
    return rows


def tree(lab: Lab) -> Rows:
    rows: Rows = []
    pool = lab.pool("jhmdb")
    labels = pool.labels
    hand = Tree(PARENTS).restricted(labels)
    fine_right: dict[str, list[np.ndarray]] = {}
    coarse_right: dict[str, list[np.ndarray]] = {}
    clips: list[str] = []
    for seed in range(lab.seeds):
        random = np.random.default_rng(seed)
        learn, test = split(pool, labels, 2, random)
        train = np.concatenate([learn[label][:4] for label in labels])
        mixed = dict(zip(labels, random.permutation([hand.parents[x] for x in labels]).tolist(),
                         strict=True))  # fmt: skip
        truth = np.array([hand.coarse.index(hand.parents[x]) for x in pool.label[test]])
        clips += [pool.ids[row] for row in test]
        for name, objectives in {
            "cross-entropy": {},
            "tree": {"tree": {"parents": dict(hand.parents)}},
            "pcan": {"pcan": {"parents": dict(hand.parents)}},
            "shuffled tree": {"tree": {"parents": mixed}},
        }.items():
            training = lab.train(pool, train, objectives, seed, labels=labels)
            logits = lab.logits(training, pool.features[test])
            probability = np.exp(logits - logits.max(1, keepdims=True))
            probability /= probability.sum(1, keepdims=True)
            answer = np.array(labels)[logits.argmax(1)]
            fine = answer == pool.label[test]
            coarse = roll_up(probability, hand).argmax(1) == truth
            of_answer = np.array([hand.coarse.index(hand.parents[x]) for x in answer])
            far = float((of_answer != truth)[~fine].mean()) if (~fine).any() else 0.0
            fine_right.setdefault(name, []).append(fine)
            coarse_right.setdefault(name, []).append(coarse)
            rows.append({"method": name, "seed": seed, "fine": float(fine.mean()),
                         "coarse": float(coarse.mean()), "errors_across": far})  # fmt: skip
    table(rows, ("fine", "coarse", "errors_across"))
    for what, found in (("fine", fine_right), ("coarse", coarse_right)):
        first = np.concatenate(found["cross-entropy"])
        for name in found:
            if name == "cross-entropy":
                continue
            other = np.concatenate(found[name])
            test_of = mcnemar(other, first)
            gain = paired(other, first, clips)
            print(f"  {what:7s}{name:24s}only it right {test_of.only_first}, only cross-entropy "
                  f"{test_of.only_second}, McNemar p {test_of.p:.3f}, over clips "
                  f"{gain.difference.value:+.3f} ({gain.difference.low:+.3f} to "
                  f"{gain.difference.high:+.3f})", flush=True)  # fmt: skip
            rows.append({"method": name, "what": what, "mcnemar": test_of.to_dict(),
                         "difference": gain.to_dict()})  # fmt: skip
    return rows


def unlabelled(lab: Lab) -> Rows:
    rows: Rows = []
    pool = lab.pool("jhmdb", least=7)
    weighed: list[tuple[float, bool]] = []
    for shots in lab.shots:
        for seed in range(lab.seeds):
            random = np.random.default_rng(seed)
            learn, test = split(pool, pool.labels, 2, random)
            train = np.concatenate([learn[label][:shots] for label in pool.labels])
            free = np.concatenate([learn[label][shots:] for label in pool.labels])
            for name, objectives in {
                "supervised": {},
                "consistency .8": {"consistency": {"threshold": 0.8}},
                "sefar": {"sefar": {}},
            }.items():
                training = lab.train(pool, train, objectives, seed, free=free)
                found = {}
                for what, where in (("test", test), ("unlabelled", free)):
                    logits = lab.logits(training, pool.features[where])
                    right = np.array(pool.labels)[logits.argmax(1)] == pool.label[where]
                    found[what] = float(right.mean())
                rows.append({"method": f"{shots} examples, {name}", "seed": seed, **found})
                if name == "sefar":
                    weighed += _weighed(training, pool, free)
    for shots in lab.shots:
        table([row for row in rows if row["method"].startswith(f"{shots} ")],
              ("test", "unlabelled"))  # fmt: skip
    weighed.sort()
    tenths = [[right for _, right in part] for part in np.array_split(np.array(weighed), 10)]
    shares = [float(np.mean(part)) for part in tenths]
    print(f"  right pseudo-labels by tenths of the weight: {', '.join(f'{s:.2f}' for s in shares)}")
    return [*rows, {"pseudo_labels_right_by_weight_decile": shares, "n": len(weighed)}]


def _weighed(training: Training, pool: Clips, free: np.ndarray) -> list[tuple[float, bool]]:
    """The teacher's weight of each unlabelled clip, and whether its answer is right."""
    teacher = training.objectives.parts["sefar"].state()["teacher"]
    training.adapter.module.load_state_dict(teacher, strict=False)
    training.adapter.module.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        passes = torch.stack([
            Lab.output(training, pool.features[free]).logits.softmax(dim=1) for _ in range(10)
        ])  # fmt: skip
    training.adapter.module.eval()
    probability, answer = passes.mean(dim=0).max(dim=1)
    picked = passes.gather(2, answer.expand(len(passes), -1)[..., None])[..., 0]
    weight = regulation(probability, picked.std(dim=0, correction=0)).tolist()
    right = np.array(pool.labels)[answer.numpy()] == pool.label[free]
    return list(zip(weight, right.tolist(), strict=True))


def csvr(lab: Lab) -> Rows:
    """Epochs without labels, then as many with them as the supervised training; persons apart.

    Rates fall over both, so that few epochs leave the second part without effect: 60 are enough.

    A result is kept for each number of examples and seed, and is not measured again.
    """
    rows = lab.kept()
    pool, early = lab.pool(lab.pools[0]), {"alone": 0.5, "ratio": 4.0}
    test_of, twice = max(3, len(pool.ids) // len(pool.labels) // 3), 2 * lab.epochs
    only = {**early, "poses": 0.0, "frames": 0.0}
    methods: dict[str, tuple[Objectives, int]] = {
        "supervised": ({}, lab.epochs),
        "supervised, twice the epochs": ({}, twice),
        "csvr": ({"csvr": early}, twice),
        "key frames alone": ({"csvr": only}, twice),
        "shuffled key frames": ({"csvr": {**only, "shuffled": True}}, twice),
    }
    texts = lab.model.words.encode_queries(pool.labels)
    for shots in lab.shots:
        for seed in range(lab.seeds):
            if any(row["shots"] == shots and row["seed"] == seed for row in rows):
                continue
            random = np.random.default_rng(seed)
            learn, test = split(pool, pool.labels, test_of, random)
            train = np.concatenate([learn[label][:shots] for label in pool.labels])
            free = np.concatenate([learn[label][shots:] for label in pool.labels])
            answers = {
                name: lab.logits(
                    lab.train(pool, train, objectives, seed, free=free, epochs=epochs),
                    pool.features[test],
                )
                for name, (objectives, epochs) in methods.items()
            }
            answers["untrained"] = lab.model.encoder.pool(pool.features[test]) @ texts.T
            for name, logits in answers.items():
                right = np.array(pool.labels)[logits.argmax(1)] == pool.label[test]
                row = {"method": f"{shots} examples, {name}", "shots": shots, "seed": seed}
                rows.append({**row, "clips": len(test), "test": round(float(right.mean()), 4)})
            lab.keep(rows)
        table([row for row in rows if row["method"].startswith(f"{shots} ")], ("test",))
    return rows


def scene(lab: Lab) -> Rows:
    """Frames of other clips, averaged, take a share of every frame's appearance."""
    rows: Rows = []
    pool, others = lab.pool("jhmdb", least=7), lab.pool("ucf101")
    places = others.block("appearance")[0].mean(axis=1)
    start = next(i for i, block in enumerate(pool.blocks) if block.kind == "appearance")
    begin = sum(block.width for block in pool.blocks[:start])
    width = places.shape[1]
    for seed in range(lab.seeds):
        random = np.random.default_rng(seed)
        known = sorted(random.permutation(pool.labels)[: 2 * len(pool.labels) // 3])
        learn, held = split(pool, pool.labels, 3, random)
        train = np.concatenate([learn[label][:5] for label in known])
        test = np.concatenate([held, *(learn[name] for name in pool.labels if name not in known)])
        strange = ~np.isin(pool.label[test], known)
        drawn = random.permutation(len(places))
        seen, new = drawn[: len(known)], drawn[len(known) : 2 * len(known)]
        place = np.zeros(len(pool.ids), int)
        place[test] = np.where(random.random(len(test)) < 0.5, random.choice(seen, len(test)),
                               random.choice(new, len(test)))  # fmt: skip
        own = {label: seen[i] for i, label in enumerate(known)}
        for row, is_strange in zip(test, strange, strict=True):
            if not is_strange and place[row] in seen:
                place[row] = own[pool.label[row]]
        tied = place.copy()
        tied[train] = [own[label] for label in pool.label[train]]
        loose = place.copy()
        loose[train] = random.permutation(tied[train])
        for planting, where in (("tied", tied), ("shuffled in training", loose)):
            features = pool.features.copy()
            block = features[..., begin : begin + width]
            block[:] = 0.5 * block + 0.5 * places[where][:, None]
            planted = replace(pool, features=features)
            distance = scene_distance(places[where[test]], places[tied[train]])
            facts = [str(where[row]) for row in train]
            rows.append({
                "method": f"scenes {planting}: plain head", "seed": seed,
                **_plain_head(planted, train, test, known, strange, distance),
            })  # fmt: skip
            for name, settings in {
                "evidence": {"scene": 0.0, "background": 0.0},
                "soar": {"scene": 3.0},
            }.items():
                if lab.epochs == 0 or planting != "tied":
                    continue
                training = lab.train(planted, train, {"soar": settings}, seed, labels=known,
                                     facts=facts, blocks=("appearance",))  # fmt: skip
                output = lab.output(training, planted.features[test])
                scale = training.objectives.parts["soar"].module.get_submodule("evidence")
                values = _vacuity(scale, output.logits.float())
                bias = scene_bias(values, strange, distance)
                vectors = output.vectors.double().numpy()
                right = np.array(known)[output.logits.argmax(1).numpy()] == pool.label[test]
                rows.append({
                    "method": f"scenes {planting}: {name}", "seed": seed,
                    "gap": bias.gap, "worst": bias.worst,
                    "auroc": auroc(values, strange), "closed": float(right[~strange].mean()),
                    "probe": probe(vectors, where[test]),
                    "gap_of_shuffled_distances": float(np.mean([
                        scene_bias(values, strange, random.permutation(distance)).gap
                        for _ in range(20)
                    ])),
                })  # fmt: skip
    table(rows, ("gap", "worst", "auroc", "closed", "probe", "gap_of_shuffled_distances"))
    return rows


def _plain_head(
    pool: Clips,
    train: np.ndarray,
    test: np.ndarray,
    known: Sequence[str],
    strange: np.ndarray,
    distance: np.ndarray,
) -> dict[str, float]:
    """Prototypes of the mean frame, and how unlike the nearest example a clip is."""
    y = pool.label[train].tolist()
    head, _ = choose(pool.features[train], pool.blocks, y, labels=known, method="prototype",
                     kinds=("mean",))  # fmt: skip
    examples, asked = (signature(pool.features[rows], pool.blocks, "mean")
                       for rows in (train, test))  # fmt: skip
    values = -(asked @ examples.T).max(axis=1).astype(np.float64)
    bias = scene_bias(values, strange, distance)
    right = np.array(head.labels)[head.logits(asked).argmax(axis=1)] == pool.label[test]
    random = np.random.default_rng(0)
    shuffled = [scene_bias(values, strange, random.permutation(distance)).gap for _ in range(20)]
    return {"gap": bias.gap, "worst": bias.worst, "auroc": auroc(values, strange),
            "closed": float(right[~strange].mean()), "probe": float("nan"),
            "gap_of_shuffled_distances": float(np.mean(shuffled))}  # fmt: skip


def subject(lab: Lab) -> Rows:
    rows: Rows = []
    for name in lab.pools:
        pool = lab.pool(name)
        subjects = sorted(set(pool.group))
        found: Rows = []
        for seed in range(lab.seeds):
            random = np.random.default_rng(seed)
            left = subjects[seed % len(subjects)]
            train, test = np.flatnonzero(pool.group != left), np.flatnonzero(pool.group == left)
            mixed = random.permutation(pool.group[train]).tolist()
            for method, settings, facts in (
                ("crossing off", {"weight": 0.0}, None),
                ("exchange, weight 1", {"weight": 1.0}, None),
                ("exchange, weight 1, shuffled subjects", {"weight": 1.0}, mixed),
            ):
                training = lab.train(pool, train, {"exchange": settings}, seed, facts=facts,
                                     blocks=("pose",))  # fmt: skip
                output = lab.output(training, pool.features)
                right = np.array(pool.labels)[output.logits.argmax(1).numpy()] == pool.label
                row = {"method": f"{name}, {method}", "seed": seed, "pool": name,
                       "action": float(right[test].mean())}  # fmt: skip
                for part, vectors in _parts(training, pool, output).items():
                    own = vectors[train]
                    row[f"subject_{part}"] = probe(own, pool.group[train], pool.label[train])
                    row[f"action_{part}"] = probe(own, pool.label[train], pool.group[train])
                found.append(row)
        table(found, ("action", "subject_m", "subject_n", "action_m", "action_n"))
        rows += found
    return rows


def _parts(training: Training, pool: Clips, output: Any) -> dict[str, np.ndarray]:
    """``m``, what is done, and ``n``, who does it, as the objective reads them."""
    module = training.objectives.parts["exchange"].module
    frames = output.frames
    if frames is None:
        frames = torch.from_numpy(training.method.training_inputs(pool.features))
    with torch.no_grad():
        m = module.action(output.vectors * output.vectors.shape[1] ** 0.5).relu()
        n = module.subject(frames.mean(dim=1)).relu()
    return {"m": m.double().numpy(), "n": n.double().numpy()}


def probe(vectors: np.ndarray, y: np.ndarray, apart: np.ndarray | None = None) -> float:
    """Accuracy of a linear probe on clips held out: a fifth of them, or one value of ``apart``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = np.arange(len(y)) % 5 if apart is None else apart
    right: list[np.ndarray] = []
    for out in sorted(set(folds.tolist())):
        held = folds == out
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        right.append(model.fit(vectors[~held], y[~held]).predict(vectors[held]) == y[held])
    return float(np.concatenate(right).mean())


if __name__ == "__main__":
    main()
