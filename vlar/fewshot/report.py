"""How an adaptation came about, for the person who asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from vlar.fewshot.model_selection import Choice
from vlar.types import Failure, JsonDict


@dataclass(frozen=True)
class TrainingReport:
    """How a trained method was trained.

    Attributes:
        method: Registered name of the adapter.
        recipe: Name of the recipe.
        steps: Optimiser steps.
        parameters: How many numbers were trained.
        loss: Mean loss of the last epoch.
        seconds: CPU time of this process.
        closed_weight: Factor on the closed form beside it; None where there is none.
        trained_weight: Factor on the trained scores.
        held_out: Share of examples recognised that were held out; None if none were.
    """

    method: str
    recipe: str
    steps: int
    parameters: int
    loss: float
    seconds: float
    closed_weight: float | None = None
    trained_weight: float = 1.0
    held_out: float | None = None

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return asdict(self)

    def summary(self) -> str:
        """One or two lines for a person."""
        line = (
            f"trained {self.method} by {self.recipe}: {self.parameters:,} parameters, "
            f"{self.steps} steps, {self.seconds:.0f} s CPU, last loss {self.loss:.3f}"
        )
        if self.closed_weight is None:
            return line
        held = "" if self.held_out is None else f"; recognised {self.held_out:.1%} of held-out ones"
        weights = f"closed form {self.closed_weight:g}, trained {self.trained_weight:g}"
        return f"{line}\nweights: {weights}{held}"


@dataclass(frozen=True)
class AdaptReport:
    """What was learned from.

    Attributes:
        examples: Examples used, by label.
        failed: Examples that could not be read.
        choice: The closed forms tried, the one taken, and why; None where none was.
        training: How a trained method was trained; None for a closed form.
    """

    examples: Mapping[str, int]
    failed: tuple[Failure, ...]
    choice: Choice | None
    training: TrainingReport | None = None

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "examples": dict(self.examples),
            "failed": [row.to_dict() for row in self.failed],
            **({} if self.choice is None else self.choice.to_dict()),
            **({} if self.training is None else {"training": self.training.to_dict()}),
        }

    def summary(self) -> str:
        """A few lines for a person."""
        counts = ", ".join(f"{label} {count}" for label, count in self.examples.items())
        total = sum(self.examples.values())
        lines = [f"learned {len(self.examples)} labels from {total} examples ({counts})"]
        if self.choice is not None:
            lines += [self.choice.table(), f"* taken: {self.choice.why}"]
        if self.training is not None:
            lines.append(self.training.summary())
        return "\n".join(lines)
