"""The objectives of one training as one: what they ask for together, and their hooks in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlar import registry
from vlar.adapters.trainable import TrainingBatch
from vlar.errors import UsageError
from vlar.fewshot.request import Objectives
from vlar.training.augment import Random, random_for
from vlar.training.data import View
from vlar.training.objectives.base import Objective, Step, TrainingContext
from vlar.types import JsonDict

if TYPE_CHECKING:
    from torch import Tensor, nn

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
            known = [n for n in registry.names("objective")
                     if registry.get("objective", n).learns_alone]  # fmt: skip
            raise UsageError(
                "no labelled clips are given, and a training without any needs one objective that "
                f"learns from texts alone, got {', '.join(self.parts) or 'none'}; name "
                f"{' or '.join(known)}, or give labelled examples"
            )
        return self.parts[alone[0]].labels()

    @property
    def unlabelled_per_clip(self) -> float:
        """The largest share that any objective asks for."""
        return max((part.unlabelled_per_clip for part in self.parts.values()), default=0.0)

    def views(self) -> dict[str, View]:
        """The views of all objectives by name.

        Raises:
            UsageError: two objectives mean different views by one name.
        """
        found: dict[str, View] = {}
        for name, part in self.parts.items():
            for view, how in part.views().items():
                if found.setdefault(view, how) != how:
                    raise UsageError(
                        f"objective {name!r} and another one mean different views by {view!r}; "
                        "train with one of them"
                    )
        return found

    def begin(self, context: TrainingContext, seed: int) -> None:
        """Start all objectives; their own parameters are drawn from the seed."""
        import torch

        for number, part in enumerate(self.parts.values()):
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

    def before_epoch(self, epoch: int) -> None:
        """Call the hook of all objectives."""
        for part in self.parts.values():
            part.before_epoch(epoch)

    def before_step(self, number: int) -> None:
        """Call the hook of all objectives."""
        for part in self.parts.values():
            part.before_step(number)

    def after_step(self, number: int) -> None:
        """Call the hook of all objectives."""
        for part in self.parts.values():
            part.after_step(number)

    def after_epoch(self, epoch: int) -> None:
        """Call the hook of all objectives."""
        for part in self.parts.values():
            part.after_epoch(epoch)

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
