"""``attributes``: what is left of the action, and of an attribute, in what a model lets through."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.encoders.base import Encoder
from vlar.errors import ProtocolError
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit
from vlar.evaluation.report import lines
from vlar.heads.support import SupportItem, cell
from vlar.metrics.figures import Figure, any_figure
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.registry import register
from vlar.types import Encoded, Float32, Float64, JsonDict

Ints = npt.NDArray[np.int64]
_FOLDS, _PERMUTED, _STRONGEST = 5, "labels permuted", "strongest"
_TASKS = ("action", "attribute")


@register("protocol", "attributes")
class Attributes(Protocol):
    """Balanced accuracy of the action and of an attribute by four attackers; the strongest counts.

    For each seed one half of the clips teaches the adapter ``private``, and attackers learn in the
    other: the action of people (groups) that they were not shown, and the attribute in actions that
    they were not shown. Then the halves change places. Settings: ``attribute`` (a column),
    ``seeds``, ``shares`` of tokens, ``grid``.
    """

    name = "attributes"
    defaults: ClassVar[JsonDict] = {
        "attribute": "subject",
        "seeds": [0, 1, 2, 3, 4],
        "shares": [1.0, 0.5, 0.25],
        "grid": None,
    }

    def check(self, plan: Plan) -> None:
        for settings in filter(None, _forms(plan.settings).values()):
            registry.get("adapter", "private").check_settings(settings)
        for part in plan.parts:
            _check(part.test.items, plan.settings)

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        encoder = run.core.encoder
        base = registry.get("adapter", "private").attach(encoder, {"grid": run.settings["grid"]})
        source = ModelCore(base.source, templates=run.core.template_set, name=run.core.name)
        clips = run.encoded(source, part.test.items)
        _check(clips.items, run.settings)
        figures: list[Figure] = []
        for form, settings in _forms(run.settings).items():
            if base.config.grid or not settings or settings["share"] == 1:  # else: no tokens
                figures += _figures(form, settings, encoder, clips, run.settings)
        truths = _truths(clips.items, run.settings["attribute"])
        for name, truth in zip(_TASKS, truths, strict=True):
            figures.append(Figure(f"{name} chance", 1 / len(set(truth)), None, None, len(truth)))
        return figures

    def lines(self, figures: Sequence[Figure], tables: JsonDict) -> list[str]:
        return lines([f for f in figures if f.where.get("attacker", _STRONGEST) == _STRONGEST])


def _forms(settings: JsonDict) -> dict[str, JsonDict | None]:
    """Settings of ``private`` for each row of the table; None lets everything through."""
    grid, forms = settings["grid"], dict[str, JsonDict | None]()
    for share, tokens in product(settings["shares"], ("words", "random")):
        if tokens == "words" or share != 1:
            form = f"{share:.0%} of tokens by {tokens}"
            forms[form] = {"grid": grid, "share": share, "tokens": tokens}
    for removal in ("erase", "reverse", "random"):
        how = {"removal": removal, "attribute": settings["attribute"]}
        forms[f"removal {removal}"] = {"grid": grid, "share": 1.0, **how}
    return {"all features": None, _PERMUTED: None, **forms}


def _check(items: Sequence[SupportItem], settings: JsonDict) -> None:
    """Refuse clips that cannot teach the adapter and the attackers every action and attribute."""
    name = settings["attribute"]
    actions, values = _truths(items, name)
    if "" in values or len(set(values)) < 2:
        fault = "an empty cell" if "" in values else "one value"
        raise ProtocolError(
            f"attribute {name!r} has {fault} in these clips; name a column with two values at "
            "least, filled for every clip"
        )
    for seed in settings["seeds"]:
        for task, learn, known_rows, _ in _splits(items, seed):
            truth = (actions, values)[task]
            lost = sorted({*truth} - {*truth[known_rows]} or {*values} - {*values[learn]})
            if lost:
                raise ProtocolError(
                    f"{str(lost[0])!r} has too few clips to teach the adapter, to teach attackers "
                    "and to be asked about; add people or actions to it"
                )


def _truths(items: Sequence[SupportItem], name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Actions and attributes (n,) of clips."""
    return np.array([i.label for i in items]), np.array([cell(i, name) or "" for i in items])


def _splits(items: Sequence[SupportItem], seed: int) -> Iterator[tuple[int, Ints, Ints, Ints]]:
    """Tasks with the clips of the adapter, of the attackers, and those that are asked about.

    Halves are the fields of a chessboard of labels and groups, in random orders.
    """
    random, places = np.random.default_rng(seed), list[Ints]()
    for names in ([item.group for item in items], [item.label for item in items]):
        kinds, column = np.unique(names, return_inverse=True)
        places.append(random.permutation(len(kinds))[column])
    half = sum(places) % 2
    for side, task, fold in product(range(2), range(len(_TASKS)), range(_FOLDS)):
        in_half, held = half == side, places[task] % _FOLDS == fold
        if (in_half & held).any():
            adapter, attackers, asked = half != side, in_half & ~held, in_half & held
            yield task, np.flatnonzero(adapter), np.flatnonzero(attackers), np.flatnonzero(asked)


