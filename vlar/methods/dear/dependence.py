"""Statistical dependence of two sets of features, and distance between two sets.

Letters: N clips, m and n features, M rows of another set.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vlar.errors import UsageError

_LEAST_ROWS = 4


def hsic_gaussian(
    a: Tensor, b: Tensor, *, sigma: float | None = None, biased: bool = True
) -> Tensor:
    """Hilbert-Schmidt independence criterion with Gaussian kernels; 0 for independent features.

    Biased: ``tr(K H L H) / (N - 1)^2``, Gretton et al., "Measuring statistical dependence with
    Hilbert-Schmidt norms", 2005, equation 9. Unbiased: Song et al., "Feature selection via
    dependence maximization", 2012, equation 5, with the diagonals of both kernels set to 0.

    Args:
        a: (N, m).
        b: (N, n).
        sigma: Width of both kernels; None takes the square root of each width.
        biased: Which of the two estimates.

    Raises:
        UsageError: other numbers of rows, or too few of them.
    """
    least = 2 if biased else 4
    if len(a) != len(b) or len(a) < least:
        raise UsageError(f"{len(a)} and {len(b)} rows; give as many of both, {least} at least")
    first, second = _kernel(a, a, sigma), _kernel(b, b, sigma)
    count = len(a)
    if biased:
        centred = first - first.mean(dim=0, keepdim=True)
        centred = centred - centred.mean(dim=1, keepdim=True)
        return (centred * second).sum() / (count - 1) ** 2
    apart = 1 - torch.eye(count, dtype=first.dtype, device=first.device)
    first, second = first * apart, second * apart
    both = (first * second).sum()
    means = first.sum() * second.sum() / ((count - 1) * (count - 2))
    crossed = (first.sum(dim=0) * second.sum(dim=0)).sum() * 2 / (count - 2)
    return (both + means - crossed) / (count * (count - 3))


def hsic(a: Tensor, b: Tensor, *, sigma: float = 20.0, ridge: float = 1e-5) -> Tensor:
    """Normalised dependence of two sets of features; 0 for independent ones, in float64.

    ``sum(R_a * R_b^T)`` with ``R = K H (K H + ridge N I)^-1`` and ``K = exp(-|a_i - a_j|^2 /
    (2 sigma^2 m))``, Fukumizu et al., "Kernel measures of conditional dependence", 2008, equation
    10, as C2C uses it.

    Args:
        a: (N, m).
        b: (N, n).
        sigma: Width of the kernels, in square roots of the number of features.
        ridge: Regularisation of the inverse.

    Raises:
        UsageError: other numbers of rows, or fewer than 4.
    """
    if len(a) != len(b) or len(a) < _LEAST_ROWS:
        raise UsageError(
            f"{len(a)} and {len(b)} rows; give as many of both, {_LEAST_ROWS} at least"
        )
    first, second = (_normalised(x.double(), sigma, ridge) for x in (a, b))
    return (first * second.T).sum()


def _normalised(x: Tensor, sigma: float, ridge: float) -> Tensor:
    """R (N, N) of rows (N, m)."""
    count = len(x)
    kernel = _kernel(x, x, sigma * math.sqrt(x.shape[1]))
    centred = kernel - kernel.mean(dim=1, keepdim=True)
    whole = torch.eye(count, dtype=x.dtype, device=x.device) * (ridge * count)
    return torch.linalg.solve(centred + whole, centred, left=False)


def mmd(a: Tensor, b: Tensor, *, sigma: float | None = None) -> Tensor:
    """Squared maximum mean discrepancy of two sets of rows; 0 for equal sets.

    Gretton et al., "A kernel two-sample test", 2012, equation 5, with a Gaussian kernel.

    Args:
        a: (N, m).
        b: (M, m).
        sigma: Width of the kernel; None takes the square root of m.
    """
    if a.shape[-1] != b.shape[-1] or not len(a) or not len(b):
        raise UsageError(f"sets of shape {tuple(a.shape)} and {tuple(b.shape)}; give rows alike")
    within = _kernel(a, a, sigma).mean() + _kernel(b, b, sigma).mean()
    return within - 2 * _kernel(a, b, sigma).mean()


def _kernel(a: Tensor, b: Tensor, sigma: float | None) -> Tensor:
    """``exp(-|a_i - b_j|^2 / (2 sigma^2))``; differences keep a row's distance to itself at 0."""
    width = math.sqrt(a.shape[-1]) if sigma is None else sigma
    squares = (a[:, None] - b[None]).square().sum(dim=-1)
    return (-squares / (2 * width**2)).exp()
