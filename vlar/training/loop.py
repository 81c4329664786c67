"""The loop: one for every adapter, whatever it reads and whatever its losses are.

Nothing random has a hidden state. The order of an epoch, the changes of a clip, what is mixed in a
batch and what dropout drops are drawn from the seed and from where the training is, so that a
training that was stopped and goes on is the training that was not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlar.adapters.base import Adapter, Trainable, TrainingBatch
from vlar.errors import TrainingError, UsageError
from vlar.training import checkpoint
from vlar.training.augment import mix, random_for, smooth
from vlar.training.data import Examples, Loaded
from vlar.training.hyperparameters import Plan
from vlar.training.weight_averaging import Average
from vlar.types import Failure, JsonDict

_log = logging.getLogger("vlar")
_ORDER, _MIX, _DROP = 1, 2, 3  # what a draw is for
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
Watch = Callable[["Epoch"], None]


@dataclass(frozen=True)
class Epoch:
    """What an epoch reached.

    Attributes:
        number: Counted from 1.
        losses: Mean of each loss.
        accuracy: Share of the (changed) training clips whose largest target got the largest logit.
        rate: Learning rate of the first group at the end.
    """

    number: int
    losses: Mapping[str, float]
    accuracy: float
    rate: float

    def to_dict(self) -> JsonDict:
        """JSON object without the number."""
        return {"losses": dict(self.losses), "accuracy": self.accuracy, "rate": self.rate}


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        epochs: What the epochs of this run reached; a resumed run lists those after its start.
        steps: Optimiser steps in all.
        failed: Videos that could not be read.
        resumed_at: Step of the checkpoint it went on from; 0 for a new training.
    """

    epochs: tuple[Epoch, ...]
    steps: int
    failed: tuple[Failure, ...]
    resumed_at: int


@dataclass(frozen=True)
class Keep:
    """Where checkpoints go.

    Attributes:
        folder: Theirs; a training that is there already is gone on with.
        key: What the training is of; the checkpoints of another one are refused.
        every: Steps between two; 0 means at the end of every epoch.
    """

    folder: Path
    key: str = ""
    every: int = 0


