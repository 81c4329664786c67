"""Methods that compare clips by a trained network; their answer comes from ``head``."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vlar import registry
from vlar.adapters.base import Adapter
from vlar.adapters.settings import Settings, setting
from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.errors import ModelError
from vlar.types import JsonDict

if TYPE_CHECKING:
    from vlar.adapters.relations.network import RelationNetwork

_MOST_WEIGHTS = 1 << 26  # a quarter of a gigabyte


@dataclass(frozen=True)
class RelationConfig(Settings):
    """What all of these methods share.

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
        """A few-shot head with this network (``vlar.fewshot.heads.relation``); ``fit`` it."""
        return registry.get("fewshot", "relation").of(self)
