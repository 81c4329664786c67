"""Gain of queries with operators over their phrases alone.

    python evals/composed.py --videos DIR [--cache DIR] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names. They are
joined into a synthetic library with known spans (``made_library.py``): half "choose" from every
second group of clips, half "report" from the others. Every pair of the eight phrases is asked.

AND   ``"a" AND "b"``: windows whose middle lies where both are shown
NOT   ``"a" AND NOT "b"``: where a is shown and b is not
NONE  ``"a" AND NOT ("b" OR "c")``
THEN  ``"a" THEN "b" WITHIN 10s``: spans from where a begins to where b ends

AND, NOT and NONE rank windows: right is one whose middle lies in a true span. THEN ranks spans:
right is one with a tIoU of 0.5 or more with a true span that no better answer took. A second
measure forgives half answers (THEN, inside): right if half of the answer lies in a
true span, so that one of the two windows is enough.

Baselines, on the same windows by the same index: the best single phrase (for each query the better
of its phrases, chosen with the true spans), and the vector sum of the phrases or their difference
``a - w b``. tIoU is the mean over all queries of the overlap of the first answers (as many as there
are true spans) with the nearest true span, 0 for those that meet none.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from composed_measures import (
    Span,
    average_precision,
    gains,
    inside,
    mean,
    overlap,
    tiou,
    window_precision,
)
from harness import Namespace, arguments, store
from made_library import CONCEPTS, KeptVectors, Truth, build

import vlar
from vlar.errors import VlarError
from vlar.library.library import Library
from vlar.types import Float32, Float64, Hit

HALVES = ("choose", "report")
WITHIN_S = 10.0
EVERY = 10_000
WEIGHTS = (0.25, 0.5, 0.7, 1.0)


class Arithmetic(KeptVectors):
    """Reads ``sum: 1 a ; -0.5 b`` as a sum of the phrases' vectors; computes nothing twice."""

    def __init__(self, model: vlar.Model, file: Path) -> None:
        super().__init__(model, file)
        self._queries: dict[str, Float32] = {}
        self._probability: dict[tuple[bytes, bytes], float] = {}

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """(Q, D) of unit length."""
        for text in texts:
            if text not in self._queries:
                self._queries[text] = self._query(text)
        return np.concatenate([self._queries[text] for text in texts])

    def match_probability(self, vectors: Float32, query: Float32) -> Float64:
        """(N,) as the model's."""
        keys = [(row.tobytes(), query.tobytes()) for row in vectors]
        new = [at for at, key in enumerate(keys) if key not in self._probability]
        if new:
            values = self._model.match_probability(vectors[new], query)
            self._probability |= {keys[at]: float(v) for at, v in zip(new, values, strict=True)}
        return np.array([self._probability[key] for key in keys])

    def _query(self, text: str) -> Float32:
        if not text.startswith("sum:"):
            return self._model.encode_queries([text])
        terms = [term.strip().partition(" ") for term in text[4:].split(";")]
        vectors = self._model.encode_queries([phrase for _, _, phrase in terms])
        total = np.array([float(weight) for weight, _, _ in terms]) @ vectors
        return (total / np.linalg.norm(total))[None].astype(np.float32)


@dataclass(frozen=True)
class Asked:
    """A query, its baselines, and what is true of it."""

    kind: str
    text: str
    singles: tuple[str, ...]
    sums: dict[str, str]
    true: tuple[Span, ...]


def questions(truth: Truth) -> Iterator[Asked]:
    """Every query that has an answer."""
    for a, b in itertools.permutations(CONCEPTS, 2):
        if a < b:
            yield Asked(
                "AND",
                f'"{a}" AND "{b}"',
                (a, b),
                {"sum": f"sum: 1 {a} ; 1 {b}"},
                shown(truth, lambda p, a=a, b=b: a in p and b in p),
            )
        yield Asked(
            "NOT",
            f'"{a}" AND NOT "{b}"',
            (a,),
            {f"difference {w:g}": f"sum: 1 {a} ; {-w} {b}" for w in WEIGHTS},
            shown(truth, lambda p, a=a, b=b: a in p and b not in p),
        )
        yield Asked(
            "THEN",
            f'"{a}" THEN "{b}" WITHIN {WITHIN_S:g}s',
            (a, b),
            {"sum": f"sum: 1 {a} ; 1 {b}"},
            followed(truth, a, b),
        )
    for a in CONCEPTS:
        others = [phrase for phrase in CONCEPTS if phrase != a]
        for b, c in itertools.pairwise(others):
            yield Asked(
                "NONE",
                f'"{a}" AND NOT ("{b}" OR "{c}")',
                (a,),
                {f"difference {w:g}": f"sum: 1 {a} ; {-w} {b} ; {-w} {c}" for w in WEIGHTS},
                shown(truth, lambda p, a=a, b=b, c=c: a in p and not {b, c} & p),
            )


def shown(truth: Truth, holds: Callable[[frozenset[str]], bool]) -> tuple[Span, ...]:
    """The spans where something holds; moments that follow each other are one."""
    spans: list[Span] = []
    for name, moments in truth.items():
        for moment in (m for m in moments if holds(m.phrases)):
            last = spans[-1] if spans else ("", 0.0, 0.0)
            if last[0] == name and abs(last[2] - moment.start_s) < 1e-6:
                spans[-1] = (name, last[1], moment.end_s)
            else:
                spans.append((name, moment.start_s, moment.end_s))
    return tuple(spans)


def followed(truth: Truth, a: str, b: str) -> tuple[Span, ...]:
    """Spans from the beginning of each moment of ``a`` to the end of the next one of ``b``, if
    near.
    """
    spans: list[Span] = []
    for name, moments in truth.items():
        for first in (m for m in moments if a in m.phrases):
            later = [m for m in moments if b in m.phrases and m.start_s >= first.end_s - 1e-6]
            if later and later[0].start_s - first.end_s <= WITHIN_S:
                spans.append((name, first.start_s, later[0].end_s))
    return tuple(spans)


