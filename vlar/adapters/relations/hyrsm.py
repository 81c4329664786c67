"""``hyrsm``: relations within a clip and among the clips of a task, then a set distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vlar.adapters.relations.adapter import RelationAdapter, RelationConfig
from vlar.adapters.settings import bad_setting, setting
from vlar.registry import register

if TYPE_CHECKING:
    from vlar.adapters.relations.network import HyrsmNetwork


@dataclass(frozen=True)
class HyrsmConfig(RelationConfig):
    """Settings of HyRSM and, with ``coherence``, of HyRSM++.

    Attributes:
        heads: Of both attentions.
        frames: Factor on the classification of single frames in training.
        coherence: Factor on the temporal coherence of HyRSM++; 0 leaves HyRSM.
    """

    heads: int = setting(8, at_least=1, at_most=64)
    frames: float = setting(0.4, at_least=0)
    coherence: float = setting(0.0, at_least=0)
    what: ClassVar[str] = "HyRSM setting"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            wanted = f"a divisor of width ({self.width})"
            raise bad_setting(self.what, "heads", self.heads, wanted)


@register("adapter", "hyrsm")
class Hyrsm(RelationAdapter):
    """Hybrid relation module and bidirectional mean Hausdorff metric, trained by episodes.

    Wang et al., "Hybrid relation guided set matching for few-shot action recognition", 2022; the
    coherence is that of HyRSM++, 2023.
    """

    config_type = HyrsmConfig
    method = "hyrsm"

    @classmethod
    def build(cls, n_features: int, config: HyrsmConfig) -> HyrsmNetwork:
        """See ``RelationAdapter``."""
        from vlar.adapters.relations.network import HyrsmNetwork

        return HyrsmNetwork(n_features, config.width, config.heads, config.frames, config.coherence)
