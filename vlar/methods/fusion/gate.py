"""A picture stream that the bodies guide (EPAM-Net, Abdelkawy et al. 2025)."""

from __future__ import annotations

from torch import Tensor


def guide(features: Tensor, spatial: Tensor, temporal: Tensor) -> Tensor:
    """``F (1 + S t)``: features grow where and when the other stream attends.

    Args:
        features: (N, T, C, H, W) of pictures.
        spatial: (N, T, 1, H, W), 0 to 1; 0 leaves the features bit for bit.
        temporal: (N, T), 0 to 1; likewise.

    Returns:
        (N, T, C, H, W).
    """
    return features * (1 + spatial * temporal[:, :, None, None, None])
