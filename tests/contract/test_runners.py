"""Every registered runner gives the rows of an ``add`` in this process, with everything beside."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.library.fakes import (
    ConditionedFake,
    load_conditioned,
    load_fake,
)
from vlar import registry
from vlar.library.ingest.runners.base import Runner
from vlar.library.library import Library
from vlar.testing import check_runner
from vlar.testing.runners import assert_same, recordings, state

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")
WITHOUT_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
SHIPPED = [
    pytest.param(name, marks=[pytest.mark.slow, WITHOUT_RAY] if name == "ray" else [])
    for name in registry.names("runner")
]


def made(name: str, load: Any = load_fake) -> Runner:
    runner = registry.get("runner", name).from_spec("")
    if not runner.in_process:
        runner.load = load
    return runner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """New, equal, damaged and empty files of several lengths."""
    return recordings(tmp_path / "videos")


@pytest.mark.parametrize("name", SHIPPED)
def test_it_keeps_the_contract(name: str):
    check_runner(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_contexts_are_kept_and_another_model_is_refused(name: str, tmp_path: Path, folder: Path):
    with (
        Library(tmp_path / "plain.vlar", ConditionedFake()) as plain,
        Library(tmp_path / "other.vlar", ConditionedFake()) as other,
    ):
        plain.add(folder)
        other.add(folder, runner=made(name, load_conditioned))
        assert other.info().context_rows > 0
        assert_same(state(plain), state(other))
