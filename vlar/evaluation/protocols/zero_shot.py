"""Protocols without an example of a label: words alone, retrieval, unknown clips, slices."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlar.errors import ProtocolError
from vlar.evaluation.features import check_overlap, spelled_as
from vlar.evaluation.learning import NONE
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, accuracies, chance, closed
from vlar.heads.base import Scores
from vlar.metrics.classification import (
    generalised_zero_shot,
    multilabel_map,
    ranks,
    retrieval_both_ways,
)
from vlar.metrics.figures import FEWEST, Figure, any_figure, mean_figure, slices
from vlar.metrics.openset import aupr, fpr_at, open_f1, openness, oscr
from vlar.registry import register
from vlar.types import Float64, JsonDict

Bools = npt.NDArray[np.bool_]
_SEED = 0
_DRAWS = 200


@register("protocol", "multi-label")
class MultiLabel(Protocol):
    """Macro mAP with its interval, micro mAP; the control permutes the clips' labels."""

    name = "multi-label"
    defaults: ClassVar[JsonDict] = {}

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        figures: list[Figure] = []
        classifier = run.classifier(part.labels, mode="multi")
        scored = run.scores({0: classifier}, part.test.items, run.changes)
        shown = [[label in item.labels for label in part.labels] for item in scored.items]
        truth = np.array(shown, np.bool_)
        order = np.random.default_rng(_SEED).permutation(len(truth))
        clean = scored.by[0, None].probability
        for under, scores in scored.under():
            draws = 0 if under else _DRAWS
            rows = self._rows(scores.probability, truth, scored.groups, draws)
            figures += [row.of(under=under) for row in rows]
        blind = self._rows(clean, truth[order], scored.groups, 0)
        figures += [row.of(under="labels permuted") for row in blind]
        labels_shown = {label for item in scored.items for label in item.labels}
        empty = [label for label in part.labels if label not in labels_shown]
        run.tables["labels without a clip"] = empty
        return figures

    def _rows(self, scores: Float64, truth: Bools, groups: list[str], draws: int) -> list[Figure]:
        exact = multilabel_map(scores, truth)
        ends = any_figure(
            "macro mAP", lambda rows: _macro(scores[rows], truth[rows]), groups, draws=draws
        )
        macro = replace(ends, value=exact.macro)
        return [macro, Figure("micro mAP", exact.micro, n=len(truth))]


def _macro(scores: Float64, truth: Bools) -> float:
    """Macro mAP without ties, all labels in one sort: for the many draws of an interval."""
    order = np.argsort(-scores, axis=0, kind="stable")
    hits = np.take_along_axis(truth, order, axis=0)
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    count = hits.sum(axis=0)
    average = (precision * hits).sum(axis=0)[count > 0] / count[count > 0]
    return float(average.mean()) if len(average) else 0.0


@register("protocol", "retrieval")
class Retrieval(Protocol):
    """R@k, mAP and median rank both ways, by similarity.

    Only labels that a clip shows are queries. The control gives the clips each other's labels at
    random. Settings: ``ks``.
    """

    name = "retrieval"
    defaults: ClassVar[JsonDict] = {"ks": [1, 5, 10]}

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        figures: list[Figure] = []
        labels_shown = {label for item in part.test.items for label in item.labels}
        labels = [label for label in part.labels if label in labels_shown]
        run.tables["labels without a clip"] = [x for x in part.labels if x not in labels_shown]
        scored = run.scores({0: run.classifier(labels)}, part.test.items, run.changes)
        shown = [[label in item.labels for item in scored.items] for label in labels]
        relevant = np.array(shown, np.bool_)
        answerable = relevant.any(axis=1)
        for under, scores in scored.under():
            similar = scores.similarity.T[answerable]
            rows = self._rows(similar, relevant[answerable], run.settings["ks"])
            figures += [row.of(under=under) for row in rows]
        order = np.random.default_rng(_SEED).permutation(len(scored.items))
        similar = scored.by[0, None].similarity.T[answerable]
        blind = self._rows(similar, relevant[answerable][:, order], run.settings["ks"])
        figures += [row.of(under="labels permuted") for row in blind]
        # One float32 vector a clip: what a flat index of this collection takes.
        run.tables["index_bytes"] = len(scored.items) * run.core.dim * 4
        return figures

    def _rows(self, scores: np.ndarray, relevant: np.ndarray, ks: list[int]) -> list[Figure]:
        both = retrieval_both_ways(scores, relevant, ks=ks)
        n = {"text_to_video": scores.shape[0], "video_to_text": scores.shape[1]}
        return [
            Figure(name, value, n=n[way]).of(way=way.replace("_", " "))
            for way, values in both.items()
            for name, value in values.items()
        ]


