"""Report on an adaptation: one sentence, a table, and the JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from vlar.files.reading import walk
from vlar.formatting import fault
from vlar.heads.model_selection import Choice
from vlar.metrics.classification import Confusion, worth_knowing
from vlar.types import Failure, JsonDict


@dataclass(frozen=True)
class TrainingReport:
    """Training of a trained method.

    Attributes:
        method: Registered name of the adapter.
        recipe: Name of the recipe.
        steps: Optimiser steps.
        parameters: Number of trained numbers.
        loss: Mean loss of the last epoch.
        seconds: CPU time of this process.
        closed_weight: Factor on the closed form it is stacked with; None where there is none.
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
    """Examples and method of an adaptation.

    Attributes:
        examples: Examples used, by label.
        failed: Examples that could not be read.
        choice: The closed forms tried, the one taken, and why; None where none was.
        training: Training of a trained method; None for a closed form.
        confusions: Confusions of held-out examples, by falling count.
        tested: Held-out examples whose answers were counted; all but the confused ones were right.
        recordings: Recordings it was trained on, where the model answers about any labels; else 0.
        learned: Content hashes of the recordings that the adapters around the encoder learned
            from, in this adaptation and in earlier ones.
        seen: Examples whose recordings an earlier adaptation learned from. None of them can be held
            out, so no held-out accuracy is stated.
        synthetic: Examples that were made from recordings of another sensor.
        source: Name of the folder or file that listed the examples.
        groups: Recordings, people or other groups whose examples are held out together.
        note: What a learner states of itself, one sentence; empty for none.
        held: Confidence of the answer, and whether it is right (1 or 0), of examples held out.
        facts: Medians of the recordings, such as their frames a second; ``examples.clip_facts``.
    """

    examples: Mapping[str, int]
    failed: tuple[Failure, ...]
    choice: Choice | None
    training: TrainingReport | None = None
    confusions: tuple[Confusion, ...] = ()
    tested: int = 0
    recordings: int = 0
    learned: tuple[str, ...] = ()
    seen: int = 0
    synthetic: int = 0
    source: str = ""
    groups: int = 0
    note: str = ""
    held: tuple[tuple[float, float], ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict[str, float])

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "examples": dict(self.examples),
            "failed": [row.to_dict() for row in self.failed],
            **({} if self.choice is None else self.choice.to_dict()),
            **({} if self.training is None else {"training": self.training.to_dict()}),
            "confusions": [row.to_dict() for row in self.confusions],
            **({"tested": self.tested} if self.tested else {}),
            **({"recordings": self.recordings} if self.recordings else {}),
            **({"seen": self.seen} if self.seen else {}),
            **({"synthetic": self.synthetic} if self.synthetic else {}),
            **({"note": self.note} if self.note else {}),
        }

    def stored(self) -> JsonDict:
        """The JSON object of a model folder."""
        facts = {"learned": list(self.learned), "source": self.source, "groups": self.groups}
        facts |= {"held": [list(row) for row in self.held], "facts": dict(self.facts)}
        return {**self.to_dict(), **{name: value for name, value in facts.items() if value}}

    @staticmethod
    def restored(stored: Mapping[str, Any]) -> AdaptReport | None:
        """The report that a model folder holds; None where it is not one that vlar writes.

        A report changes no answer, so that a folder with a strange one is read without it.
        """
        from pydantic import TypeAdapter

        if any(isinstance(text, str) and fault(text) for _, _, text in walk(stored)):
            return None
        fields = (
            *("examples", "training", "confusions", "tested", "recordings", "learned", "seen"),
            *("synthetic", "source", "groups", "note", "held", "facts"),
        )
        try:
            failed = [
                {"path": row["path"], **dict(row["error"])} for row in stored.get("failed", ())
            ]
            facts = {name: stored[name] for name in fields if name in stored}
            choice = Choice.restored(stored) if "chosen" in stored else None
            report = TypeAdapter(AdaptReport).validate_python(
                {**facts, "failed": failed, "choice": choice}
            )
        except (KeyError, TypeError, ValueError):
            return None
        counts = 0 <= report.right <= report.tested <= sum(report.examples.values())
        return report if counts and (report.choice or report.training) else None

    def without_held_out(self, seen: int) -> AdaptReport:
        """The same for ``seen`` examples that the base model had learned from before."""
        training = self.training and replace(self.training, held_out=None)
        choice = self.choice and self.choice.without_accuracy()
        return replace(
            self, choice=choice, training=training, confusions=(), tested=0, seen=seen, held=()
        )

    def sentence(self) -> str:
        """One sentence: examples, method, how it did on held-out examples, what it confuses."""
        if self.recordings:
            shown = f" that show {len(self.examples)} labels" if self.examples else ""
            return (
                f"trained {self._method} on {self.recordings} recordings{shown}; "
                f"{self.note or 'it answers about any labels'}"
            )
        total = sum(self.examples.values())
        learned = f"learned {len(self.examples)} labels from {total} examples with {self._method}"
        held_out = self.held_out
        if self.seen:
            return (
                f"{learned}; the model had learned from {self.seen} of them before, so no accuracy "
                "on held-out examples is stated"
            )
        if held_out is None:
            return f"{learned}; with one recording a label, no example could be held out to test it"
        confused = "".join(f"; {row.sentence()}" for row in worth_knowing(self.confusions))
        confused += f"; {self.synthetic} examples are synthetic" if self.synthetic else ""
        tested = f"{held_out:.0%} of the examples"  # a mean over folds has no count
        if self.tested:  # "four of four" shows how few they are
            tested = f"{self.right} of {self.tested} examples"
        return f"{learned}, which recognised {tested} held out{confused}"

    @property
    def _method(self) -> str:
        if self.training is not None:
            closed = self.training.closed_weight is not None
            return self.training.method + (" and closed forms" if closed else "")
        assert self.choice is not None  # a report has a choice, a training, or both
        heads = dict.fromkeys(row.head for row in self.choice.candidates if row.share)
        return " and ".join(heads)

    @property
    def right(self) -> int:
        """Held-out examples that were recognised, of those ``tested``."""
        return self.tested and self.tested - sum(row.count for row in self.confusions)

    @property
    def held_out(self) -> float | None:
        """Share of held-out examples that were recognised, 0..1."""
        if self.tested:
            return self.right / self.tested
        if self.training is not None:
            return self.training.held_out
        accuracy = self.choice.chosen.accuracy if self.choice is not None else float("nan")
        return None if np.isnan(accuracy) else accuracy

    def summary(self) -> str:
        """The table of what was tried, for a person who asks for it."""
        counts = ", ".join(f"{label} {count}" for label, count in self.examples.items())
        total = sum(self.examples.values())
        lines = [f"learned {len(self.examples)} labels from {total} examples ({counts})"]
        if self.recordings:
            lines = [self.sentence(), *([counts] if counts else [])]
        if self.choice is not None:
            lines += [self.choice.table(), f"* taken: {self.choice.why}"]
        if self.training is not None:
            lines.append(self.training.summary())
        return "\n".join(lines)
