"""``mcq``: multiple choice with hard wrong options, and what a second opinion is worth."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.errors import ProtocolError, UsageError
from vlar.evaluation.datasets.base import TRAIN
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit
from vlar.generators.opinions.asking import Opinion, UsageCounter, ask
from vlar.generators.opinions.base import Answerer, MediaItem, load_answerer
from vlar.generators.opinions.mixing import Mixing, fit_mixing, mix
from vlar.generators.opinions.question import Question, check_count, distinct
from vlar.generators.opinions.rerank import StopRule, shown_of
from vlar.heads.support import SupportItem
from vlar.language.labels import parse_labels
from vlar.metrics.figures import Figure, mean_figure, spread
from vlar.metrics.intervals import PairedDifference, paired
from vlar.model.core import ModelCore
from vlar.registry import register
from vlar.types import Float64, JsonDict

#: How the wrong options are chosen.
KINDS = ("random", "hard", "rerank")
Ints = npt.NDArray[np.int64]


def make_questions(
    scores: npt.ArrayLike,
    truth: npt.ArrayLike | None,
    labels: Sequence[str],
    *,
    kind: str = "hard",
    k: int = 5,
    seed: int = 0,
) -> list[Question]:
    """One question a clip, its options in random order.

    Args:
        scores: (N, C) of the proposer, higher is better.
        truth: (N,) column of the right label; None for ``rerank`` where it is not known.
        labels: C texts. Two with the same text are one option, that of the better score.
        kind: ``random``: the right label and K - 1 others, evenly drawn. ``hard``: the proposer's
            best K; where the right label is not among them, it takes the place of the last.
            ``rerank``: the proposer's best K and nothing else.
        k: Options, 2 to 26; fewer where there are fewer labels.
        seed: Seed of all that is drawn; a clip's question does not depend on the other clips.

    Returns:
        N questions; ``truth`` of each is the place of the right option, None for ``rerank`` where
        it is not among them, and ``injected`` whether it took the place of another.

    Raises:
        UsageError: an unknown kind, an unusable ``k``, or shapes that do not agree.
    """
    rows = np.asarray(scores, np.float64)
    right = None if truth is None else np.asarray(truth, np.int64)
    _check(rows, right, labels, kind)
    check_count(k)
    questions: list[Question] = []
    for n, row in enumerate(rows):
        random = np.random.default_rng([seed, n])
        column = None if right is None else int(right[n])
        columns, injected = select_options(row, column, labels, kind, k, random)
        # Sorted first: equal options of one clip are in an equal order, and asked once.
        shown: list[int] = random.permutation(sorted(columns)).tolist()
        questions.append(
            Question(
                tuple(labels[column] for column in shown),
                tuple(shown),
                shown.index(column) if column in shown else None,
                injected,
            )
        )
    return questions


def select_options(
    row: Float64,
    own: int | None,
    labels: Sequence[str],
    kind: str,
    k: int,
    random: np.random.Generator,
) -> tuple[list[int], bool]:
    """Columns of the options of one clip, and whether the right one was put among them.

    Args:
        row: (C,) scores of the proposer.
        own: Column of the right label, if it is known.
        labels: C texts.
        kind: As for ``make_questions``.
        k: Options.
        random: What draws.

    Raises:
        UsageError: fewer than two labels differ.
    """
    ranked = np.argsort(-row, kind="stable").tolist()
    if kind != "rerank" and own is not None:  # the right label stands for its text
        ranked = [own, *(c for c in ranked if c != own)]
    differing = [ranked[column] for column in distinct(labels[c] for c in ranked)]
    check_count(min(k, len(differing)))
    if kind == "rerank":
        return differing[:k], False
    assert own is not None
    others = [column for column in differing if column != own]
    if kind == "random":
        return [own, *random.permutation(others)[: k - 1].tolist()], False
    better = sum((row[c], -c) > (row[own], -own) for c in others)
    return [*others[: k - 1], own], better >= k


def _check(rows: Float64, right: Ints | None, labels: Sequence[str], kind: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"questions of the kind {kind!r} are unknown; use {', '.join(KINDS)}")
    if rows.ndim != 2 or rows.shape[1] != len(labels):
        raise UsageError(f"scores {rows.shape} for {len(labels)} labels; give (N, C)")
    if right is None and kind != "rerank":
        raise UsageError(f"questions of the kind {kind!r} need the right labels; give truth")
    if right is not None and (
        right.shape != (len(rows),) or (right < 0).any() or (right >= rows.shape[1]).any()
    ):
        raise UsageError(
            f"right labels {right.shape} for scores {rows.shape}; give one column each"
        )


@dataclass(frozen=True)
class ChoiceReport:
    """Figures of an answerer on questions with one right option each.

    Attributes:
        right: (N,) share of each answer that is right: 1, 0, or 1 / n where n options tie for the
            first place and the right one is among them. No opinion counts 0.
        proposer: (N,) the same of the proposer's scores among the same options.
        first: (N,) whether the first option, as it was shown first, is the right one.
        chance: Mean of 1 / K.
        injected: Share of questions in which the right option was put among them.
        unread: Share of single answers that name no option.
        missing: Share of clips without an opinion.
        letters: (K,) share of each letter among all single answers that could be read.
        by_place: (K,) share of right single answers by the place of the right option; NaN where
            it never stood there.
        against: Answerer minus proposer on the same options, over groups; None with one group.
    """

    right: Float64
    proposer: Float64
    first: Float64
    chance: float
    injected: float
    unread: float
    missing: float
    letters: tuple[float, ...]
    by_place: tuple[float, ...]
    against: PairedDifference | None

    @property
    def accuracy(self) -> float:
        """Mean of ``right``."""
        return float(self.right.mean())

    @property
    def bias(self) -> float:
        """Deviation of the letters from an even choice: 0, to 1 where one is always chosen."""
        shares = np.array(self.letters)
        even = 1 / len(shares)
        return float(np.abs(shares - even).sum() / (2 * (1 - even)))

    def to_dict(self) -> JsonDict:
        """JSON object, without the rows of single clips."""
        return {
            "accuracy": self.accuracy,
            "proposer": float(self.proposer.mean()),
            "first": float(self.first.mean()),
            "chance": self.chance,
            "injected": self.injected,
            "unread": self.unread,
            "missing": self.missing,
            "letters": list(self.letters),
            "by_place": [None if np.isnan(x) else x for x in self.by_place],
            "bias": self.bias,
            "against_proposer": None if self.against is None else self.against.to_dict(),
        }


def report(
    questions: Sequence[Question],
    opinions: Sequence[Opinion],
    scores: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
) -> ChoiceReport:
    """Figures of the answerer; see ``ChoiceReport``.

    Args:
        questions: N questions with their right options.
        opinions: N, as ``ask`` gave them.
        scores: (N, C) of the proposer.
        groups: N groups of clips; None makes each clip a group.

    Raises:
        UsageError: no question, one without a right option, or lengths that differ.
    """
    rows = np.asarray(scores, np.float64)
    if not questions or len(questions) != len(opinions) or len(questions) != len(rows):
        raise UsageError(
            f"{len(questions)} questions, {len(opinions)} opinions and {len(rows)} rows of scores; "
            "give one each"
        )
    if any(question.truth is None for question in questions):
        raise UsageError("a question without a right option cannot be judged; use random or hard")
    right = np.array(
        [_credit(o.probability, q.truth) for q, o in zip(questions, opinions, strict=True)]
    )
    proposed = np.array(
        [_credit(row[list(q.columns)], q.truth) for q, row in zip(questions, rows, strict=True)]
    )
    letters, places = _single_answers(questions, opinions)
    names = list(range(len(questions))) if groups is None else list(groups)
    singles = sum(len(opinion.letters) for opinion in opinions)
    return ChoiceReport(
        right=right,
        proposer=proposed,
        first=np.array([float(q.truth == 0) for q in questions]),
        chance=float(np.mean([1 / len(q) for q in questions])),
        injected=float(np.mean([q.injected for q in questions])),
        unread=sum(opinion.unread for opinion in opinions) / max(singles, 1),
        missing=float(np.mean([opinion.probability is None for opinion in opinions])),
        letters=letters,
        by_place=places,
        against=paired(right, proposed, names),
    )


def _credit(values: Any, truth: int | None) -> float:
    if values is None or truth is None:
        return 0.0
    best = np.isclose(values, np.max(values), rtol=0, atol=1e-9)
    return float(best[truth] / best.sum())


def _single_answers(
    questions: Sequence[Question], opinions: Sequence[Opinion]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Share of each letter, and share of right answers by the place of the right option."""
    k = max(len(question) for question in questions)
    chosen, counts, right = np.zeros(k), np.zeros(k), np.zeros(k)
    for question, opinion in zip(questions, opinions, strict=True):
        n = len(opinion.letters)
        for number, letter in enumerate(opinion.letters):
            place_of_truth = question.rotated(number * len(question) // n).truth
            assert place_of_truth is not None
            counts[place_of_truth] += 1
            right[place_of_truth] += letter == place_of_truth
            if letter is not None:
                chosen[letter] += 1
    shares = chosen / max(chosen.sum(), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return tuple(shares.tolist()), tuple((right / counts).tolist())


_STOPPED = "not_asked"


@dataclass
class _Judge:
    """An answerer with what it took, which is asked no more once it is gone."""

    answerer: Answerer
    rotations: int | None
    tally: UsageCounter = field(default_factory=UsageCounter)
    stop: StopRule = field(default_factory=StopRule)

    def opinions(self, shown: Sequence[MediaItem], questions: Sequence[Question]) -> list[Opinion]:
        return [self._one(*pair) for pair in zip(shown, questions, strict=True)]

    def _one(self, shown: MediaItem, question: Question) -> Opinion:
        if self.stop.reason is not None:
            opinion = Opinion(None, error=(_STOPPED, self.stop.reason))
        else:
            opinion = ask(self.answerer, shown, question, rotations=self.rotations)
            self.stop.take(opinion)
        self.tally.add(opinion)
        return opinion


@dataclass(frozen=True)
class _Clips:
    """Clips that could be read, with the proposer's probabilities."""

    shown: Sequence[MediaItem]
    scores: Float64
    truth: npt.NDArray[np.int64]
    groups: list[str]


@register("protocol", "mcq")
class MultipleChoice(Protocol):
    """Accuracy with K options, wrong ones random or hard; top-1 after a second opinion.

    The proposer is the run's model. Weights of the second opinion are fitted on the training
    clips where there are some, else on each half of the groups for the other.
    Settings: ``answerer`` (``self:MODEL``, ``local:FOLDER``, ``openai:MODEL``), ``k``, ``kinds``
    (``random``, ``hard``), ``seeds``, ``rotations``.
    """

    name = "mcq"
    defaults: ClassVar[JsonDict] = {
        "answerer": None,
        "k": 5,
        "kinds": ["random", "hard"],
        "seeds": [0],
        "rotations": None,
    }

    def check(self, plan: Plan) -> None:
        s = plan.settings
        name = str(s["answerer"] or "").partition(":")[0]
        answerers = registry.names("answerer")
        if name not in answerers:
            raise ProtocolError(
                f"mcq needs the setting 'answerer', one of {', '.join(answerers)} with its "
                f"argument, such as self:motion; got {s['answerer']!r}"
            )
        strange = [kind for kind in s["kinds"] if kind not in ("random", "hard")]
        if strange or not s["kinds"]:
            raise ProtocolError(f"kinds is {s['kinds']}; give random, hard or both")
        try:
            check_count(s["k"])
        except (UsageError, TypeError) as error:
            raise ProtocolError(f"k is {s['k']!r}: {error}") from error
        plan.counts["questions"] = sum(
            len(part.test.items) * len(s["kinds"]) * len(s["seeds"]) for part in plan.parts
        )

    def run(self, run: Run) -> list[Figure]:
        settings = run.settings
        judge = _Judge(load_answerer(settings["answerer"]), settings["rotations"])
        figures: list[Figure] = []
        try:
            for part in run.plan.parts:
                figures += [row.of(split=part.name or None) for row in _part(run, part, judge)]
        finally:
            judge.answerer.close()
        run.tables["answerer"] = judge.answerer.identity
        run.tables["cost of the answerer"] = judge.tally.to_dict()
        if judge.stop.reason is not None:
            run.plan.notes.append(f"the answerer was asked no more: {judge.stop.reason}")
        run.plan.notes.append(f"{settings['answerer']}: {judge.tally.sentence()}")
        return figures + spread(figures, "split")


def _part(run: Run, part: RunSplit, judge: _Judge) -> Iterator[Figure]:
    clips = _clips(run, part, part.test.items)
    texts = parse_labels(list(part.labels)).texts
    for kind in run.settings["kinds"]:
        yield from _choice(run, clips, texts, judge, kind)
    yield from _reranked(run, part, clips, texts, judge)


def _clips(run: Run, part: RunSplit, items: Sequence[SupportItem]) -> _Clips:
    scored = run.scores({0: run.classifier(part.labels)}, items)
    shown = [_shown(run.core, item) for item in scored.items]
    probability = scored.by[0, None].probability
    truth = scored.truth(part.labels)
    return _Clips(shown, probability, truth, scored.groups)


def _shown(core: ModelCore, item: SupportItem) -> MediaItem:
    if item.window is not None:
        return shown_of(core, item.path, item.window.start_s, item.window.end_s)
    sampler = core.view_sampler.one_view
    return MediaItem(item.path, None, lambda: sampler.sample(item.path)[0])


def _choice(
    run: Run, clips: _Clips, texts: Sequence[str], judge: _Judge, kind: str
) -> Iterator[Figure]:
    """The figures of one kind of wrong options."""
    figures: list[Figure] = []
    tables: JsonDict = run.tables.setdefault("choice", {})
    for seed in run.settings["seeds"]:
        questions = make_questions(
            clips.scores, clips.truth, texts, kind=kind, k=run.settings["k"], seed=seed
        )
        opinions = judge.opinions(clips.shown, questions)
        result = report(questions, opinions, clips.scores, groups=clips.groups)
        where = {"options": kind, "seed": seed if len(run.settings["seeds"]) > 1 else None}
        rows = [
            mean_figure("accuracy", result.right, clips.groups),
            mean_figure("accuracy of the proposer", result.proposer, clips.groups),
            Figure("chance", result.chance, n=len(questions)),
            Figure("right option put in", result.injected, n=len(questions)),
            Figure("answers not read", result.unread, n=len(questions)),
            Figure("clips without opinion", result.missing, n=len(questions)),
            Figure("liking for a letter", result.bias, n=len(questions)),
        ]
        figures += [row.of(**where) for row in rows]
        tables[f"{kind}, seed {seed}"] = result.to_dict()
    yield from figures
    yield from spread(figures, "seed")


def _reranked(
    run: Run, part: RunSplit, clips: _Clips, texts: Sequence[str], judge: _Judge
) -> Iterator[Figure]:
    """Top-1 of the proposer, of the answerer among its best K, and of both."""
    opinion, columns = _asked(run, clips, texts, judge)
    train = part.train.items if TRAIN in part.data.subsets else ()
    if train:
        learned = _clips(run, part, train)
        weights = [_fit(learned, *_asked(run, learned, texts, judge))]
        halves = [np.arange(len(clips.truth))]
    else:
        halves, weights = _crossed(clips, opinion, columns)
    mixed = clips.scores.copy()
    for rows, weight in zip(halves, weights, strict=True):
        mixed[rows] = mix(clips.scores[rows], opinion[rows], columns[rows], a=weight.a, b=weight.b)
    final = weights[0] if train else _fit(clips, opinion, columns)
    run.plan.notes.append(f"fitted on these clips: --rerank-weight {final.weight:.3g}")
    run.tables["weights"] = {"a": final.a, "b": final.b, "weight": final.weight}
    truth = clips.truth
    answered = np.isfinite(opinion).all(axis=1)
    alone = columns[np.arange(len(truth)), np.nan_to_num(opinion).argmax(axis=1)]
    answers: dict[str, Any] = {
        "proposer": clips.scores.argmax(axis=1) == truth,
        "answerer, of the best K": answered & (alone == truth),
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
        clips.scores,
        None,
        texts,
        kind="rerank",
        k=run.settings["k"],
        seed=run.settings["seeds"][0],
    )
    columns = np.array([question.columns for question in questions], np.int64)
    opinion = np.full(columns.shape, np.nan)
    for row, opinion_row in enumerate(judge.opinions(clips.shown, questions)):
        if opinion_row.probability is not None:
            opinion[row] = opinion_row.probability
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
