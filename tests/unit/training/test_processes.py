"""Processes of one training: who takes which rows, what they tell each other, what they draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.unit.training.several import in_processes
from vlar.training import distributed
from vlar.training.distributed import ALONE, PeerError, Processes, SharedDraws


@given(st.integers(0, 200), st.integers(1, 9))
def test_shares_hold_each_row_once(size: int, count: int):
    shares = Processes(0, count).shares(size)
    rows = [row for share in shares for row in range(size)[share]]
    assert rows == list(range(size))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 12), st.integers(1, 3), st.permutations([0, 1, 2]), st.data())
@settings(max_examples=50)
def test_dropout_of_a_share_is_that_of_all(
    count: int, each: int, order: list[int], data: st.DataObject
):
    """Also where the rows lie in another order in memory, as behind an attention."""
    start = data.draw(st.integers(0, count - 1))
    share = slice(start, data.draw(st.integers(start + 1, count)))

    def laid_out(rows: int) -> torch.Tensor:
        sizes = [rows * each, 3, 5]
        return torch.ones([sizes[axis] for axis in order]).permute(
            [order.index(axis) for axis in range(3)]
        )

    torch.manual_seed(3)
    whole = nn.functional.dropout(laid_out(count), 0.5)
    follows = torch.rand(2)
    torch.manual_seed(3)
    with SharedDraws(count, share):
        part = nn.functional.dropout(laid_out(share.stop - share.start), 0.5)
    assert torch.equal(part, whole[share.start * each : share.stop * each])
    assert torch.equal(torch.rand(2), follows)


def contrast(rows: torch.Tensor) -> torch.Tensor:
    """A loss in which every clip meets every other one."""
    return ((rows @ rows.T).log_softmax(dim=1).diagonal() ** 2).mean()


@pytest.mark.parametrize("size", [1, 5])
def test_gathered_rows_have_the_gradients_of_one_process(size: int):
    torch.manual_seed(0)
    layer, scale = nn.Linear(3, 4), nn.Parameter(torch.tensor(2.0))
    x = torch.randn(size, 3)

    def step(processes: Processes) -> list[np.ndarray]:
        parameters = [*layer.parameters(), scale]
        for parameter in parameters:
            parameter.grad = None
        if processes.alone:
            rows = layer(x)
        else:
            (rows,) = processes.spread(lambda some: (layer(some),), x)
        assert rows.shape == (size, 4)
        contrast(scale * rows).backward()
        processes.average_gradients(parameters)
        return [parameter.grad.numpy() for parameter in parameters if parameter.grad is not None]

    alone, (first, second, third) = step(ALONE), in_processes(3, step)
    for wanted, *found in zip(alone, first, second, third, strict=True):
        for each in found:
            np.testing.assert_allclose(each, wanted, rtol=1e-5, atol=1e-6)


def test_rows_of_any_type_and_number_are_gathered():
    def gather(processes: Processes) -> list[list[float]]:
        sizes = [2, 0, 1]
        own = torch.full((sizes[processes.rank], 2), processes.rank + 1)
        kinds = (torch.bool, torch.bfloat16, torch.int64, torch.float64)
        return [processes.gathered(own.to(kind), sizes)[:, 0].tolist() for kind in kinds]

    for found in in_processes(3, gather):
        assert found == [[True, True, True], [1, 1, 3], [1, 1, 3], [1, 1, 3]]


def test_the_start_is_that_of_the_first():
    def start(processes: Processes) -> float:
        parameter = nn.Parameter(torch.tensor([float(processes.rank + 5)]))
        processes.same_start([parameter])
        return float(parameter)

    assert in_processes(2, start) == [5.0, 5.0]


def test_a_process_that_ends_is_an_error_of_the_others():
    def leave(processes: Processes) -> str:
        if processes.rank == 1:
            torch.distributed.destroy_process_group()
            return "gone"
        try:
            processes.objects("here?")
        except PeerError as error:
            return error.message
        return "nobody noticed"

    first, _ = in_processes(2, leave)
    assert "another process of this training has ended" in first
    assert "run the same command again" in first


def test_one_process_of_a_launcher_tells_an_error_though_the_store_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(distributed.OURS, str(tmp_path))
    assert [distributed._is_first_to_tell() for _ in range(3)] == [True, False, False]
    monkeypatch.setenv(distributed.OURS, str(tmp_path / "gone"))
    assert distributed._is_first_to_tell()
