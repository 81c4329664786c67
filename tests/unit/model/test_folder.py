"""Model folders: those of format 1 open and answer as before; what is saved comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import vlar
from tests.fixtures.models_1 import tiny
from tests.refusals import refused
from vlar.encoders.model_spec import is_model_folder
from vlar.errors import ModelError, UsageError
from vlar.version import too_old

FOLDER = Path(tiny.__file__).parent
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/vlar.json"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tiny.queries(tmp_path_factory.mktemp("clips") / "queries")


def check_answers(model, clips, name: str) -> None:
    stored = json.loads((FOLDER / name / "answers.json").read_text())
    own = {} if model.labels else {"labels": list(tiny.LABELS)}
    for how, options in (
        ("one", own),
        ("multi", {"mode": "multi", **own}),
        ("some", {"labels": ["swing", "fall"]}),
    ):
        for answer, before in zip(
            model.classify(clips, top=99, **options), stored[how], strict=True
        ):
            assert "/".join(answer.path.parts[-2:]) == before["clip"]
            now = {p.label: [p.probability, p.similarity] for p in answer.predictions}
            assert now.keys() == before["labels"].keys()
            for label, values in before["labels"].items():
                np.testing.assert_allclose(now[label], values, atol=1e-6)
            assert answer.unknown_probability == pytest.approx(
                before["unknown_probability"], abs=1e-6
            )
            assert answer.unknown == before["unknown"]


def test_the_stored_models_cover_every_kind_of_head():
    assert {"auto", "ridge", "prototype", "cache", "temporal", "calibrated"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_format_1_answers_as_before_and_is_saved_in_format_3(name, clips, tmp_path):
    model = vlar.load(FOLDER / name)
    check_answers(model, clips, name)
    saved = model.save(tmp_path / name)
    assert json.loads((saved / "vlar.json").read_text())["format"] == 3
    check_answers(vlar.load(saved), clips, name)


@pytest.mark.parametrize("name", ["auto", "ridge", "prototype", "cache", "one-shot"])
def test_adapting_today_gives_the_answers_of_format_1(name, clips, tmp_path, monkeypatch):
    """All of them but for the threshold of unknown, which leaves more right answers known today."""
    monkeypatch.setattr("vlar.model.adapt.keep_right", lambda *_: None)
    method = "auto" if name == "one-shot" else name
    shots = 1 if name == "one-shot" else None
    base = vlar.load("tiny-for-fixtures")
    model = base.adapt(tiny.support(tmp_path / "support"), method=method, shots=shots)
    check_answers(model, clips, name)
    if name == "ridge":
        held = tiny.support(tmp_path / "held", 5)
        check_answers(model.calibrate(held), clips, "calibrated-adapted")
        check_answers(base.calibrate(held), clips, "calibrated")


@pytest.mark.parametrize("part", ["head", "rejector", "familiarity", "owners"])
def test_a_damaged_folder_is_refused(part, tmp_path):
    saved = vlar.load(FOLDER / "ridge").save(tmp_path / "ridge")
    manifest = json.loads((saved / "vlar.json").read_text())
    if part == "owners":
        from safetensors.numpy import load_file, save_file

        arrays = load_file(saved / "adaptation.safetensors")
        save_file({k: a for k, a in arrays.items() if k != part}, saved / "adaptation.safetensors")
    else:
        del manifest[part][next(iter(manifest[part]))]
        (saved / "vlar.json").write_text(json.dumps(manifest))
    refused(ModelError, "adapt again", vlar.load, saved)


def test_old_folders_that_are_malformed_and_newer_ones_are_refused(tmp_path):
    for number, change in enumerate(({"head": {"head": "ridge"}}, {"format": 4}, {"format": 0})):
        folder = tmp_path / str(number)
        shutil.copytree(FOLDER / "ridge", folder)
        manifest = {**json.loads((folder / "vlar.json").read_text()), **change}
        (folder / "vlar.json").write_text(json.dumps(manifest))
        refused(ModelError, "", vlar.load, folder)


def with_needs(folder: Path, needs: object) -> Path:
    saved = vlar.load(FOLDER / "ridge").save(folder)
    manifest = json.loads((saved / "vlar.json").read_text()) | {"needs": needs}
    (saved / "vlar.json").write_text(json.dumps(manifest))
    return saved


def test_a_model_states_the_least_versions_that_read_it(tmp_path: Path):
    saved = vlar.load(FOLDER / "ridge").save(tmp_path / "ridge")
    needs = json.loads((saved / "vlar.json").read_text())["needs"]
    project = (FOLDER.parents[2] / "pyproject.toml").read_text("utf-8")
    assert f'"onnxruntime>={needs["onnxruntime"]}"' in project
    assert needs.keys() == {"vlar", "onnxruntime"}
    assert too_old(needs) is None


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"vlar": "99.1"}, "vlar 99.1 or later is needed, and .* is installed; run: pip install"),
        ({"numpy": "2000.0.1"}, "numpy 2000.0.1 or later is needed"),
        ({"numpy": "1.0"}, ""),
        ({"no-such-package": "1.0"}, ""),
        ({"numpy": 1}, "needs.numpy"),
        ({"": "1.0"}, "needs"),
        (["numpy"], "needs"),
        ({"../../x": "1.0"}, "needs"),
        ({"numpy": "9" * 10_000}, "or later is needed"),
    ],
)
def test_a_model_that_needs_later_packages_is_refused_with_what_to_do(
    needs: object, words: str, tmp_path: Path
):
    saved = with_needs(tmp_path / "ridge", needs)
    if words:
        refused(ModelError, words, vlar.load, saved)
    else:
        vlar.load(saved)


def test_a_folder_that_is_called_as_an_encoder_does_not_stand_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("imu", "clip", "mine"):
        (tmp_path / name).mkdir()
    assert [is_model_folder(name) for name in ("imu", "clip", "mine")] == [False, False, True]
    assert is_model_folder("./imu")
    assert is_model_folder(Path("imu"))
    (tmp_path / "imu" / "vlar.json").write_text("{}")
    assert is_model_folder("imu")
    refused(UsageError, "has 300 characters; see 'vlar models'", is_model_folder, "x" * 300)


def test_a_full_disk_is_found_before_and_after_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from safetensors import SafetensorError

    model = vlar.load(FOLDER / "ridge")

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    refused(ModelError, "No space left on device; nothing was changed", model.save, tmp_path / "a")
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1000))
    refused(ModelError, r"a model needs 4 MB in .*nothing was written", model.save, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
