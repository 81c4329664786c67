"""Protocols that learn: ``few-shot``, ``supervised``, ``base-to-novel``, other data, episodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlar.errors import ProtocolError
from vlar.evaluation.datasets.lists import Lists
from vlar.evaluation.features import (
    check_exact,
    check_no_empty_class,
    check_overlap,
    draw_shots,
    spelled_as,
)
from vlar.evaluation.learning import LEARNER, Fitted
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, accuracies, chance, closed
from vlar.files.reading import MB, parse_json, read_file
from vlar.heads.support import SupportItem
from vlar.metrics.classification import harmonic_mean
from vlar.metrics.figures import Figure, mean_figure, spread
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
        "shots": [2, 4, 8, 16],
        "seeds": [0, 1, 2],
        "method": "auto",
        **LEARNER,
        "lists": None,
    }

    def check(self, plan: Plan) -> None:
        plan.learner.check()
        for part in plan.parts:
            for shots in plan.settings["shots"]:
                for seed in plan.settings["seeds"]:
                    drawn = self._drawn(plan, part, shots, seed)
                    check_exact(drawn, part.labels, shots)
            plan.counts["clips to learn from"] = {
                f"{shots} shots": shots * len(part.labels) for shots in plan.settings["shots"]
            }

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        guard = run.guard(part.test)
        draws = [(k, s) for k in run.settings["shots"] for s in run.settings["seeds"]]
        fitted: dict[Any, Fitted] = {}
        for shots, seed in draws:
            items = self._drawn(run.plan, part, shots, seed)
            drawn = run.tables.setdefault("learned from", {})
            drawn[f"{part.name or 'all'}, {shots} shots, seed {seed}"] = [
                str(i.path) for i in items
            ]
            fitted[shots, seed] = run.fit(guard.fit_set(items), seed)
        return answered(run, part, fitted, ("shots", "seed"))

    def _drawn(self, plan: Plan, part: RunSplit, shots: int, seed: int) -> list[SupportItem]:
        return _shots(plan, part, part.labels, part.data.labels, shots, seed)


@register("protocol", "supervised")
class Supervised(Protocol):
    """All training clips of all labels; scored on the test clips.

    Settings: ``method``, ``recipe``, ``unknown``, ``seeds``; of a training also ``settings`` (as
    ``vlar adapt --set`` takes them) and ``objectives`` (names).
    """

    name = "supervised"
    needs = ("train",)
    defaults: ClassVar[JsonDict] = {
        "seeds": [0],
        "method": "auto",
        **LEARNER,
        "settings": {},
        "objectives": [],
    }

    def check(self, plan: Plan) -> None:
        plan.learner.check()
        for part in plan.parts:
            check_no_empty_class(part.train, part.labels, "training")

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        fit_set = run.guard(part.test).fit_set(part.train.items)
        fitted = {(seed,): run.fit(fit_set, seed) for seed in run.settings["seeds"]}
        return answered(run, part, fitted, ("seed",))


def listed_shots(
    part: RunSplit, pattern: str, shots: int, seed: int, labels: Sequence[str]
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


def answered(
    run: Run, part: RunSplit, fitted: dict[Any, Fitted], names: Sequence[str]
) -> list[Figure]:
    """Accuracies of what was learned, and of the texts alone; one pass where cores are the same."""
    labels, figures = part.labels, list[Figure]()
    cores = {id(fit.core): fit.core for fit in fitted.values()}
    for core in cores.values():
        of_core = {key: fit for key, fit in fitted.items() if fit.core is core}
        scorers = {k: run.classifier(labels, core=core, head=f.head) for k, f in of_core.items()}
        scored = run.scores(scorers, part.test.items, run.changes, core, one_view=True)
        for key in of_core:
            where = dict(zip(names, key, strict=True))
            figures += accuracies(scored, key, labels, **where)
    scored = run.scores({0: run.classifier(labels)}, part.test.items)
    texts = accuracies(scored, 0, labels, shots=0)
    blind = chance(scored.truth(labels), len(labels), len(scored.items))
    return figures + texts + blind


@register("protocol", "base-to-novel")
class BaseToNovel(Protocol):
    """Learn the base labels from K clips each; accuracy on base, on novel, harmonic mean.

    A closed form leaves the encoder as it is, so novel labels are answered by their texts; a
    trained adapter changes them. Settings: ``base``, ``novel`` (labels or files of them),
    ``shots``, ``seeds``, ``method``, ``recipe``, ``unknown``, ``lists`` (as ``few-shot``; the
    numbers in them count the base labels).
    """

    name = "base-to-novel"
    needs = ("train",)
    defaults: ClassVar[JsonDict] = {
        "base": None,
        "novel": None,
        "shots": 16,
        "seeds": [1, 2, 3],
        "method": "auto",
        **LEARNER,
        "lists": None,
    }

    def check(self, plan: Plan) -> None:
        plan.learner.check()
        base, novel = _lists(plan)
        check_overlap(base, novel, "base and novel", {})
        for part in plan.parts:
            labels = set(part.data.labels)
            strange = [label for label in (*base, *novel) if label not in labels]
            if strange:
                raise ProtocolError(f"label {strange[0]!r} is not one of {part.data.layout}'s")
            for names in (base, novel):
                check_no_empty_class(part.test, names, "test")
            for seed in plan.settings["seeds"]:
                check_exact(self._drawn(plan, part, base, seed), base, plan.settings["shots"])
        plan.counts |= {"base labels": len(base), "novel labels": len(novel)}
        plan.counts["clips to learn from"] = plan.settings["shots"] * len(base)

    def run(self, run: Run) -> list[Figure]:
        base, novel = _lists(run.plan)
        figures: list[Figure] = []
        for part in run.plan.parts:
            guard = run.guard(part.test)
            for seed in run.settings["seeds"]:
                items = self._drawn(run.plan, part, base, seed)
                fitted = run.fit(guard.fit_set(items), seed)
                figures += self._scored(run, part, fitted, seed)
            figures += self._texts(run, part, base, novel)
        averages = spread(figures, "seed")
        return figures + averages + self._mean_hm(averages)

    def _drawn(self, plan: Plan, part: RunSplit, base: Sequence[str], seed: int):
        return _shots(plan, part, base, base, plan.settings["shots"], seed)

    def _scored(self, run: Run, part: RunSplit, fitted: Fitted, seed: int) -> list[Figure]:
        base, novel = _lists(run.plan)
        learned = run.classifier(base, core=fitted.core, head=fitted.head)
        texts = run.classifier(novel, core=fitted.core)
        first = run.scores(
            {0: learned}, part.test.of(base).items, run.changes, fitted.core, one_view=True
        )
        second = run.scores({0: texts}, part.test.of(novel).items, run.changes, fitted.core)
        where = {"split": part.name or None, "seed": seed}
        return _sides(accuracies(first, 0, base, **where), accuracies(second, 0, novel, **where))

    def _texts(self, run: Run, part: RunSplit, base: tuple[str, ...], novel: tuple[str, ...]):
        sides: list[list[Figure]] = []
        for labels in (base, novel):
            items = part.test.of(labels).items
            scored = run.scores({0: run.classifier(labels)}, items)
            sides.append(accuracies(scored, 0, labels, split=part.name or None, shots=0))
        return _sides(*sides)

    def _mean_hm(self, averages: list[Figure]) -> list[Figure]:
        """The harmonic mean of the averages over seeds, as TC-CLIP and FROSTER report it."""
        by = {(row.name, tuple(sorted(row.where.items()))): row for row in averages}
        figures: list[Figure] = []
        for (name, where), row in by.items():
            other = by.get(("novel", where))
            if name == "base" and other is not None:
                value = harmonic_mean(row.value, other.value)
                figures.append(Figure("hm of means", value, n=row.n + other.n, where=row.where))
        return figures


@register("protocol", "cross-dataset")
class CrossDataset(Protocol):
    """Learn the labels of one data set, be asked about those of another.

    The card's ``[source]`` names the first. Settings: ``shots`` (clips a label, None for all),
    ``seeds``, ``method`` (an adapter changes the answers; a closed form needs ``map``),
    ``recipe``, ``unknown``, ``overlap`` (``refuse`` or ``report``), ``map`` (a table from source
    labels to asked ones; the learned head then answers, as domain adaptation has it).
    """

    name = "cross-dataset"
    needs = ("source",)
    defaults: ClassVar[JsonDict] = {
        "shots": None,
        "seeds": [0],
        "method": "auto",
        **LEARNER,
        "overlap": "refuse",
        "map": None,
    }

    def check(self, plan: Plan) -> None:
        plan.learner.check()
        source, mapping = _source(plan), plan.settings["map"]
        if mapping is None and not plan.learner.is_trained:
            raise ProtocolError(
                f"method {plan.learner.method!r} learns nothing about other labels; name an "
                "adapter to train, or give 'map' from the source's labels to the asked ones"
            )
        for part in plan.parts:
            if mapping is None:
                shared = check_overlap(
                    source.labels, part.labels, "source and target", plan.settings
                )
                plan.notes.append(f"{len(shared)} of {len(part.labels)} labels are in the source")
            elif strange := sorted(set(mapping.values()) - set(part.labels)):
                raise ProtocolError(f"map: {strange[0]!r} is not a label that is asked")

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        source, figures = _source(run.plan), list[Figure]()
        mapping = run.settings["map"]
        guard = run.guard(part.test)
        for seed in run.settings["seeds"]:
            items = _mapped(source, mapping)
            if run.settings["shots"] is not None:
                labels = sorted({item.label for item in items})
                items = draw_shots(items, labels, run.settings["shots"], seed)
            fitted = run.fit(guard.fit_set(items), seed)
            head = fitted.head if mapping else None
            labels = head.labels if head else part.labels
            classifier = run.classifier(labels, core=fitted.core, head=head)
            test = part.test.of(labels).items
            one_view = head is not None
            scored = run.scores({0: classifier}, test, run.changes, fitted.core, one_view)
            figures += accuracies(scored, 0, labels, seed=seed)
        plain = run.scores({0: run.classifier(part.labels)}, part.test.items)
        return figures + accuracies(plain, 0, part.labels, shots=0)


def _shots(
    plan: Plan, part: RunSplit, labels: Sequence[str], counted: Sequence[str], shots: int, seed: int
) -> list[SupportItem]:
    """K clips a label, drawn or listed; the numbers in a list count ``counted``."""
    pattern = plan.settings["lists"]
    if pattern is None:
        return draw_shots(part.data.subset("train").items, labels, shots, seed)
    items = listed_shots(part, str(pattern), shots, seed, counted)
    return [item for item in items if item.label in set(labels)]


def _lists(plan: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    labels = plan.parts[0].data.labels
    base, novel = (
        spelled_as(plan.card.labels(plan.settings[name]) or (), labels)
        for name in ("base", "novel")
    )
    if not base or not novel:
        raise ProtocolError("base-to-novel needs the settings 'base' and 'novel': lists of labels")
    return base, novel


def _source(plan: Plan) -> RunSplit:
    if plan.source is None:
        raise ProtocolError(
            "cross-dataset needs [source] in the card: the data that is learned from; write a "
            "protocol file with [data] and [source], each with its folder (docs/protocols.md)"
        )
    return plan.source


def _mapped(source: RunSplit, mapping: dict[str, str] | None):
    items = list(source.train.items)
    if mapping is None:
        return items
    mapped = [item for item in items if item.label in mapping]
    return [replace(item, labels=(mapping[item.label],)) for item in mapped]


def _sides(base: list[Figure], novel: list[Figure]) -> list[Figure]:
    """``base``, ``novel`` and ``hm`` from the top-1 figures of both."""
    figures: list[Figure] = []
    for first, second in zip(base, novel, strict=True):
        if first.name == "top1" and second.name == "top1":
            hm = harmonic_mean(first.value, second.value)
            figures += [replace(first, name="base"), replace(second, name="novel")]
            figures.append(Figure("hm", hm, n=first.n + second.n, where=first.where))
    return figures


Episode = dict[str, list[str]]


@register("protocol", "episodes")
class Episodes(Protocol):
    """Accuracy over N-way K-shot episodes; the interval is over episodes.

    Settings: ``ways``, ``shots``, ``queries`` (clips a label), ``episodes`` (their number),
    ``seed``, ``method`` (a closed form), ``unknown``, ``list`` (JSON file next to the card, or in
    the data set's folder: ``[{"support": {LABEL: [ID, ..]}, "query": {LABEL: [ID, ..]}}, ..]`` with
    file names without ending as IDs). A list of kind ``episodic`` is an object: ``ids`` names the
    clips, and ``episodes`` is the list with their numbers in ``ids``. Drawn episodes come from the
    scored subset alone.
    """

    name = "episodes"
    defaults: ClassVar[JsonDict] = {
        "ways": 5,
        "shots": 1,
        "queries": 5,
        "episodes": 100,
        "seed": 0,
        "method": "prototype",
        **LEARNER,
        "list": None,
    }

    def check(self, plan: Plan) -> None:
        if plan.learner.is_trained:
            raise ProtocolError(
                f"method {plan.learner.method!r} is trained; an episode needs a closed form"
            )
        plan.learner.check()
        for part in plan.parts:
            listed = _episodes(plan, part)
            plan.counts["episodes"] = len(listed)
            plan.counts["list"] = _list_hash(listed)

    def run(self, run: Run) -> list[Figure]:
        figures: list[Figure] = []
        for part in run.plan.parts:
            by_id = _by_id(part)
            listed = _episodes(run.plan, part)
            shares = [self._episode(run, episode, by_id) for episode in listed]
            figure = mean_figure("accuracy", shares, list(range(len(shares))))
            ways = float(np.mean([len(episode["support"]) for episode in listed]))
            where = {"split": part.name or None}
            figures += [figure.of(**where), Figure("chance", 1 / ways, n=len(shares)).of(**where)]
            run.tables["episodes"] = {"sha256": _list_hash(listed), "list": listed}
        return figures

    def _episode(self, run: Run, episode: Any, by_id: dict[str, SupportItem]) -> float:
        chosen = {k: [by_id[i] for ids in episode[k].values() for i in ids] for k in episode}
        support, query = chosen["support"], chosen["query"]
        guard = run.guard()
        guard.protect(query)
        fitted = run.fit(guard.fit_set(support), run.settings["seed"])
        labels = list(episode["support"])
        classifier = run.classifier(labels, head=fitted.head)
        scored = run.scores({0: classifier}, query, one_view=True)
        answers = closed(scored.by[0, None]).argmax(axis=1)
        return float((answers == scored.truth(labels)).mean())


def _by_id(part: RunSplit) -> dict[str, SupportItem]:
    return {item.path.stem: item for item in part.test.items}


def _episodes(plan: Plan, part: RunSplit) -> list[Any]:
    name = plan.settings["list"]
    if name is None:
        return _drawn_episodes(part, plan.settings)
    places = (plan.card.path(str(name)), part.data.root / str(name))
    file = next((row for row in places if row.is_file()), None)
    if file is None:
        raise ProtocolError(f"no list of episodes {name!r} next to the card or in {part.data.root}")
    return _read_episodes(file, part)


def _drawn_episodes(part: RunSplit, settings: JsonDict) -> list[Any]:
    ways, shots, queries = (int(settings[k]) for k in ("ways", "shots", "queries"))
    ids: dict[str, list[str]] = {}
    for item in part.test.items:
        ids.setdefault(item.label, []).append(item.path.stem)
    enough = sorted(label for label, rows in ids.items() if len(rows) >= shots + queries)
    if len(enough) < ways:
        raise ProtocolError(
            f"{len(enough)} labels have the {shots + queries} clips of an episode with {shots} "
            f"shots and {queries} queries, and {ways} ways need {ways}; put more "
            "clips into each label's folder, or ask for fewer: --set ways=2 --set queries=1"
        )
    random = np.random.default_rng(settings["seed"])
    listed: list[Any] = []
    for _ in range(int(settings["episodes"])):
        episode: dict[str, Episode] = {"support": {}, "query": {}}
        for label in random.choice(enough, ways, replace=False):
            drawn = [str(i) for i in random.permutation(ids[label])[: shots + queries]]
            episode["support"][str(label)] = drawn[:shots]
            episode["query"][str(label)] = drawn[shots:]
        listed.append(episode)
    return listed


def _read_episodes(file: Path, part: RunSplit) -> list[Any]:
    try:
        data = parse_json(read_file(file, 64 * MB))
        listed = _named(data["episodes"], data["ids"]) if isinstance(data, dict) else data
        rows = [{k: dict(episode[k]) for k in ("support", "query")} for episode in listed]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ProtocolError(f"{file}: not a list of episodes ({error!r})") from error
    rows_by_id = _by_id(part)
    for number, episode in enumerate(rows, start=1):
        if set(episode["query"]) - set(episode["support"]):
            raise ProtocolError(f"{file}, episode {number}: a query label has no support")
        for ids in [*episode["support"].values(), *episode["query"].values()]:
            if lost := [i for i in ids if i not in rows_by_id]:
                raise ProtocolError(f"{file}, episode {number}: clip {lost[0]!r} is not there")
    return rows


def _named(listed: list[Any], ids: list[str]) -> list[Any]:
    """Episodes with the numbers of clips, with their names."""
    return [
        {
            part: {label: [ids[number] for number in rows] for label, rows in episode[part].items()}
            for part in ("support", "query")
        }
        for episode in listed
    ]


def _list_hash(listed: list[Any]) -> str:
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
