"""The ``refer`` adapter: any encoder, with a network that points at the person of a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vlar.adapters.base import Adapter
from vlar.adapters.refer.config import ReferConfig
from vlar.adapters.refer.inputs import describe, padded
from vlar.detecting.people import People
from vlar.encoders.base import Encoder
from vlar.encoders.sentences import sentence_vectors
from vlar.encoders.session import Session
from vlar.registry import register
from vlar.text.referring import COLOURS
from vlar.types import Float32, Float64

if TYPE_CHECKING:
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
    method, config_type = "refer", ReferConfig
    learner: ClassVar[str] = "pointing"
    network: ReferNetwork
    config: ReferConfig

    def __init__(self, encoder: Encoder, config: ReferConfig) -> None:
        """Use ``attach``."""
        import torch

        from vlar.adapters.refer.network import ReferNetwork

        super().__init__(encoder, config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = ReferNetwork(encoder.dim, TEXT_WIDTH, len(COLOURS), config)
        self.network.eval().requires_grad_(False)
        self.refresh()

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