@register("protocol", "zero-shot")
class ZeroShot(Protocol):
    """Top-1, top-5 and macro accuracy over a list of labels that nothing was learned about.

    Settings: ``trained_on`` (labels, or a file of them, that the model's training has shown; an
    overlap with the asked ones is refused), ``overlap`` (``refuse`` or ``report``).
    """

    name = "zero-shot"
    defaults: ClassVar[JsonDict] = {"trained_on": None, "overlap": "refuse"}

    def check(self, plan: Plan) -> None:
        trained = plan.card.labels(plan.settings["trained_on"])
        for part in plan.parts if trained else ():
            shared = check_overlap(
                trained or (), part.labels, "the training and the test", plan.settings
            )
            plan.notes.append(f"{len(shared)} of {len(part.labels)} labels were trained on")

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        labels = part.labels
        scored = run.scores({0: run.classifier(labels)}, part.test.items, run.changes)
        truth = scored.truth(labels)
        plain = ranks(scored.by[0, None].similarity, truth) < 1
        figures = accuracies(scored, 0, labels)
        figures.append(mean_figure("top1 by similarity", plain, scored.groups))
        figures += chance(truth, len(labels), len(truth))
        if part.test.missing:
            right = ranks(closed(scored.by[0, None]), truth) < 1
            share = float(right.sum()) / len(part.test)
            figures.append(Figure("top1, missing as wrong", share, n=len(part.test)))
        return figures


@register("protocol", "generalised-zero-shot")
class GeneralisedZeroShot(Protocol):
    """Seen and unseen labels in one list: mean accuracy on each side and their harmonic mean.

    Settings: ``seen`` (labels, or a file of them, that training has shown).
    """

    name = "generalised-zero-shot"
    defaults: ClassVar[JsonDict] = {"seen": None}

    def check(self, plan: Plan) -> None:
        train_labels = self._seen(plan)
        if not train_labels:
            raise ProtocolError("generalised-zero-shot needs the setting 'seen': a list of labels")
        for part in plan.parts:
            trained = [label for label in part.labels if label in set(train_labels)]
            if not trained or len(trained) == len(part.labels):
                raise ProtocolError(
                    f"{len(trained)} of {len(part.labels)} labels are seen; give some, and leave "
                    "some"
                )
            plan.counts["seen labels"] = len(trained)

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        train_labels = set(self._seen(run.plan))
        figures: list[Figure] = []
        scored = run.scores({0: run.classifier(part.labels)}, part.test.items, run.changes)
        truth = scored.truth(part.labels)
        flags = np.array([label in train_labels for label in part.labels])
        for under, scores in scored.under():
            both = generalised_zero_shot(closed(scores), truth, flags)
            values = {"seen": both.seen, "unseen": both.unseen, "hm": both.harmonic_mean}
            figures += [Figure(k, v, n=len(truth)).of(under=under) for k, v in values.items()]
        return figures

    def _seen(self, plan: Plan) -> tuple[str, ...]:
        return spelled_as(plan.card.labels(plan.settings["seen"]) or (), plan.parts[0].data.labels)


@register("protocol", "slices")
class Slices(Protocol):
    """Top-1 of the clips of each value of some columns, next to that of all clips.

    Settings: ``by`` (names of columns; a layout gives the cells of its clips as facts).
    """

    name = "slices"
    defaults: ClassVar[JsonDict] = {"by": []}

    def check(self, plan: Plan) -> None:
        by: list[str] = plan.settings["by"]
        if not by:
            raise ProtocolError("slices needs the setting 'by': names of columns")
        for part in plan.parts:
            columns = {name for item in part.test.items for name in item.facts}
            strange = [name for name in by if name not in columns]
            if strange:
                raise ProtocolError(
                    f"the clips have no column {strange[0]!r}; there are "
                    f"{', '.join(sorted(columns)) or 'none'}"
                )
            for name in by:
                cells = [item.facts.get(name, "") for item in part.test.items]
                few = [value for value in dict.fromkeys(cells) if cells.count(value) < FEWEST]
                if few:
                    plan.notes.append(f"{name}: fewer than {FEWEST} clips of {', '.join(few)}")

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        scored = run.scores({0: run.classifier(part.labels)}, part.test.items, run.changes)
        figures = accuracies(scored, 0, part.labels)
        by, truth = run.settings["by"], scored.truth(part.labels)
        cells = [{name: item.facts.get(name, "") for name in by} for item in scored.items]
        for under, scores in scored.under():
            right = np.asarray(ranks(closed(scores), truth) < 1)
            for row in slices(right, cells, scored.groups):
                ends = (row.interval.low, row.interval.high) if row.interval else (None, None)
                figure = Figure("top1", row.accuracy, *ends, row.n)
                figures.append(figure.of(under=under, by=row.column, value=row.value or "-"))
        return figures