class Training:
    """One training of one adapter.

    Args:
        adapter: A ``Trainable``; it is changed.
        examples: The training set.
        labels: C labels.
        plan: The numbers.
        seed: Of everything that is drawn.
        keep: Where checkpoints go; None keeps none.
    """

    def __init__(
        self,
        adapter: Adapter,
        examples: Examples,
        labels: Sequence[str],
        plan: Plan,
        *,
        seed: int = 0,
        keep: Keep | None = None,
    ) -> None:
        from accelerate import Accelerator

        if not isinstance(adapter, Trainable):
            raise UsageError(f"adapter {adapter.name!r} has no training; see docs/adapters.md")
        self.plan, self.examples, self.seed, self.keep = plan, examples, seed, keep
        self.adapter, self.method = adapter, adapter
        self.classes = adapter.training_classes(labels)
        self.n_labels = len(labels)
        self.named = adapter.trainable()
        self.start = {name: p.detach().clone() for name, p in self.named}
        self.device = self.named[0][1].device
        self.batch = min(plan.batch, len(examples.columns))
        micro = plan.micro_batch or plan.batch
        self.micro = self.batch if micro >= self.batch else micro
        self.steps_per_epoch = max(1, len(examples.columns) // self.batch)
        # An accelerator's own precision holds for the whole process; a training's is its own.
        cpu = self.device.type == "cpu"
        self.accelerator = Accelerator(mixed_precision="no", cpu=cpu, gradient_accumulation_steps=1)
        if plan.precision == "fp16":
            self.accelerator.scaler = torch.amp.GradScaler(self.device.type)
        groups = plan.groups(self.named, plan.learning_rate, plan.weight_decay)
        raw = torch.optim.AdamW(groups, betas=plan.betas, eps=plan.epsilon)
        self.base_rates = [float(group["lr"]) for group in raw.param_groups]
        self.raw, self.optimiser = raw, self.accelerator.prepare_optimizer(raw)
        self.average = Average(plan)
        self.step = 0

    def run(self, watch: Watch | None = None, stop_after: int | None = None) -> Trained:
        """Train to the end, or to the end of epoch ``stop_after``, and put the average in place.

        Raises:
            TrainingError: a loss is no number, or no clip can be read.
        """
        resumed = self._resume()
        epochs: list[Epoch] = []
        last = self.plan.epochs if stop_after is None else min(stop_after, self.plan.epochs)
        self.adapter.module.train()
        while self.step < last * self.steps_per_epoch:
            epochs.append(self._epoch())
            if watch is not None:
                watch(epochs[-1])
        self.finish()
        failed = tuple(self.examples.failed.values())
        return Trained(tuple(epochs), self.step, failed, resumed)

    def finish(self) -> None:
        """Put the averaged weights in place and make the adapter ready for use."""
        self.average.put(self.named, self.start)
        self.adapter.module.eval().requires_grad_(False)
        self.adapter.refresh()

    def _epoch(self) -> Epoch:
        epoch = self.step // self.steps_per_epoch
        order = random_for(self.seed, _ORDER, epoch).permutation(len(self.examples.columns))
        totals: dict[str, float] = {}
        right = seen = 0.0
        while self.step < (epoch + 1) * self.steps_per_epoch:
            begin = (self.step % self.steps_per_epoch) * self.batch
            losses, hits, count = self._step(order[begin : begin + self.batch].tolist(), epoch)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value * count
            right, seen = right + hits, seen + count
            self.average.after_step(self.named, self.step)
            self.step += 1
            if self.step % self.steps_per_epoch == 0:
                self.average.after_epoch(self.named, epoch + 1)
            self._save_if_due()
        if not seen and len(self.examples.failed) == len(self.examples.columns):
            first = next(iter(self.examples.failed.values()))
            raise TrainingError(f"no clip of the training set can be read ({first.message})")
        means = {name: value / max(seen, 1) for name, value in totals.items()}
        rate = float(self.optimiser.param_groups[0]["lr"])
        return Epoch(epoch + 1, means, right / max(seen, 1), rate)

    def _step(self, rows: list[int], epoch: int) -> tuple[dict[str, float], float, int]:
        """One optimiser step on up to ``batch`` clips, ``micro`` at a time."""
        for group, base in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = self.plan.rate(self.step, self.steps_per_epoch, base)
        self.optimiser.zero_grad()
        totals: dict[str, float] = {}
        right, seen = 0.0, 0
        for part in range(0, len(rows), self.micro):
            chunk = rows[part : part + self.micro]
            loaded = self.examples.load(chunk, self.plan, self.seed, epoch)
            if not loaded.rows:
                continue
            losses, hits = self._backward(loaded, part, len(rows))
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value * len(loaded.rows)
            right, seen = right + hits, seen + len(loaded.rows)
        if seen:
            if self.plan.clip_norm:
                if self.accelerator.scaler is not None:
                    self.accelerator.scaler.unscale_(self.raw)
                parameters = [p for _, p in self.named]
                self.accelerator.clip_grad_norm_(parameters, self.plan.clip_norm)
            self.optimiser.step()
        return {name: value / max(seen, 1) for name, value in totals.items()}, right, seen

    def _backward(self, loaded: Loaded, part: int, wanted: int) -> tuple[dict[str, float], float]:
        columns = torch.tensor([self.examples.columns[row] for row in loaded.rows])
        targets = smooth(columns, self.n_labels, self.plan.label_smoothing)
        drawn = random_for(self.seed, _MIX, self.step, part)
        inputs, targets = mix(loaded.inputs, targets, self.plan, drawn)
        batch = TrainingBatch(inputs.to(self.device), targets.to(self.device).float())
        # What dropout drops depends on the step alone.
        torch.manual_seed(int(random_for(self.seed, _DROP, self.step, part).integers(2**62)))
        kind = _AUTOCAST.get(self.plan.precision)
        with torch.autocast(self.device.type, kind, enabled=kind is not None):
            output = self.method.training_step(batch, self.classes)
        losses = {name: float(value.detach()) for name, value in output.losses.items()}
        self._check(losses, loaded.rows)
        self.accelerator.backward(output.losses["total"] * (len(loaded.rows) / wanted))
        found = output.logits.detach().argmax(dim=1) == batch.targets.argmax(dim=1)
        return losses, float(found.sum())

    def _check(self, losses: Mapping[str, float], rows: Sequence[int]) -> None:
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            paths = ", ".join(str(self.examples.paths[row]) for row in rows)
            raise TrainingError(
                f"loss {bad[0]!r} is {losses[bad[0]]} at step {self.step + 1}, on the clips "
                f"{paths}; lower learning_rate, set clip_norm, or look at these videos"
            )

    # Checkpoints

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on."""
        scaler = self.accelerator.scaler
        return {
            "key": "" if self.keep is None else self.keep.key,
            "seed": self.seed,
            "step": self.step,
            "module": {name: t.cpu() for name, t in self.adapter.module.state_dict().items()},
            "optimiser": self.optimiser.state_dict(),
            "average": dict(self.average.values),
            "averaged": self.average.count,
            "scaler": None if scaler is None else scaler.state_dict(),
            "failed": {
                row: (str(f.path), f.kind, f.message) for row, f in self.examples.failed.items()
            },
        }

    def _save_if_due(self) -> None:
        if self.keep is None:
            return
        if self.step % (self.keep.every or self.steps_per_epoch) == 0:
            checkpoint.save(self.keep.folder, self.step, self.state())

    def _resume(self) -> int:
        state = None if self.keep is None else checkpoint.load(self.keep.folder)
        if state is None or self.keep is None:
            return 0
        if (state["key"], state["seed"]) != (self.keep.key, self.seed):
            raise TrainingError(
                f"{self.keep.folder} holds the checkpoints of another training (its settings or "
                "its clips differ); remove the folder to start anew, or undo the change to go on"
            )
        self.adapter.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.values = {n: t.to(self.device) for n, t in state["average"].items()}
        self.average.count = int(state["averaged"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        for row, (path, kind, message) in state["failed"].items():
            self.examples.failed[int(row)] = Failure(Path(path), kind, message)
        self.step = int(state["step"])
        _log.info("going on from step %d of %d", self.step, self.plan.epochs * self.steps_per_epoch)
        return self.step


def score(adapter: Trainable, inputs: Tensor, classes: Any, n_labels: int) -> Tensor:
    """Logits (N, C) of inputs that are not trained on."""
    targets = torch.full((len(inputs), n_labels), 1 / n_labels, device=inputs.device)
    with torch.no_grad():
        return adapter.training_step(TrainingBatch(inputs, targets), classes).logits
