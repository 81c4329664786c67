"""The accelerator without hardware refuses what CUDA refuses, and counts what CUDA waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.fake_device import DEVICE, Counts, fake_device
from tests.refusals import refused


@pytest.fixture(autouse=True)
def counts() -> Iterator[Counts]:
    with fake_device() as counts:
        yield counts


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, device=DEVICE)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda: ones(3) + torch.ones(3),
        lambda: torch.ones(3, 3) @ ones(3),
        lambda: torch.cat([ones(3), torch.ones(3)]),
        lambda: torch.ones(3)[torch.zeros(2, dtype=torch.long, device=DEVICE)],
        lambda: torch.ones(()).add_(ones(1).sum()),
        lambda: torch.nn.functional.embedding(torch.zeros(2, dtype=torch.long), ones(3, 2)),
        lambda: torch.nn.Linear(3, 2).to(DEVICE)(torch.ones(1, 3)),
        lambda: torch.nn.Linear(3, 2)(ones(1, 3)),
    ],
)
def test_operands_on_two_devices_are_refused(mixed: Callable[[], Any]) -> None:
    refused(RuntimeError, "on the same device", mixed)


def test_numbers_of_a_device_and_generators_of_the_host_are_refused() -> None:
    refused(TypeError, "Use Tensor.cpu", ones(3).numpy)
    refused(TypeError, "Use Tensor.cpu", np.asarray, ones(3))
    refused(
        RuntimeError, "for generator", torch.randn, 3, device=DEVICE, generator=torch.Generator()
    )


def test_what_cuda_lets_pass_passes() -> None:
    assert (ones(3) + torch.tensor(2.0)).tolist() == [3.0] * 3
    assert ones(3)[torch.tensor([0, 2])].device.type == DEVICE
    assert torch.arange(4, device=DEVICE).shape == (4,)
    generator = torch.Generator(DEVICE).manual_seed(3)
    assert torch.rand(2, device=DEVICE, generator=generator).device.type == DEVICE


def test_waits_and_copies_are_counted(counts: Counts) -> None:
    x = torch.ones(3).to(DEVICE)
    assert (counts.to_device, counts.syncs) == (1, 0)
    x.mul_(2).sum()
    assert counts.syncs == 0
    for wait in (lambda: x.sum().item(), x.cpu, x.tolist, lambda: bool((x > 0).any()), x.nonzero):
        before = counts.syncs
        wait()
        assert counts.syncs == before + 1
    assert counts.to_host == 2


def test_a_training_step_is_that_of_the_cpu() -> None:
    weights: list[np.ndarray] = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))
        first = model[0].weight
        model.to(device)
        assert model[0].weight is first
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            model(torch.ones(5, 4).to(device)).square().mean().backward()
            optimiser.step()
        weights.append(model[2].weight.detach().cpu().numpy())
    np.testing.assert_array_equal(*weights)
