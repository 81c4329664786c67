"""The training loop: one for every adapter, whatever it reads and whatever its losses are.

No generator keeps a hidden state. The order of an epoch, the changes of a clip, the mixing of a
batch and the draws of dropout depend on the seed and the position in the training alone. So a
resumed training equals one that was never stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlar.adapters.base import Adapter
from vlar.encoders.clip.block_view import recomputing
from vlar.encoders.memory import CLIPS, halve
from vlar.errors import TrainingError, UsageError
from vlar.training import checkpoint
from vlar.training.batches import BatchMaker, Dataset, Unlabelled
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.data import ClipLoader, random_for
from vlar.training.distributed import ALONE, Processes
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.objectives import ObjectiveSet, Step, TrainingContext, UnlabelledClips
from vlar.training.progress import (
    MEASURED_STEPS,
    Epoch,
    EpochCallback,
    StepCallback,
    Totals,
    Trained,
)
from vlar.training.trainable import Trainable, TrainingBatch, TrainingOutput
from vlar.types import Float32


def check(adapter: Adapter, numbers: Hyperparameters, processes: Processes) -> None:
    """Refuse a method that cannot be trained as it is asked.

    Raises:
        UsageError: it has no training, no towers to compute again, or norms over a batch that
            several processes would share.
    """
    if not isinstance(adapter, Trainable):
        raise UsageError(f"adapter {adapter.name!r} has no training; see docs/adapters.md")
    if numbers.gradient_checkpointing and not adapter.recomputes:
        raise UsageError(
            f"method {adapter.name!r} has no blocks that could be computed again; leave "
            "gradient_checkpointing out, or train lora, tuned or tc-clip"
        )
    kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    norms = any(isinstance(module, kinds) for module in adapter.module.modules())
    if norms and not processes.alone:
        raise UsageError(
            f"method {adapter.name!r} normalises over the clips of a batch, which "
            f"{processes.count} processes would each do for their own; train in one process"
        )


def unlabelled_clips(
    method: Trainable, classes: Any, clips: Unlabelled, numbers: Hyperparameters
) -> UnlabelledClips:
    """Unlabelled clips of a training for an objective.

    Args:
        method: The adapter as it is now.
        classes: Its ``training_classes``.
        clips: The clips.
        numbers: The hyperparameters; their changes of clips are left out.
    """
    paths = clips.loader.paths or [Path(f"clip {row}") for row in range(clips.count)]

    def vectors() -> tuple[Float32, list[int]]:
        return clip_vectors(method, classes, clips.loader, range(clips.count), numbers)

    return UnlabelledClips(paths, vectors, clips.facts)


def clip_vectors(
    method: Trainable,
    classes: Any,
    loader: ClipLoader,
    rows: Sequence[int],
    numbers: Hyperparameters,
) -> tuple[Float32, list[int]]:
    """Vectors (n, D) of the clips that can be read, as in use, and their numbers.

    Raises:
        UsageError: the method has no vectors of clips.
        TrainingError: no clip can be read.
    """
    still, size = replace(numbers, augment=False), numbers.micro_batch or numbers.batch
    device = next(p for _, p in method.trainable()).device
    batches: list[Tensor] = []
    read: list[int] = []
    for start in range(0, len(rows), size):
        loaded = loader.load(rows[start : start + size], still, 0, 0)
        if not loaded.rows:
            continue
        targets = torch.zeros(len(loaded.rows), 1, device=device)
        batch = TrainingBatch(loaded.inputs.to(device), targets, known=targets[:, 0].bool())
        with torch.no_grad():
            vectors = method.training_step(batch, classes).vectors
        if vectors is None:
            raise UsageError("the method has no vectors of clips; train another, such as temporal")
        batches.append(vectors.float().cpu())
        read += loaded.rows
    if not read:
        first = next(iter(loader.failed.values()))
        raise TrainingError(f"no unlabelled clip can be read ({first.message})")
    return torch.cat(batches).numpy(), read


#: Rows, losses and metrics of a micro-batch.
Note = tuple[Sequence[int], Mapping[str, Tensor], Mapping[str, Tensor]]
#: Trained parameters and the buffers that go with them, by name.
Named = Sequence[tuple[str, Tensor]]


def buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Buffers with fractions, such as the running means of a normalisation over batches."""
    return [
        (f"buffer {name}", buffer)
        for name, buffer in module.named_buffers()
        if buffer.is_floating_point()
    ]


