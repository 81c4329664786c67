"""Labels that turn on and off: two thresholds, and a least time in each state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from vlar.errors import UsageError
from vlar.types import Classification, JsonDict


@dataclass(frozen=True)
class Change:
    """A label that turned on or off.

    Attributes:
        source: Address or file of what was watched, without passwords.
        label: The label.
        on: Whether it turned on.
        probability: Of the label, 0 to 1.
        at_s: Unix time in seconds.
        start_s: Start of the span that turned it, in seconds of the source.
        end_s: End of the span.
        model: Name of the model.
    """

    source: str
    label: str
    on: bool
    probability: float
    at_s: float
    start_s: float
    end_s: float
    model: str

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return asdict(self)


@dataclass
class LabelStates:
    """State, on or off, of each label of one source.

    Attributes:
        labels: The labels.
        on: Probability from which a label turns on.
        off: Probability below which it turns off; at most ``on``.
        least_s: Seconds that a label stays as it is.
    """

    labels: Sequence[str]
    on: float = 0.5
    off: float = 0.35
    least_s: float = 0.0
    _since_s: dict[str, tuple[bool, float]] = field(default_factory=dict[str, tuple[bool, float]])

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.on < 1 or self.least_s < 0:
            raise UsageError(
                f"thresholds {self.on} and {self.off} with {self.least_s} s: give 0 < off <= on < 1"
            )

    def take(self, answer: Classification, source: str, at_s: float) -> Iterator[Change]:
        """The changes that an answer makes.

        Args:
            answer: With a probability for each label.
            source: What was watched.
            at_s: Unix time of the answer.
        """
        shares = {row.label: row.probability for row in answer.predictions}
        for label in self.labels:
            share = shares.get(label, 0.0)
            is_on, since_s = self._since_s.get(label, (False, float("-inf")))
            turns = share < self.off if is_on else share >= self.on
            if not turns or at_s - since_s < self.least_s:
                continue
            self._since_s[label] = not is_on, at_s
            yield Change(
                source,
                label,
                not is_on,
                round(share, 6),
                at_s,
                answer.start_s,
                answer.end_s,
                answer.model,
            )
