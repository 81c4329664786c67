"""The contract of objectives: what may be added to the training of any adapter.

An objective adds loss terms. It may also choose the order of the clips, use unlabelled clips, ask
for further views of a clip, change a batch, act before and after a step or an epoch, train
parameters of its own and keep state in the checkpoints. A training without objectives is the plain
training, bit for bit.

Letters: N clips of a batch, n clips of the training set, C labels.
"""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import Self

from vlar import registry
from vlar.adapters.settings import check_settings, read_settings
from vlar.errors import UsageError
from vlar.model.requests import Objectives
from vlar.training.data import ClipView, Random, random_for
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.trainable import Trainable, TrainingBatch, TrainingOutput
from vlar.types import Float32, JsonDict

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class UnlabelledClips:
    """The unlabelled clips of a training, to be looked at before the first step.

    Attributes:
        paths: u recordings.
        vectors: Gives the vectors (n, D) of the clips that can be read, by the method as it is now
            and without changes of the clips, and their n numbers.
        facts: u mappings of what their table holds about a clip (``domain``, ...).
    """

    paths: Sequence[Path]
    vectors: Callable[[], tuple[Float32, list[int]]]
    facts: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class TrainingContext:
    """Inputs of an objective, given once before the first step.

    Attributes:
        method: The adapter that is trained, with gradients on.
        classes: Its ``training_classes``.
        texts: C labels as a text tower reads them.
        shown: (n, C) float32, 1 where a labelled clip shows the label, else 0.
        facts: n mappings of other facts of the support set about a clip (``group``, ...).
        n_unlabelled: Number of unlabelled clips; 0 without any.
        scenes: (n, S) float32 how likely each of S places is (``vlar.training.fit``); None unless
            an objective ``reads_scenes`` and the clips are encoded before the training.
        paths: n recordings of the labelled clips.
        numbers: The hyperparameters.
        steps_per_epoch: Optimiser steps of an epoch.
        device: Where the parameters are.
        unlabelled: The unlabelled clips; None without any.
    """

    method: Trainable
    classes: Any
    texts: Sequence[str]
    shown: Float32
    facts: Sequence[Mapping[str, str]]
    n_unlabelled: int
    numbers: Hyperparameters
    steps_per_epoch: int
    device: torch.device
    unlabelled: UnlabelledClips | None = None
    scenes: Float32 | None = None
    paths: Sequence[Path] = ()

    def clips_per_label(self, name: str) -> list[float]:
        """(C,) clips of each label.

        Raises:
            UsageError: a clip shows several labels, or a label has no clip.
        """
        if (self.shown.sum(axis=1) > 1).any():
            raise UsageError(f"objective {name!r} needs clips of one label each")
        counts = [float(count) for count in self.shown.sum(axis=0)]
        if min(counts) == 0:
            label = self.texts[counts.index(0)]
            raise UsageError(f"objective {name!r}: label {label!r} has no clip; add one")
        return counts

    @property
    def vector_width(self) -> int:
        """D, width of the vectors of the method."""
        method: Any = self.method  # every Trainable is an adapter, and so an encoder
        return int(method.dim)

    @property
    def logit_scale(self) -> float:
        """Factor from cosine to logit of the method."""
        method: Any = self.method
        return float(method.logit_scale)

    @property
    def frame_width(self) -> int:
        """K, width of ``Step.frames``."""
        import numpy as np

        method: Any = self.method
        if method.reads != "features":
            return self.vector_width
        zeros = np.zeros((1, 2, method.frame_dim), np.float32)
        return int(method.training_inputs(zeros).shape[-1])


@dataclass(frozen=True)
class Step:
    """One pass through the method, for the terms of an objective.

    Attributes:
        number: Optimiser step, counted from 0.
        progress: Share of the training that is over, 0 to 1.
        batch: N clips with targets, views and ``known``.
        output: What the method gave for ``batch.inputs``.
        forward: Runs the method on other inputs (m, T, ...), such as a view or a part of one. Its
            losses are 0; use the logits and vectors.
        random: Draws numbers that depend on the seed and the step alone.
    """

    number: int
    progress: float
    batch: TrainingBatch
    output: TrainingOutput
    forward: Callable[[Tensor], TrainingOutput]
    random: Random

    @property
    def vectors(self) -> Tensor:
        """(N, D) unit vectors of the clips.

        Raises:
            UsageError: the method has none.
        """
        if self.output.vectors is None:
            raise UsageError(
                "the method has no vectors of clips, which this objective needs; train another "
                "method, for example temporal, or leave the objective out"
            )
        return self.output.vectors

    @property
    def frames(self) -> Tensor:
        """(N, T, K) features of the frames: the method's own, else what it reads.

        Raises:
            UsageError: the method has none.
        """
        if self.output.frames is not None:
            return self.output.frames
        if self.batch.inputs.ndim == 3:
            return self.batch.inputs
        raise UsageError(
            "the method has no features of frames, which this objective needs; train another "
            "method, for example temporal, or leave the objective out"
        )


