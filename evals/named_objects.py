"""Bodies weighed by whether a text names an object that can be seen.

    python evals/named_objects.py --data DIR DIR [--cache DIR] [--json OUT]

DIRs, libraries and halves of labels are those of ``search.py``. The movement of bodies in a query
is multiplied by ``exp(a x)``, where x is how much a text names an object (standardised):

class name    greatest cosine of one of its words, or of two in a row, with a name of an object
word          the same words, by the peak of each over the objects
thing         the kind that ``lists/believe_sentences.csv`` states, by a person
permuted      control: the first, of another text

For each of five folds of labels of "choose", ``a`` is what finds the most first hits (among 150
recordings, six draws) on the four others; "report" is asked only if that gains.
"""

from __future__ import annotations

import itertools
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from believe import load_clips, load_wordings
from harness import arguments, echo, store
from search import FOLDS, Asked, drawn

import vlar
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.encoders.lite.space import phrases
from vlar.encoders.lite.towers import TextTower
from vlar.errors import VlarError
from vlar.library.query.written import content_words
from vlar.numeric import unit
from vlar.types import Float64

WEIGHTS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5)
DRAWS = 6
LIBRARY = 150


def named(texts: list[str], encoder: LiteEncoder) -> dict[str, Float64]:
    """(Q,) of each way by which a text names an object."""
    tower = TextTower()
    words = [content_words(text) for text in texts]
    words = [[*row, *map(" ".join, itertools.pairwise(row))] for row in words]
    listed = sorted({word for row in words for word in row})
    names = [name for kind in ("name", "also") for _, name in phrases(kind)]
    nearness = (unit(tower(listed)) @ unit(tower(names)).T).max(axis=1)
    peaks = encoder.encode_text_block(listed, "objects").max(axis=1)
    place = {word: number for number, word in enumerate(listed)}
    rows = [[place[word] for word in row] for row in words]
    return {
        name: np.array([values[row].max(initial=0.0) for row in rows])
        for name, values in (("class name", nearness), ("word", peaks))
    }


def first_hits(asked: Asked, rows: np.ndarray, factor: Float64) -> Float64:
    """(R,) share of libraries in which a text's first hit is right, bodies times a factor (R,)."""
    words, first = asked.words[rows].copy(), asked.model.encoder.blocks[0].width
    words[:, first : first + asked.model.encoder.blocks[1].width] *= factor[:, None]
    scores = np.stack([
        asked.model.words.match_probability(asked.clips.vectors, row) for row in unit(words)
    ])  # fmt: skip
    right, shown = np.zeros(len(rows)), np.zeros(len(rows))
    for seed in range(DRAWS):
        library = drawn(asked.clips, LIBRARY, seed)
        labels = asked.clips.labels[library]
        best = np.argsort(-scores[:, library], axis=1, kind="stable")[:, 0]
        is_shown = np.isin(asked.labels[rows], labels)
        right += is_shown & (labels[best] == asked.labels[rows])
        shown += is_shown
    return right / np.maximum(shown, 1)


def gain(asked: Asked, rows: np.ndarray, values: Float64, before: Float64) -> dict[str, Any]:
    """Figures of one way, by folds of labels."""
    x = ((values - values.mean()) / values.std())[rows]
    by_weight = {a: first_hits(asked, rows, np.exp(a * x)) if a else before for a in WEIGHTS}
    after, chosen = before.copy(), list[float]()
    for fold in range(FOLDS):
        others = asked.fold[rows] != fold
        best = max(WEIGHTS, key=lambda a: (by_weight[a][others].mean(), -abs(a)))
        after[~others] = by_weight[best][~others]
        chosen.append(best)
    labels = asked.labels[rows]
    gains = [float((after - before)[labels == label].mean()) for label in sorted(set(labels))]
    return {
        "gain": round(float((after - before).mean()), 4), "chosen": chosen,
        "standard_error": round(float(np.std(gains) / np.sqrt(len(gains))), 4),
        "first": {str(a): round(float(share.mean()), 4) for a, share in by_weight.items()},
    }  # fmt: skip


def main() -> int:
    options = arguments(
        __doc__, "model", "cache", "json",
        data={"type": Path, "nargs": "+", "required": True, "help": "folders of clips"},
    )  # fmt: skip
    try:
        model, wordings = vlar.load(options.model), load_wordings()
        asked = Asked(model, load_clips(model, options.data, options.cache), wordings)
        assert isinstance(model.encoder, LiteEncoder)
        ways = named(asked.texts, model.encoder)
        kinds = [wordings.kind.get(label) == "thing" for label in asked.labels.tolist()]
        ways["thing"] = np.array(kinds, float)
        ways["permuted"] = np.random.default_rng(0).permutation(ways["class name"])
        half = [zlib.crc32(label.encode()) % 2 for label in asked.labels.tolist()]
        rows = np.flatnonzero(np.array(half) == 0)
        before = first_hits(asked, rows, np.ones(len(rows)))
        found: dict[str, Any] = {"clips": len(asked.clips.labels), "queries": len(rows)}
        for name, values in ways.items():
            found[name] = gain(asked, rows, values, before)
            echo(name, found[name])
    except (VlarError, OSError, KeyError) as error:
        print(f"named_objects: {error}", file=sys.stderr)
        return 2
    store(options.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
