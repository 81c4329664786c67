"""``feedback``: a simulated person judges hits; is the first one that was not judged right?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from vlar.errors import ProtocolError
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, check_counts
from vlar.language.clean import clean_label
from vlar.library.manifest import BlockSlice, declared
from vlar.library.query.feedback import learn, log_odds
from vlar.metrics.figures import Figure
from vlar.model.library_model import LibraryModel
from vlar.registry import register
from vlar.types import Float32, JsonDict

#: Judgements: as they are; at random, 30 % of them "yes"; of labels that are permuted.
Truth = Literal["", "judgements at random", "labels permuted"]
CONTROLS: tuple[Truth, ...] = ("judgements at random", "labels permuted")
_YES = 0.3
_SAMPLE = 256  # rows whose mean weighs nothing


@dataclass(frozen=True)
class SimulatedPerson:
    """A simulated person.

    Attributes:
        judged: Hits of a round.
        of: Best hits that are looked at; those that are judged are drawn from them, or come first
            where both numbers are the same.
        rounds: Rounds of judgements.
        truth: Judgements.
    """

    judged: int = 3
    of: int = 10
    rounds: int = 2
    truth: Truth = ""


@dataclass(frozen=True)
class FeedbackRound:
    """Result of one round of one query: is the first hit that was not judged right?

    Attributes:
        query: Place of the query.
        before: By the words alone.
        after: With what the judgements taught.
        with_yes: Whether a judgement so far was "yes".
    """

    query: int
    before: bool
    after: bool
    with_yes: bool


def simulated(
    model: LibraryModel,
    queries: Float32,
    vectors: Float32,
    shown: npt.NDArray[np.bool_],
    blocks: Sequence[BlockSlice],
    person: SimulatedPerson,
    seed: int = 0,
) -> list[list[FeedbackRound]]:
    """Rounds of a simulated person, by their number; a query ends where no right clip is left.

    Args:
        model: Rates clips by words.
        queries: (Q, D) vectors of texts.
        vectors: (N, D) clips.
        shown: (Q, N) True where a clip shows what a text means.
        blocks: Parts of a vector; empty for one head on all of it.
        person: Who judges.
        seed: Seed of the draws.
    """
    draw = np.random.default_rng(seed)
    rounds: list[list[FeedbackRound]] = [[] for _ in range(person.rounds)]
    sample = vectors[:: max(len(vectors) // _SAMPLE, 1)]
    for number, (query, truth) in enumerate(zip(queries, shown, strict=True)):
        told = draw.permutation(truth) if person.truth == "labels permuted" else truth
        alone = np.asarray(model.match_probability(vectors, query), np.float64)
        plain = scores = log_odds(alone)
        judged: dict[int, bool] = {}
        for results in rounds:
            best = [row for row in np.argsort(-scores, kind="stable") if row not in judged]
            best = best[: person.of]
            rows = best if person.of <= person.judged else _drawn(draw, best, person.judged)
            at_random = person.truth == "judgements at random"
            judged |= {
                int(row): bool(draw.random() < _YES if at_random else told[row]) for row in rows
            }
            left = np.ones(len(truth), bool)
            left[list(judged)] = False
            if not (truth & left).any():
                break
            head = learn(
                query,
                vectors[list(judged)],
                list(judged.values()),
                sample,
                model,
                blocks,
                lambda p: model.among(p, len(vectors)),
            )
            scores = log_odds(head.probability(vectors, alone))
            first = [int(np.where(left, each, -np.inf).argmax()) for each in (plain, scores)]
            before, after = (bool(truth[row]) for row in first)
            results.append(FeedbackRound(number, before, after, any(judged.values())))
    return rounds


def _drawn(draw: np.random.Generator, best: Sequence[int], count: int) -> list[int]:
    return draw.choice(best, min(count, len(best)), replace=False).tolist()


@register("protocol", "feedback")
class Feedback(Protocol):
    """The share of labels whose first hit that was not judged is right, before and after a round.

    ``lost`` is the share of right first hits that judgements spoil; ``with a yes`` are the queries
    for which one judgement was "yes". Controls: judgements at random and labels permuted
    gain nothing; one shared vector is the ablation of a head for each block. Settings: ``judged``
    hits of the best ``of``, ``rounds``, ``seeds``. Only labels with more clips than ``judged``
    count.
    """

    name = "feedback"
    defaults: ClassVar[JsonDict] = {"judged": 3, "of": 10, "rounds": 2, "seeds": [0, 1, 2]}

    def check(self, plan: Plan) -> None:
        check_counts(plan.settings, "judged", "of", "rounds")

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        clips = run.encoded(run.core, part.test.items)
        vectors = np.stack([row.vector for row in clips.encoded])
        shown = np.array([[x in item.labels for item in clips.items] for x in part.labels], bool)
        least = int(run.settings["judged"])
        asked = [n for n in range(len(part.labels)) if shown[n].sum() > least]
        run.tables["labels with too few clips"] = len(part.labels) - len(asked)
        if not asked:
            raise ProtocolError(f"no label has more than {least} clips, which are judged at once")
        texts = [clean_label(part.labels[n]) for n in asked]
        run.label_texts[f"{len(texts)} labels"] = texts
        queries = run.core.encode_queries(texts)
        parts = declared(run.core)
        ways: list[tuple[str | None, Truth, Sequence[BlockSlice]]] = [
            (None, "", parts),
            ("one shared vector", "", ()),
            *((name, name, parts) for name in CONTROLS),
        ]
        figures: list[Figure] = []
        for under, truth, blocks in ways:
            s = run.settings
            person = SimulatedPerson(s["judged"], s["of"], s["rounds"], truth)
            rounds: list[list[FeedbackRound]] = [[] for _ in range(person.rounds)]
            for seed in s["seeds"]:
                more = simulated(run.core, queries, vectors, shown[asked], blocks, person, seed)
                for results, rows in zip(rounds, more, strict=True):
                    results.extend(rows)
            for number, results in enumerate(rounds, 1):
                figures += [row.of(round=number, under=under) for row in figures_of(results)]
        return figures


def figures_of(results: Sequence[FeedbackRound]) -> list[Figure]:
    """Figures of one round; NaN of none."""
    before, after, yes = (
        np.array([getattr(row, name) for row in results], np.float64)
        for name in ("before", "after", "with_yes")
    )

    def mean(name: str, values: npt.NDArray[np.float64]) -> Figure:
        return Figure(name, float(values.mean()) if len(values) else np.nan, n=len(values))

    return [
        mean("before", before),
        mean("after", after),
        mean("lost", 1 - after[before == 1]),
        mean("before with a yes", before[yes == 1]),
        mean("after with a yes", after[yes == 1]),
    ]
