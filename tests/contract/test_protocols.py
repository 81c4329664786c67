"""Every registered protocol runs from a card to figures and a run's file, on data it suits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluation import colours
from vlar import registry
from vlar.errors import UnknownNameError
from vlar.evaluation.cards import LoadedCard, make_card
from vlar.evaluation.runner import describe, make_plan, read_runs, run_card, write_runs
from vlar.generators.opinions.base import Answer, Answerer, MediaItem
from vlar.generators.opinions.question import Question
from vlar.metrics.figures import Figure

NAMES = registry.names("protocol")
LABELS = ("red left", "red right", "blue left", "blue right", "green left", "yellow right")
DATA: dict[str, str] = {"spans": "long", "compositional": "pairs", "slices": "sliced",
                        "attributes": "people"}  # fmt: skip
LEARNED = ("episodes", "cross-dataset", "supervised", "few-shot", "attributes")
CARDS: dict[str, dict[str, Any]] = {
    "zero-shot": {},
    "retrieval": {},
    "mcq": {"settings": {"answerer": "test-colours:", "k": 3, "seeds": [0, 1], "rotations": 2}},
    "multi-label": {},
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


def card(name: str) -> LoadedCard:
    return LoadedCard(make_card({"name": name, "protocol": name, **CARDS[name]}, name))


def data_of(place: Path, name: str) -> Path:
    return place / DATA.get(name, "data")


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest, place: Path) -> tuple[str, dict[str, Any]]:
    """A protocol's name and its run; a protocol without a card in ``CARDS`` fails here."""
    name = request.param
    (run,) = run_card(card(name), data_of(place, name), colours.model())
    return name, run


def test_the_name_is_the_registered_one_and_settings_are_json(made: tuple[str, Any]):
    part = registry.get("protocol", made[0])
    assert part.name == made[0]
    assert json.loads(json.dumps(part.defaults)) == part.defaults
    assert (part.__doc__ or "").strip()


def test_figures_are_shares_with_their_intervals(made: tuple[str, Any]):
    figures = [Figure.restore(row) for row in made[1]["figures"]]
    assert figures
    keys = [(f.name, tuple(sorted(f.where.items()))) for f in figures]
    assert len(set(keys)) == len(keys), "two figures of one name and place"
    for figure in figures:
        if math.isnan(figure.value):
            continue
        assert figure.n > 0, figure
        assert 0 <= figure.value <= 1 or not figure.is_share or figure.name == "gap", figure
        if figure.low is not None and figure.high is not None:
            assert figure.low - 1e-9 <= figure.high


def test_the_run_survives_its_file_and_names_what_moves_it(made: tuple[str, Any], tmp_path: Path):
    name, run = made
    file = tmp_path / "run.json"
    write_runs(file, [run])
    (read,) = read_runs(file)
    assert read == json.loads(json.dumps(run))
    moves = read["moves"]
    assert moves["model"]["fingerprint"] == "colours-1"
    assert moves["model"]["sampling"]["frames"] == colours.T
    assert moves["model"]["templates"]["texts"]
    assert moves["environment"]["decoder"]["libavcodec"]
    assert set(moves["settings"]) == set(registry.get("protocol", name).defaults)
    assert moves["labels"] or name in LEARNED
    assert read["cost"]["seconds"] > 0


def test_it_prints_lines(made: tuple[str, Any]):
    name, run = made
    figures = [Figure.restore(row) for row in run["figures"]]
    lines = registry.get("protocol", name)().lines(figures, run["tables"])
    assert len(lines) >= 2
    assert all(isinstance(line, str) for line in lines)


def test_another_run_gives_the_same_figures(made: tuple[str, Any], place: Path):
    name, run = made
    (again,) = run_card(card(name), data_of(place, name), colours.model())
    assert json.dumps(again["figures"]) == json.dumps(run["figures"])
    assert again["cost"]["clips_encoded"] == 0, "features are computed once"


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_described_without_a_model(name: str, place: Path):
    row = describe(make_plan(card(name), name, data_of(place, name))[1], name)
    assert json.dumps(row)
    assert row["splits"][0]["labels"] >= 2


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_setting_is_refused(name: str, place: Path):
    content = {"name": name, "protocol": name, **CARDS[name]}
    content["settings"] = {**content.get("settings", {}), "shotz": 1}
    with pytest.raises(UnknownNameError, match="shotz"):
        make_plan(LoadedCard(make_card(content, name)), name, data_of(place, name))


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
