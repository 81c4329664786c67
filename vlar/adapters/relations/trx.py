"""``trx``: ordered tuples of frames of a query look for those of each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vlar.adapters.relations.adapter import RelationAdapter, RelationConfig
from vlar.adapters.settings import bad_setting, setting
from vlar.registry import register

if TYPE_CHECKING:
    from vlar.adapters.relations.network import TrxNetwork


@dataclass(frozen=True)
class TrxConfig(RelationConfig):
    """Settings of TRX.

    Attributes:
        cardinalities: Frames of a tuple.
        dropout: On the frames in training, 0 to below 1.
    """

    cardinalities: tuple[int, ...] = (2, 3)
    dropout: float = setting(0.1, at_least=0, below=1)
    what: ClassVar[str] = "TRX setting"

    def __post_init__(self) -> None:
        super().__post_init__()
        fit = all(1 <= size <= min(4, self.n_frames) for size in self.cardinalities)
        if (
            not fit
            or not self.cardinalities
            or len(set(self.cardinalities)) < len(self.cardinalities)
        ):
            wanted = f"different numbers from 1 to {min(4, self.n_frames)}"
            raise bad_setting(self.what, "cardinalities", list(self.cardinalities), wanted)


@register("adapter", "trx")
class Trx(RelationAdapter):
    """Temporal-relational cross-attention between tuples of frames, trained by episodes.

    Perrett et al., "Temporal-relational CrossTransformers for few-shot action recognition", 2021.
    """

    config_type = TrxConfig
    method = "trx"

    @classmethod
    def build(cls, n_features: int, config: TrxConfig) -> TrxNetwork:
        """See ``RelationAdapter``."""
        from vlar.adapters.relations.network import TrxNetwork

        return TrxNetwork(n_features, config.width, config.cardinalities, config.dropout)
