"""``token-reuse``: a frozen ViT that computes only the patches of a frame that changed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import Self

from vlar.adapters.base import Adapter
from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.adapters.views import require_blocks
from vlar.encoders.base import Encoder
from vlar.encoders.torch_encoder import TorchEncoder, encode_batches
from vlar.registry import register
from vlar.types import Clip, Encoded, JsonDict

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TokenReuseConfig(Settings):
    """Settings of token reuse.

    Attributes:
        keep: Share of the patches that are computed in every frame, above 0 to 1.
        threshold: A patch whose token turned by no more than this, ``1 - cos``, keeps its output;
            0 to 2.
        layer: Layers that are computed for all patches; None is a third of them.
        every: G: every G-th frame is computed whole, which bounds what old outputs do.
    """

    keep: float = setting(1.0, above=0, at_most=1)
    threshold: float = setting(0.0, at_least=0, at_most=2)
    layer: int | None = setting(None, at_least=0)
    every: int = setting(8, at_least=1, at_most=1024)
    what: ClassVar[str] = "token-reuse setting"


@register("adapter", "token-reuse", status="null here")
class TokenReuse(Adapter):
    """A frozen ViT whose later layers compute the patches that changed most, and keep the others.

    It has no parameters, and nothing is trained. With ``keep = 1`` and ``threshold = 0`` it is the
    tower itself, bit for bit; on a clip that stands still it is the tower within 1e-6, whatever is
    kept. Texts are the encoder's own.

    Reference: Meng et al., "AdaFuse: adaptive temporal fusion network for efficient action
    recognition", ICLR 2021.
    Example: ``vlar adapt support/ --model clip --out mine --method token-reuse --set keep=0.25``.

    Attributes:
        config: The settings.
    """

    method, config_type = "token-reuse", TokenReuseConfig
    needs: ClassVar[tuple[str, ...]] = ("vit_blocks",)
    learner: ClassVar[str] = "attached"
    encoder: TorchEncoder
    config: TokenReuseConfig

    def __init__(self, encoder: TorchEncoder, config: TokenReuseConfig) -> None:
        from torch import nn

        super().__init__(encoder, config)
        self.encoder, self.network = encoder, nn.Module()
        self._vision = encoder.towers.vision_view()
        self._layer: int = config.layer or 0
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Self:
        tower = require_blocks(encoder, cls.method)
        return cls(tower, cls.resolved(cls.read_config(settings or {}), tower))

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> TokenReuseConfig:
        """The settings with the layer.

        Raises:
            ModelError: the encoder shows no blocks, or has fewer layers.
        """
        depth = len(require_blocks(encoder, cls.method).towers.vision_view().blocks)
        layer = depth // 3 if config.layer is None else config.layer
        if layer >= depth:
            least = f"a number below {depth}, the layers of encoder {encoder.name!r}"
            raise bad_setting(config.what, "layer", layer, least)
        return dataclasses.replace(config, layer=layer)

    @property
    def kept(self) -> int:
        """K, patches that are computed in a frame."""
        return math.ceil(self.config.keep * self._vision.n_patches)

    def refresh(self) -> None:
        self.fingerprint = self.content_hash(self.encoder, self.settings)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return encode_batches(self.encoder.pixel_batches(clips), self._frames, self.pool, self.name)

    def _frames(self, pixels: Tensor) -> tuple[Tensor, None]:
        """(n, T, 3, height, width) to (n, T, D), not normalised."""
        from vlar.methods.token_reuse.reuse import reused_features

        if self.config.threshold == 0 and self.kept == self._vision.n_patches:
            return self.encoder.towers.image(pixels.flatten(0, 1)).unflatten(
                0, pixels.shape[:2]
            ), None
        features = reused_features(
            self._vision,
            pixels,
            self._layer,
            self.kept,
            self.config.every,
            threshold=self.config.threshold,
        )
        return features, None

    def cost(self, shape: Sequence[int]) -> int:
        """Multiply-adds of one clip: those of the tower, less the share that reuse saves.

        With a threshold they are the most that a clip can cost.
        """
        from vlar.methods.token_reuse.reuse import reuse_cost

        whole = -(-shape[0] // self.config.every)
        depth, patches = len(self._vision.blocks), self._vision.n_patches
        some = reuse_cost(self._layer, depth, self.kept, patches)
        return round(self.encoder.cost(shape) * (whole + (shape[0] - whole) * some) / shape[0])
