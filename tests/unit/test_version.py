"""The command that adds an extra fits the place vlar runs from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlar.version import pip_install

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_fits_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert pip_install("eval", tmp_path) == "pip install 'vlar[eval]'"
    assert pip_install(root=tmp_path) == "pip install vlar"
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "another"\n')  # a stray file of site-packages
    assert pip_install("eval", tmp_path) == "pip install 'vlar[eval]'"
    project.write_text('[project]\nname = "vlar"\n')
    assert pip_install("eval", tmp_path) == f"pip install -e '{tmp_path}[eval]'"
    monkeypatch.chdir(tmp_path)
    assert pip_install("eval", tmp_path) == "pip install -e '.[eval]'"
    assert pip_install(root=tmp_path) == "pip install -e '.'"


def test_messages_take_the_command_from_one_function():
    extras = (ROOT / "pyproject.toml").read_text("utf-8").partition("optional-dependencies]")[2]
    asked = 0
    for source in (ROOT / "vlar").rglob("*.py"):
        text = re.sub(r'"""(.|\n)*?"""', "", source.read_text("utf-8"))
        for extra in re.findall(r"pip_install\(['\"]([\w-]+)['\"]\)", text):
            assert re.search(rf"^{extra} = \[", extras, re.M), f"{source}: {extra}"
            asked += 1
        assert source.name == "version.py" or "'vlar[" not in text, source
    assert asked > 10
