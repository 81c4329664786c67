"""Key postures on self-organising maps (``som``) next to ``auto``: K examples, other people.

    python evals/key_postures.py ../shared/modalities --out evals/results/key_postures.json

Examples come from every second person, K a label and seed; all clips of the remaining people are
asked about. Control: the labels of the examples shuffled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from harness import arguments, some, store
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
    given = arguments(
        __doc__, root={"positional": True, "type": Path}, data=some(["utd_mhad", "msr_action3d"]),
        methods=some(METHODS), shots=3, seeds=5, cache=Path("/tmp/vlar-unseen"), out=Path,
    )  # fmt: skip
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
            store(given.out, result)
        for method, values in found.items():
            row = 100 * np.array(values)
            error = row.std(ddof=1) / len(row) ** 0.5 if len(row) > 1 else float("nan")
            print(f"| {name} | {method} | {row.mean():.1f} +- {error:.1f} |", flush=True)


if __name__ == "__main__":
    main()
