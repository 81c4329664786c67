"""Residual feature distillation: projectors from student to teacher (arXiv 2402.03241, section 3).

Letters: E joint width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.losses.distill import feature_distance


class Projector(nn.Module):
    """``x + alpha * fc2(GELU(fc1(x)))``: the identity at the start.

    The student may differ from the teacher by what the branch can undo.
    """

    def __init__(self, width: int, alpha: float) -> None:
        """E, and the share of the branch."""
        super().__init__()
        self.alpha = alpha
        self.fc1 = nn.Linear(width, width, bias=False)
        self.fc2 = nn.Linear(width, width, bias=False)
        nn.init.kaiming_normal_(self.fc1.weight)
        nn.init.zeros_(self.fc2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E); not normalised."""
        return x + self.alpha * self.fc2(F.gelu(self.fc1(x)))


class Projectors(nn.Module):
    """One for frames, one for classes; used in training only."""

    def __init__(self, width: int, alpha: float) -> None:
        """E, and the share of their branches."""
        super().__init__()
        self.vision = Projector(width, alpha)
        self.text = Projector(width, alpha)


def projected_distance(projector: Projector, student: Tensor, teacher: Tensor, kind: str) -> Tensor:
    """How far a student's projected unit vectors are from the teacher's, on average.

    In float32 whatever the rest runs in. The gradient stops at the teacher.

    Args:
        projector: Of this modality.
        student: (..., E), of any length.
        teacher: (..., E) of unit length; broadcast against the student's.
        kind: As in ``feature_distance``.
    """
    with torch.autocast(student.device.type, enabled=False):
        projected = projector(F.normalize(student.float(), dim=-1))
        return feature_distance(projected, teacher, kind)
