"""A copy of an encoder's own network, which is trained by pixels in the encoder's place.

Letters: N clips, T frames, K numbers of a frame, F features of a clip, D width of the shared space.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from typing_extensions import Self

from vlar.adapters.settings import bad_setting
from vlar.encoders.torch_encoder import WordlessEncoder
from vlar.methods.video_net.network import VideoNetConfig, VideoNetwork
from vlar.training.tower_network import small_step, zero_linear


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The parts of a network with weights, first to last; a list of blocks counts by its blocks."""
    blocks: list[nn.Module] = []
    for child in model.children():
        listed = type(child) in (nn.Sequential, nn.ModuleList)
        inside = any(type(inner) is nn.ModuleList for inner in child.children())
        blocks += child.children() if listed else blocks_of(child) if inside else [child]
    return [block for block in blocks if any(True for _ in block.parameters())]


class OwnNetwork(VideoNetwork):
    """Pixels of clips to the features of a copy of a network, and what is added to its vectors."""

    def __init__(self, config: VideoNetConfig, encoder: WordlessEncoder) -> None:
        nn.Module.__init__(self)
        blocks, size, width = blocks_of(encoder.towers.model), encoder.preprocess, encoder.frame_dim
        if config.frozen > len(blocks):
            raise bad_setting(config.what, "frozen", config.frozen, f"up to {len(blocks)} blocks")
        assert size is not None
        self.config, self.frozen = config, blocks[: config.frozen]
        self.model, self._image = encoder.towers.model, encoder.towers.image
        self._shape, self._rest = (3, size.height, size.width), encoder.dim - width
        self.even = nn.BatchNorm1d(width, affine=False)
        self.leave = zero_linear(width, encoder.dim)
        self.register_labels(len(config.labels), encoder.dim)
        self.to(encoder.towers.device)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; statistics of frozen blocks stay."""
        super().train(mode)
        for block in self.frozen:
            block.eval()
        return self

    def features(self, inputs: Tensor, spent: Any = None) -> Tensor:
        """(N, T, K) to (N, F)."""
        return self._image(inputs.unflatten(2, self._shape)).mean(dim=1)

    def begun(self, features: Tensor, pooled: Tensor) -> Tensor:
        """(N, D): the features as the encoder pools them."""
        return F.pad(F.normalize(features, dim=-1), (0, self._rest))

    def answers(self, features: Tensor) -> list[Tensor]:
        """(N, F) to (N, D)."""
        return [small_step(self.leave(self.even(features)), self.leave.in_features)]