@register("protocol", "open-set")
class OpenSet(Protocol):
    """AUROC, AUPR, FPR95, OSCR, open F1 and openness; unknown clips are the positives.

    Labels are drawn by seed: ``known`` of them are given. Settings: ``known`` (share, or a list or
    file of labels), ``seeds``, ``method`` (``none`` goes by texts; a closed form learns from the
    training clips of the known labels), ``unknown`` (the rejector), ``recipe``. The control gives
    the scores to clips at random.
    """

    name = "open-set"
    defaults: ClassVar[JsonDict] = {
        "known": 0.5,
        "seeds": [0, 1, 2],
        "method": NONE,
        "unknown": "familiarity",
        "recipe": None,
    }

    def check(self, plan: Plan) -> None:
        plan.learner.check()
        for part in plan.parts:
            for seed in plan.settings["seeds"]:
                known_labels = _known(plan, part, seed)
                shown = {item.label for item in part.test.items}
                if not shown - set(known_labels) or not shown & set(known_labels):
                    raise ProtocolError(
                        "open-set needs clips of known and of unknown labels; seed "
                        f"{seed} leaves one side empty"
                    )
                if plan.learner.method != NONE:
                    part.data.subset("train")
                plan.counts["known labels"] = len(known_labels)

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        return [row for s in run.settings["seeds"] for row in self._seed(run, part, s)]

    def _seed(self, run: Run, part: RunSplit, seed: int) -> list[Figure]:
        known_labels = _known(run.plan, part, seed)
        core, head = run.core, None
        if run.plan.learner.method != NONE:
            fit_set = run.guard(part.test).fit_set(part.data.subset("train").of(known_labels).items)
            fitted = run.fit(fit_set, seed)
            core, head = fitted.core, fitted.head
        classifier = run.classifier(known_labels, core=core, head=head)
        one_view = head is not None
        scored = run.scores({0: classifier}, part.test.items, run.changes, core, one_view)
        truth = [item.label for item in scored.items]
        figures: list[Figure] = []
        for under, scores in scored.under():
            rows = _figures(scores, truth, known_labels, scored.groups)
            figures += [row.of(seed=seed, under=under) for row in rows]
        order = np.random.default_rng(seed).permutation(len(truth))
        clean = scored.by[0, None]
        mixed = Scores(clean.similarity[order], clean.probability[order], clean.unknown[order])
        blind = _figures(mixed, truth, known_labels, scored.groups)
        return figures + [row.of(seed=seed, under="scores permuted") for row in blind]


def _known(plan: Plan, part: RunSplit, seed: int) -> tuple[str, ...]:
    share = plan.settings["known"]
    if isinstance(share, (list, str)):
        listed = set(spelled_as(plan.card.labels(share) or (), part.labels))
        return tuple(label for label in part.labels if label in listed)
    if not 0 < float(share) < 1:
        raise ProtocolError(f"known = {share} is not a share between 0 and 1")
    n = max(2, round(float(share) * len(part.labels)))
    chosen = np.random.default_rng(seed).permutation(len(part.labels))[:n]
    return tuple(part.labels[i] for i in sorted(chosen))


def _figures(
    scores: Scores, truth: list[str], known: tuple[str, ...], groups: list[str]
) -> list[Figure]:
    from scipy.stats import rankdata

    column = {label: number for number, label in enumerate(known)}
    is_unknown = np.array([label not in column for label in truth])
    best = closed(scores).argmax(axis=1)
    right = np.array([column.get(t, -1) == b for t, b in zip(truth, best, strict=True)])
    answers = [None if no else known[b] for no, b in zip(scores.is_unknown, best, strict=True)]

    def area(rows: npt.NDArray[np.int64]) -> float:
        """AUROC by ranks: what ``auroc`` gives, for the many draws of an interval."""
        no, values = is_unknown[rows], rankdata(scores.unknown[rows])
        n, m = int(no.sum()), int((~no).sum())
        return float((values[no].sum() - n * (n + 1) / 2) / (n * m)) if n and m else 0.5

    n, n_unknown = len(truth), len({t for t in truth if t not in column})
    values = {
        "aupr": aupr(scores.unknown, is_unknown),
        "fpr95": fpr_at(scores.unknown, is_unknown),
        "oscr": oscr(scores.unknown, is_unknown, right),
        "open f1": open_f1(truth, answers, known=list(known)),
        "openness": openness(len(known), n_unknown),
    }
    rows = [Figure(name, value, n=n) for name, value in values.items()]
    return [any_figure("auroc", area, groups), *rows]
