"""Labels without examples on skeletons: ``aligned``, ``parts`` and ``sa-dvae`` next to words alone.

    python evals/unseen_labels.py ../shared/modalities --out evals/results/unseen_labels.json
    python evals/unseen_labels.py ../shared/modalities --gates --out evals/results/unseen_gate.json

Labels are split into five folds. The labels of a fold have no examples; the methods learn from the
others, from every second person, and answer about the remaining people: the clips of the fold's
labels among the fold's labels (zero-shot), and all clips among all labels (generalised). Settings
are chosen on the training labels alone. Controls: training labels shuffled among clips; the names
of the fold's labels turned round; for ``parts`` clauses of another label, and of another part.
``--gates`` compares stacking with the gate in the list of all labels, and with the gate where it
was better on training labels that are held out (``chosen``), also with shuffled training labels.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, some, store
from measures import seen_unseen_area

import vlar
from vlar import registry
from vlar.language.motion.clauses import PARTS
from vlar.media.lookup import reader
from vlar.metrics.classification import harmonic_mean
from vlar.model.core import ModelCore

METHODS = ("aligned", "parts", "sa-dvae")
FOLDS = 5


class Examples:
    """The recordings of one data set, encoded once."""

    def __init__(self, root: Path, data: str, cache: Path) -> None:
        self.encoder = vlar.load("skeleton").encoder
        file = cache / f"{data}-{self.encoder.fingerprint[:12]}.npz"
        if not file.exists():
            self._encode(root, data, file)
        arrays = np.load(file)
        self.features, self.vectors = arrays["features"], arrays["vectors"]
        self.names = sorted(set(arrays["labels"].tolist()))
        self.y = np.array([self.names.index(label) for label in arrays["labels"]])
        people = [int(re.sub(r"\D", "", who)) for who in arrays["people"].tolist()]
        self.people = arrays["people"]
        self.shown = np.isin(people, sorted(set(people))[::2])
        known = {
            row.tobytes(): vector for row, vector in zip(self.features, self.vectors, strict=True)
        }
        plain = self.encoder.pool

        def pool(features: Any) -> Any:
            rows = [known.get(row.tobytes()) for row in features]
            return plain(features) if any(row is None for row in rows) else np.stack(rows)

        self.encoder.pool = pool  # type: ignore[method-assign] - a clip is measured once

    def _encode(self, root: Path, data: str, file: Path) -> None:
        source, rows = reader("skeleton"), []
        for row in csv.DictReader((root / "manifest.csv").open()):
            if not row["path"].startswith(data) or not source.claims(root / row["path"]):
                continue
            try:
                clip = source.read_clip(root / row["path"], None, self.encoder.sampling)
            except vlar.errors.VlarError as error:
                print(error, file=sys.stderr)
                continue
            (found,) = self.encoder.encode([clip])
            rows.append((found.features, found.vector, row["label"], row["group"]))
        features, vectors, labels, people = zip(*rows, strict=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, features=features, vectors=vectors, labels=labels, people=people)


def answers(core: ModelCore, vectors: Any, names: Sequence[str], lost: Any = 0.0) -> Any:
    """The column of the best label of each clip."""
    return (vectors @ core.encode_labels(names).T - lost).argmax(axis=1)


def scored(core: ModelCore, vectors: Any, data: Examples, unseen: Any, offsets: Any) -> dict:
    """Zero-shot accuracy among the unseen labels, and both sides of the whole list."""
    ask = ~data.shown
    of_unseen = np.isin(data.y, unseen)
    rows = ask & of_unseen
    names = [data.names[i] for i in unseen]
    found = unseen[answers(core, vectors[rows], names)]
    turned = unseen[answers(core, vectors[rows], names[1:] + names[:1])]
    both = answers(core, vectors[ask], data.names, offsets) == data.y[ask]
    plain = answers(core, vectors[ask], data.names) == data.y[ask]
    result = {
        "zero_shot": (found == data.y[rows]).mean(),
        "turned": (turned == data.y[rows]).mean(),
    }
    for name, right in (("stacked", both), ("plain", plain)):
        seen, other = right[~of_unseen[ask]].mean(), right[of_unseen[ask]].mean()
        result |= {f"{name}_seen": seen, f"{name}_unseen": other}
        result[f"{name}_h"] = harmonic_mean(float(seen), float(other))
    return {key: round(float(value), 4) for key, value in result.items()}


def solved(method: str, data: Examples, unseen: Any, settings: dict, part: Any = None) -> Any:
    """The adapter of a method, learned from the labels that are not unseen."""
    part = part or registry.get("adapter", method)
    adapter = part.attach(data.encoder, settings)
    rows = np.flatnonzero(data.shown & ~np.isin(data.y, unseen))
    kept, columns = np.unique(data.y[rows], return_inverse=True)
    names, people = [data.names[i] for i in kept], data.people[rows].tolist()
    adapter.solve(data.features[rows], columns.astype(np.int64), names, groups=people)
    return adapter


def shuffled(data: Examples, unseen: Any) -> Any:
    """Another order of the labels of the training clips."""
    rows = np.flatnonzero(data.shown & ~np.isin(data.y, unseen))
    turned = data.y.copy()
    turned[rows] = np.random.default_rng(0).permutation(data.y[rows])
    return turned


def confused(kind: str) -> Any:
    """``parts`` with the clauses of another label, or of another part."""

    class Confused(registry.get("adapter", "parts")):
        def part_texts(self, texts: Sequence[str]) -> list[list[str]]:
            rows = super().part_texts(texts)
            if kind == "parts":
                return [[row[0], *row[2:], row[1]] for row in rows]
            told = [self.clauses(self.stranger(text)) for text in texts]
            return [
                [row[0], *(f"{row[0]}, {words.get(part, '')}" for part in PARTS)]
                for row, words in zip(rows, told, strict=True)
            ]

        def stranger(self, text: str) -> str:
            return self.names[(self.names.index(text) + len(self.names) // 2) % len(self.names)]

    return Confused


def fold_of(data: Examples, unseen: Any, methods: Sequence[str]) -> dict[str, dict]:
    """Figures of one fold by method and control."""
    core = ModelCore(data.encoder)
    found = {"words": scored(core, data.vectors, data, unseen, 0.0)}
    for method in methods:
        adapter = solved(method, data, unseen, {})
        settings = {"own": adapter.config.own, "stacking": adapter.config.stacking}
        offsets = adapter.label_offsets(data.names)
        found[method] = scored(
            ModelCore(adapter), adapter.pool(data.features), data, unseen, offsets
        )
        found[method] |= {key: round(value, 3) for key, value in settings.items()}
        if settings["own"] < 1:
            alone = solved(method, data, unseen, {"own": 0.0, "stacking": 0.0})
            found[f"{method}, map alone"] = scored(
                ModelCore(alone), alone.pool(data.features), data, unseen, 0.0
            )
        right, data.y = data.y, shuffled(data, unseen)
        wrong = solved(method, data, unseen, {"own": 0.0, "stacking": 0.0})
        data.y = right
        found[f"{method}, labels shuffled"] = scored(
            ModelCore(wrong), wrong.pool(data.features), data, unseen, 0.0
        )
        for kind in ("labels", "parts") if method == "parts" else ():
            part = confused(kind)
            part.names = data.names
            other = solved(method, data, unseen, {"own": 0.0, "stacking": 0.0}, part)
            found[f"{method}, clauses of other {kind}"] = scored(
                ModelCore(other), other.pool(data.features), data, unseen, 0.0
            )
    return found


def sides_of(data: Examples, unseen: Any, margin: Any, best: Any, cosines: Any) -> dict:
    """Both sides' accuracies and their area in the list of all labels.

    Args:
        data: Whose clips that are not learned from are asked about.
        unseen: Labels without examples.
        margin: (n,) of the asked clips; from 0 on they get their best label with examples.
        best: (n,) these.
        cosines: (n, C) whose best unseen label the others get.
    """
    y = data.y[~data.shown]
    other = unseen[cosines[:, unseen].argmax(axis=1)]
    of_seen = ~np.isin(y, unseen)
    right = np.where(margin >= 0, best == y, other == y)
    seen, without = float(right[of_seen].mean()), float(right[~of_seen].mean())
    area = seen_unseen_area(margin, best == y, other == y, of_seen)
    called = (margin >= 0) == of_seen
    told = (called[of_seen].mean() + called[~of_seen].mean()) / 2
    figures = {"seen": seen, "unseen": without, "h": harmonic_mean(seen, without), "area": area,
               "told_apart": float(told)}  # fmt: skip
    return {key: round(value, 4) for key, value in figures.items()}


def by_stacking_and_gate(adapter: Any, data: Examples, unseen: Any) -> dict[str, dict]:
    """Figures of stacking, of the gate, and of the gate's classifier where stacking decides."""
    features = data.features[~data.shown]
    cosines = adapter.pool(features) @ ModelCore(adapter).encode_labels(data.names).T
    seen = np.setdiff1d(np.arange(len(data.names)), unseen)
    best = seen[cosines[:, seen].argmax(axis=1)]
    lost = adapter.label_offsets(data.names).max()
    margin = cosines[:, seen].max(axis=1) - lost - cosines[:, unseen].max(axis=1)
    odds, shares = adapter.label_gate(data.names).answer(features, cosines)
    sure = seen[shares.argmax(axis=1)]
    return {
        "stacking": sides_of(data, unseen, margin, best, cosines),
        "gate": sides_of(data, unseen, odds, sure, cosines),
        "stacking, classifier": sides_of(data, unseen, margin, sure, cosines),
    }


