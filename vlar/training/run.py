"""``vlar train``: from a configuration to a model folder; an interrupted run is resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.adapters.base import training_type
from vlar.errors import TrainingError, UsageError, explained
from vlar.files.replacing import replacing
from vlar.heads.support import Support, SupportItem, read_support
from vlar.language.tree import Tree
from vlar.model.adapt import Adapted, learn, remembering, under, with_tree
from vlar.model.core import ModelCore
from vlar.model.folder import MANIFEST, check_target
from vlar.model.label_heads import label_tree
from vlar.model.method import AdaptTask, Method
from vlar.model.model import Model, load
from vlar.model.requests import SYNONYMS, find_unlabelled
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.config import NO_LOG, TrainConfig
from vlar.training.distributed import ALONE, Processes
from vlar.training.fit import FitOptions, fit, fit_without_labels
from vlar.training.progress import Epoch, EpochCallback
from vlar.training.task import TrainingTask
from vlar.types import Float32, ProgressCallback


class FeatureFolder:
    """One file a clip, named by the hash of the video, its time of change, window and encoder.

    A damaged file counts as absent.
    """

    def __init__(self, folder: Path, core: ModelCore) -> None:
        self._folder = folder
        self._of = f"{core.fingerprint} {core.n_frames}"
        self._shape = (core.encoder.feature_rows, core.encoder.frame_dim)

    def get(self, item: SupportItem) -> Float32 | None:
        """(T, F) of an example, or None."""
        try:
            features = np.load(self._file(item), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return features if features.shape == self._shape else None

    def put(self, item: SupportItem, features: Float32) -> None:
        """Store (T, F) of an example, complete or not at all.

        Raises:
            TrainingError: the folder cannot be written.
        """
        file = self._file(item)
        fix = "make room and run the same command again, cached features stay"
        with explained(TrainingError, f"cannot cache features in {self._folder}", fix):
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(file, durable=False) as part, part.open("wb") as stream:
                np.save(stream, features)

    def _file(self, item: SupportItem) -> Path:
        try:
            changed = item.path.stat().st_mtime_ns
        except OSError:
            changed = 0
        window = item.window and (item.window.start_s, item.window.end_s)
        text = f"{self._of} {item.path.absolute()} {changed} {window}"
        text += f" {item.who}" if item.who else ""
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"


_FINISHED = "finished"  # file of a training whose model is about to be saved
_SAME = "gradient_checkpointing"  # changes no weight


@dataclass(frozen=True)
class RunCallbacks:
    """Callbacks of a run.

    Attributes:
        reading: Called as examples are read.
        epoch: Called after each epoch with it and the number of epochs.
        clips: Called with the clips of each training step.
    """

    reading: ProgressCallback | None = None
    epoch: Callable[[Epoch, int], None] | None = None
    clips: ProgressCallback | None = None


def run(
    config: TrainConfig,
    *,
    replace: bool = False,
    progress: RunCallbacks | None = None,
    processes: Processes = ALONE,
) -> Model:
    """Train as configured and save the model; an interrupted run is resumed.

    Checkpoints and cached features stay in ``OUT.training`` until the model is saved. A method
    that is not trained by gradient descent (``Adapter.learner``) is learned as ``vlar adapt`` does.

    Args:
        config: What to train.
        replace: Whether an existing ``out`` may be replaced.
        progress: Callbacks.
        processes: Who trains it together; the first one writes, the others give the same model.

    Raises:
        SupportError: the training set cannot be used.
        ModelError: the encoder does not suit the method, or ``out`` cannot be written.
        TrainingError: a loss is not finite, or the checkpoints belong to another training.
    """
    work = config.out.with_name(f"{config.out.name}.training")
    if processes.first:
        _clean_saved(config.out / MANIFEST, work)
    processes.wait()
    check_target(config.out, replace=replace)
    _check_tracker(config.log)
    progress = progress or RunCallbacks()
    method = Method.of(
        config.method,
        settings=config.learner_settings,
        learner=config.learner,
        recipe=config.recipe if config.learner else None,
        objectives=config.objective_settings,
    )
    if method.learner != "trained" and not processes.alone:
        raise UsageError(
            f"method {method.name!r} learns by {method.learner!r}, which runs in one process, and "
            f"{processes.count} were started; start one (vlar train CONFIG.toml)"
        )
    loaded = load(config.model, dtype=training_type(method.name))
    base = loaded.words
    examples = _read(config, base, method.facts)
    if method.learner != "trained":
        adapted = _learned(method, config, base, examples, progress)
        model = Model.of(remembering(adapted, base, examples.items, loaded.learned))
        model.save(config.out, replace=replace)
        return model
    task = _task(config, base, examples)
    options = _options(config, work, task.reading(base), examples, base, progress, processes)
    if examples.support is None:
        fitted = fit_without_labels(task, base, examples.unlabelled, options)
    else:
        fitted = with_tree(
            fit(task, base, examples.support, examples.items, options), examples.above
        )
    model = Model.of(remembering(fitted, base, examples.items, loaded.learned))
    processes.wait()  # nobody reads the cache any more
    if processes.first:
        fix = "the checkpoints stay: make room and run the same command again"
        with explained(TrainingError, f"cannot write to {work}", fix):
            work.mkdir(exist_ok=True)
            (work / _FINISHED).touch()
        model.save(config.out, replace=replace)
        _clean(work)
    return model


@dataclass(frozen=True)
class _RunInputs:
    """Inputs of a configuration: examples, clips without labels, and the tree above the labels."""

    support: Support | None
    items: Sequence[SupportItem]
    unlabelled: Sequence[SupportItem]
    above: Tree | None


def _read(config: TrainConfig, base: ModelCore, facts: Sequence[str]) -> _RunInputs:
    train, free = config.train, config.unlabelled
    support = read_support(train, base.modality, facts=facts) if train else None
    unlabelled = find_unlabelled(free, base.modality, facts=facts) if free else []
    above = label_tree(base, config.tree, support.labels) if support else None
    return _RunInputs(support, list(support.items) if support else [], unlabelled, above)


def _learned(
    method: Method, config: TrainConfig, base: ModelCore, given: _RunInputs, progress: RunCallbacks
) -> Adapted:
    """Result of another learner for the same configuration."""
    task = AdaptTask(
        dataclasses.replace(method, objectives=under(given.above, method.objectives)),
        given.support,
        given.items,
        given.unlabelled,
        config.seed,
        SYNONYMS.get(config.unknown, config.unknown),
        config.balance,
        progress.reading,
    )
    return with_tree(learn(base, task), given.above)


def _task(config: TrainConfig, base: ModelCore, given: _RunInputs) -> TrainingTask:
    return TrainingTask(
        base.encoder,
        config.method,
        config.numbers,
        config.recipe_name,
        config.adapter_settings,
        config.seed,
        under(given.above, config.objective_settings),
        given.unlabelled if given.support else (),
    )


def _options(
    config: TrainConfig,
    work: Path,
    reading: ModelCore,
    given: _RunInputs,
    base: ModelCore,
    progress: RunCallbacks,
    processes: Processes,
) -> FitOptions:
    key = _key(config, [*given.items, *given.unlabelled], base.fingerprint)
    return FitOptions(
        unknown=SYNONYMS.get(config.unknown, config.unknown),
        balance=config.balance,
        stack=False,
        checkpoints=CheckpointConfig(work / "steps", key, config.save_every),
        cache=FeatureFolder(work / "features", reading),
        reading=progress.reading,
        clips=progress.clips,
        on_epoch=_on_epoch(config, work, progress) if processes.first else None,
        processes=processes,
        trained_cache=lambda core: FeatureFolder(work / "features", core),
    )


def _on_epoch(config: TrainConfig, work: Path, progress: RunCallbacks) -> EpochCallback:
    epochs = config.numbers.epochs
    tracked: list[Any] = []

    def on_epoch(epoch: Epoch) -> None:
        if progress.epoch is not None:
            progress.epoch(epoch, epochs)
        if config.log == NO_LOG:
            return
        if not tracked:
            tracked.append(_accelerator(config, work / config.log))
        losses = {f"loss/{name}": value for name, value in epoch.losses.items()}
        values = {**losses, **epoch.metrics, "learning_rate": epoch.rate}
        tracked[0].log(values, step=epoch.number)
        if epoch.number == epochs:
            for tracker in tracked[0].trackers:
                tracker.finish()

    return on_epoch


def _check_tracker(name: str) -> None:
    """Refuse a tracker before anything is read.

    Raises:
        UnknownNameError: accelerate has no such tracker.
        UsageError: its package is not installed.
    """
    if name == NO_LOG:
        return
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import LoggerType

    names = [str(kind) for kind in LoggerType if kind is not LoggerType.ALL]
    if name not in names:
        raise registry.unknown_name("tracker", name, [NO_LOG, *names])
    if name not in map(str, get_available_trackers()):
        raise UsageError(
            f"log = {name!r} needs the package {name}, which is not installed; install it (pip "
            f"install {name}) or remove the key"
        )


def _accelerator(config: TrainConfig, folder: Path) -> Any:
    """An accelerator that sends curves to the tracker, with the settings of the run.

    It is made after that of the training, whose device it shares.

    Raises:
        TrainingError: the tracker does not start.
    """
    from accelerate import Accelerator

    numbers = {k: v for k, v in vars(config.numbers).items() if isinstance(v, (str, int, float))}
    named = {"method": config.method, "model": config.model, "seed": config.seed}
    try:
        accelerator = Accelerator(log_with=config.log, project_dir=str(folder))
        accelerator.init_trackers("vlar", {**named, **numbers})
    except Exception as error:  # of a tracker: of its network, its account, its files
        raise TrainingError(
            f"log = {config.log!r} does not start ({str(error)[:300]}); set the tracker up, or "
            "remove the key and run the same command again: the training goes on where it is"
        ) from error
    return accelerator


def _key(config: TrainConfig, items: Sequence[SupportItem], fingerprint: str) -> str:
    """Hash of all that the weights depend on; how often checkpoints are saved does not matter."""
    settings = config.model_dump(mode="json", exclude={"out", "save_every", "log"})
    settings["training"].pop(_SAME, None)
    clips = [
        (str(i.path), i.labels, i.window and (i.window.start_s, i.window.end_s)) for i in items
    ]
    numbers = {**vars(config.numbers), "groups": config.numbers.groups.__qualname__}
    del numbers[_SAME]
    text = json.dumps([settings, numbers, clips, fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _clean_saved(model: Path, work: Path) -> None:
    """Remove what is left of a training that was killed after its model was saved."""
    finished = work / _FINISHED
    if finished.is_file() and model.is_file() and model.stat().st_mtime >= finished.stat().st_mtime:
        _clean(work)
    _remove_mark(work)


def _clean(work: Path) -> None:
    for name in ("steps", "features"):
        shutil.rmtree(work / name, ignore_errors=True)
    _remove_mark(work)


def _remove_mark(work: Path) -> None:
    with contextlib.suppress(OSError):
        (work / _FINISHED).unlink(missing_ok=True)
        work.rmdir()  # stays where curves were written
