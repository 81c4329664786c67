"""Distillation: how far a student is from its teacher.

Letters: E joint width.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

FeatureDistance = Literal["cosine", "l2"]
DISTANCES: tuple[str, ...] = get_args(FeatureDistance)


def feature_distance(student: Tensor, teacher: Tensor, kind: str) -> Tensor:
    """Mean distance of a student's features from the teacher's (FROSTER, arXiv 2402.03241).

    The gradient stops at the teacher. Computed in float32.

    Args:
        student: (..., E).
        teacher: (..., E) of unit length; broadcast against the student's.
        kind: ``cosine`` (1 - cosine) or ``l2`` (length of the difference).
    """
    student, teacher = student.float(), teacher.detach().float()
    if kind == "cosine":
        return 1 - F.cosine_similarity(student, teacher, dim=-1).mean()
    # Where they are equal, as at the start, this norm has the gradient 0.
    return torch.linalg.vector_norm(student - teacher, dim=-1).mean()
