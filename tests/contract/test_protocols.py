"""Every registered protocol runs from a card to figures and a run's file, on data it suits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluation import colours
from vlar import registry
from vlar.evaluation.cards import LoadedCard, make_card
from vlar.evaluation.runner import make_plan
from vlar.generators.opinions.base import Answer, Answerer, MediaItem
from vlar.generators.opinions.question import Question
from vlar.testing import check_protocol

NAMES = registry.names("protocol")
LABELS = ("red left", "red right", "blue left", "blue right", "green left", "yellow right")
DATA: dict[str, str] = {"spans": "long", "compositional": "pairs", "slices": "sliced",
                        "attributes": "people"}  # fmt: skip
CARDS: dict[str, dict[str, Any]] = {
    "zero-shot": {},
    "retrieval": {},
    "mcq": {"settings": {"answerer": "test-colours:", "k": 3, "seeds": [0, 1], "rotations": 2}},
    "multi-label": {},
    "feedback": {"settings": {"judged": 1, "of": 2, "seeds": [0]}},
    "supervised": {"settings": {"method": "prototype"}},
    "few-shot": {"settings": {"shots": [1, 2], "seeds": [0, 1], "method": "prototype"}},
    "episodes": {"settings": {"ways": 3, "shots": 1, "queries": 1, "episodes": 4}},
    "open-set": {"settings": {"seeds": [0, 1]}},
    "generalised-zero-shot": {"settings": {"seen": ["red left", "blue left"]}},
    "base-to-novel": {
        "settings": {
            "base": ["red left", "blue left"], "novel": ["red right", "green left"],
            "shots": 1, "seeds": [1, 2], "method": "prototype",
        }
    },
    "cross-dataset": {
        "source": {"subset": "train"},
        "settings": {"method": "prototype", "map": {label: label for label in LABELS[:3]}},
    },
    "attack": {
        "settings": {
            "method": "temporal", "settings": {"epochs": 2}, "surrogate": "temporal",
            "surrogate_settings": {"epochs": 2}, "names": ["fgsm", "no-box"], "eps": [0.0, 0.1],
            "steps": 2, "clips": 8,
        }
    },
    "attributes": {"data": {"layout": "csv"}, "settings": {"seeds": [0], "shares": [1.0]}},
    "corruption": {"settings": {"names": ["jpeg", "reverse"], "severities": [1, 5]}},
    "compositional": {"data": {"layout": "csv"}},
    "subsets": {"settings": {"method": "prototype"}},
    "slices": {"data": {"layout": "csv"}, "settings": {"by": ["light"]}},
    "spans": {"data": {"layout": "csv"}, "settings": {"window_s": 1.0, "every_s": 0.5}},
}  # fmt: skip


@registry.register("answerer", "test-colours")
class ByColours(Answerer):
    """Prefers options whose first letter comes late."""

    identity = "test-colours"

    @classmethod
    def from_spec(cls, argument: str) -> Answerer:
        return cls()

    def answer(self, shown: MediaItem, question: Question) -> Answer:
        assert shown.clip.data.ndim == 4
        return Answer(text=max(question.options))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("protocols")
    colours.folder(root / "data", LABELS, 2)
    colours.pairs(root / "pairs")
    colours.long(root / "long")
    colours.sliced(root / "sliced", root / "data")
    colours.people(root / "people", root / "data")
    return root


LONG = {"attributes": pytest.mark.slow}


@pytest.mark.parametrize("name", [pytest.param(n, marks=LONG.get(n, ())) for n in NAMES])
def test_it_keeps_the_contract(name: str, place: Path):
    """A protocol without a card in ``CARDS`` fails here."""
    data = place / DATA.get(name, "data")
    check_protocol(name, card=CARDS[name], data=data, model=colours.model())


def test_stored_episodes_of_kind_episodic_are_those_of_the_plain_list(place: Path, tmp_path: Path):
    """The lists in ``evals/episodes`` name their clips once, and number them."""
    ids = [f"test{label}_{number}" for label in (0, 1) for number in (0, 1)]
    plain = [
        {
            part: {label: [ids[2 * at + number]] for at, label in enumerate(LABELS[:2])}
            for number, part in enumerate(("support", "query"))
        }
    ]
    numbers = [
        {"support": {LABELS[0]: [0], LABELS[1]: [2]}, "query": {LABELS[0]: [1], LABELS[1]: [3]}}
    ]
    counts: list[Any] = []
    for data in (plain, {"kind": "episodic", "ids": ids, "episodes": numbers}):
        file = tmp_path / "list.json"
        file.write_text(json.dumps(data), encoding="utf-8")
        settings = {"ways": 2, "shots": 1, "queries": 1, "list": str(file)}
        made = make_card({"name": "stored", "protocol": "episodes", "settings": settings}, "stored")
        counts.append(make_plan(LoadedCard(made), "episodes", place / "data")[1].counts)
    assert counts[0] == counts[1]
    assert counts[0]["episodes"] == 1
