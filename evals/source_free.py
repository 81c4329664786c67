"""A model before and after ``source-free``, as a user has them: from files, with its closed form.

    python evals/source_free.py --shared DIR [--pairs utd:msr utd:ucla] [--seeds 3] [--json FILE]

Joints of one set teach ``local-temporal``; half of the people of another one give clips without
labels, and the other half is asked. Each row has the right answers of the old model, of the adapted
one, and of the one that is taken by what they state without a label. Control: clips of other
actions, which show none of the labels.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, manifest, store
from sensors import FILES, SHARED, SHARED_WITH_UCLA

import vlar

Row = tuple[Path, str, str]
LABELLED = ("path", "label", "group")


def files_of(data: Path, name: str, labels: dict[str, str], *, shared: bool = True) -> list[Row]:
    """Path, shared label and person of the recordings of a set; of all other labels."""
    rows: list[Row] = []
    for entry in manifest(data):
        path = data / entry["path"]
        if entry["path"].startswith(FILES[name][1]) and "order" not in path.name:
            who = "".join(c for c in entry["group"] if c.isdigit()) or "0"
            if (entry["label"] in labels) == shared:
                rows.append((path, labels.get(entry["label"], ""), who))
    return rows


def table(file: Path, rows: list[Row], columns: tuple[str, ...]) -> Path:
    """Some columns of rows, as a file."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        for path, label, who in rows:
            writer.writerow({"path": path, "label": label, "group": who})
    return file


def right(model: Any, rows: list[Row]) -> int:
    """Number of right answers."""
    return sum(model.classify(path).predictions[0].label == label for path, label, _ in rows)


def main() -> None:
    """Print the rows, and write them as JSON."""
    given = arguments(__doc__, "shared", "json", pairs=["utd:msr", "utd:ucla"], seeds=3)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for pair in given.pairs:
            labels = SHARED_WITH_UCLA if pair.endswith("ucla") else SHARED
            source, target = pair.split(":")
            data = given.shared / "modalities"
            teach = table(Path(place) / "s.csv", files_of(data, source, labels[source]), LABELLED)
            old = vlar.load("skeleton").adapt(teach, method="local-temporal")
            rows = files_of(data, target, labels[target])
            other = files_of(data, target, labels[target], shared=False)
            for seed in range(given.seeds):
                who = np.random.default_rng(seed).permutation(sorted({r[2] for r in rows}))
                half = set(who[::2].tolist())
                ask = [row for row in rows if row[2] not in half]
                for name, clips in (("source-free", rows), ("other actions", other)):
                    free = [row for row in clips if row[2] in half][:60]
                    if len(free) < 2:
                        continue
                    free_table = table(Path(place) / "t.csv", free, ("path",))
                    settings: dict[str, Any] = {"method": "source-free", "unlabelled": free_table}
                    taken = old.adapt(None, seed=seed, **settings)
                    new = old.adapt(None, seed=seed, settings={"guard": False}, **settings)
                    row = {
                        "pair": pair, "row": name, "seed": seed, "asked": len(ask),
                        "old": right(old, ask), "new": right(new, ask),
                        "taken": "new" if "is taken" in taken.report.note else "old",
                        "note": taken.report.note,
                    }  # fmt: skip
                    results.append(row)
                    print(row, flush=True)
                    store(given.json, {"results": results})


if __name__ == "__main__":
    main()
