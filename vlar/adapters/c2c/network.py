"""C2C's head with what it reads: small inputs of the frames, and texts it has learned to move."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlar.adapters.c2c.config import C2CConfig
from vlar.adapters.c2c.head import C2CHead, C2COutput, Components
from vlar.adapters.tower_network import register_directions

_TEXT_GAIN = 0.3  # texts of the trained words move slower than the rest


class C2CNetwork(nn.Module):
    """Frame inputs to scores of pairs.

    Texts lose the mean of the trained words' texts and get unit length: texts of one kind of word
    are alike, and what they share does not tell them apart. What a text tower cannot tell apart
    (such as left and right) is learned as a residual of each trained word, zero at the start.

    Args:
        config: Sizes and the trained words.
        text_dim: Width of the texts' vectors.
        widths: Entries of each part of a frame (``read_parts``); their projections are stored here.
        n_blocks: How many of the parts are blocks of the frame features; the rest is for verbs.
    """

    def __init__(
        self, config: C2CConfig, text_dim: int, widths: Sequence[int], n_blocks: int
    ) -> None:
        super().__init__()
        self.config = config
        register_directions(self, widths, config.components)
        dim = n_blocks * config.components
        moving = (len(widths) - n_blocks) * config.components
        self.head = C2CHead(dim, text_dim, config.hidden, config.width, moving or dim)
        self._shown = dim
        for part, words in (("verb", config.verbs), ("object", config.objects)):
            self.register_buffer(f"{part}_centre", torch.zeros(text_dim))
            residual = nn.Parameter(torch.zeros(len(words), text_dim))
            self.register_parameter(f"{part}_residual", residual)

    def forward(self, inputs: Tensor, verbs: Tensor, objects: Tensor) -> C2COutput:
        """Scores of every trained verb with every trained object.

        Args:
            inputs: (N, T, K).
            verbs: (V, D) texts of the trained verbs, as the encoder has them.
            objects: (O, D).
        """
        return self.head.compose(
            self.components(inputs), self.moved("verb", verbs), self.moved("object", objects)
        )

    def components(self, inputs: Tensor) -> Components:
        """The four vectors (N, E) of each clip (N, T, K)."""
        if not self.config.ordered:
            inputs = inputs.mean(dim=1, keepdim=True).expand_as(inputs)
        if self.config.verbs_from == "frames":
            return self.head.components(inputs)
        return self.head.components(inputs[..., : self._shown], inputs[..., self._shown :])

    def moved(self, part: str, texts: Tensor, columns: Sequence[int] | None = None) -> Tensor:
        """Texts (n, D) of words as the head reads them.

        Args:
            part: ``verb`` or ``object``.
            texts: Of the trained words in their order, or of any words.
            columns: Which trained word each is, -1 for none; None for the trained words in order.
        """
        apart = nn.functional.normalize(texts - self.get_buffer(f"{part}_centre"), dim=-1)
        residual = self.get_parameter(f"{part}_residual")
        if columns is not None:
            zero = residual.new_zeros(1, residual.shape[1])
            residual = torch.cat([residual, zero])[list(columns)]
        return apart + _TEXT_GAIN * residual
