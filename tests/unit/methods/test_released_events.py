"""SpikePoint has the sizes of its paper, and its files are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tests.refusals import refused  # noqa: E402
from vlar.errors import UsageError  # noqa: E402
from vlar.methods.events import released  # noqa: E402


@pytest.mark.parametrize(
    ("widths", "classes", "weights"),
    [
        (released.LARGE, 11, 581_184), (released.LARGE, 51, 785_984),
        (released.LARGE, 101, 1_041_984), (released.SMALL, 12, 162_080),
    ],
)  # fmt: skip
def test_it_has_the_weights_of_the_paper(widths: Any, classes: int, weights: int):
    with torch.device("meta"):
        network = released.SpikePoint({"widths": widths, "num_classes": classes})
    matrices = [p for p in network.parameters() if p.ndim > 1]
    assert sum(p.numel() for p in matrices) == weights


def example(seed: int = 0) -> tuple[Any, Any]:
    draw = torch.Generator().manual_seed(seed)
    offsets = (torch.rand(4, 2, 6, 5, 3, generator=draw) < 0.6).float()
    return offsets, (torch.rand(4, 2, 3, 5, generator=draw) < 0.6).float()


def test_a_file_is_read_and_the_order_of_points_counts_for_nothing(tmp_path: Path):
    torch.manual_seed(0)
    config = {"widths": released.SMALL, "num_classes": 3}
    network = released.SpikePoint(config).train()
    for _ in range(3):
        network(*example())  # statistics of a batch, so that neurons fire
    path = tmp_path / "net.safetensors"
    save_file(network.state_dict(), path)
    loaded = released.load("spikepoint", path)
    offsets, centres = example(1)
    with torch.no_grad():
        votes = loaded(offsets, centres)
        torch.testing.assert_close(votes, network.eval()(offsets, centres))
        order = torch.randperm(5)
        torch.testing.assert_close(loaded(offsets[..., order, :], centres[..., order]), votes)
    assert votes.shape == (2, 3)
    assert 0 <= float(votes.min()) <= float(votes.max()) <= 1


def test_gradients_reach_every_weight():
    torch.manual_seed(0)
    network = released.SpikePoint({"widths": (8, 8, 8, 8), "num_classes": 2}).train()
    target = torch.eye(2)
    for _ in range(2):
        loss = (network(*example()) - target).square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name


def test_neurons_fire_as_their_rule_says():
    neuron = released.ReleasedNeuron()
    current = torch.full((6, 1), 0.6)
    assert neuron(current)[:, 0].tolist() == [0, 0, 1, 0, 0, 1]  # .6, .9, 1.05 and a reset
    assert not neuron(torch.full((50, 1), 0.49)).any()  # the limit is .98


def test_what_cannot_be_built_is_said(tmp_path: Path):
    refused(UsageError, "two of its modules", released.load, "event-transact", tmp_path / "x.pt")
    refused(UsageError, "no released network 'x'", released.load, "x", tmp_path / "x.pt")
    path = tmp_path / "net.safetensors"
    save_file({"votes.conv.weight": torch.zeros(30, 256, 1)}, path)
    refused(UsageError, "missing", released.load, "spikepoint", path)
