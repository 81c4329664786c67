"""Findings that each protocol must make with an encoder whose strengths and faults are known."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.evaluation import colours
from vlar.errors import ProtocolError
from vlar.evaluation.cards import LoadedCard, make_card
from vlar.evaluation.protocols.compositional import held_out
from vlar.evaluation.runner import run_card
from vlar.metrics.figures import Figure

LABELS = ("red left", "red right", "blue left", "blue right")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("known")
    colours.folder(root / "data", LABELS, 3)
    colours.folder(root / "plain", ("red", "blue", "green", "yellow"), 3)
    colours.pairs(root / "pairs")
    colours.long(root / "long")
    return root


def computed(folder: Path, protocol: str, **card: Any) -> dict[str, Any]:
    made = LoadedCard(make_card({"name": "x", "protocol": protocol, **card}, "x"))
    (run,) = run_card(made, folder, colours.model())
    return run


def figures(folder: Path, protocol: str, **card: Any) -> dict[tuple[str, str], float]:
    return named(computed(folder, protocol, **card))


def named(run: dict[str, Any]) -> dict[tuple[str, str], float]:
    rows = [Figure.restore(row) for row in run["figures"]]
    return {
        (row.name, ", ".join(f"{k} {v}" for k, v in row.where.items())): row.value for row in rows
    }


def test_zero_shot_is_right_and_falls_when_time_runs_backwards(place: Path):
    found = figures(place / "data", "zero-shot")
    assert found["top1", ""] == 1
    assert found["top1", "under reverse/5"] == 0
    assert found["top1", "under one-frame"] <= 0.5
    assert found["chance", ""] == found["majority", ""] == 0.25
    # All answers are right, so what their probabilities lack of 1 is the error.
    assert 0 < found["calibration error", ""] < 1
    assert ("calibration error", "under one-frame") not in found


def test_colours_alone_do_not_depend_on_time(place: Path):
    found = figures(place / "plain", "zero-shot")
    assert found["top1", ""] == found["top1", "under reverse/5"] == 1


def test_few_shot_learns_what_the_labels_hide(place: Path, tmp_path: Path):
    """Labels without a meaning: texts are at chance, two clips a label are enough."""
    root = tmp_path / "hidden"
    hidden = {"alpha": "red left", "beta": "red right", "gamma": "blue left"}
    for subset in ("train", "test"):
        for at, (name, label) in enumerate(hidden.items()):
            for n in range(3):
                seed = 90 * (subset == "test") + 10 * at + n
                colours.make_clip(root / subset / name / f"{n}.mp4", label, seed)
    settings = {"shots": [2], "seeds": [0], "method": "prototype"}
    run = computed(root, "few-shot", settings=settings)
    drawn = run["tables"]["learned from"]["all, 2 shots, seed 0"]
    assert sorted(Path(path).parts[-3:-1] for path in drawn) == [
        ("train", label) for label in ("alpha", "alpha", "beta", "beta", "gamma", "gamma")
    ]
    found = named(run)
    assert found["top1", "shots 2, seed 0"] == 1
    assert found["top1", "shots 0"] < 0.7


def test_retrieval_finds_all_and_permuted_labels_do_not(place: Path):
    found = figures(place / "data", "retrieval", settings={"ks": [1, 3]})
    assert found["R@1", "way text to video"] == 1
    assert found["mAP", "way text to video"] == 1
    assert found["median_rank", "way video to text"] == 1
    assert found["mAP", "way text to video, under labels permuted"] < 0.7


def test_open_set_separates_and_permuted_scores_do_not(place: Path):
    found = figures(place / "plain", "open-set", settings={"known": ["red", "blue"], "seeds": [0]})
    assert found["auroc", "seed 0"] == 1
    assert found["fpr95", "seed 0"] == 0
    assert 0.1 < found["auroc", "seed 0, under scores permuted"] < 0.9
    assert found["openness", "seed 0"] == pytest.approx(1 - (4 / 6) ** 0.5)


def test_compositional_finds_the_unseen_pair_and_permuted_verbs_lose_it(place: Path):
    found = figures(place / "pairs", "compositional")
    assert found["unseen", ""] == found["seen", ""] == found["all", ""] == 1
    assert found["all", "under reverse/5"] == 0
    assert found["object accuracy", "under reverse/5"] == 1
    assert found["all", "under verbs permuted"] < 1
    assert found["verb of unseen pairs", ""] == found["object of unseen pairs", ""] == 1
    assert found["verb of unseen pairs", "under reverse/5"] == 0
    assert found["object of unseen pairs", "under reverse/5"] == 1
    assert ("verb of unseen objects", "") not in found  # training shows every object


def test_verbs_count_apart_where_training_shows_no_such_object():
    pairs = [("open", "box"), ("open", "door"), ("close", "box"), ("close", "door")]
    truth = [pairs[0], pairs[1], pairs[3], pairs[2]]
    scores = np.eye(4)[[0, 1, 1, 2]]  # the third answer has the wrong verb
    train = Counter({("open", "box"): 2})
    rows = held_out(scores, pairs, truth, train)
    assert {row.name: (row.value, row.n) for row in rows} == {
        "verb of unseen pairs": (pytest.approx(2 / 3), 3),
        "object of unseen pairs": (1.0, 3),
        "verb of unseen objects": (0.5, 2),
    }


def test_spans_are_found_and_the_controls_fail(place: Path):
    found = figures(place / "long", "spans", settings={"window_s": 1.0, "every_s": 0.5})
    clean = found["query R1@0.5", ""]
    assert clean == 1
    assert found["mAP", ""] > 0.7
    assert found["query R1@0.5", "under whole recording"] == 0
    assert found["mAP", "under windows permuted"] < 0.5


def test_multi_label_counts_each_label(place: Path):
    found = figures(place / "data", "multi-label")
    assert found["macro mAP", ""] == 1
    assert found["macro mAP", "under labels permuted"] < 0.7


def test_base_to_novel_reports_the_harmonic_mean(place: Path):
    settings = {
        "base": ["red left", "blue left"], "novel": ["red right", "blue right"],
        "shots": 1, "seeds": [1], "method": "prototype",
    }  # fmt: skip
    found = figures(place / "data", "base-to-novel", settings=settings)
    base, novel = (found[name, "seed 1"] for name in ("base", "novel"))
    assert found["hm", "seed 1"] == pytest.approx(2 * base * novel / (base + novel))


def test_cross_dataset_maps_labels(place: Path):
    card = {
        "source": {"folder": "plain"}, "data": {"folder": "data"},
        "settings": {"method": "prototype", "map": {"red": "red left", "blue": "blue left"}},
    }  # fmt: skip
    found = figures(place, "cross-dataset", **card)
    assert found["top1", "seed 0"] == 1


def test_corruption_names_what_falls_first(place: Path):
    names = ["reverse", "jpeg"]
    made = {"name": "x", "protocol": "corruption", "settings": {"names": names, "severities": [1]}}
    (run,) = run_card(LoadedCard(make_card(made, "x")), place / "data", colours.model())
    first = run["tables"]["falls_first"][0]
    assert first["corruption"] == "reverse"
    assert first["lost"] == 1
    assert first["severity"] == 1


FOLDER = Path(__file__).parents[3] / "evals" / "episodes"

FILES = sorted(FOLDER.glob("*.json"))


def test_there_are_lists():
    assert len(FILES) == 6


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_list_holds_the_episodes_that_its_head_says(file: Path):
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["kind"] == "episodic"
    assert len(data["episodes"]) == data["n"]
    assert len(set(data["ids"])) == len(data["ids"])
    for episode in data["episodes"]:
        support, query = episode["support"], episode["query"]
        assert len(support) == data["way"]
        assert set(support) == set(query)
        assert all(len(own) == data["shot"] for own in support.values())
        assert all(1 <= len(own) <= data["query"] for own in query.values())
        used = [n for part in (support, query) for own in part.values() for n in own]
        assert len(set(used)) == len(used)
        assert max(used) < len(data["ids"])


def test_slices_show_where_a_model_fails(tmp_path: Path):
    colours.folder(tmp_path / "data", ("red left", "blue right", "green left"), 2)
    root = colours.sliced(tmp_path / "sliced", tmp_path / "data")
    made = {"name": "s", "protocol": "slices", "settings": {"by": ["light", "note"]}}
    (run,) = run_card(LoadedCard(make_card(made, "s")), root, colours.model(), controls=False)
    found = [Figure.restore(row) for row in run["figures"]]
    by = {f.where["value"]: f for f in found if f.where.get("by") == "light"}
    assert (by["bright"].value, by["dark"].value) == (1.0, 0.0)
    assert (by["bright"].n, by["dark"].n) == (3, 3)
    assert by["dark"].high is not None
    assert len([f for f in found if f.where.get("by") == "note"]) == 6
    assert "light: fewer than 20 clips of bright, dark" in run["moves"]["data"]["notes"]
    for by_what, says in (([], "names of columns"), (["scene"], "no column 'scene'; .* light")):
        wrong = LoadedCard(make_card({**made, "settings": {"by": by_what}}, "s"))
        refused(
            ProtocolError, says, lambda card: list(run_card(card, root, colours.model())), wrong
        )
