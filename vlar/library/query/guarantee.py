"""Lists that hold a moment with a stated chance, by split-conformal prediction.

The score of a moment is ``min(l - l_max, l_max / 2)``: the log odds of its stated probability less
those of the best moment of the library, or half of the best's, whichever is worse. The first makes
lists short; by the second they are empty where even the best moment is improbable. Of labelled
queries the score of the right moment is known.
Where a new query is like them (exchangeable), the score of its right moment lies below the k-th
smallest of n such scores with a chance of at most ``k / (n + 1)`` (Vovk et al. 2005). So the list
of all moments at or above it misses with at most that chance, however good or bad the model is. An
empty list is an answer: with that chance the library does not hold the moment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlar.errors import UsageError
from vlar.library.query.candidates import Snapshot
from vlar.library.query.feedback import log_odds
from vlar.library.query.grammar import Leaf
from vlar.library.query.plan import QueryPlan, QueryReport, ReportCallback
from vlar.library.query.search import search
from vlar.library.store.base import LibraryStore
from vlar.results import Guarantee, Hits
from vlar.types import Float32, Float64

KEY = "miss_scores"  # of a library's own calibration, in its manifest
_SHARE = 0.5  # of the best moment's log odds; chosen by evals/results/search.json
_FOLDER = Path(__file__).parent / "calibrations"
_MOST_TEXT = 1 << 20
_MOST_SCORES = 100_000
_ROUNDED = 1e-3  # scores of a packaged calibration have three digits
_LARGEST = 1e4  # log odds
_FIRST = 256  # spans; then four times as many, until the list ends


@dataclass(frozen=True)
class MissCalibration:
    """Scores of the right moments of labelled queries.

    Attributes:
        name: What it was made of, for people.
        fingerprint: Fingerprint of the model.
        scores: Sorted scores, by the number of recordings of the libraries that were asked.
    """

    name: str
    fingerprint: str
    scores: Mapping[int, tuple[float, ...]]

    def guarantee(self, alpha: float, recordings: int) -> Guarantee:
        """The guarantee for a library of some recordings.

        Args:
            alpha: Chance of a miss, above 0 and below 1.
            recordings: Of the library; the nearest size that was calibrated is used.
        """
        sizes = sorted(self.scores)
        size = min(sizes, key=lambda each: abs(math.log(each / max(recordings, 1))))
        scores = self.scores[size]
        rank = int(alpha * (len(scores) + 1) + 1e-9)
        least = scores[rank - 1] if rank else -math.inf
        return Guarantee(alpha, self.name, len(scores), size, least)

    def to_json(self) -> str:
        """The text that a library keeps."""
        scores = {str(size): list(values) for size, values in self.scores.items()}
        facts = {"name": self.name, "fingerprint": self.fingerprint, "scores": scores}
        return json.dumps(facts, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> MissCalibration | None:
        """The calibration in a text; None where it is not one, as in a library of anybody."""
        try:
            facts = json.loads(text[:_MOST_TEXT])
            scores = {
                int(size): tuple(sorted(float(value) for value in values[:_MOST_SCORES]))
                for size, values in facts["scores"].items()
            }
            name, fingerprint = str(facts["name"])[:200], str(facts["fingerprint"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        usable = all(
            size >= 1 and values and all(abs(value) <= _LARGEST for value in values)
            for size, values in scores.items()
        )
        return cls(name, fingerprint, scores) if scores and usable else None


def guaranteed(
    plan: QueryPlan,
    miss: float,
    snapshot: Snapshot,
    queries: Mapping[Leaf, Float32],
    report: ReportCallback | None,
) -> Hits:
    """The list that holds the moment with ``1 - miss``; its length follows from the calibration.

    Raises:
        UsageError: the library has no calibration for its model.
    """
    calibration = calibration_of(snapshot.store, snapshot.manifest.fingerprint)
    reports: list[QueryReport] = []
    one = replace(plan, request=replace(plan.request, k=1, min_probability=0.0))
    best = search(one, snapshot, queries, None, reports.append)
    guarantee = calibration.guarantee(miss, max(reports[-1].videos, 1))
    least = least_probability(guarantee, best[0].probability) if best else math.inf
    hits, k = Hits(), _FIRST
    while least <= 1:
        wanted = replace(plan, request=replace(plan.request, k=k, min_probability=least))
        hits = search(wanted, snapshot, queries, None, reports.append)
        if len(hits) < k:
            break
        k *= 4
    if report is not None:
        report(reports[-1])
    return Hits(hits, guarantee=guarantee)


def scores_of(right: Float64, best: Float64) -> Float64:
    """(N,) scores of moments from their stated probabilities and those of their libraries' best."""
    most = log_odds(np.maximum(best, right))
    return np.minimum(log_odds(right) - most, _SHARE * most)


def least_probability(guarantee: Guarantee, best: float) -> float:
    """The least stated probability of a list, by that of the best moment; inf: it is empty."""
    most = float(log_odds(np.array([best]))[0])
    if _SHARE * most < guarantee.least - _ROUNDED:
        return math.inf
    least = most + guarantee.least - _ROUNDED
    return float(1 / (1 + math.exp(-least))) if least > -500 else 0.0


def calibration_of(store: LibraryStore, fingerprint: str) -> MissCalibration:
    """The library's own calibration, or the packaged one of its model.

    Raises:
        UsageError: neither is there for this model.
    """
    texts = [store.meta().get(KEY, "")]
    texts += [file.read_text("utf-8") for file in sorted(_FOLDER.glob("*.json"))]
    for text in texts:
        found = MissCalibration.from_json(text) if text else None
        if found is not None and found.fingerprint == fingerprint:
            return found
    raise UsageError(
        f"miss: library {store.address} has no calibration for its model; make one of labelled "
        f"clips: vlar calibrate {store.address} labelled/"
    )