class Objective(ABC):
    """One addition to a training.

    A subclass is a dataclass whose fields are its settings (``setting`` gives ranges). All hooks do
    nothing by default. Every random draw comes from a given generator, or from torch's own in
    ``terms``; everything that lives longer than a step is in ``state`` or ``module``. Then a
    resumed training equals one that was never stopped, bit for bit.

    Attributes:
        name: Registered name.
        needs_unlabelled: Whether it cannot work without unlabelled clips.
        learns_alone: Whether it can train on unlabelled clips without any labelled one; ``labels``
            then gives the labels to choose from.
        reads_tree: Whether it learns by a label tree, from its settings ``parents`` or ``file``.
        reads_scenes: Whether it reads ``TrainingContext.scenes``.
        trains: Name of the only adapter that it trains; None for any.
        other_domain: Whether it learns for clips of other domains than the examples. Held-out
            examples cannot weigh a closed form then; the trained similarity alone answers.
        module: Parameters of its own, trained with the method's and kept in checkpoints, which
            ``begin`` makes; None for none. They are not part of the trained adapter.
    """

    name: ClassVar[str]
    trains: ClassVar[str | None] = None
    other_domain: ClassVar[bool] = False
    needs_unlabelled: ClassVar[bool] = False
    learns_alone: ClassVar[bool] = False
    reads_tree: ClassVar[bool] = False
    reads_scenes: ClassVar[bool] = False
    module: Any = None  # an ``nn.Module`` of any parts

    def __post_init__(self) -> None:
        check_settings(self, f"setting of objective {self.name!r}")

    @classmethod
    def from_settings(cls, settings: JsonDict | None = None) -> Self:
        """The objective with the given settings, the others at their defaults.

        Raises:
            UnknownNameError: a setting does not exist; the message names the nearest.
            ModelError: a value has another type or is out of range.
        """
        return read_settings(cls, settings or {}, f"setting of objective {cls.name!r}")

    @classmethod
    def example(cls, folder: Path, paths: Sequence[Path], labels: Sequence[str]) -> JsonDict:
        """Settings with which ``vlar.testing`` trains; by default none, or a tree of the labels.

        Args:
            folder: An empty folder for files that the settings name.
            paths: All recordings of the training.
            labels: C labels.
        """
        if not cls.reads_tree:
            return {}
        file = folder / "tree.json"
        file.write_text(json.dumps(dict.fromkeys(labels, "moving")))
        return {"file": str(file)}

    # What it asks for

    def labels(self) -> Sequence[str]:
        """The texts to choose from where no clip is labelled; see ``learns_alone``."""
        return ()

    @property
    def unlabelled_per_clip(self) -> float:
        """Unlabelled clips in a batch for each labelled one: the setting ``ratio``, or 0."""
        return float(getattr(self, "ratio", 0.0))

    def views(self) -> Mapping[str, ClipView]:
        """Further views of every clip by name; they come as ``batch.views``."""
        return {}

    # Hooks, in the order in which they are called

    def begin(self, context: TrainingContext) -> None:  # noqa: B027
        """Run once, before the first step and before a checkpoint is restored."""

    def before_epoch(self, epoch: int) -> None:  # noqa: B027
        """Run before each epoch, counted from 0; also before the rest of a resumed one."""

    def order(self, epoch: int, random: Random) -> Sequence[int] | None:
        """The order of the labelled clips in an epoch; None leaves it random.

        Args:
            epoch: Counted from 0.
            random: Draws that depend on the seed and the epoch alone.

        Returns:
            Numbers of clips, at least ``steps_per_epoch`` times the batch; a clip may come twice.
        """
        return None

    def before_step(self, number: int) -> None:  # noqa: B027
        """Run before each optimiser step, counted from 0."""

    def change_batch(self, batch: TrainingBatch, random: Random) -> TrainingBatch:
        """The batch that the method is given; called for each micro-batch."""
        return batch

    def base_weight(self, progress: float) -> float:
        """Factor on the method's own loss: the setting ``own``, or 1; those of several multiply."""
        return float(getattr(self, "own", 1.0))

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """Scalars to add to the loss, by name; reported as ``OBJECTIVE.NAME``.

        Called for each micro-batch; a mean over clips is weighted by the clips of the micro-batch.
        """
        return {}

    def after_step(self, number: int) -> None:  # noqa: B027
        """Run after each optimiser step, when the parameters have changed."""

    def after_epoch(self, epoch: int) -> None:  # noqa: B027
        """Run after each epoch, counted from 0."""

    # Checkpoints

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and strings that the rest of the training depends on."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Load what ``state`` returned; called after ``begin``."""


_START = 7  # what a draw is for: the start of the objectives' own parameters


