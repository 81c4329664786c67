"""Events are read in the process of the tests, which replace parts of the reader."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")