def spans_of(hits: Sequence[Hit]) -> list[Span]:
    return [(Path(hit.path).name, hit.start_s, hit.end_s) for hit in hits]


class Half:
    """One half of the made library, asked by one set of windows."""

    def __init__(self, library: Library, truth: Truth) -> None:
        self.library, self.truth = library, truth
        self.asked = [asked for asked in questions(truth) if asked.true]

    def windows(self, text: str) -> list[Span]:
        """All windows, best first: with nothing merged, a span is a window."""
        with (
            mock.patch("vlar.library.query.search.merge", _unmerged),
            mock.patch("vlar.library.query.scan_candidates.refined", lambda span, *_: span),
        ):
            return spans_of(self.library.query(text, EVERY, min_probability=0))

    def spans(self, text: str) -> list[Span]:
        return spans_of(self.library.query(text, EVERY, min_probability=0))

    def precisions(self, text: str, asked: Asked) -> dict[str, float]:
        """Precisions by kind of measure."""
        if asked.kind != "THEN":
            return {asked.kind: window_precision(self.windows(text), asked.true)}
        spans = self.spans(text)
        return {
            "THEN": average_precision(spans, asked.true, tiou),
            "THEN, inside": average_precision(spans, asked.true, inside),
        }

    def figures(self) -> dict[str, dict[str, object]]:
        """mAP by kind and by way of asking, and how far the gains of the query may be chance."""
        found: dict[str, dict[str, list[float]]] = {}
        for asked in self.asked:
            ways = {"query": asked.text} | {f"single {s}": s for s in asked.singles} | asked.sums
            values = {way: self.precisions(text, asked) for way, text in ways.items()}
            for kind in values["query"]:
                rows = found.setdefault(kind, {})
                of = {way: value[kind] for way, value in values.items()}
                singles = [of.pop(f"single {s}") for s in asked.singles]
                for way, value in (of | {"best single": max(singles)}).items():
                    rows.setdefault(way, []).append(value)
        return {
            kind: {"queries": len(rows["query"])}
            | {way: round(mean(values), 4) for way, values in rows.items()}
            | {"gain, 95 %": gains(rows)}
            for kind, rows in found.items()
        }

    def overlaps(self) -> dict[str, float]:
        """Mean tIoU by kind, of the answers to the query."""
        found: dict[str, list[float]] = {}
        for asked in self.asked:
            found.setdefault(asked.kind, []).append(overlap(self.spans(asked.text), asked.true))
        for phrase in CONCEPTS:
            true = shown(self.truth, lambda p, phrase=phrase: phrase in p)
            answers = self.spans(f'"{phrase}" IN "*"')
            found.setdefault("phrase", []).append(overlap(answers, true))
        return {kind: round(mean(values), 4) for kind, values in found.items()}


def _unmerged(rows: Iterator[object], neighbours: object, k: int) -> list[object]:
    del neighbours
    return list(itertools.islice(rows, k))


def main() -> int:
    options = arguments(
        __doc__, "videos", "model", "json", seed=(0, "draws the order of moments"),
        cache=(Path, "keep made videos and vectors here"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.cache or Path(scratch)
        begin_s = time.process_time()
        try:
            model = Arithmetic(vlar.load(options.model), folder / "vectors.npz")
            found = [measure(model, options, folder, Path(scratch), half) for half in (0, 1)]
        except (VlarError, OSError, KeyError) as error:
            print(f"composed: {error}", file=sys.stderr)
            return 2
        model.save()
    show(dict(zip(HALVES, found, strict=True)))
    settings = {"model": options.model, "fingerprint": model.fingerprint, "seed": options.seed}
    settings |= {"within_s": WITHIN_S, "cpu_s": round(time.process_time() - begin_s)}
    content = {"settings": settings} | dict(zip(HALVES, found, strict=True))
    store(options.json, content)
    return 0


def measure(
    model: Arithmetic, options: Namespace, folder: Path, scratch: Path, half: int
) -> dict[str, object]:
    """All figures of one half."""
    truth = build(options.videos, folder / str(half), half, options.seed)
    result: dict[str, object] = {}
    overlaps: dict[str, dict[str, float]] = {}
    for long_times in (1, 2, 4):
        with Library(scratch / f"{half}-{long_times}.vlar", model) as library:  # type: ignore[arg-type]
            library.add(folder / str(half), long_times=long_times)
            asked = Half(library, truth)
            scale = "one scale" if long_times == 1 else f"and {long_times} times as long"
            if long_times == 1:
                result["map"] = asked.figures()
                with mock.patch(
                    "vlar.library.query.scan_candidates.refined", lambda span, *_: span
                ):
                    overlaps["one scale, unrefined"] = asked.overlaps()
            overlaps[f"{scale}, refined"] = asked.overlaps()
    return result | {"tiou": overlaps}


def show(found: dict[str, dict[str, object]]) -> None:
    """Print the tables."""
    for half, figures in found.items():
        print(f"\n## {half}\n")
        for kind, rows in figures["map"].items():  # type: ignore[attr-defined]
            spread = rows["gain, 95 %"]
            cells = ", ".join(
                f"{way} {value:g}" for way, value in rows.items() if way[:4] != "gain"
            )
            print(f"{kind}: {cells}; gain, 95 %: {spread}")
        for how, rows in figures["tiou"].items():  # type: ignore[attr-defined]
            print(f"tIoU  {how}: " + ", ".join(f"{kind} {value:g}" for kind, value in rows.items()))


if __name__ == "__main__":
    sys.exit(main())
