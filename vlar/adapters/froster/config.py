"""The settings of FROSTER."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from vlar.adapters.settings import check_settings, read_settings, setting
from vlar.errors import ModelError
from vlar.types import JsonDict

DISTANCES = ("cosine", "l2")  # of ``vlar.losses.distill``, which needs torch
WHAT = "FROSTER setting"


@dataclass(frozen=True)
class FrosterConfig:
    """How a student is distilled from the frozen encoder (ICLR 2024, arXiv 2402.03241).

    Attributes:
        student: Name of the adapter that is trained; ``tuned`` is the paper's.
        student_settings: Its settings; empty means its defaults.
        distance: Between projected student and teacher: ``cosine`` (1 - cosine, the released code
            since November 2024) or ``l2`` (length of the difference, as published).
        weight: Factor on the two distillation terms, next to the student's own loss.
        alpha: Share of the projectors' branch that is added to the identity.
    """

    student: str = "tuned"
    student_settings: JsonDict = field(default_factory=dict)
    distance: str = setting("cosine", choices=DISTANCES)
    weight: float = setting(2.0, at_least=0)
    alpha: float = 0.1

    def __post_init__(self) -> None:
        check_settings(self, WHAT)
        if self.student == "froster":
            raise ModelError(f"{WHAT} student is 'froster'; name what it is wrapped around")

    def to_dict(self) -> JsonDict:
        """For the manifest of a saved model."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonDict) -> FrosterConfig:
        """From ``to_dict``; see ``read_settings``."""
        return read_settings(cls, values, WHAT)
