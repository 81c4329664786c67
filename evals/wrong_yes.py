"""Wrong sentences that one label alone says yes to, by kind, with the true ones as the control.

    python evals/wrong_yes.py --data DIR DIR [--model lite] [--cache DIR] [--json OUT]

DIRs are those of ``believe.py``. ``lists/wrong_sentences.csv`` has four texts of each of 86 labels,
written before any answer of the model: ``act``, another act in the same scene; ``object``, the same
movement with another object; ``noun``, a thing that is not shown, by one noun; and ``true noun``,
one noun that names what is shown. True sentences are the label and its wordings in
``lists/believe_sentences.csv``. Each is asked alone, of the clips of its label. Figures are means
over texts, of the half "choose", on which constants were chosen, and of "report".

half      share of clips where .5 or more is stated; ``yes``, ``unsure``, ``no``: verdicts
objects   of the wrong texts with .5 or more: share where the objects alone still state it, with the
          movement at its mean over the clips; ``movement`` the other way round
balanced  mean of "yes" to the true sentences and of "no" to the wrong ones of a kind
pairs     a true and a wrong text of one kind in one list: the wrong one states .5 or more; right
strangers the same wrong sentences, asked of clips of labels that are not theirs: the control
area      area under the ROC curve of true against wrong texts of a kind: by what is stated, by the
          objects and by the movement alone (each standardised over everyday actions), by the lesser
          of both ("a yes needs both"), and by what is stated and the lesser together
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from believe import Clips, Wordings, load_clips, load_wordings
from harness import HALVES, arguments, echo, store, table

import vlar
from vlar.errors import VlarError
from vlar.heads.base import verdict
from vlar.library.query.feedback import log_odds
from vlar.types import Encoded, Float32, Float64

SENTENCES = Path(__file__).parent / "lists" / "wrong_sentences.csv"
WRONG = ("act", "object", "noun")
TRUE = {"act": "true", "object": "true", "noun": "true noun"}
BLOCKS = ("objects", "motion")
WAYS = ("stated", "objects", "movement", "lesser", "stated and lesser")
VERDICTS = ("yes", "unsure", "no")


def load_sentences(wordings: Wordings) -> dict[str, dict[str, list[str]]]:
    """The texts of each kind, by label."""
    sentences: dict[str, dict[str, list[str]]] = {}
    for row in table(SENTENCES):
        label = row["label"]
        of_label = sentences.setdefault(label, {"true": [label, *wordings.of.get(label, ())]})
        of_label.setdefault(row["kind"], []).append(row["sentence"])
    return sentences


def stated(model: vlar.Model, texts: Sequence[str], rows: Sequence[Encoded]) -> Float64:
    """(C, N) probability of each text alone."""
    scores = [model.classifier([text]).scores(rows).probability[:, 0] for text in texts]
    return np.stack(scores)


class Half:
    """Clips of one half, and the sentences of their labels."""

    def __init__(self, model: vlar.Model, clips: Clips, half: int, wordings: Wordings) -> None:
        rows = np.flatnonzero(clips.half == half)
        self.model, self.labels = model, clips.labels[rows]
        listed = load_sentences(wordings).items()
        self.sentences = {label: texts for label, texts in listed if label in self.labels}
        self.vectors = clips.vectors[rows]
        self._rows = [Encoded(row[None, :0], row) for row in self.vectors]
        self._without = {name: self._at_mean(name) for name in ("objects", "motion")}

    def _at_mean(self, name: str) -> list[Encoded]:
        """Clips with one block at its mean over the half."""
        vectors, start = self.vectors.copy(), 0
        for block in self.model.words.encoder.blocks:
            if block.name == name:
                vectors[:, start : start + block.width] = vectors[
                    :, start : start + block.width
                ].mean(axis=0)
            start += block.width
        return [Encoded(row[None, :0], row) for row in vectors]

    def kind(self, kind: str, strangers: bool = False) -> dict[str, Any]:
        """Figures of the texts of one kind."""
        shares, carried, n_clips = list[list[float]](), list[tuple[float, float]](), 0
        for label, texts in self.sentences.items():
            of_label = self.labels == label
            where = np.flatnonzero(~of_label if strangers else of_label)
            p = stated(self.model, texts[kind], self._of(where))
            n_clips += len(where) * len(p)
            for text, row in zip(texts[kind], p, strict=True):
                told = [verdict(float(value)) for value in row]
                counts = [told.count(name) / len(told) for name in VERDICTS]
                shares.append([float((row >= 0.5).mean()), *counts])
                if not strangers and (row >= 0.5).any():
                    of = where[row >= 0.5]
                    alone = {
                        name: stated(self.model, [text], [rows[at] for at in of]) >= 0.5
                        for name, rows in self._without.items()
                    }
                    carried += zip(alone["motion"][0], alone["objects"][0], strict=True)
        half, *told = np.mean(shares, axis=0).round(3).tolist()
        figures = {"texts": len(shares), "answers": n_clips, "half": half}
        figures |= dict(zip(VERDICTS, told, strict=True))
        if carried:
            objects, movement = np.mean(carried, axis=0).round(3).tolist()
            figures |= {"stated": len(carried), "objects": objects, "movement": movement}
        return figures

    def pairs(self, kind: str) -> dict[str, Any]:
        """Figures of lists of a true and a wrong text."""
        rows = list[tuple[float, float]]()
        for label, texts in self.sentences.items():
            where = np.flatnonzero(self.labels == label)
            for true in texts[TRUE[kind]]:
                for wrong in texts[kind]:
                    listed = self.model.classifier([true, wrong])
                    p = listed.scores(self._of(where)).probability
                    rows.append(((p[:, 1] >= 0.5).mean(), (p[:, 0] > p[:, 1]).mean()))
        wrong, right = np.mean(rows, axis=0).round(3).tolist()
        return {"lists": len(rows), "wrong stated": wrong, "right": right}

    def areas(self, kind: str) -> dict[str, float]:
        """Areas under the ROC curve of true against wrong texts; every text weighs the same."""
        rows: dict[str, list[np.ndarray]] = {}
        sides, weights = list[np.ndarray](), list[np.ndarray]()
        for label, texts in self.sentences.items():
            where = np.flatnonzero(self.labels == label)
            asked = [(text, name) for name in (TRUE[kind], kind) for text in texts[name]]
            odds = log_odds(stated(self.model, [text for text, _ in asked], self._of(where)))
            queries = self.model.words.encode_queries([text for text, _ in asked])
            objects, movement = (self._standardised(queries, where, b) for b in BLOCKS)
            lesser = np.minimum(objects, movement)
            values = (odds, objects, movement, lesser, odds + lesser)
            for name, part in zip(WAYS, values, strict=True):
                rows.setdefault(name, []).append(part.ravel())
            true = np.array([name == TRUE[kind] for _, name in asked])
            sides.append(np.repeat(true, len(where)))
            weights.append(np.full(odds.size, 1 / len(where)))
        side, weight = np.concatenate(sides), np.concatenate(weights)
        pairs = weight[side][:, None] * weight[~side]
        areas: dict[str, float] = {}
        for name, parts in rows.items():
            values = np.concatenate(parts)
            ahead = np.sign(values[side][:, None] - values[~side]) / 2 + 0.5
            areas[name] = round(float((ahead * pairs).sum() / pairs.sum()), 3)
        return areas

    def _of(self, where: np.ndarray) -> list[Encoded]:
        return [self._rows[row] for row in where]

    def _standardised(self, queries: Float32, where: np.ndarray, name: str) -> Float64:
        """(C, N) products of one block of texts and clips, over those of everyday actions."""
        start = 0
        for block in self.model.words.encoder.blocks:
            part = slice(start, start + block.width)
            start += block.width
            if block.name == name:
                clips = self.vectors[where, part].astype(np.float64)
                bank = clips @ self.model.words.background[:, part].T
                spread = bank.std(axis=1) + 1e-6
                return (queries[:, part] @ clips.T - bank.mean(axis=1)) / spread
        return np.zeros((len(queries), len(where)))

    def figures(self) -> dict[str, Any]:
        """All figures of the half."""
        found: dict[str, Any] = {kind: self.kind(kind) for kind in ("true", "true noun", *WRONG)}
        for kind in WRONG:
            both = found[TRUE[kind]]["yes"] + found[kind]["no"]
            found[kind]["balanced"] = round(both / 2, 3)
            found[f"{kind}, strangers"] = self.kind(kind, strangers=True)
            found[f"{kind}, pairs"] = self.pairs(kind)
            found[f"{kind}, area"] = self.areas(kind)
        return found


def main() -> int:
    options = arguments(
        __doc__, "model", "cache", "json",
        data={"type": Path, "nargs": "+", "required": True, "help": "folders of clips"},
    )  # fmt: skip
    try:
        model = vlar.load(options.model)
        clips, wordings = load_clips(model, options.data, options.cache), load_wordings()
        found: dict[str, Any] = {"model": options.model, "fingerprint": model.fingerprint}
        for half, name in enumerate(HALVES):
            found[name] = Half(model, clips, half, wordings).figures()
            for what, figures in found[name].items():
                echo(name, what, figures)
            store(options.json, found)
    except (VlarError, OSError, KeyError) as error:
        print(f"wrong_yes: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