def gates_of(data: Examples, unseen: Any, methods: Sequence[str]) -> dict[str, dict]:
    """Stacking and the gate of one fold by method, and with labels of the examples shuffled."""
    found: dict[str, dict] = {}
    for method in methods:
        adapter = solved(method, data, unseen, {"gate": "always"})
        rows = by_stacking_and_gate(adapter, data, unseen)
        kept = bool(adapter.weighed.gate > adapter.weighed.stacking)
        held = {key: round(value, 4) for key, value in asdict(adapter.weighed).items()}
        rows["chosen"] = rows["gate" if kept else "stacking"] | {"kept": kept, "held_out": held}
        right, data.y = data.y, shuffled(data, unseen)
        given = {"own": adapter.config.own, "stacking": adapter.config.stacking}
        wrong = solved(method, data, unseen, given | {"gate": "always"})
        data.y = right
        rows |= {
            f"{name}, labels shuffled": row
            for name, row in by_stacking_and_gate(wrong, data, unseen).items()
        }
        found |= {f"{method}: {name}": row for name, row in rows.items()}
    return found


def gate_table(name: str, rows: Sequence[dict[str, dict]]) -> None:
    """Means over folds in percent, and the gain over stacking with its standard error."""
    print(f"\n{name}: seen, unseen, H, AUSUC, told apart; gain of H and AUSUC, {len(rows)} folds")
    for method in rows[0]:
        keys = ("seen", "unseen", "h", "area", "told_apart")
        means = [f"{100 * np.mean([row[method][key] for row in rows]):.1f}" for key in keys]
        base = f"{method.partition(':')[0]}: stacking"
        base += ", labels shuffled" if method.endswith("shuffled") else ""
        for key in ("h", "area"):
            gain = np.array([100 * (row[method][key] - row[base][key]) for row in rows])
            error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
            means.append(f"{gain.mean():+.1f} +- {error:.1f}")
        kept = sum(bool(row[method].get("kept")) for row in rows)
        print("| " + " | ".join((method, *means, f"kept {kept}" if kept else "")) + " |")


