"""The ``refer`` adapter: any encoder, with a network that points at the person of a sentence."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vlar.adapters.base import Adapter
from vlar.adapters.refer.config import ReferConfig
from vlar.adapters.refer.inputs import describe, padded
from vlar.adapters.settings import read_settings
from vlar.adapters.views import require
from vlar.detecting.people import People
from vlar.encoders.base import Encoder
from vlar.encoders.sentences import sentence_vectors
from vlar.encoders.session import Session
from vlar.registry import register
from vlar.text.referring import COLOURS
from vlar.types import Float32, Float64, JsonDict

if TYPE_CHECKING:
    from torch import nn

    from vlar.adapters.refer.network import ReferNetwork

TEXT_WIDTH = 384  # of ``sentence_vectors``


@register("adapter", "refer")
class Refer(Adapter):
    """RefAtomNet's agent attention over text, people and picture, which points at one of them.

    Vectors of clips and texts are the encoder's own. ``who`` of ``Model.classify`` asks the network
    which person a phrase means, next to what is measured (``vlar.detecting.choose``); until it is
    trained it adds nothing.

    Attributes:
        network: The three streams and the pointer.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("pool", "fixed_text")
    learner: ClassVar[str] = "pointing"
    network: ReferNetwork
    config: ReferConfig

    def __init__(self, encoder: Encoder, config: ReferConfig) -> None:
        """Use ``attach``."""
        import torch

        from vlar.adapters.refer.network import ReferNetwork

        self._wrap(encoder, "refer")
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = ReferNetwork(encoder.dim, TEXT_WIDTH, len(COLOURS), config)
        self.network.eval().requires_grad_(False)
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Refer:
        """The adapter at its start, which changes nothing.

        Raises:
            ModelError: the encoder's text depends on the video, or a setting is out of range.
            UnknownNameError: a setting does not exist.
        """
        require(encoder, cls.needs, "refer")
        return cls(encoder, read_settings(ReferConfig, settings or {}, ReferConfig.what))

    @classmethod
    def check_settings(cls, settings: JsonDict) -> None:
        """See ``Adapter``."""
        read_settings(ReferConfig, settings, ReferConfig.what)

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return asdict(self.config)

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.network

    def refresh(self) -> None:
        """Compute the fingerprint from the parameters."""
        self.fingerprint = self.content_hash(self.encoder, ["refer", self.settings])

    def point(self, people: People, cuts: Float32, whole: Float32, phrase: str) -> Float64:
        """How much the network means each of K people, to be added to what is measured.

        Args:
            people: Who was found, from the left.
            cuts: (K, D) vectors of their cuts.
            whole: (D,) vector of the whole picture.
            phrase: The reference.

        Returns:
            (K,) float64; people beyond the ``people`` of the settings get the least of the others.
        """
        import torch

        rows, there = padded([describe(people, cuts, people.colours())], self.config.people)
        with torch.inference_mode():
            logits = (
                self.network(
                    torch.from_numpy(rows),
                    torch.from_numpy(whole[None]),
                    torch.from_numpy(sentence_vectors([phrase])),
                    torch.from_numpy(there),
                )[0]
                .double()
                .numpy()
            )
        found = logits[: len(people.tracks)]
        return np.concatenate([found, np.full(len(people.tracks) - len(found), found.min())])

    def session(self, *, features: bool = True) -> Session:
        """As the encoder."""
        return self.encoder.session(features=features)