class WeightAverage:
    """The average of the trained parameters and buffers that the hyperparameters ask for.

    Attributes:
        values: The average by name, float32; empty before the first.
        count: Epochs in a uniform average.
    """

    def __init__(self, numbers: Hyperparameters) -> None:
        self.numbers = numbers
        self.values: dict[str, Tensor] = {}
        self.count = 0

    @torch.no_grad()
    def after_step(self, named: Named, step: int) -> None:
        """Move an exponential average; its memory grows over the first steps."""
        if self.numbers.average != "ema":
            return
        keep = min(self.numbers.ema_decay, (1 + step) / (10 + step))
        for name, parameter in named:
            now = parameter.detach().float()
            if name in self.values:
                self.values[name].lerp_(now, 1 - keep)
            else:
                self.values[name] = now.clone()

    @torch.no_grad()
    def after_epoch(self, named: Named, epoch: int) -> None:
        """Add the end of an epoch (counted from 1) to a uniform average."""
        if self.numbers.average != "uniform" or epoch < self.numbers.average_from:
            return
        self.count += 1
        for name, parameter in named:
            now = parameter.detach().float()
            old = self.values.get(name)
            self.values[name] = now.clone() if old is None else old.lerp_(now, 1 / self.count)

    @torch.no_grad()
    def put(self, named: Named, start: Mapping[str, Tensor]) -> None:
        """Set parameters and buffers to the average, mixed with the start where asked (WiSE-FT).

        ``ensemble`` is the weight of the trained parameters (Wortsman et al. 2022).
        """
        for name, parameter in named:
            if not isinstance(parameter, nn.Parameter) and torch.equal(parameter, start[name]):
                continue  # a buffer that no step has changed keeps its type's exact value
            value = self.values.get(name, parameter.detach().float())
            if self.numbers.ensemble < 1 and not name.startswith(
                self.numbers.ensemble_skips or ("\0",)
            ):
                value = torch.lerp(
                    start[name].float().to(value.device), value, self.numbers.ensemble
                )
            parameter.copy_(value)


_log = logging.getLogger("vlar")
# What a draw is for.
_DROP, _TERMS = 3, 8
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@cache
def _note_place(method: str, device: str) -> None:
    _log.info("%s trains on the CPU: its small network reads features made on %s", method, device)


