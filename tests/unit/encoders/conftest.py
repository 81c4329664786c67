from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def frames() -> np.ndarray:
    """(3, 4, 40, 56, 3) uint8: smooth pictures, so that resizing rules agree."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (3, 4, 5, 7, 3))
    return np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3).astype(np.uint8)
