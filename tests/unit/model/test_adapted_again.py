"""Models that are adapted again: chains of adapters, honest estimates, and reports on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.fixtures.models_1 import tiny
from vlar.errors import ModelError, UsageError
from vlar.model.adapt_report import AdaptReport

FOLDER = Path(tiny.__file__).parent


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.support(tmp_path_factory.mktemp("support") / "a")


@pytest.fixture(scope="module")
def aligned(support: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model with one adapter."""
    model = vlar.load("tiny-for-fixtures").adapt(support, method="aligned")
    return model.save(tmp_path_factory.mktemp("models") / "aligned")


@pytest.fixture(scope="module")
def chain(support: Path, aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> vlar.Model:
    """A second adapter around the first."""
    return vlar.load(aligned).adapt(support, method="temporal", seed=1)


@pytest.mark.slow
def test_a_chain_of_adapters_is_saved_and_loaded(chain: vlar.Model, support: Path, tmp_path: Path):
    folder = chain.save(tmp_path / "chain")
    manifest = json.loads((folder / "vlar.json").read_text())
    assert [manifest["adapter"]["name"], manifest["inner"][0]["name"]] == ["temporal", "aligned"]
    assert (folder / "adapter-1.safetensors").is_file()
    again = vlar.load(folder)
    assert again.fingerprint == chain.fingerprint
    clip = support / "rise" / "0"
    assert again.classify(clip, top=9).predictions == chain.classify(clip, top=9).predictions
    third = again.adapt(support, method="aligned")
    folder = third.save(tmp_path / "three")
    assert vlar.load(folder).fingerprint == third.fingerprint
    assert len(json.loads((folder / "vlar.json").read_text())["inner"]) == 2


@pytest.mark.parametrize("fault", ["absent", "exchanged", "alone"])
def test_a_chain_that_is_not_whole_is_refused(chain: vlar.Model, tmp_path: Path, fault: str):
    folder = chain.save(tmp_path / "chain")
    if fault == "absent":
        (folder / "adapter-1.safetensors").unlink()
    elif fault == "exchanged":
        shutil.copy(folder / "adapter.safetensors", folder / "adapter-1.safetensors")
    else:
        manifest = json.loads((folder / "vlar.json").read_text())
        (folder / "vlar.json").write_text(json.dumps({**manifest, "adapter": None}))
    with pytest.raises(ModelError):
        vlar.load(folder)


def test_a_model_with_one_adapter_is_written_as_before(aligned: Path):
    assert "inner" not in json.loads((aligned / "vlar.json").read_text())


def test_no_accuracy_is_claimed_on_examples_that_the_base_learned_from(
    chain: vlar.Model, support: Path, aligned: Path, tmp_path: Path
):
    moved = shutil.copytree(support, tmp_path / "moved")  # the same recordings elsewhere
    closed = vlar.load(aligned).adapt(moved)
    for report in (chain.report, closed.report):
        count = len(tiny.LABELS) * tiny.SHOTS
        assert report.seen == count
        assert f"the model had learned from {count} of them before" in report.sentence()
        assert "recognised" not in report.sentence() + report.summary()
        data = report.to_dict()
        assert data["seen"] == count
        assert data["confusions"] == []
        assert data["chosen"]["accuracy"] is None
        assert {row["accuracy"] for row in data["candidates"]} == {None}
        assert "learned" not in data
        assert data.get("training", {}).get("held_out") is None


def test_accuracy_is_stated_where_the_base_learned_from_other_clips(
    aligned: Path, support: Path, tmp_path: Path
):
    other = tmp_path / "other"
    for label in tiny.LABELS:
        for example in (7, 8, 9):
            tiny.clip(other, label, example)
    new = vlar.load(aligned).adapt(other)
    assert new.report.seen == 0
    assert "recognised" in new.report.sentence()
    # A closed form leaves the encoder alone, which has still learned from the first clips.
    assert new.learned == vlar.load(aligned).learned
    assert len(new.learned) == len(tiny.LABELS) * tiny.SHOTS
    plain = vlar.load("tiny-for-fixtures").adapt(support).adapt(support)
    assert (plain.report.seen, plain.learned) == (0, ())


@pytest.mark.parametrize("method", ["auto", pytest.param("temporal", marks=pytest.mark.slow)])
def test_a_loaded_model_has_its_report(method: str, support: Path, tmp_path: Path):
    model = vlar.load("tiny-for-fixtures").adapt(support, method=method, seed=2)
    again = vlar.load(model.save(tmp_path / "m"))
    assert again.report.sentence() == model.report.sentence()
    assert again.report.to_dict() == model.report.to_dict()
    assert again.learned == model.learned
    twice = vlar.load(again.save(tmp_path / "n"))
    assert twice.report == again.report


def test_reports_of_earlier_formats_are_read_and_strange_ones_are_left_out(tmp_path: Path):
    assert "learned 4 labels from 12 examples" in vlar.load(FOLDER / "ridge").report.sentence()
    for number, report in enumerate(({"examples": 3}, {"why": "\x1b[2J"}, {}, None)):
        folder = shutil.copytree(FOLDER / "ridge", tmp_path / str(number))
        manifest = json.loads((folder / "vlar.json").read_text())
        (folder / "vlar.json").write_text(json.dumps({**manifest, "report": report}))
        model = vlar.load(folder)
        assert model.labels == tiny.LABELS
        with pytest.raises(UsageError, match="no report"):
            _ = model.report


def test_failed_examples_and_unknown_accuracies_survive(tmp_path: Path):
    from vlar.heads.model_selection import Candidate, Choice
    from vlar.types import Failure

    one = Candidate("ridge", "mean", 1.0, 0.5, float("nan"), 1.0)
    report = AdaptReport(
        {"a": 1, "b": 1}, (Failure(Path("x.mp4"), "decode", "x.mp4: broken"),),
        Choice((one,), one, "alone"), learned=("00ff",),
    )  # fmt: skip
    again = AdaptReport.restored(json.loads(json.dumps(report.stored())))
    assert again is not None
    assert (again.failed, again.learned) == (report.failed, report.learned)
    assert again.choice is not None
    assert np.isnan(again.choice.chosen.accuracy)
    assert again.summary() == report.summary()
