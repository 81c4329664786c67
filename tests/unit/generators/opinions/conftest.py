from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Kept answers of one test must not answer another."""
    monkeypatch.setattr("vlar.files.resources.cache_dir", lambda: tmp_path / "c")
    return tmp_path / "c"