def _through(
    settings: JsonDict | None, encoder: Encoder, learned: EncodedExamples, seed: int
) -> Callable[[Sequence[Encoded]], list[Encoded]]:
    """Function from clips with tokens to what passes."""
    if settings is None:
        width = encoder.frame_dim
        return lambda rows: [Encoded(row.features[:, :width], row.vector) for row in rows]
    adapter = registry.get("adapter", "private").attach(encoder, settings)
    adapter.learn(learned, seed)
    return adapter.rows


def _figures(
    form: str, settings: JsonDict | None, encoder: Encoder, clips: EncodedExamples, run: JsonDict
) -> list[Figure]:
    """Figures of all attackers and of the strongest, means over seeds."""
    truths, seeds, n = _truths(clips.items, run["attribute"]), run["seeds"], len(clips.items)
    right = np.zeros((2, len(ATTACKERS), len(seeds), n))
    weights = np.zeros((2, len(seeds), n))  # all values of a task count the same
    for number, seed in enumerate(seeds):
        order = np.random.default_rng(seed).permutation(n)
        taught, through = np.zeros(0, np.int64), list[Encoded]()
        for task, learn, known_rows, test in _splits(clips.items, seed):
            if not np.array_equal(learn, taught):  # the other half
                items, rows = [clips.items[i] for i in learn], [clips.encoded[i] for i in learn]
                subset, taught = replace(clips, items=items, encoded=rows), learn
                through = _through(settings, encoder, subset, seed)(clips.encoded)
            truth = truths[task][order] if form == _PERMUTED else truths[task]
            column = np.unique(truth, return_inverse=True)[1]
            weights[task, number] = 1 / np.bincount(column)[column]
            shown, test_rows = ([through[i] for i in some] for some in (known_rows, test))
            predicted = attack(shown, truth[known_rows], test_rows, seed)
            for attacker, answers in enumerate(predicted.values()):
                right[task, attacker, number, test] = answers == truth[test]
    figures, groups = list[Figure](), [item.group for item in clips.items]
    for name, hits, weight in zip(_TASKS, right, weights, strict=True):
        values = [float(np.average(hit, weights=weight)) for hit in hits]
        best = hits[int(np.argmax(values))]

        def mean(rows: Any, best: Float64 = best, weight: Float64 = weight) -> float:
            return float(np.average(best[:, rows], weights=weight[:, rows]))

        figures.append(any_figure(name, mean, groups).of(form=form, attacker=_STRONGEST))
        for attacker, value in zip(ATTACKERS, values, strict=True):
            figures.append(Figure(name, value, n=n).of(form=form, attacker=attacker))
    return figures


ATTACKERS = ("linear", "mlp", "nearest", "over time")
_SPANS, _COMPONENTS = 4, 128


def attack(
    known: Sequence[Encoded], values: npt.NDArray[Any], asked: Sequence[Encoded], seed: int
) -> dict[str, npt.NDArray[Any]]:
    """Answers (m,) of each of ``ATTACKERS`` about m clips, each trained from scratch.

    All read standardised principal components: of the vector and the mean frame, and ``over time``
    also the means of four spans and the deviation.

    Args:
        known: n clips.
        values: (n,) the attribute of each.
        asked: m other clips.
        seed: Seed of the random weights.
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds: list[Any] = [
        LogisticRegression(max_iter=1000),
        MLPClassifier((64,), solver="lbfgs", max_iter=200, random_state=seed),
        KNeighborsClassifier(1),
        LogisticRegression(max_iter=1000),
    ]
    shares: dict[str, npt.NDArray[Any]] = {}
    for name, kind in zip(ATTACKERS, kinds, strict=True):
        learned, others = (
            np.stack([_read(row, over_time=name == "over time") for row in rows])
            for rows in (known, asked)
        )
        few = PCA(min(len(learned) - 1, learned.shape[1], _COMPONENTS), svd_solver="full")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted: Any = make_pipeline(StandardScaler(), few, kind).fit(learned, values)
        shares[name] = fitted.predict(others)
    return shares


def _read(row: Encoded, *, over_time: bool) -> Float32:
    """All that an attacker reads of a clip, as one row."""
    parts = [row.vector, row.features.mean(axis=0)]
    if over_time:
        spans = np.array_split(row.features, min(_SPANS, len(row.features)))
        parts += [row.features.std(axis=0), *(span.mean(axis=0) for span in spans)]
    return np.concatenate(parts)
