"""``mcq``: multiple choice with hard wrong options, and what a second opinion is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.answering.asking import Opinion, ask
from vlar.answering.base import Answerer, Shown, load_answerer
from vlar.answering.mixing import Mixing, fit_margin, fit_mixing, mix
from vlar.answering.question import PERSPECTIVES, Question, check_count
from vlar.answering.rerank import StopRule, shown_of
from vlar.answering.tally import Tally
from vlar.errors import ProtocolError, UsageError
from vlar.evaluation.datasets.base import TRAIN
from vlar.evaluation.multiple_choice import make_questions, report
from vlar.evaluation.protocols.base import Part, Plan, Protocol, Run
from vlar.evaluation.running.figures import Figure, mean_figure, spread
from vlar.fewshot.support import SupportItem
from vlar.model.core import ModelCore
from vlar.model.model import Model, load
from vlar.registry import register
from vlar.text.labels import parse_labels
from vlar.types import Float64, JsonDict

_STOPPED = "not_asked"


@dataclass
class _Judge:
    """An answerer with what it took, which is asked no more once it is gone."""

    answerer: Answerer
    rotations: int | None
    tally: Tally = field(default_factory=Tally)
    stop: StopRule = field(default_factory=StopRule)

    def opinions(self, shown: Sequence[Shown], questions: Sequence[Question]) -> list[Opinion]:
        return [self._one(*pair) for pair in zip(shown, questions, strict=True)]

    def _one(self, shown: Shown, question: Question) -> Opinion:
        if self.stop.reason is not None:
            found = Opinion(None, error=(_STOPPED, self.stop.reason))
        else:
            found = ask(self.answerer, shown, question, rotations=self.rotations)
            self.stop.take(found)
        self.tally.add(found)
        return found


@dataclass(frozen=True)
class _Clips:
    """Clips that could be read, with the proposer's probabilities."""

    items: Sequence[SupportItem]
    shown: Sequence[Shown]
    scores: Float64
    truth: npt.NDArray[np.int64]
    groups: list[str]


@register("protocol", "mcq")
class MultipleChoice(Protocol):
    """Accuracy with K options, wrong ones random or hard; top-1 after a second opinion.

    The proposer is the run's model. Weights of the second opinion are fitted on the training
    clips where there are some, else on each half of the groups for the other.
    Settings: ``answerer`` (``self:MODEL``, ``local:FOLDER``, ``openai:MODEL``, ``sheet:FILE.csv``),
    ``other`` (another model that proposes wrong options), ``k``, ``kinds`` (``random``, ``hard``),
    ``seeds``, ``rotations``, ``perspective`` (``first``, ``third``), ``budget`` (share of clips
    that a second opinion is asked about).
    """

    name = "mcq"
    defaults: ClassVar[JsonDict] = {
        "answerer": None, "other": None, "k": 5, "kinds": ["random", "hard"], "seeds": [0],
        "rotations": None, "perspective": None, "budget": 1.0,
    }  # fmt: skip

    def check(self, plan: Plan) -> None:
        """See ``Protocol``."""
        s = plan.settings
        name = str(s["answerer"] or "").partition(":")[0]
        known = registry.names("answerer")
        if name not in known:
            raise ProtocolError(
                f"mcq needs the setting 'answerer', one of {', '.join(known)} with its argument, "
                f"such as self:motion; got {s['answerer']!r}"
            )
        strange = [kind for kind in s["kinds"] if kind not in ("random", "hard")]
        if strange or not s["kinds"]:
            raise ProtocolError(f"kinds is {s['kinds']}; give random, hard or both")
        if s["perspective"] not in PERSPECTIVES:
            raise ProtocolError(f"perspective is {s['perspective']!r}; give first or third")
        try:
            check_count(s["k"])
        except (UsageError, TypeError) as error:
            raise ProtocolError(f"k is {s['k']!r}: {error}") from error
        plan.counts["questions"] = sum(
            len(part.test.items) * len(s["kinds"]) * len(s["seeds"]) for part in plan.parts
        )

    def run(self, run: Run) -> list[Figure]:
        """See ``Protocol``."""
        settings = run.settings
        judge = _Judge(load_answerer(settings["answerer"]), settings["rotations"])
        other = load(settings["other"]) if settings["other"] else None
        found: list[Figure] = []
        try:
            for part in run.plan.parts:
                found += [row.of(split=part.name or None) for row in _part(run, part, judge, other)]
        finally:
            judge.answerer.close()
        run.tables["answerer"] = judge.answerer.identity
        run.tables["cost of the answerer"] = judge.tally.to_dict()
        if judge.stop.reason is not None:
            run.plan.notes.append(f"the answerer was asked no more: {judge.stop.reason}")
        run.plan.notes.append(f"{settings['answerer']}: {judge.tally.sentence()}")
        return found + spread(found, "split")


def _part(run: Run, part: Part, judge: _Judge, other: Model | None) -> Iterator[Figure]:
    clips = _clips(run, part, part.test.items, run.core)
    texts = parse_labels(list(part.labels)).texts
    proposers: list[tuple[str, str, Float64]] = [
        (kind, kind, clips.scores) for kind in run.settings["kinds"]
    ]
    if other is not None:
        theirs = _clips(
            run, part, list(clips.items), other.core, one_view=other.adapted is not None
        )
        if len(theirs.items) < len(clips.items):
            raise ProtocolError(
                f"{other.name} cannot read {len(clips.items) - len(theirs.items)} clips that "
                f"{run.core.name} reads; leave the setting 'other' out"
            )
        proposers.append(("hard", f"hard by {other.name}", theirs.scores))
    for kind, options, scores in proposers:
        yield from _choice(run, clips, texts, judge, kind, options, scores)
    yield from _reranked(run, part, clips, texts, judge)


