"""From a configuration to a model folder, through stops and goings-on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar.adapters.base import Trainable
from vlar.errors import UsageError
from vlar.fewshot import SupportItem, read_support
from vlar.model.adapt import read_complete
from vlar.model.core import ModelCore
from vlar.model.folder import check_target
from vlar.model.model import Model, load
from vlar.training import checkpoint
from vlar.training.config import TrainConfig
from vlar.training.data import Features, Videos
from vlar.training.dataset import Task, attach
from vlar.training.features import FeatureFolder
from vlar.training.learners.trained import finish, fit_alone
from vlar.training.loop import Epoch, Keep
from vlar.types import ProgressCallback


@dataclass(frozen=True)
class Progress:
    """How a run tells what it does.

    Attributes:
        reading: Moves on as examples are read.
        epoch: Called after each epoch with it and the number of epochs.
    """

    reading: ProgressCallback | None = None
    epoch: Callable[[Epoch, int], None] | None = None


def run(config: TrainConfig, *, replace: bool = False, progress: Progress | None = None) -> Model:
    """Train as configured and save the model; a training that was stopped is gone on with.

    Checkpoints and kept features lie in ``OUT.training`` until the model is saved.

    Raises:
        SupportError: the training set cannot be used.
        ModelError: the encoder does not suit the method, or ``out`` cannot be written.
        TrainingError: a loss is no number, or the checkpoints are of another training.
    """
    check_target(config.out, replace=replace)
    progress = progress or Progress()
    base, support = load(config.model), read_support(config.train)
    adapter = attach(config.method, base.encoder, config.adapter_settings, seed=config.seed)
    assert isinstance(adapter, Trainable)
    work = config.out.with_name(f"{config.out.name}.training")
    items = list(support.items)
    plan, task = config.plan, Task.of(support.labels, items)
    keep = Keep(work / "steps", _key(config, items, base.fingerprint), config.save_every)
    watch = _watch(config, plan.epochs, work, progress)
    if adapter.reads == "features":
        kept = FeatureFolder(work / "features", base)
        seen = read_complete(base, support, items, progress.reading, kept)
        task, failed = Task.of(support.labels, seen.items), seen.failed
        adapter.fit_inputs(seen.features)
        inputs = adapter.training_inputs(seen.features)
        examples = Features(inputs, task.columns, task.paths, adapter.input_widths)
    else:
        seen, failed = None, ()
        examples = Videos(items, task.columns, adapter)
    fitted = fit_alone(
        adapter, examples, task, plan, config.recipe_name, seed=config.seed, watch=watch, keep=keep
    )
    if seen is None:
        good = [item for row, item in enumerate(items) if row not in examples.failed]
        seen = read_complete(
            ModelCore(adapter, templates=adapter.templates), support, good, progress.reading
        )
        task = Task.of(support.labels, seen.items)
        failed = (*fitted.failed, *seen.failed)
    model = Model.of(finish(fitted, task, seen, failed))
    model.save(config.out, replace=replace)
    _clean(work)
    return model


def _watch(
    config: TrainConfig, epochs: int, work: Path, progress: Progress
) -> Callable[[Epoch], None]:
    writer = _board(work / "tensorboard") if config.log == "tensorboard" else None

    def watch(epoch: Epoch) -> None:
        if progress.epoch is not None:
            progress.epoch(epoch, epochs)
        if writer is not None:
            for name, value in epoch.losses.items():
                writer.add_scalar(f"loss/{name}", value, epoch.number)
            writer.add_scalar("accuracy", epoch.accuracy, epoch.number)
            writer.add_scalar("learning_rate", epoch.rate, epoch.number)
            writer.flush()

    return watch


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "log = 'tensorboard' needs the package tensorboard; install it (pip install "
            "tensorboard) or remove the key"
        ) from error
    return SummaryWriter(str(folder))


def _key(config: TrainConfig, items: Sequence[SupportItem], fingerprint: str) -> str:
    """Hash of all that the weights depend on; how often is saved does not matter."""
    settings = config.model_dump(mode="json", exclude={"out", "save_every", "log"})
    clips = [(str(i.path), i.label, i.window and (i.window.start_s, i.window.end_s)) for i in items]
    plan = {**vars(config.plan), "groups": config.plan.groups.__qualname__}
    text = json.dumps([settings, plan, clips, fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _clean(work: Path) -> None:
    import contextlib
    import shutil

    checkpoint.remove(work / "steps")
    shutil.rmtree(work / "features", ignore_errors=True)
    with contextlib.suppress(OSError):
        work.rmdir()  # stays where curves were written