class Training:
    """One training of one adapter.

    Args:
        adapter: A ``Trainable``; it is changed.
        loader: Reads the clips.
        dataset: Their labels.
        numbers: The hyperparameters.
        seed: Seed of every draw.
        checkpoints: Where checkpoints are written; None writes none.
        objectives: What is added to the training.
        unlabelled: Clips without labels, for objectives that use them.
        processes: Who trains it together; each has its own copy of everything.

    Raises:
        UsageError: the adapter has no training, or the objectives do not fit the data.
    """

    def __init__(
        self,
        adapter: Adapter,
        loader: ClipLoader,
        dataset: Dataset,
        numbers: Hyperparameters,
        *,
        seed: int = 0,
        checkpoints: CheckpointConfig | None = None,
        objectives: ObjectiveSet | None = None,
        unlabelled: Unlabelled | None = None,
        processes: Processes = ALONE,
    ) -> None:
        check(adapter, numbers, processes)
        assert isinstance(adapter, Trainable)
        self.numbers, self.loader, self.dataset, self.seed = numbers, loader, dataset, seed
        self.checkpoints, self.unlabelled, self.processes = checkpoints, unlabelled, processes
        self.adapter, self.method = adapter, adapter
        self.objectives = objectives or ObjectiveSet()
        adapter.read_label_parts(*dataset.label_parts())
        self.classes = adapter.training_classes(dataset.texts)
        self.named = adapter.trainable()
        processes.same_start(parameter for _, parameter in self.named)
        #: What is averaged: the trained parameters, and the buffers of the module.
        self.tracked = [*self.named, *buffers(adapter.module)]
        self.start = {name: t.detach().clone() for name, t in self.tracked}
        self.device = self.named[0][1].device
        towers = getattr(adapter.encoder, "towers", None)
        if self.device.type == "cpu" and towers is not None and towers.device.type != "cpu":
            _note_place(adapter.name, str(towers.device))
        self.batches = BatchMaker(
            loader,
            dataset,
            numbers,
            seed=seed,
            objectives=self.objectives,
            unlabelled=unlabelled,
            device=self.device,
            processes=processes,
        )
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.step = 0
        self._begin_objectives()
        self._make_optimiser()

    def _begin_objectives(self) -> None:
        if self.objectives:
            context = TrainingContext(
                method=self.method,
                classes=self.classes,
                texts=self.dataset.texts,
                shown=self.dataset.targets.member,
                facts=self.dataset.facts,
                n_unlabelled=self.unlabelled.count if self.unlabelled else 0,
                numbers=self.numbers,
                steps_per_epoch=self.steps_per_epoch,
                device=self.device,
                unlabelled=self._free_clips(),
                scenes=self.dataset.scenes,
                paths=self.dataset.paths,
            )
            self.objectives.begin(context, self.seed)

    def _free_clips(self) -> UnlabelledClips | None:
        """The unlabelled clips; all clips where none is labelled."""
        if self.unlabelled is None and self.batches.labelled:
            return None
        free = self.unlabelled or Unlabelled(self.loader, len(self.dataset))
        return unlabelled_clips(self.method, self.classes, free, self.numbers)

    def _make_optimiser(self) -> None:
        from accelerate import Accelerator

        numbers = self.numbers
        # An accelerator's precision and device hold for a process; a training's are its own.
        make = partial(Accelerator, mixed_precision="no", gradient_accumulation_steps=1)
        try:
            self.accelerator = make(cpu=self.device.type == "cpu")
        except ValueError:  # an earlier training of the process was on a card
            self.accelerator = make()
        if numbers.precision == "fp16":
            self.accelerator.scaler = torch.amp.GradScaler(self.device.type)
        self.optimised = [*self.named, *self.objectives.named_parameters()]
        groups = numbers.groups(self.optimised, numbers.learning_rate, numbers.weight_decay)
        raw = torch.optim.AdamW(groups, betas=numbers.betas, eps=numbers.epsilon)
        self.base_rates = [float(group["lr"]) for group in raw.param_groups]
        self.raw, self.optimiser = raw, self.accelerator.prepare_optimizer(raw)
        self.average = WeightAverage(numbers)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.numbers.epochs * self.steps_per_epoch

    def run(
        self,
        on_epoch: EpochCallback | None = None,
        stop_after: int | None = None,
        on_step: StepCallback | None = None,
    ) -> Trained:
        """Train to the end, or to the end of epoch ``stop_after``, and put the average in place.

        Raises:
            TrainingError: a loss is not finite, or no clip can be read.
        """
        resumed = self._resume()
        epochs: list[Epoch] = []
        last = self.numbers.epochs if stop_after is None else min(stop_after, self.numbers.epochs)
        self.adapter.module.train()
        end = last * self.steps_per_epoch
        with closing(self.batches):
            while self.step < end:
                epochs.append(self._epoch(end, on_step, resumed + MEASURED_STEPS))
                if on_epoch is not None:
                    on_epoch(epochs[-1])
        self.finish()
        failed = tuple(self.loader.failed.values())
        return Trained(tuple(epochs), self.step, failed, resumed)

    def advance(self, steps: int) -> None:
        """Take some further steps of the schedule, without the end (``finish``).

        With ``parameters`` and ``put`` a learner trains several copies side by side, each on clips
        of its own, and exchanges what they learned.

        Raises:
            TrainingError: a loss is not finite, or no clip can be read.
        """
        end = min(self.step + steps, self.total_steps)
        self.adapter.module.train()
        with closing(self.batches):
            while self.step < end:
                self._epoch(end)

    def parameters(self) -> dict[str, Tensor]:
        """Copies of the trained parameters, and of the buffers that go with them, by name."""
        return {name: tensor.detach().clone() for name, tensor in self.tracked}

    @torch.no_grad()
    def put(self, parameters: Mapping[str, Tensor]) -> None:
        """Set what ``parameters`` gives, such as the mean of several copies."""
        for name, tensor in self.tracked:
            tensor.copy_(parameters[name])

    def finish(self) -> None:
        """Put the averaged weights in place and make the adapter ready for use."""
        self.average.put(self.tracked, self.start)
        self.adapter.module.eval().requires_grad_(False)
        self.adapter.refresh()

    def _epoch(self, end: int, on_step: StepCallback | None = None, measured: int = 0) -> Epoch:
        """The steps up to the end of an epoch, or to step ``end`` within it.

        Args:
            end: Step before which the training stops.
            on_step: Called after each step.
            measured: Last step that ``on_step`` measures: up to it a device is waited for.
        """
        epoch = self.step // self.steps_per_epoch
        for part in self.objectives:
            part.before_epoch(epoch)
        totals = Totals(self.loader.paths)
        while self.step < min(end, (epoch + 1) * self.steps_per_epoch):
            self._step(totals, end)
            self.average.after_step(self.tracked, self.step)
            for part in self.objectives:
                part.after_step(self.step)
            self.step += 1
            if self.step % self.steps_per_epoch == 0:
                self.average.after_epoch(self.tracked, epoch + 1)
                for part in self.objectives:
                    part.after_epoch(epoch)
            if self.step <= measured:
                totals.read()
            self._save_if_due(totals)
            if on_step is not None:
                on_step(self.batches.size)
        if not totals.clips and len(self.loader.failed) == len(self.dataset):
            first = next(iter(self.loader.failed.values()))
            raise TrainingError(f"no clip of the training set can be read ({first.message})")
        losses, metrics = totals.means()
        rate = float(self.optimiser.param_groups[0]["lr"])
        return Epoch(epoch + 1, losses, {"accuracy": 0.0, **metrics}, rate)

    def _step(self, totals: Totals, end: int) -> None:
        """One optimiser step on a batch of clips, a micro-batch at a time."""
        for part in self.objectives:
            part.before_step(self.step)
        for group, base in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = self.numbers.rate(self.step, self.steps_per_epoch, base)
        self.optimiser.zero_grad()
        before = totals.clips
        while (notes := self._gradients(end)) is None:
            self.optimiser.zero_grad()
        for note in notes:
            totals.add(self.step, *note)
        if totals.clips > before:
            self.processes.average_gradients(p for _, p in self.optimised)
            if self.numbers.clip_norm:
                if self.accelerator.scaler is not None:
                    self.accelerator.scaler.unscale_(self.raw)
                parameters = [p for _, p in self.optimised]
                self.accelerator.clip_grad_norm_(parameters, self.numbers.clip_norm)
            self.optimiser.step()

    def _gradients(self, end: int) -> list[Note] | None:
        """Rows, losses and metrics of each micro-batch; None where half of them must be tried.

        Raises:
            TrainingError: one clip does not fit into the memory of an accelerator.
        """
        clips, micro = len(self.batches.rows(self.step)), self.batches.micro
        notes: list[Note] = []
        try:
            for begin in range(0, clips, micro):
                batch = self.batches.take(self.step, begin, end)
                if batch is not None:
                    notes.append(self._backward(batch, begin, clips))
        except torch.OutOfMemoryError as error:
            if micro == 1 or not self.processes.alone:
                raise TrainingError(
                    f"{self.device} runs out of memory with {micro} clips at a time; train with "
                    "micro_batch=1, gradient_checkpointing=true, fewer frames or a smaller model"
                ) from error
            halve(CLIPS, micro)
            self.batches.micro = micro // 2
            return None
        return notes

    def _forward(self, batch: TrainingBatch) -> TrainingOutput:
        kind = _AUTOCAST.get(self.numbers.precision)
        with (
            recomputing(self.numbers.gradient_checkpointing),
            torch.autocast(self.device.type, kind, enabled=kind is not None),
        ):
            return self.method.training_step(batch, self.classes)

    def _backward(self, batch: TrainingBatch, part: int, wanted: int) -> Note:
        # What dropout drops depends on the step alone.
        torch.manual_seed(int(random_for(self.seed, _DROP, self.step, part).integers(2**62)))
        output = self._forward(batch)
        if self.objectives:
            step = Step(
                self.step,
                self.step / self.total_steps,
                batch,
                output,
                lambda inputs: self._forward(batch.unlabelled(inputs)),
                random_for(self.seed, _TERMS, self.step, part),
            )
            output = replace(output, losses=self.objectives.loss(step))
        metrics = batch.metrics(output.logits.detach(), output.parts)
        self.accelerator.backward(output.losses["total"] * (len(batch.rows) / wanted))
        losses = {name: loss.detach() for name, loss in output.losses.items()}
        return batch.rows, losses, metrics

    # Checkpoints

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on."""
        scaler = self.accelerator.scaler
        objectives = {"objectives": self.objectives.state()} if self.objectives else {}
        return {
            "key": "" if self.checkpoints is None else self.checkpoints.key,
            "seed": self.seed,
            "step": self.step,
            "module": {name: t.cpu() for name, t in self.adapter.module.state_dict().items()},
            "optimiser": self.optimiser.state_dict(),
            "average": dict(self.average.values),
            "averaged": self.average.count,
            "scaler": None if scaler is None else scaler.state_dict(),
            "failed": checkpoint.written(self.loader.failed),
            "failed_unlabelled": checkpoint.written(
                self.unlabelled.loader.failed if self.unlabelled else {}
            ),
            **objectives,
        }

    def _save_if_due(self, totals: Totals) -> None:
        if self.checkpoints is None or self.step % (self.checkpoints.every or self.steps_per_epoch):
            return
        totals.read()  # a checkpoint holds no weights after a loss that is not finite
        if self.processes.first:
            checkpoint.save(self.checkpoints.folder, self.step, self.state())

    def _resume(self) -> int:
        state = None if self.checkpoints is None else checkpoint.load(self.checkpoints.folder)
        if state is None or self.checkpoints is None:
            return 0
        if (state["key"], state["seed"]) != (self.checkpoints.key, self.seed):
            raise TrainingError(
                f"{self.checkpoints.folder} holds the checkpoints of another training (its "
                "settings or its clips differ); remove the folder to start over, or undo the "
                "change to resume it"
            )
        self.adapter.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.values = {n: t.to(self.device) for n, t in state["average"].items()}
        self.average.count = int(state["averaged"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.loader.failed.update(checkpoint.read(state["failed"]))
        if self.unlabelled is not None:
            self.unlabelled.loader.failed.update(checkpoint.read(state["failed_unlabelled"]))
        if self.objectives:
            self.objectives.restore(state["objectives"])
        self.step = int(state["step"])
        _log.info("resuming at step %d of %d", self.step, self.total_steps)
        return self.step


def score(adapter: Trainable, inputs: Tensor, classes: Any, n_labels: int) -> Tensor:
    """Logits (N, C) of inputs that are not trained on."""
    targets = torch.full((len(inputs), n_labels), 1 / n_labels, device=inputs.device)
    with torch.no_grad():
        return adapter.training_step(TrainingBatch(inputs, targets), classes).logits
