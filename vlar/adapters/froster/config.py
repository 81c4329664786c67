"""The settings of FROSTER."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from vlar.adapters.settings import read_settings
from vlar.errors import ModelError
from vlar.registry import unknown_name
from vlar.types import JsonDict

DISTANCES = ("cosine", "l2")


@dataclass(frozen=True)
class FrosterConfig:
    """How a student is distilled from the frozen encoder (ICLR 2024, arXiv 2402.03241).

    Attributes:
        student: Name of the adapter that is trained; ``tuned`` is the paper's.
        student_settings: Its settings; empty means its defaults.
        distance: Between projected student and teacher: ``cosine`` (1 - cosine, the released code
            since November 2024) or ``l2`` (length of the difference, as published).
        weight: Of the two distillation terms beside the student's own loss.
        alpha: Share of the projectors' branch beside the identity.
    """

    student: str = "tuned"
    student_settings: JsonDict = field(default_factory=dict)
    distance: str = "cosine"
    weight: float = 2.0
    alpha: float = 0.1

    def __post_init__(self) -> None:
        if self.distance not in DISTANCES:
            raise unknown_name("distance of FROSTER", str(self.distance), DISTANCES)
        if self.student == "froster":
            raise ModelError("FROSTER setting student is 'froster'; name what it is wrapped around")
        if self.weight < 0:
            raise ModelError(f"FROSTER setting weight is {self.weight!r}; use 0 or more")

    def to_dict(self) -> JsonDict:
        """For the manifest of a saved model."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonDict) -> FrosterConfig:
        """From ``to_dict``; see ``read_settings``."""
        return read_settings(cls, values, "FROSTER setting")
