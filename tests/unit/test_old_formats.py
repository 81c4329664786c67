"""Models and a library of format 3, saved by an earlier version, open and answer as before."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlar
from tests.fixtures.format_3 import material
from tests.unit.library.fakes import ConditionedFake
from vlar import registry
from vlar.errors import ModelError

FIXTURES = Path(material.__file__).parent
MODELS = json.loads((FIXTURES / "models.json").read_text("utf-8"))
ANSWERS = json.loads((FIXTURES / "library.json").read_text("utf-8"))


# Sums of float32 differ by processor and version of a library, and the scale before a softmax shows
# it: 2e-6 were seen, and 1e-5 where texts are vectors of a network that onnxruntime runs.
ROUNDED = {"aligned": 1e-4, "sa-dvae": 1e-4}


# Labels without examples, answered by texts: with bounds since (``LabelScorer``).
BY_BOUNDED_RULE = tuple(
    f"{name}/{number}/" for name in ("aligned", "coco", "sa-dvae") for number in range(24, 32)
)


def assert_equal(now: Any, before: Any, where: str = "") -> None:
    """Names and counts are the same; numbers to 1e-5, but for ``ROUNDED``."""
    if where.startswith(BY_BOUNDED_RULE) and isinstance(before, float | bool):
        return
    margin = ROUNDED.get(where.partition("/")[0], 1e-5)
    if isinstance(before, dict):
        stated = {"weak", "row", "standing", "calibrated"}  # by a row of answers since
        assert now.keys() - stated == before.keys() - stated, where
        for key, value in before.items():
            assert_equal(now[key], value, f"{where}/{key}")
    elif isinstance(before, list):
        assert len(now) == len(before), where
        if where.endswith("/parts"):  # in the order of the query since; before, in that of answers
            now, before = (sorted(rows, key=lambda row: row["phrase"]) for rows in (now, before))
        for number, value in enumerate(before):
            assert_equal(now[number], value, f"{where}/{number}")
    elif isinstance(before, float):
        assert now == pytest.approx(before, abs=margin), where
    else:
        assert now == before, where


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folders; those of the tiny CLIP name the one that is written here."""
    folder = tmp_path_factory.mktemp("models")
    for file in FIXTURES.glob("models_*.zip"):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
    spec = material.write_clip_weights(folder / "clip")
    vlar.load(spec)  # a folder may name only what the user has named
    for manifest in folder.glob("*/vlar.json"):
        text = manifest.read_text("utf-8").replace("openclip:BASE", spec)
        manifest.write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return material.queries(tmp_path_factory.mktemp("clips"))


#: These take tens of seconds.
LONG = ("aligned", "parts", "sa-dvae")
#: Models of a method that became a preset of another, and cannot be read since.
REFUSED = {"asu": "learn it again: vlar adapt SUPPORT --out MODEL --method asu"}
#: Methods that became a preset of another, with its names of settings and arrays.
RENAMED = ("plar",)
ASKED = [
    pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in MODELS if n not in REFUSED
]


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_read_since_is_refused_with_what_to_do(name: str, stored: Path):
    with pytest.raises(ModelError, match=re.escape(REFUSED[name])):
        vlar.load(stored / name)


def test_renamed_settings_that_were_changed_are_refused(stored: Path, tmp_path: Path):
    shutil.copytree(stored / "plar", tmp_path / "plar")
    file = tmp_path / "plar" / "vlar.json"
    manifest = json.loads(file.read_text("utf-8"))
    manifest["adapter"]["settings"]["strength"] = 0.25
    file.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ModelError, match="is not what was saved there"):
        vlar.load(tmp_path / "plar")


@pytest.mark.parametrize("name", ASKED)
def test_a_saved_model_answers_as_before_and_is_saved_as_it_was(
    name: str, stored: Path, clips: dict[str, list[Path]], tmp_path: Path
):
    model, kind = vlar.load(stored / name), MODELS[name]["kind"]
    found = material.answers(model, clips[kind], material.TEXTS[kind])
    assert_equal(json.loads(json.dumps(found)), MODELS[name]["answers"], name)
    saved = model.save(tmp_path / name)
    before, after = (json.loads((f / "vlar.json").read_text()) for f in (stored / name, saved))
    for manifest in (before, after):
        del manifest["vlar"], manifest["created"], manifest["report"]
        del manifest["encoder"]["spec"], manifest["encoder"]["licence"]  # a path of this test
    assert after.pop("needs")["vlar"] == "0.1.0"
    if name == "lora":  # its arrays lie in a folder of peft since
        assert before["files_sha256"].pop("adapter.safetensors")
        assert after["files_sha256"].pop("adapter_model.safetensors")
    if name in RENAMED:
        assert before["adapter"].pop("name") == after["adapter"].pop("name")
        for manifest in (before, after):
            del manifest["adapter"], manifest["files_sha256"]["adapter.safetensors"]
        again = material.answers(vlar.load(saved), clips[kind], material.TEXTS[kind])
        assert_equal(json.loads(json.dumps(again)), MODELS[name]["answers"], name)
    assert after == before  # with the checksums of the arrays


