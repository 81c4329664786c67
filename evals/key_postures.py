"""Key postures on self-organising maps (``som``) next to ``auto``: K examples, other people.

    python evals/key_postures.py ../shared/modalities --out evals/results/key_postures.json

Examples come from every second person, K a label and seed; all clips of the remaining people are
asked about. Control: the labels of the examples shuffled.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from unseen_labels import Examples

from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature

METHODS = ("auto", "som", "bi-mhm", "otam")


def accuracy(data: Examples, rows: list[int], y: list[str], method: str) -> float:
    """Accuracy on the clips of the other people, after learning from some rows."""
    blocks = data.encoder.frame_blocks
    head, _ = choose(data.features[rows], blocks, y, labels=data.names, method=method)
    asked = np.flatnonzero(~data.shown)
    logits = head.logits(signature(data.features[asked], blocks, head.kind))
    return float((logits.argmax(axis=1) == data.y[asked]).mean())


def main() -> None:
    """Print a line a data set and method, and write all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--data", nargs="+", default=["utd_mhad", "msr_action3d"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--shots", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/vlar-unseen"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result: dict[str, dict[str, list[float]]] = {}
    for name in given.data:
        data = Examples(given.root, name, given.cache)
        found = result.setdefault(name, {})
        for seed in range(given.seeds):
            random = np.random.default_rng(seed)
            rows: list[int] = []
            for label in range(len(data.names)):
                there = np.flatnonzero(data.shown & (data.y == label))
                rows += random.permutation(there)[: given.shots].tolist()
            y = [data.names[data.y[row]] for row in rows]
            mixed = random.permutation(y).tolist()
            for method in given.methods:
                found.setdefault(method, []).append(accuracy(data, rows, y, method))
            wrong = accuracy(data, rows, mixed, "som")
            found.setdefault("som, labels shuffled", []).append(wrong)
            if given.out:
                given.out.write_text(json.dumps(result, indent=1) + "\n")
        for method, values in found.items():
            row = 100 * np.array(values)
            error = row.std(ddof=1) / len(row) ** 0.5 if len(row) > 1 else float("nan")
            print(f"| {name} | {method} | {row.mean():.1f} +- {error:.1f} |", flush=True)


if __name__ == "__main__":
    main()
