"""Adapting with a label tree, and without preference for frequent labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.fixtures.models_1 import tiny
from tests.refusals import refused
from vlar.errors import LabelError, ModelError, UnknownNameError, UsageError
from vlar.heads.fewshot.balanced import BalancedHead
from vlar.language.tree import Tree
from vlar.model.adapt import under

TREE = Tree({"fall": "moving", "rise": "moving", "swing": "moving", "stay": "still"})


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four examples of ``fall``, two of the others."""
    folder = tiny.support(tmp_path_factory.mktemp("support"), 4)
    for label in tiny.LABELS[1:]:
        for example in (2, 3):
            shutil.rmtree(folder / label / str(example))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip(tmp_path_factory.mktemp("clip"), "rise", 6)


@pytest.fixture(scope="module")
def plain(support: Path) -> vlar.Model:
    return vlar.load("tiny-for-fixtures").adapt(support, method="ridge")


def test_balance_divides_probabilities_by_the_share_of_examples(
    support: Path, clip: Path, plain: vlar.Model, tmp_path: Path
):
    model = vlar.load("tiny-for-fixtures").adapt(support, method="ridge", balance="adjust")
    before, after = plain.classify(clip, top=9), model.classify(clip, top=9)
    share = {"fall": 0.4, "rise": 0.2, "stay": 0.2, "swing": 0.2}
    odds = {p.label: p.probability / share[p.label] for p in before.predictions}
    rest = 1 - after.unknown_probability
    wanted = {label: rest * value / sum(odds.values()) for label, value in odds.items()}
    found = {p.label: p.probability for p in after.predictions}
    assert found == pytest.approx(wanted, abs=1e-6)
    again = vlar.load(model.save(tmp_path / "m"))
    assert isinstance(again.head.head, BalancedHead)
    assert again.classify(clip, top=9).predictions == after.predictions


def test_equal_numbers_are_left_alone(clip: Path, tmp_path: Path):
    even = tiny.support(tmp_path / "even", 2)
    base = vlar.load("tiny-for-fixtures")
    one = base.adapt(even, method="prototype").classify(clip)
    other = base.adapt(even, method="prototype", balance="adjust").classify(clip)
    for a, b in zip(one.predictions, other.predictions, strict=True):
        assert (a.label, a.probability) == (b.label, pytest.approx(b.probability, abs=1e-9))


def test_a_tree_stays_with_the_model(support: Path, clip: Path, plain: vlar.Model, tmp_path: Path):
    file = tmp_path / "tree.json"
    file.write_text(json.dumps(TREE.parents | {"other": "moving"}))  # may hold more labels
    model = vlar.load("tiny-for-fixtures").adapt(support, method="ridge", tree=file)
    answer = model.classify(clip)
    assert answer.predictions == plain.classify(clip).predictions
    assert answer.coarse == plain.classify(clip, tree=TREE).coarse
    assert {p.label for p in answer.coarse} == {"moving", "still"}
    saved = model.save(tmp_path / "m")
    again = vlar.load(saved).classify(clip)
    assert (again.predictions, again.coarse) == (answer.predictions, answer.coarse)
    some = vlar.load(saved).classify(clip, ["rise", "stay"])
    assert [p.label for p in some.coarse] == [TREE.top(p.label) for p in some.predictions]


def test_a_tree_that_was_changed_is_refused(support: Path, tmp_path: Path):
    saved = vlar.load("tiny-for-fixtures").adapt(support, tree=TREE).save(tmp_path / "m")
    for change in ({"fall": "rise", "rise": "fall"}, {"fall": "moving"}, {"fall": 3}):
        manifest = json.loads((saved / "vlar.json").read_text())
        manifest["tree"] = change
        (saved / "vlar.json").write_text(json.dumps(manifest))
        refused(ModelError, "malformed", vlar.load, saved)


def test_what_cannot_be_used_is_refused_before_anything_is_read(support: Path, tmp_path: Path):
    base = vlar.load("tiny-for-fixtures")
    refused(UnknownNameError, "adjust", base.adapt, support, balance="adjusted")
    refused(UsageError, "no label 'rise'", base.adapt, support, tree=Tree({"fall": "moving"}))
    refused(LabelError, "not a file", base.adapt, support, tree=tmp_path / "none.json")


def test_a_tree_reaches_the_objectives_that_read_one():
    assert under(None, ["dear"]) == ["dear"]
    parents = {"parents": TREE.parents}
    assert under(TREE, []) == {"tree": parents}
    assert under(TREE, ["dear"]) == {"dear": {}, "tree": parents}
    assert under(TREE, {"pcan": {"refine": 0.1}}) == {"pcan": {"refine": 0.1, **parents}}


@pytest.mark.slow
def test_a_training_takes_both(support: Path, clip: Path):
    base = vlar.load("tiny-for-fixtures")
    model = base.adapt(support, method="temporal", tree=TREE, balance="adjust", seed=1)
    answer = model.classify(clip)
    assert {p.label for p in answer.coarse} == {"moving", "still"}
    total = sum(p.probability for p in answer.predictions) + answer.unknown_probability
    assert total == pytest.approx(1, abs=1e-6)
    assert np.isfinite(answer.unknown_probability)


@pytest.mark.slow
def test_auto_with_an_objective_trains_and_names_the_unlabelled_clip_it_cannot_read(
    support: Path, tmp_path: Path
):
    more = tmp_path / "more"
    for example in (5, 6, 7):
        tiny.clip(more, "rise", example)
    (more / "broken.mp4").write_bytes(b"not a video")
    shown = Stages()
    model = vlar.load("tiny-for-fixtures").adapt(
        support, objectives=["consistency"], unlabelled=more, progress=shown
    )
    assert model.report.training.method == "temporal"
    assert [row.path.name for row in model.report.failed] == ["broken.mp4"]
    named = [what for what, _ in shown.stages]
    assert named == ["reading clips without labels", "training temporal by temporal/adapt"]
    assert shown.stages[0][1] == 4


class Stages:
    """A progress that has stages."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []

    def __call__(self, count: int = 0, total: int | None = None) -> None: ...

    def stage(self, what: str, total: int | None = None, unit: str = "files") -> None:
        self.stages.append((what, total))


def test_a_named_closed_form_takes_no_objective(support: Path):
    with pytest.raises(UsageError, match="'ridge' is a closed form"):
        vlar.load("tiny-for-fixtures").adapt(support, method="ridge", objectives=["dear"])


@pytest.mark.slow
def test_a_trained_method_gives_the_logits_of_held_out_examples_to_a_rejector(
    support: Path, clip: Path, tmp_path: Path
):
    base = vlar.load("tiny-for-fixtures")
    model = base.adapt(support, objectives=["dear"], unknown="edl")
    assert model.head.rejector.name == "evidential"
    answer = model.classify(clip)
    assert 0 <= answer.unknown_probability <= 1
    again = vlar.load(model.save(tmp_path / "m")).classify(clip)
    assert again.unknown_probability == answer.unknown_probability
