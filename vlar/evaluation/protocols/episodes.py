"""``episodes``: N labels, K clips each, drawn again for every episode, or from a stored list."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlar.errors import ProtocolError
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, closed
from vlar.evaluation.scores import Figure, mean_figure
from vlar.heads.support import SupportItem
from vlar.registry import register
from vlar.types import JsonDict

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
        "ways": 5, "shots": 1, "queries": 5, "episodes": 100, "seed": 0, "method": "prototype",
        "unknown": "familiarity", "recipe": None, "list": None,
    }  # fmt: skip

    def check(self, plan: Plan) -> None:
        if plan.learner.is_trained:
            raise ProtocolError(
                f"method {plan.learner.method!r} is trained; an episode needs a closed form"
            )
        plan.learner.check()
        for part in plan.parts:
            listed = _episodes(plan, part)
            plan.counts["episodes"] = len(listed)
            plan.counts["list"] = _hash(listed)

    def run(self, run: Run) -> list[Figure]:
        found: list[Figure] = []
        for part in run.plan.parts:
            by_id = _by_id(part)
            listed = _episodes(run.plan, part)
            shares = [self._episode(run, episode, by_id) for episode in listed]
            figure = mean_figure("accuracy", shares, list(range(len(shares))))
            ways = float(np.mean([len(episode["support"]) for episode in listed]))
            where = {"split": part.name or None}
            found += [figure.of(**where), Figure("chance", 1 / ways, n=len(shares)).of(**where)]
            run.tables["episodes"] = {"sha256": _hash(listed), "list": listed}
        return found

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
        return _drawn(part, plan.settings)
    places = (plan.card.path(str(name)), part.data.root / str(name))
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise ProtocolError(f"no list of episodes {name!r} next to the card or in {part.data.root}")
    return _read(file, part)


def _drawn(part: RunSplit, settings: JsonDict) -> list[Any]:
    ways, shots, queries = (int(settings[k]) for k in ("ways", "shots", "queries"))
    ids: dict[str, list[str]] = {}
    for item in part.test.items:
        ids.setdefault(item.label, []).append(item.path.stem)
    enough = sorted(label for label, own in ids.items() if len(own) >= shots + queries)
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


def _read(file: Path, part: RunSplit) -> list[Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        listed = _named(data["episodes"], data["ids"]) if isinstance(data, dict) else data
        rows = [{k: dict(episode[k]) for k in ("support", "query")} for episode in listed]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ProtocolError(f"{file}: not a list of episodes ({error!r})") from error
    there = _by_id(part)
    for number, episode in enumerate(rows, start=1):
        if set(episode["query"]) - set(episode["support"]):
            raise ProtocolError(f"{file}, episode {number}: a query label has no support")
        for ids in [*episode["support"].values(), *episode["query"].values()]:
            if lost := [i for i in ids if i not in there]:
                raise ProtocolError(f"{file}, episode {number}: clip {lost[0]!r} is not there")
    return rows


def _named(listed: list[Any], ids: list[str]) -> list[Any]:
    """Episodes with the numbers of clips, with their names."""
    return [
        {
            part: {label: [ids[number] for number in own] for label, own in episode[part].items()}
            for part in ("support", "query")
        }
        for episode in listed
    ]


def _hash(listed: list[Any]) -> str:
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