def main() -> None:
    """Print a table, and write all figures."""
    given = arguments(
        __doc__, root={"positional": True, "type": Path}, data=some(["utd_mhad", "msr_action3d"]),
        methods=some(METHODS), cache=Path("/tmp/vlar-unseen"),
        gates=(False, "compare stacking with the gate"), out=Path,
    )  # fmt: skip
    result: dict[str, list] = {}
    for name in given.data:
        data = Examples(given.root, name, given.cache)
        order = np.random.default_rng(0).permutation(len(data.names))
        rows = []
        for unseen in np.array_split(order, FOLDS):
            measure = gates_of if given.gates else fold_of
            rows.append(measure(data, np.sort(unseen), given.methods))
            print(name, json.dumps(rows[-1]), file=sys.stderr, flush=True)
            result[name] = rows
            store(given.out, result)
        (gate_table if given.gates else table)(name, rows)


def table(name: str, rows: Sequence[dict[str, dict]]) -> None:
    """Means over folds in percent, with the standard error of zero-shot."""
    print(f"\n{name}: zero-shot, s.e.; generalised H with and without stacking, {len(rows)} folds")
    for method in rows[0]:
        there = [row[method] for row in rows if method in row]
        zero = np.array([100 * row["zero_shot"] for row in there])
        error = zero.std(ddof=1) / len(zero) ** 0.5 if len(zero) > 1 else float("nan")
        h = [100 * np.mean([row[f"{kind}_h"] for row in there]) for kind in ("stacked", "plain")]
        turned = 100 * np.mean([row["turned"] for row in there])
        figures = (f"{zero.mean():.1f} +- {error:.1f}", *(f"{x:.1f}" for x in (turned, *h)))
        print("| " + " | ".join((method, *figures)) + " |")


if __name__ == "__main__":
    main()
