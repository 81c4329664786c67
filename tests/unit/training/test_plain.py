"""A training without objectives equals the loop from before they existed, bit for bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.unit.training.plain_trainings import METHODS, weights
from vlar.training.objectives import ObjectiveSet

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def probe() -> str:
    """Hash of a few results of torch: it tells whether this CPU rounds as the one of the golden."""
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(48, 48, generator=random) for _ in range(2))
    x = torch.nn.functional.layer_norm(a @ b, (48,)).softmax(dim=-1)
    x = torch.nn.functional.gelu(x @ b.T).exp() + torch.linalg.vector_norm(a, dim=-1)
    return hashlib.sha256(x.numpy().tobytes() + torch.__version__.encode()).hexdigest()


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("objectives", [None, ObjectiveSet(())], ids=["none", "empty"])
def test_weights(method: str, objectives: ObjectiveSet | None):
    found = weights(method, objectives)
    golden = load_file(GOLDEN / "training_plain.safetensors")
    wanted = {
        k.removeprefix(f"{method}."): v for k, v in golden.items() if k.startswith(f"{method}.")
    }
    assert found.keys() == wanted.keys()
    same_cpu = json.loads((GOLDEN / "training_plain.json").read_text())["probe"] == probe()
    for name, array in wanted.items():
        np.testing.assert_allclose(
            found[name], array, atol=0 if same_cpu else 1e-4, rtol=0, err_msg=name
        )