def _clips(
    run: Run, part: Part, items: Sequence[SupportItem], core: ModelCore, one_view: bool = False
) -> _Clips:
    classifier = run.classifier(part.labels, core=core)
    scored = run.scores({0: classifier}, items, core=core, one_view=one_view)
    shown = [_shown(run.core, item) for item in scored.items]
    probability = scored.by[0, None].probability
    truth = scored.truth(part.labels)
    return _Clips(scored.items, shown, probability, truth, scored.groups)


def _shown(core: ModelCore, item: SupportItem) -> Shown:
    if item.window is not None:
        return shown_of(core, item.path, item.window.start_s, item.window.end_s)
    sampler = core.view_sampler.one_view
    return Shown(item.path, None, lambda: sampler.sample(item.path)[0])


def _choice(
    run: Run,
    clips: _Clips,
    texts: Sequence[str],
    judge: _Judge,
    kind: str,
    options: str,
    scores: Float64,
) -> Iterator[Figure]:
    """The figures of one kind of wrong options."""
    found: list[Figure] = []
    tables: JsonDict = run.tables.setdefault("choice", {})
    for seed in run.settings["seeds"]:
        questions = make_questions(
            scores, clips.truth, texts, kind=kind, k=run.settings["k"], seed=seed,
            perspective=run.settings["perspective"],
        )  # fmt: skip
        made = report(
            questions, judge.opinions(clips.shown, questions), scores, groups=clips.groups
        )
        where = {"options": options, "seed": seed if len(run.settings["seeds"]) > 1 else None}
        rows = [
            mean_figure("accuracy", made.right, clips.groups),
            mean_figure("accuracy of the proposer", made.proposer, clips.groups),
            Figure("chance", made.chance, n=len(questions)),
            Figure("right option put in", made.injected, n=len(questions)),
            Figure("answers not read", made.unread, n=len(questions)),
            Figure("clips without opinion", made.missing, n=len(questions)),
            Figure("liking for a letter", made.bias, n=len(questions)),
        ]
        found += [row.of(**where) for row in rows]
        tables[f"{options}, seed {seed}"] = made.to_dict()
    yield from found
    yield from spread(found, "seed")


def _reranked(
    run: Run, part: Part, clips: _Clips, texts: Sequence[str], judge: _Judge
) -> Iterator[Figure]:
    """Top-1 of the proposer, of the answerer among its best K, and of both."""
    opinion, columns = _asked(run, clips, texts, judge)
    train = part.train.items if TRAIN in part.data.subsets else ()
    if train:
        learned = _clips(run, part, train, run.core)
        weights = [_fit(learned, *_asked(run, learned, texts, judge))]
        halves = [np.arange(len(clips.truth))]
    else:
        halves, weights = _crossed(clips, opinion, columns)
    mixed = clips.scores.copy()
    for rows, each in zip(halves, weights, strict=True):
        mixed[rows] = mix(clips.scores[rows], opinion[rows], columns[rows], a=each.a, b=each.b)
    final = weights[0] if train else _fit(clips, opinion, columns)
    margin = fit_margin(clips.scores, float(run.settings["budget"]))
    run.tables["weights"] = {**final.to_dict(), "margin": margin}
    truth = clips.truth
    known = np.isfinite(opinion).all(axis=1)
    alone = columns[np.arange(len(truth)), np.nan_to_num(opinion).argmax(axis=1)]
    answers: dict[str, Any] = {
        "proposer": clips.scores.argmax(axis=1) == truth,
        "answerer, of the best K": known & (alone == truth),
        "both": mixed.argmax(axis=1) == truth,
        "bound: the best K hold it": (columns == truth[:, None]).any(axis=1),
    }
    for by, right in answers.items():
        yield mean_figure("top1", right, clips.groups).of(by=by)


def _asked(
    run: Run, clips: _Clips, texts: Sequence[str], judge: _Judge
) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Opinions (N, K) about the proposer's best K, NaN without one, and their columns (N, K)."""
    questions = make_questions(
        clips.scores, None, texts, kind="rerank", k=run.settings["k"],
        seed=run.settings["seeds"][0], perspective=run.settings["perspective"],
    )  # fmt: skip
    columns = np.array([question.columns for question in questions], np.int64)
    opinion = np.full(columns.shape, np.nan)
    for row, found in enumerate(judge.opinions(clips.shown, questions)):
        if found.probability is not None:
            opinion[row] = found.probability
    return opinion, columns


def _crossed(
    clips: _Clips, opinion: Float64, columns: npt.NDArray[np.int64]
) -> tuple[list[npt.NDArray[np.int64]], list[Mixing]]:
    """Two halves of the groups, and the weights that the other half gives each."""
    names = sorted(set(clips.groups))
    half = np.array([names.index(group) % 2 for group in clips.groups])
    rows = [np.flatnonzero(half == number) for number in (0, 1)]
    weights = [_fit(clips, opinion, columns, other) for other in rows[::-1]]
    return rows, weights


def _fit(
    clips: _Clips,
    opinion: Float64,
    columns: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64] | None = None,
) -> Mixing:
    chosen = np.arange(len(clips.truth)) if rows is None else rows
    groups = [clips.groups[n] for n in chosen]
    return fit_mixing(
        clips.scores[chosen], opinion[chosen], columns[chosen], clips.truth[chosen], groups=groups
    )