class ObjectiveSet:
    """The objectives of a training, in the order in which they were named.

    Args:
        named: Names, or a mapping of names to settings; empty for plain training.

    Raises:
        UnknownNameError: an objective or a setting does not exist.
        ModelError: a setting is out of range.
        UsageError: an objective is named twice.
    """

    def __init__(self, named: Objectives = ()) -> None:
        names = list(named)
        settings: Mapping[str, JsonDict] = named if isinstance(named, Mapping) else {}
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"objective {twice[0]!r} is named twice; name it once")
        self.parts: dict[str, Objective] = {
            name: registry.get("objective", name).from_settings(settings.get(name, {}))
            for name in names
        }

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __iter__(self) -> Iterator[Objective]:
        return iter(self.parts.values())

    def check_unlabelled(self, given: bool) -> None:
        """Refuse objectives that need unlabelled clips where none are given.

        Raises:
            UsageError: there are none, or none of the objectives uses them.
        """
        needing = [name for name, part in self.parts.items() if part.needs_unlabelled]
        if needing and not given:
            raise UsageError(
                f"objective {needing[0]!r} needs unlabelled clips; give a folder of them "
                "(unlabelled = 'DIR' in the file, --unlabelled DIR, or unlabelled=DIR in Python)"
            )
        if given and not self.unlabelled_per_clip:
            raise UsageError(
                "unlabelled clips are given, but no objective uses them; name one that does, for "
                "example consistency, or leave them out"
            )

    def labels(self) -> Sequence[str]:
        """The texts of the labels to choose from in a training without labelled clips.

        Raises:
            UsageError: no objective learns without labels, or several do.
        """
        alone = [name for name, part in self.parts.items() if part.learns_alone]
        if len(alone) != 1:
            names = [
                n for n in registry.names("objective") if registry.get("objective", n).learns_alone
            ]
            raise UsageError(
                "no labelled clips are given, and a training without any needs one objective that "
                f"learns from texts alone, got {', '.join(self.parts) or 'none'}; name "
                f"{' or '.join(names)}, or give labelled examples"
            )
        return self.parts[alone[0]].labels()

    @property
    def unlabelled_per_clip(self) -> float:
        """The largest share that any objective asks for."""
        return max((part.unlabelled_per_clip for part in self.parts.values()), default=0.0)

    def views(self) -> dict[str, ClipView]:
        """The views of all objectives by name.

        Raises:
            UsageError: two objectives mean different views by one name.
        """
        clip_views: dict[str, ClipView] = {}
        for name, part in self.parts.items():
            for view, how in part.views().items():
                if clip_views.setdefault(view, how) != how:
                    raise UsageError(
                        f"objective {name!r} and another one mean different views by {view!r}; "
                        "train with one of them"
                    )
        return clip_views

    def begin(self, context: TrainingContext, seed: int) -> None:
        """Start all objectives; their own parameters are drawn from the seed.

        Raises:
            UsageError: one of them trains another adapter, or refuses the data.
        """
        import torch

        method: Any = context.method
        for number, (name, part) in enumerate(self.parts.items()):
            if part.trains not in (None, method.method):
                raise UsageError(
                    f"objective {name!r} trains the adapter {part.trains!r}, and this training "
                    f"has {method.method!r}; name --method {part.trains}"
                )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(random_for(seed, _START, number).integers(2**62)))
                part.begin(context)
            if part.module is not None:
                part.module.to(context.device).train().requires_grad_(True)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The objectives' own parameters."""
        for name, part in self.parts.items():
            if part.module is not None:
                for inner, parameter in part.module.named_parameters():
                    yield f"objective.{name}.{inner}", parameter

    def order(self, epoch: int, random: Random, least: int) -> list[int] | None:
        """The order of the labelled clips that one of the objectives chooses.

        Raises:
            UsageError: two of them choose one, or an order is too short.
        """
        chosen: dict[str, list[int]] = {}
        for name, part in self.parts.items():
            order = part.order(epoch, random)
            if order is not None:
                chosen[name] = [int(row) for row in order]
        if len(chosen) > 1:
            raise UsageError(
                f"objectives {' and '.join(map(repr, chosen))} both choose the order of the clips; "
                "train with one of them"
            )
        for name, order in chosen.items():
            if len(order) < least:
                raise UsageError(
                    f"objective {name!r} orders {len(order)} clips where an epoch takes {least}; "
                    "its order must fill the epoch"
                )
            return order
        return None

    def change_batch(self, batch: TrainingBatch, random: Random) -> TrainingBatch:
        """The batch after the changes of all objectives, in order."""
        for part in self.parts.values():
            batch = part.change_batch(batch, random)
        return batch

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The losses of a step with the objectives' terms: the method's own, weighted, and theirs.

        ``total`` is minimised; ``base`` is the method's own total.
        """
        base = step.output.losses["total"]
        total, terms = base, dict[str, "Tensor"]()
        for name, part in self.parts.items():
            total = part.base_weight(step.progress) * total
            terms |= {f"{name}.{term}": value for term, value in part.terms(step).items()}
        for value in terms.values():
            total = total + value
        return {**step.output.losses, **terms, "base": base, "total": total}

    def state(self) -> dict[str, Any]:
        """The state of all objectives and of their parameters, for a checkpoint."""
        return {
            name: {
                "own": part.state(),
                "module": None if part.module is None else part.module.state_dict(),
            }
            for name, part in self.parts.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load what ``state`` returned."""
        for name, part in self.parts.items():
            if part.module is not None:
                part.module.load_state_dict(state[name]["module"])
            part.restore(state[name]["own"])
