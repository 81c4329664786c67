"""The settings of FROSTER."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from vlar.adapters.settings import Settings, setting
from vlar.errors import ModelError
from vlar.types import JsonDict

DISTANCES = ("cosine", "l2")  # of ``vlar.losses.distill``, which needs torch


@dataclass(frozen=True)
class FrosterConfig(Settings):
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

    what: ClassVar[str] = "FROSTER setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        if self.student == "froster":
            raise ModelError(f"{self.what} student is 'froster'; name what it is wrapped around")
