"""The network of the fusion: tokens of every part, a block that fuses them, and a residual.

Letters: N clips, M parts, T rows, K inputs of a row, W width, D width of the shared space.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlar.methods.fusion.deformable import Deformable
from vlar.methods.fusion.devices import Devices
from vlar.methods.fusion.intervals import Intervals, end_to_end
from vlar.methods.fusion.losses import cross_prototypes, info_nce
from vlar.methods.fusion.mixer import DeviceMixer
from vlar.methods.fusion.rebuild import Rebuild
from vlar.methods.fusion.tokens import (
    BLOCKS,
    FusionBlock,
    FusionConfig,
    InputsOfPart,
    PartTokens,
    Seen,
    TokenAttention,
)
from vlar.training.tower_network import ResidualNetwork, small_step, zero_linear

_KINDS = TokenAttention, Rebuild, DeviceMixer, Deformable, Devices, Intervals


class FusionNetwork(ResidualNetwork):
    """Inputs (N, T, K + M) to what is added to N vectors, zero at the start.

    The last M inputs of a row are the presence of the parts. A part that is missing is masked, so
    what its inputs hold changes nothing.

    Args:
        config: The settings.
        parts: The inputs of each part.
        dim: D.
        sizes: Entries of each block that is read, and how many numbers they become.
    """

    def __init__(
        self,
        config: FusionConfig,
        parts: Sequence[InputsOfPart],
        dim: int,
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.config, self.parts = config, tuple(parts)
        for number, (size, count) in enumerate(sizes):
            self.register_buffer(f"mean{number}", torch.zeros(size))
            self.register_buffer(f"axes{number}", torch.zeros(size, count))
        self.block: FusionBlock = _KINDS[BLOCKS.index(config.block)](config, parts)
        self.tokens = nn.ModuleList(
            PartTokens(part.width, config, self.block.timed) for part in parts
        )
        self.norm = nn.LayerNorm(config.width)
        self.leave = zero_linear(config.width, dim)
        self.register_labels(len(config.labels), dim)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K + M) to (N, D)."""
        return self.moved(self.fused(inputs, self.there(inputs))[0])

    def moved(self, fused: Tensor) -> Tensor:
        """Fused vectors (N, W) to residuals (N, D)."""
        return small_step(self.leave(fused), self.leave.in_features)

    def there(self, inputs: Tensor) -> Tensor:
        """(N, M) bool, the parts that were recorded."""
        return inputs[:, 0, -len(self.parts) :] > 0.5

    def seen(self, inputs: Tensor, kept: Tensor) -> Seen:
        """The tokens of all parts; those of a part that is missing are the same for every clip."""
        presence = self.there(inputs)
        # A clip without any part still has an answer: that of zeros.
        kept = kept | ~kept.any(dim=1, keepdim=True)
        inputs_of_parts = [
            torch.where(presence[:, number, None, None], inputs[..., part.columns], 0.0)
            for number, part in enumerate(self.parts)
        ]
        rows = [tokens(part) for tokens, part in zip(self.tokens, inputs_of_parts, strict=True)]
        return Seen(torch.stack(rows, dim=1), presence, kept, inputs_of_parts)

    def fused(self, inputs: Tensor, kept: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Fused vectors (N, W) of the kept parts (N, M), and the losses of the block."""
        fused_rows = self.block(self.seen(inputs, kept))
        return self.norm(fused_rows.vectors), fused_rows.losses

    def between_sensors(self, inputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Contrast of each pair of sensors, and prototypes of one for queries of another.

        Args:
            inputs: (N, T, K + M).
            y: (N,) int64 label of each clip, -1 without one.
        """
        presence, config = self.there(inputs), self.config
        alone = torch.eye(len(self.parts), dtype=torch.bool, device=inputs.device)
        masks = presence[None] & alone[:, None]
        many = inputs.repeat(len(self.parts), 1, 1)
        rows = self.fused(many, masks.flatten(0, 1))[0].unflatten(0, masks.shape[:2])
        count, losses = len(self.parts), dict[str, list[Tensor]](contrast=[], prototypes=[])
        for a in range(count):
            for b in range(count):
                both = presence[:, a] & presence[:, b]
                if a < b and config.contrast and int(both.sum()) > 1:
                    losses["contrast"].append(
                        config.contrast * info_nce(rows[a][both], rows[b][both], config.temperature)
                    )
                if config.prototypes:
                    losses["prototypes"] += [
                        config.prototypes * loss
                        for loss in self._named(rows[a], rows[b], presence[:, a], presence[:, b], y)
                    ]
        return {name: torch.stack(loss).mean() for name, loss in losses.items() if loss}

    def _named(self, a: Tensor, b: Tensor, has_a: Tensor, has_b: Tensor, y: Tensor) -> list[Tensor]:
        """One example of each label by sensor ``a``, and its other clips by ``b``."""
        support, queries, named = [], [], []
        for label in y[y >= 0].unique().tolist():
            first = torch.nonzero((y == label) & has_a)[:1, 0]
            others = torch.nonzero((y == label) & has_b)[:, 0]
            others = others[others != first] if len(first) else others[:0]
            if len(others):
                named += [len(support)] * len(others)
                support.append(first)
                queries.append(others)
        if len(support) < 2:
            return []
        scale = self.config.temperature**-0.5
        a, b = (scale * nn.functional.normalize(has, dim=1) for has in (a, b))
        columns = torch.tensor(named, device=y.device)
        return [cross_prototypes(a[torch.stack(support)], b[torch.cat(queries)], columns)]

    def asked(self, inputs: Tensor, intervals: Tensor) -> Tensor:
        """Answers (Q, W) about intervals (Q, 2) of S successive windows (S, T, K + M)."""
        block = self.block
        assert isinstance(block, Intervals)
        seen_parts = self.seen(inputs, self.there(inputs))
        rows, masks = end_to_end(seen_parts.rows, seen_parts.kept, len(inputs))
        return self.norm(block.answers(rows, masks, intervals)[0])
