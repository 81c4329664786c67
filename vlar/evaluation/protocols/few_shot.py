"""``few-shot``: all labels, K training clips each. ``supervised``: all training clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from vlar.errors import ProtocolError
from vlar.evaluation.datasets.lists import Lists
from vlar.evaluation.protocols.base import Part, Plan, Protocol, Run, accuracies, chance
from vlar.evaluation.running.clips import check_exact, check_no_empty_class, draw_shots
from vlar.evaluation.running.features import Change
from vlar.evaluation.running.figures import Figure, spread
from vlar.evaluation.running.learning import Fitted
from vlar.fewshot.support import SupportItem
from vlar.registry import register
from vlar.types import JsonDict

_NAMED = 3


@register("protocol", "few-shot")
class FewShot(Protocol):
    """K clips of every label, drawn by seed or from stored lists; scored on the test clips.

    Settings: ``shots`` (list of K), ``seeds``, ``method`` (a closed form, ``auto``, an adapter),
    ``recipe``, ``unknown``, ``lists`` (file name with ``{shots}``, ``{seed}``, ``{split}`` of the
    layout ``lists``, in the data set's folder; every label must have exactly K rows).
    """

    name = "few-shot"
    needs = ("train",)
    defaults: ClassVar[JsonDict] = {
        "shots": [2, 4, 8, 16], "seeds": [0, 1, 2], "method": "auto", "recipe": None,
        "unknown": "familiarity", "lists": None,
    }  # fmt: skip

    def check(self, plan: Plan) -> None:
        """See ``Protocol``."""
        plan.learner.check()
        for part in plan.parts:
            for shots in plan.settings["shots"]:
                for seed in plan.settings["seeds"]:
                    drawn = self._drawn(plan, part, shots, seed)
                    check_exact(drawn, part.labels, shots)
            plan.counts["clips to learn from"] = {
                f"{shots} shots": shots * len(part.labels) for shots in plan.settings["shots"]
            }

    def run(self, run: Run) -> list[Figure]:
        """See ``Protocol``."""
        found: list[Figure] = []
        for part in run.plan.parts:
            guard = run.guard(part.test)
            draws = [(k, s) for k in run.settings["shots"] for s in run.settings["seeds"]]
            fitted: dict[Any, Fitted] = {}
            for shots, seed in draws:
                items = self._drawn(run.plan, part, shots, seed)
                fitted[shots, seed] = run.fit(guard.fit_set(items), seed)
            found += answered(run, part, fitted, ("shots", "seed"))
        by_seed = spread(found, "seed")
        return found + by_seed + spread(by_seed or found, "split")

    def _drawn(self, plan: Plan, part: Part, shots: int, seed: int) -> list[SupportItem]:
        pattern = plan.settings["lists"]
        if pattern is None:
            return draw_shots(part.train.items, part.labels, shots, seed)
        items = listed_shots(part, str(pattern), shots, seed, part.data.labels)
        return [item for item in items if item.label in set(part.labels)]


@register("protocol", "supervised")
class Supervised(Protocol):
    """All training clips of all labels; scored on the test clips.

    Settings: ``method``, ``recipe``, ``unknown``, ``seeds``.
    """

    name = "supervised"
    needs = ("train",)
    defaults: ClassVar[JsonDict] = {
        "seeds": [0], "method": "auto", "recipe": None, "unknown": "familiarity",
    }  # fmt: skip

    def check(self, plan: Plan) -> None:
        """See ``Protocol``."""
        plan.learner.check()
        for part in plan.parts:
            check_no_empty_class(part.train, part.labels, "training")

    def run(self, run: Run) -> list[Figure]:
        """See ``Protocol``."""
        found: list[Figure] = []
        for part in run.plan.parts:
            fit_set = run.guard(part.test).fit_set(part.train.items)
            seeds = run.settings["seeds"]
            found += answered(run, part, {(s,): run.fit(fit_set, s) for s in seeds}, ("seed",))
        by_seed = spread(found, "seed")
        return found + by_seed + spread(by_seed or found, "split")


def listed_shots(
    part: Part, pattern: str, shots: int, seed: int, labels: Sequence[str]
) -> list[SupportItem]:
    """The clips of a stored draw.

    Args:
        part: Whose folder holds the list.
        pattern: Its name, with ``{shots}``, ``{seed}`` and ``{split}``.
        shots: K.
        seed: Number of the draw.
        labels: What the numbers in the list count.

    Raises:
        ProtocolError: a listed clip is missing.
        DatasetError: the list is, or it is malformed.
    """
    name = pattern.format(shots=shots, seed=seed, split=part.name or "1")
    listed = Lists().read_list(part.data, name, labels)
    if listed.missing:
        raise ProtocolError(
            f"{name}: {len(listed.missing)} of {len(listed)} clips are missing, the first is "
            f"{listed.missing[0].path}; few-shot figures need every listed clip"
        )
    return list(listed.items)


def answered(run: Run, part: Part, fitted: dict[Any, Fitted], names: Sequence[str]) -> list[Figure]:
    """Accuracies of what was learned, and of the texts alone; one pass where cores are the same."""
    labels, found = part.labels, list[Figure]()
    cores = {id(each.core): each.core for each in fitted.values()}
    for core in cores.values():
        own = {key: each for key, each in fitted.items() if each.core is core}
        scorers = {k: run.classifier(labels, core=core, head=f.head) for k, f in own.items()}
        scored = run.scores(scorers, part.test.items, run.changes, core, one_view=True)
        for key in own:
            where = dict(zip(names, key, strict=True))
            found += accuracies(scored, key, labels, split=part.name or None, **where)
    plain: list[Change | None] = [None]
    scored = run.scores({0: run.classifier(labels)}, part.test.items, plain)
    texts = accuracies(scored, 0, labels, split=part.name or None, shots=0)
    blind = chance(scored.truth(labels), len(labels), len(scored.items))
    return found + texts + [row.of(split=part.name or None) for row in blind]
