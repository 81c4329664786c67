"""The ``refer`` adapter: any encoder, with a network that points at the person of a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from vlar.adapters.base import Adapter
from vlar.encoders.base import Encoder
from vlar.encoders.sentence_tower import sentence_vectors
from vlar.encoders.session import Session
from vlar.language.referring import COLOURS
from vlar.methods.refer.network import PLACE_WIDTH, ReferConfig, ReferNetwork
from vlar.people.people import People
from vlar.registry import register
from vlar.types import Float32, Float64

TEXT_WIDTH = 384  # of ``sentence_vectors``


def describe(people: People, cuts: Float32, colours: Sequence[Float32]) -> Float32:
    """(K, D + 8 + 11) of K people.

    Args:
        people: Who was found.
        cuts: (K, D) vectors of their cuts.
        colours: (11,) shares of each one's clothes.
    """
    height, width = people.size
    count = len(people.tracks)
    rows = np.zeros((count, PLACE_WIDTH), np.float32)
    for index, track in enumerate(people.tracks):
        x1, y1, x2, y2 = np.median(track.boxes[:, 1:], axis=0) / (width, height, width, height)
        rank = index / max(count - 1, 1)
        rows[index] = x1, y1, x2, y2, x2 - x1, y2 - y1, rank, 1 - abs(2 * rank - 1)
    return np.concatenate([cuts, rows, np.stack(list(colours))], axis=1).astype(np.float32)


def padded(rows: Sequence[Float32], most: int) -> tuple[Float32, np.ndarray]:
    """N arrays (K, F) as one (N, most, F), and (N, most) whether a person is there.

    People beyond ``most``, from the left, are left out.
    """
    width = rows[0].shape[1]
    stacked = np.zeros((len(rows), most, width), np.float32)
    mask = np.zeros((len(rows), most), bool)
    for index, row in enumerate(rows):
        cut_row = row[:most]
        stacked[index, : len(cut_row)], mask[index, : len(cut_row)] = cut_row, True
    return stacked, mask


@register("adapter", "refer", status="in the spirit")
class Refer(Adapter):
    """RefAtomNet's agent attention over text, people and picture, which points at one of them.

    Vectors of clips and texts are the encoder's own. ``who`` of ``Model.classify`` asks the network
    which person a phrase means, next to what is measured (``vlar.people.subject_selection``);
    until it is trained it adds nothing.

    Reference: Peng et al., "Referring atomic video action recognition", ECCV 2024.
    Example: ``vlar adapt people.csv --out referring --method refer``.

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
        """Score of the network for each of K people, to be added to the measured one.

        Args:
            people: The people found, from the left.
            cuts: (K, D) vectors of their cuts.
            whole: (D,) vector of the whole picture.
            phrase: The reference.

        Returns:
            (K,) float64; people beyond the ``people`` of the settings get the least of the others.
        """
        rows, mask = padded([describe(people, cuts, people.colours())], self.config.people)
        with torch.inference_mode():
            logits = (
                self.network(
                    torch.from_numpy(rows),
                    torch.from_numpy(whole[None]),
                    torch.from_numpy(sentence_vectors([phrase])),
                    torch.from_numpy(mask),
                )[0]
                .double()
                .numpy()
            )
        person_logits = logits[: len(people.tracks)]
        return np.concatenate(
            [person_logits, np.full(len(people.tracks) - len(person_logits), person_logits.min())]
        )

    def session(self, *, features: bool = True) -> Session:
        """Start a session of the encoder."""
        return self.encoder.session(features=features)
