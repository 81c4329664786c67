"""The next micro-batch, made in a thread: the same weights, errors and ends as without it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from tests.unit.training.several import in_processes
from tests.unit.training.test_loop import PLAN, SMALL, Stopped, weights
from vlar.methods.temporal.adapter import Temporal
from vlar.training.ahead import Ahead
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.data import ClipLoader, FeatureLoader
from vlar.training.distributed import ALONE, Processes
from vlar.training.loop import Training
from vlar.types import Failure

NUMBERS = replace(PLAN, micro_batch=4, epochs=3)
UNREADABLE = 7


class DiskLoader(ClipLoader):
    """Reads clips for every batch, as from a disk; one of them is broken."""

    def __init__(self, features: FeatureLoader) -> None:
        self.features, self.paths, self.failed = features, features.paths, {}
        self.rows: list[int] = []

    def read(self, rows: Sequence[int], *how: Any) -> Iterable[Any]:
        """See ``ClipLoader``."""
        for row in rows:
            self.rows.append(row)
            yield (
                Failure(self.paths[row], "media", "broken")
                if row == UNREADABLE
                else (self.features.inputs[row])
            )

    def changed(self, clip: Any, *how: Any) -> torch.Tensor:
        """See ``ClipLoader``."""
        return self.features.changed(clip, *how)


def training(
    *,
    ahead: bool = True,
    keep: CheckpointConfig | None = None,
    numbers: Any = NUMBERS,
    processes: Processes = ALONE,
) -> Training:
    features, dataset = ordered_clips(24)
    adapter = Temporal.attach(FakeEncoder(), SMALL)
    adapter.fit_inputs(features)
    inputs = adapter.training_inputs(features)
    loader = DiskLoader(FeatureLoader(inputs, dataset.paths, adapter.input_widths))
    made = Training(adapter, loader, dataset, numbers, checkpoints=keep, processes=processes)
    assert made.batches._ahead is not None
    if not ahead:
        made.batches._ahead = None
    return made


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("vlar-ahead")]


def test_weights_and_losses_are_those_without_a_thread():
    plain, ahead = training(ahead=False), training()
    expected, result = plain.run(), ahead.run()
    assert result == expected
    assert ahead.loader.failed.keys() == {UNREADABLE}
    for name, array in weights(plain).items():
        np.testing.assert_array_equal(weights(ahead)[name], array, err_msg=name)
    other = training(numbers=replace(NUMBERS, mixup=0.0))
    other.run()
    assert any((weights(other)[name] != array).any() for name, array in weights(plain).items())
    assert not threads()


@pytest.mark.parametrize("stop", range(1, 9))
def test_it_goes_on_bit_for_bit_from_any_step(stop: int, tmp_path: Path):
    whole = training(ahead=False)
    whole.run()
    cut = training(keep=CheckpointConfig(tmp_path, "key", every=1))
    plain = cut._step

    def step(*how: Any) -> None:
        if cut.step == stop:
            raise Stopped
        plain(*how)

    cut._step = step  # type: ignore[method-assign]
    refused(Stopped, "", cut.run)
    assert not threads()
    rest = training(keep=CheckpointConfig(tmp_path, "key", every=1))
    assert rest.run().resumed_at == stop
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(weights(rest)[name], array, err_msg=name)


def test_clips_are_read_while_a_step_runs_and_one_micro_batch_waits_at_most():
    run = training(numbers=replace(NUMBERS, epochs=2))
    backward, counts = run._backward, list[int]()
    ahead = run.batches._ahead
    assert ahead is not None

    def slow(*how: Any) -> Any:
        if ahead._next is not None:
            ahead._next[1].result(10)
        counts.append(len(run.loader.rows))  # type: ignore[attr-defined]
        return backward(*how)

    run._backward = slow  # type: ignore[method-assign]
    run.run()
    assert len(counts) == 12
    assert counts[0] == 8  # those of the micro-batch, and of the one that waits
    assert max(np.diff(counts)) <= 4


def test_an_error_of_the_thread_comes_when_its_clips_are_due():
    run = training()
    read = run.loader.read

    def broken(rows: Sequence[int], *how: Any) -> Iterable[Any]:
        if len(run.loader.rows) >= 8:  # type: ignore[attr-defined]
            raise MemoryError("no room")
        yield from read(rows, *how)

    run.loader.read = broken  # type: ignore[method-assign]
    with pytest.raises(MemoryError, match="no room"):
        run.run()
    assert run.step == 1  # the first step, whose clips were read, is taken
    assert not threads()


def test_an_interrupt_ends_the_reading_at_the_next_clip():
    run, started = training(), threading.Event()
    read, backward = run.loader.read, run._backward

    def waiting(rows: Sequence[int], *how: Any) -> Iterable[Any]:
        for clip in read(rows, *how):
            if len(run.loader.rows) == 6:  # type: ignore[attr-defined]
                started.set()
                deadline = time.monotonic() + 10
                while not run.loader.stopped and time.monotonic() < deadline:
                    time.sleep(0.001)
            yield clip

    def interrupted(*how: Any) -> None:
        started.wait(10)
        raise KeyboardInterrupt

    run.loader.read, run._backward = waiting, interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert len(run.loader.rows) == 6  # type: ignore[attr-defined]
    assert not threads()
    run.loader.read, run._backward = read, backward  # type: ignore[method-assign]
    assert run.run().steps == run.total_steps  # the same training can go on


def test_two_processes_read_ahead_and_learn_what_one_does():
    """Messages of the reading do not mix with those of the steps."""

    def learned(processes: Processes) -> dict[str, np.ndarray]:
        run = training(processes=processes)
        run.run()
        assert run.loader.failed.keys() == {UNREADABLE}
        assert processes.alone or len(run.loader.rows) < 2 * 24  # type: ignore[attr-defined]
        return weights(run)

    alone, (first, second) = learned(ALONE), in_processes(2, learned)
    for name, array in alone.items():
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        np.testing.assert_allclose(first[name], array, rtol=2e-3, atol=2e-5, err_msg=name)


def test_places_that_come_out_of_order_are_made_all_the_same():
    calls: list[int] = []

    def make(number: int) -> int:
        calls.append(number)
        return number * number

    ahead = Ahead(make)
    assert ahead.take((2,), (3,)) == 4
    assert ahead.take((5,), None) == 25
    assert ahead.take((3,), None) == 9
    assert calls == [2, 3, 5, 3]
    ahead.close()


def test_batches_for_cuda_lie_in_pinned_memory_and_no_copy_waits(monkeypatch: pytest.MonkeyPatch):
    """There is no such device here: the calls are noted and lead to the CPU."""
    run, pinned, moved = training(), list[tuple[int, ...]](), list[dict[str, Any]]()
    run.batches.device = torch.device("cuda", 0)
    plain = torch.Tensor.to

    def to(tensor: torch.Tensor, *where: Any, **how: Any) -> torch.Tensor:
        if where and where[0] == run.batches.device:
            moved.append(how)
            return tensor
        return plain(tensor, *where, **how)

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tuple(tensor.shape))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    batch = run.batches.take(0, 0, 1)
    assert batch is not None
    assert tuple(batch.inputs.shape) in pinned
    assert len(pinned) == len(moved) >= 2
    assert all(how == {"non_blocking": True} for how in moved)
    run.batches.close()
