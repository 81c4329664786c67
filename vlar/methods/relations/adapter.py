"""Methods that compare clips by a trained network; their answer comes from ``head``."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vlar import registry
from vlar.adapters.base import Adapter
from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.errors import ModelError
from vlar.registry import register
from vlar.types import JsonDict

if TYPE_CHECKING:
    from vlar.methods.relations.network import (
        GghmNetwork,
        HyrsmNetwork,
        RelationNetwork,
        TrxNetwork,
    )

_MOST_WEIGHTS = 1 << 26  # a quarter of a gigabyte


@dataclass(frozen=True)
class RelationConfig(Settings):
    """Settings that all of these methods share.

    Attributes:
        width: Width of the network.
        n_frames: Frames of a clip that are compared.
    """

    width: int = setting(64, at_least=4, at_most=1152)
    n_frames: int = setting(8, at_least=2, at_most=16)
    what: ClassVar[str] = "relation setting"


class RelationAdapter(Adapter):
    """An encoder with a network that compares its clips. Vectors and texts stay the encoder's.

    A subclass names its ``config_type`` and builds its network. ``vlar adapt`` trains it by
    episodes of the support set.

    Attributes:
        network: Compares clips.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames",)
    learner: ClassVar[str] = "episodic"
    changes: ClassVar[frozenset[str]] = frozenset({"descriptions"})
    network: RelationNetwork
    config: Any

    def __init__(self, encoder: Encoder, config: RelationConfig, seed: int = 0) -> None:
        """Use ``attach``."""
        import torch

        super().__init__(encoder, config)
        widths = [block.width for block in encoder.frame_blocks if block.kind == "appearance"]
        if not widths:
            raise ModelError(
                f"method {self.method!r} compares the appearance of frames, and encoder "
                f"{encoder.name!r} has none; use for example lite"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = self.build(sum(widths), config)
        self.network.eval().requires_grad_(False)
        self.refresh()

    @classmethod
    def attach(
        cls, encoder: Encoder, settings: JsonDict | None = None, *, seed: int = 0
    ) -> RelationAdapter:
        """The adapter at its start, which depends on the seed; clips and texts are the encoder's.

        Raises:
            ModelError: the encoder has no features of frames.
            UnknownNameError: a setting does not exist.
        """
        require(encoder, cls.needs, cls.method)
        return cls(encoder, cls.read_config(settings or {}), seed)

    @classmethod
    @abstractmethod
    def build(cls, n_features: int, config: Any) -> RelationNetwork:
        """The network at its start.

        Args:
            n_features: F, features of a frame.
            config: The settings.
        """

    @classmethod
    def checked_network(cls, n_features: int, settings: JsonDict) -> RelationNetwork:
        """The network of saved settings, of a size that a model may have.

        Raises:
            ModelError: a setting is out of range, or the network would be too large.
        """
        import torch

        config = cls.read_config(settings)
        with torch.device("meta"):
            count = sum(p.numel() for p in cls.build(n_features, config).parameters())
        if count > _MOST_WEIGHTS:
            raise ModelError(
                f"{cls.config_type.what}: {count:,} parameters for {n_features:,} features; at "
                f"most {_MOST_WEIGHTS:,} are built"
            )
        return cls.build(n_features, config).eval().requires_grad_(False)

    def refresh(self) -> None:
        """Compute the fingerprint from the parameters."""
        self.fingerprint = self.content_hash(self.encoder, [self.name, self.settings])

    def head(self) -> Any:
        """A few-shot head with this network (``vlar.methods.relations.head``); ``fit`` it."""
        return registry.get("fewshot", "relation").of(self)


@dataclass(frozen=True)
class GghmConfig(RelationConfig):
    """Settings of GgHM.

    Attributes:
        layers: Layers of the graph.
        edges: Factor on the loss of the edges.
    """

    layers: int = setting(2, at_least=1, at_most=8)
    edges: float = setting(0.1, at_least=0)
    what: ClassVar[str] = "GgHM setting"


@register("adapter", "gghm", status="null here")
class Gghm(RelationAdapter):
    """Graph-guided prototypes and matching of frames and pairs of frames, trained by episodes.

    Xing et al., "Boosting few-shot action recognition with graph-guided hybrid matching", 2023.
    What its text leaves open is described in ``vlar/methods/relations/network.py``.

    Reference: Xing et al., "Boosting few-shot action recognition with graph-guided hybrid
    matching", ICCV 2023.
    Example: ``vlar adapt support/ --out mine --method gghm``.
    """

    config_type = GghmConfig
    method = "gghm"

    @classmethod
    def build(cls, n_features: int, config: GghmConfig) -> GghmNetwork:
        from vlar.methods.relations.network import GghmNetwork

        return GghmNetwork(n_features, config.width, config.n_frames, config.layers, config.edges)


@dataclass(frozen=True)
class HyrsmConfig(RelationConfig):
    """Settings of HyRSM and, with ``coherence``, of HyRSM++.

    Attributes:
        heads: Heads of both attentions.
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
            advice = f"a divisor of width ({self.width})"
            raise bad_setting(self.what, "heads", self.heads, advice)


@register("adapter", "hyrsm", status="null here")
class HyrsmAdapter(RelationAdapter):
    """Hybrid relation module and bidirectional mean Hausdorff metric, trained by episodes.

    Wang et al., "Hybrid relation guided set matching for few-shot action recognition", 2022; the
    coherence is that of HyRSM++, 2023.

    Reference: Wang et al., "Hybrid relation guided set matching for few-shot action recognition",
    CVPR 2022.
    Example: ``vlar adapt support/ --out mine --method hyrsm``.
    """

    config_type = HyrsmConfig
    method = "hyrsm"

    @classmethod
    def build(cls, n_features: int, config: HyrsmConfig) -> HyrsmNetwork:
        from vlar.methods.relations.network import HyrsmNetwork

        return HyrsmNetwork(n_features, config.width, config.heads, config.frames, config.coherence)


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
            advice = f"different numbers from 1 to {min(4, self.n_frames)}"
            raise bad_setting(self.what, "cardinalities", list(self.cardinalities), advice)


@register("adapter", "trx", status="null here")
class TrxAdapter(RelationAdapter):
    """Temporal-relational cross-attention between tuples of frames, trained by episodes.

    Perrett et al., "Temporal-relational CrossTransformers for few-shot action recognition", 2021.

    Reference: Perrett et al., "Temporal-relational CrossTransformers for few-shot action
    recognition", CVPR 2021.
    Example: ``vlar adapt support/ --out mine --method trx``.
    """

    config_type = TrxConfig
    method = "trx"

    @classmethod
    def build(cls, n_features: int, config: TrxConfig) -> TrxNetwork:
        from vlar.methods.relations.network import TrxNetwork

        return TrxNetwork(n_features, config.width, config.cardinalities, config.dropout)
