"""``gghm``: a graph over the clips of a task guides frames that are matched in a hybrid way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vlar.adapters.relations.adapter import RelationAdapter, RelationConfig
from vlar.adapters.settings import setting
from vlar.registry import register

if TYPE_CHECKING:
    from vlar.adapters.relations.network import GghmNetwork


@dataclass(frozen=True)
class GghmConfig(RelationConfig):
    """Settings of GgHM.

    Attributes:
        layers: Of the graph.
        edges: Factor on the loss of the edges.
    """

    layers: int = setting(2, at_least=1, at_most=8)
    edges: float = setting(0.1, at_least=0)
    what: ClassVar[str] = "GgHM setting"


@register("adapter", "gghm")
class Gghm(RelationAdapter):
    """Graph-guided prototypes and matching of frames and pairs of frames, trained by episodes.

    Xing et al., "Boosting few-shot action recognition with graph-guided hybrid matching", 2023.
    What its text leaves open is described in ``vlar/adapters/relations/network.py``.
    """

    config_type = GghmConfig
    method = "gghm"

    @classmethod
    def build(cls, n_features: int, config: GghmConfig) -> GghmNetwork:
        """See ``RelationAdapter``."""
        from vlar.adapters.relations.network import GghmNetwork

        return GghmNetwork(n_features, config.width, config.n_frames, config.layers, config.edges)
