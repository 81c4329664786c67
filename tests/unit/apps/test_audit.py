"""An audit finds what the model loader refuses, writes nothing and runs nothing."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlar
from tests.fixtures.models_1 import tiny
from tests.hostile import cases, kit
from tests.hostile.cases import CASES, Case
from tests.hostile.kit import Kit
from tests.refusals import refused
from vlar.apps.audit import audit
from vlar.errors import UsageError

MODELS = ("ridge", "auto", "temporal", "calibrated-adapted")
#: What only the encoder can tell: an audit does not load it.
NEEDS_ENCODER = {
    "dim-of-another", "fingerprint-of-another", "spec-unknown",
    "adapter-fingerprint", "adapter-array-too-many", "familiarity-kind", "matrix-cut",
    "matrix-flat",
}  # fmt: skip
GROUPS = ("manifest", "labels of a model", "arrays", "files that are none")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    stored = Path(tiny.__file__).parent
    for name in MODELS:
        vlar.load(stored / name).save(place / name)
    return place


@pytest.fixture
def made(models: Path, tmp_path: Path) -> Kit:
    return Kit(tmp_path, models, tmp_path / "clip")


def state(folder: Path) -> dict[str, str]:
    """Hashes of the regular files of a folder."""
    files = [f for f in folder.rglob("*") if f.is_file() and not f.is_symlink()]
    small = [f for f in files if f.stat().st_size < 1 << 24]
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in small}


@pytest.mark.parametrize("name", MODELS)
def test_a_sound_model_has_no_finding(models: Path, name: str) -> None:
    found = audit(models / name)
    assert (found.kind, found.findings, found.is_sound) == ("model", (), True)


def test_a_model_of_an_earlier_format_has_a_remark() -> None:
    found = audit(Path(tiny.__file__).parent / "ridge")
    assert found.is_sound
    assert any("no checksums" in finding.problem for finding in found.findings)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.group in GROUPS and case.name not in NEEDS_ENCODER],
    ids=lambda case: f"{case.group}: {case.name}",
)
def test_it_finds_what_is_refused(made: Kit, case: Case) -> None:
    folder = Path(case.make(made)[-1])
    before = state(folder)
    if case.name == "vlar.json-absent":
        assert audit(folder).kind == "weights"  # without a manifest it is not a model
        return
    found = audit(folder)
    assert not found.is_sound
    for finding in found.findings:
        assert str(folder) in finding.file
        assert finding.problem
        assert finding.advice
        assert "\n" not in finding.line
        assert "\x1b" not in finding.line
        assert kit.SECRET not in finding.line
    assert state(folder) == before
    assert not made.canary.exists()


def test_a_path_that_is_named_is_a_remark(made: Kit) -> None:
    made.edited("ridge", {"encoder.spec": "openclip:/data/weights"})
    (finding,) = audit(made.place / "model").findings
    assert finding.severity == "remark"
    assert "/data/weights" in finding.problem


def test_other_files_in_a_model_folder(made: Kit) -> None:
    folder = made.model()
    (folder / "setup.py").write_text("print()")
    (folder / "notes.txt").write_text("hello")
    (folder / "more.pt").write_bytes(made.code())
    found = {Path(f.file).name: f for f in audit(folder).findings}
    assert {name: f.severity for name, f in found.items()} == {
        "setup.py": "danger", "more.pt": "danger", "notes.txt": "remark"
    }  # fmt: skip
    assert "posix.system" in found["more.pt"].problem or "os.system" in found["more.pt"].problem
    assert not made.canary.exists()


# Weights


def weights(place: Path) -> Path:
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"model_type": "clip"}))
    torch.save({"a": torch.zeros(3)}, place / "pytorch_model.bin")
    return place


def test_sound_weights(tmp_path: Path) -> None:
    assert audit(weights(tmp_path / "w")).findings == ()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.json", {"model_type": "x", "auto_map": {"AutoModel": "a.B"}}, "auto_map"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["a.B", None]}}, "auto_map"),
        ("tokenizer_config.json", {"vocab_file": "/etc/passwd"}, "/etc/passwd"),
        ("config.json", {"attn_implementation": "someone/kernel"}, "kernel"),
        ("open_clip_config.json",
         {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}},
         "trust_remote_code"),
    ],
)  # fmt: skip
def test_configurations_that_name_code(tmp_path: Path, name: str, content: Any, says: str) -> None:
    folder = weights(tmp_path / "w")
    (folder / name).write_text(json.dumps(content))
    found = audit(folder)
    assert not found.is_sound
    assert any(says in f"{f.problem} {f.advice}" and f.severity == "danger" for f in found.findings)


def test_code_in_weights_of_every_format(made: Kit) -> None:
    folder = weights(made.place / "w")
    cases.legacy_code(made, folder / "a.bin")
    cases.zip_code(made, folder / "b.pt")
    (folder / "c.pt").write_bytes(pickle.dumps({"x": eval}, protocol=4))
    (folder / "modeling.py").write_text("print()")
    found = {Path(f.file).name: f for f in audit(folder).findings}
    assert set(found) == {"a.bin", "b.pt", "c.pt", "modeling.py"}
    assert all(f.severity == "danger" for f in found.values())
    assert "builtins.eval" in found["c.pt"].problem
    assert not made.canary.exists()


@pytest.mark.parametrize("name", ["binary", "empty", "sparse-1-TB", "pipe", "dev-zero"])
def test_a_file_of_weights_that_is_none(tmp_path: Path, name: str) -> None:
    cases.SPECIAL[name](tmp_path / "w.pt")
    assert not audit(tmp_path / "w.pt").is_sound
    cases.SPECIAL[name](tmp_path / "w.safetensors")
    assert not audit(tmp_path / "w.safetensors").is_sound


@pytest.mark.slow
def test_a_zip_bomb_is_found_without_being_unpacked(made: Kit) -> None:
    cases.zip_bomb(made, made.place / "w.pt")
    (finding,) = audit(made.place / "w.pt").findings
    assert "compressed" in finding.problem


# Banks, labels, libraries


def test_banks_and_labels(made: Kit) -> None:
    sound = made.file("b.json", cases.bank_of())
    assert (audit(sound).kind, audit(sound).findings) == ("bank", ())
    assert not audit(made.file("c.json", "[" * 100_000)).is_sound
    assert audit(made.file("l.txt", "run\nwalk")).findings == ()
    assert not audit(made.file("m.txt", cases.MILLION)).is_sound


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("library")
    with vlar.Library(place / "l.vlar", "tiny-for-fixtures") as made:
        made.add([tiny.clip(place, "fall", 1), tiny.clip(place, "rise", 1)])
    return place / "l.vlar"


def test_a_sound_library_has_no_finding(library: Path) -> None:
    found = audit(library)
    assert (found.kind, found.findings) == ("library", ())


@pytest.mark.parametrize(
    ("statement", "severity", "says"),
    [
        ("create view v as select 1", "danger", "view"),
        (
            "create trigger t after insert on rows begin delete from videos; end",
            "danger",
            "trigger",
        ),
        ("create virtual table f using fts5(a)", "danger", "virtual table"),
        ("update rows set vector = zeroblob(length(vector)) where id = 1", "damage", "row"),
        ("update meta set value = 'openclip:/data' where key = 'model'", "remark", "/data"),
    ],
)
def test_a_library_that_was_changed(
    library: Path, tmp_path: Path, statement: str, severity: str, says: str
) -> None:
    copy = shutil.copytree(library, tmp_path / "l.vlar")
    with sqlite3.connect(copy / "library.sqlite") as database:
        database.execute(statement)
    database.close()
    found = audit(copy).findings
    assert any(f.severity == severity and says in f.problem for f in found), found


def test_a_library_that_is_none(library: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(library, tmp_path / "l.vlar")
    (copy / "library.sqlite").write_bytes(np.random.default_rng(0).bytes(5000))
    assert not audit(copy).is_sound


# What is none of these


@pytest.mark.parametrize("name", ["absent", "empty-folder", "a.mp4"])
def test_what_vlar_does_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "a.mp4").write_bytes(b"")
    refused(UsageError, "", audit, tmp_path / name)
