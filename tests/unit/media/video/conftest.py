from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import videos


@pytest.fixture(scope="session")
def kind(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a name in ``videos.KINDS``, made once."""
    folder = tmp_path_factory.mktemp("kinds")

    def get(name: str) -> Path:
        path = folder / name
        return path if path.exists() else videos.KINDS[name](path)

    return get
