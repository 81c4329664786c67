"""Tokens that are made of texts: semantic units that a clip shows, or everyday actions like it.

Letters: N clips, T frames, R vectors of a frame, U texts, k tokens, D width of the shared space, W
width of the transformer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch import Tensor, nn

from vlar.encoders.base import Encoder, cached_vectors
from vlar.language.bank import load_bank
from vlar.language.clean import clean_label
from vlar.language.descriptions import descriptions_of
from vlar.methods.clauses import verb_of
from vlar.methods.semantic_units import BODY_PARTS, Unit, extract_units
from vlar.numeric import unit
from vlar.types import Float32

UNITS, ACTIONS = "units", "actions"
_BANK = "everyday_actions"
_SAME = 0.9  # cosine from which two units mean the same
#: The units of labels that no bank describes.
BODY = [Unit("body", part) for part in BODY_PARTS]


def label_units(labels: Sequence[str], encoder: Encoder) -> tuple[str, ...]:
    """Units that the banks' descriptions of some labels name; body parts where there are none.

    Args:
        labels: C labels.
        encoder: Leaves out units that mean the same to it as an earlier one.
    """
    described = descriptions_of([clean_label(label) for label in labels])
    units = extract_units(described, verb_of) or BODY
    vectors = unit_vectors(encoder, units)
    chosen: list[int] = []
    for row in range(len(units)):
        if not chosen or float((vectors[chosen] @ vectors[row]).max()) <= _SAME:
            chosen.append(row)
    return tuple(str(units[row]) for row in chosen)


def unit_vectors(encoder: Encoder, units: Sequence[Unit]) -> Float32:
    """(U, D) float32 of unit length: the mean of each unit's word and sentence."""
    texts = [text for one in units for text in one.texts]
    return unit(encoder.encode_text(texts).reshape(len(units), -1, encoder.dim).mean(axis=1))


def action_vectors(encoder: Encoder) -> Float32:
    """(U, D) of everyday actions, computed once for an encoder."""
    texts = list(load_bank(_BANK).texts)
    key, reference = json.dumps(["plar", _BANK, texts]), encoder.reference
    shape = len(texts), encoder.dim
    return cached_vectors(reference, key, shape, lambda: reference.encode_text(texts))


class TextTokens(nn.Module):
    """Vectors of a clip to tokens of the texts that fit it.

    Args:
        bank: (U, D) unit vectors of the texts; not saved.
        width: W.
        selected: k, the texts that become tokens, each times its share; 0 for one token, the mean
            of all by their shares.
        scale: On cosines, where all count; else the inverse temperature of standardised cosines.
    """

    bank: Tensor

    def __init__(self, bank: Tensor, width: int, selected: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("bank", bank, persistent=False)
        self.selected, self.scale = min(selected, len(bank)), scale
        self.words = nn.Linear(bank.shape[1], width)

    def shares(self, vectors: Tensor) -> Tensor:
        """(N, T, R, D) unit vectors to the share (N, U) of each text; rows sum to 1.

        Units are chosen by cosines from their mean and over their deviation, since those of one
        encoder differ little; a frame chooses by all of its parts.
        """
        if not self.selected:
            return (self.scale * vectors[:, 0, 0] @ self.bank.T).softmax(dim=-1)
        alike = vectors @ (self.bank - self.bank.mean(dim=0)).T
        alike = alike - alike.mean(dim=-1, keepdim=True)
        alike = alike / alike.std(dim=-1, keepdim=True, correction=0).clamp_min(1e-6)
        return (self.scale * alike).logsumexp(dim=2).softmax(dim=-1).mean(dim=1)

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, T, R, D) unit vectors to tokens (N, k, W)."""
        shares = self.shares(vectors)
        if not self.selected:
            return self.words(shares @ self.bank)[:, None]
        best, chosen = shares.topk(self.selected, dim=-1)
        return self.words(self.bank[chosen]) * (best * len(self.bank))[..., None]
