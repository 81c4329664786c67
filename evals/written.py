"""Value of descriptions from different writers, zero-shot, on one set.

    vlar describe labels.txt --out offline.json --llm offline
    vlar describe labels.txt --out model.json --llm openai:MODEL
    python evals/written.py --videos DIR --set jhmdb offline.json model.json [--cache DIR]

"names" has no descriptions, "packaged" those of vlar's banks. A bank's labels must be the readable
ones of the set. A label that a writer left without text goes by its name. Top-1 and top-5 in
percent by cosine, with the standard error over clips.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cached import features_of
from harness import arguments, manifest

import vlar
from vlar.language.bank import Entry, load_bank
from vlar.language.descriptions import descriptions_of
from vlar.model.core import described_vectors


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache", banks={"positional": True, "nargs": "*", "type": Path},
        set="jhmdb",
    )  # fmt: skip
    model = vlar.load("lite")
    rows = manifest(options.videos, options.set)
    labels = sorted({row["readable_label"] for row in rows})
    truth = np.array([labels.index(row["readable_label"]) for row in rows])
    features = [features_of(options.videos, row["path"], model, options.cache) for row in rows]
    vectors = model.encoder.pool(np.stack(features))

    def show(name: str, own: tuple[Entry, ...] | None) -> None:
        told = [{} for _ in labels] if own is None else descriptions_of(labels, own, only_own=True)
        told = descriptions_of(labels) if name == "packaged" else told
        mixes = model.encoder.descriptions
        text = described_vectors(model.encoder, labels, told, model.prompts, mixes)
        scores = vectors @ text.T
        rank = (scores > scores[np.arange(len(truth)), truth][:, None]).sum(axis=1)
        top1, top5 = float((rank < 1).mean()), float((rank < 5).mean())
        error = float(np.sqrt(top1 * (1 - top1) / len(truth)))
        described = sum(bool(row) for row in told)
        print(
            f"{name:24} {described:3} of {len(labels)} labels described  "
            f"{100 * top1:.1f} ± {100 * error:.1f}  top-5 {100 * top5:.1f}",
            flush=True,
        )

    show("names", None)
    show("packaged", ())
    for path in options.banks:
        show(path.name, load_bank(path).entries)


if __name__ == "__main__":
    main()
