from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.library.fakes import FakeModel, tiny_video

NOBODY = 65534


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Five videos of 8 s: three windows of 4 s each."""
    return [tiny_video(tmp_path / "videos" / f"{i}.mp4", i) for i in range(5)]


@pytest.fixture
def ordinary_user(tmp_path: Path) -> Iterator[None]:
    """Permissions bind the administrator to nothing, so step down where the tests run as one."""
    if os.geteuid() != 0:
        yield
        return
    folders = [tmp_path, *tmp_path.parents]
    closed = [f for f in folders if f.stat().st_uid == 0 and not f.stat().st_mode & 0o001]
    for folder in closed:
        folder.chmod(folder.stat().st_mode | 0o011)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