def test_a_head_that_was_an_entry_of_the_manifest_is_found(tmp_path: Path):
    with zipfile.ZipFile(FIXTURES / "bouts.zip") as archive:
        archive.extractall(tmp_path)
    path, answers = tmp_path / "cage0_dlc.csv", json.loads((tmp_path / "answers.json").read_text())
    model = vlar.load(tmp_path / "bouts")
    rows = [row.to_dict() | {"recording": path.name} for row in vlar.behaviour.bouts(model, path)]
    assert {row.pop("rater")[:6] for row in rows} == {"bouts "}  # model, fingerprint, date
    assert len(rows) > 10
    assert_equal(rows, answers)
    before, after = (
        json.loads((folder / "vlar.json").read_text())
        for folder in (tmp_path / "bouts", model.save(tmp_path / "again"))
    )
    assert after["heads"] == {"timeline": before["timeline"]}
    assert after["files_sha256"] == before["files_sha256"]


def own(kind: str) -> dict[str, Any]:
    """The parts of the package; other tests register more in the same process."""
    parts = registry.parts(kind).items()
    return {name: part for name, part in parts if part.__module__.startswith("vlar.")}


#: Folders of methods that the earlier version did not have.
SINCE = (
    *("align", "ar_net", "atcon", "events", "federated", "fusion", "skeleton_towers"),
    *("stprivacy", "token_reuse", "transvae", "video_net"),
)


def test_every_method_that_can_be_asked_for_is_among_them():
    before = {
        name for name, part in own("adapter").items() if part.__module__.split(".")[2] not in SINCE
    }
    assert len(before) > 10
    assert before - {"federated"} <= set(MODELS)  # a new preset of an adapter that it had
    heads = {name for name, part in own("fewshot").items() if part.standalone}
    assert {f"head-{name}" for name in heads - {"relation"}} <= set(MODELS)
    assert {f"unknown-{name}" for name in own("rejector")} <= set(MODELS)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[vlar.Library]:
    with zipfile.ZipFile(FIXTURES / "library.zip") as archive:
        archive.extractall(tmp_path)
    # Its recordings lie next to it, in a folder that no machine has before this test.
    connection = sqlite3.connect(tmp_path / "old.vlar" / "library.sqlite")
    with connection:
        moved = "UPDATE videos SET path = replace(path, '/example', ?)"
        assert connection.execute(moved, (str(tmp_path),)).rowcount == 6
    connection.close()
    with vlar.Library(tmp_path / "old.vlar", ConditionedFake(), create=False) as opened:
        yield opened


def check_library(library: vlar.Library) -> None:
    found = json.loads(json.dumps(material.hits(library)))
    found["nearest"] = [
        [Path(hit.path).name, hit.start_s, hit.similarity]
        for hit in library.nearest(np.full(24, 24**-0.5, np.float32), 10)
    ]
    assert_equal(found, ANSWERS)


def test_a_library_with_people_captions_lost_frames_and_contexts_answers_as_before(
    library: vlar.Library,
):
    info, plain = ANSWERS["info"], ANSWERS["plain"]
    assert info["persons"] == "pose"
    assert info["person_rows"] > 0
    assert info["context_rows"] > 0
    assert any(hit.get("caption") for hit in plain)
    assert any(hit["lost"] == 0.5 for hit in plain)
    assert ANSWERS["people"]
    assert ANSWERS["caption"]
    assert ANSWERS["tag"]
    check_library(library)


def test_it_verifies_compacts_and_forgets(library: vlar.Library):
    assert library.verify() == []
    gone = Path(library.videos()[-1].path)
    gone.rename(gone.with_suffix(".away"))
    assert [(fault.kind, fault.path) for fault in library.verify()] == [("missing", str(gone))]
    gone.with_suffix(".away").rename(gone)
    library.compact()
    check_library(library)
    removed = library.remove(library.videos()[0].path)
    assert removed == 1
    assert library.verify() == []
    assert library.info().videos == ANSWERS["info"]["videos"] - 1
