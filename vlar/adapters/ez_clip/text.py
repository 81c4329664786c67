"""EZ-CLIP's text tower: CLIP's, with an adapter in every block.

Letters: C texts, L tokens, W width, E joint width.
"""

from __future__ import annotations

from torch import Tensor

from vlar.adapters.ez_clip.blocks import attend, drops, finish
from vlar.adapters.ez_clip.config import EzClipConfig
from vlar.adapters.ez_clip.parts import TrainedParts, pick
from vlar.encoders.clip.block_view import TextView


def encode(
    view: TextView,
    parts: TrainedParts,
    config: EzClipConfig,
    ids: Tensor,
    depth: int,
    *,
    training: bool = False,
) -> Tensor:
    """Run the tower.

    Positions behind the last end-of-text token are cut, and the last block runs for the
    end-of-text row only: causal attention makes both exact.

    Args:
        view: The CLIP text tower.
        parts: The adapters.
        config: Settings.
        ids: (C, L) token ids.
        depth: Blocks of the image tower, by which the original counts the share that is dropped.
        training: Leave out what the settings say is dropped in training.

    Returns:
        (C, E), not normalised.
    """
    end = view.end(ids)
    length = int(end.max()) + 1
    x = view.token_embedding(ids[:, :length]).to(view.positions.dtype) + view.positions[:length]
    dropped = drops(config.drop if training else 0.0, max(depth, len(view.blocks)), len(ids))
    for i, block in enumerate(view.blocks):
        rows = end if i == len(view.blocks) - 1 else None
        x = attend(block, x, rows, dropped[i], causal=True)
        x = finish(block, pick(parts.text_adapters, i), x, dropped[i])
    return view.joint(x[:, 0])
