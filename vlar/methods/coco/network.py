"""The trained parts of CoCo: residual maps of clips, label texts and descriptions.

Letters: N clips, C labels, P descriptions a label, D joint width, K inputs of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import Settings, setting
from vlar.training.tower_network import register_directions

#: Below it a row is rebuilt from one other row, and nothing shared is asked for.
LOWEST_TEMPERATURE = 0.05


@dataclass(frozen=True)
class CocoConfig(Settings):
    """Settings of the descriptions and their alignment.

    Attributes:
        rank: Rank of the residual maps of label texts and of descriptions.
        hidden: Width of the residual map of clips.
        components: Principal directions kept of each block of the frame features.
        names: Share of the label's text in its vector, 0 to 1; the rest is its descriptions. With 0
            the descriptions alone answer, where a label has any.
        pooling: ``mean`` of the descriptions, or ``attention``, which learns what to weigh.
        centre: Subtract the common part of all trained labels' descriptions.
        keep: Share of a label's descriptions that are kept: those nearest to its text.
        most: Descriptions a label at most, so that frequent labels are not sharper.
        drawn: Descriptions a label that a training step reads.
        temperature: Temperature of both alignments.
        instances: Factor on the alignment with single descriptions.
        cycle: Factor on the cycle over seen and unseen labels; it needs ``unseen``.
        cycle_temperature: Temperature of the cycle.
        bank: Where the descriptions are: a bank's name, a file of descriptions, or empty for all
            packaged banks.
        unseen: Labels without examples whose names the training may read.
        labels: The labels it was trained for; a training sets it.
        bank_sha256: Hash of the descriptions it was trained with; a training sets it.
    """

    rank: int = setting(128, at_least=1, at_most=4096)
    hidden: int = setting(64, at_least=1, at_most=4096)
    components: int = setting(32, at_least=1, at_most=4096)
    names: float = setting(0.5, at_least=0, at_most=1)
    pooling: str = setting("mean", choices=("mean", "attention"))
    centre: bool = True
    keep: float = setting(1.0, above=0, at_most=1)
    most: int = setting(64, at_least=1, at_most=10_000)
    drawn: int = setting(8, at_least=1, at_most=1024)
    temperature: float = setting(0.07, above=0, at_most=100)
    instances: float = setting(1.0, at_least=0)
    cycle: float = setting(0.1, at_least=0)
    cycle_temperature: float = setting(0.1, at_least=0.05, at_most=100)
    bank: str = ""
    unseen: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    bank_sha256: str = ""

    what: ClassVar[str] = "CoCo setting"


class LowRankMap(nn.Module):
    """``x + B A x`` with B zero at the start.

    Args:
        width: D.
        rank: Rows of A.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return x + self.up(self.down(x))


class CocoNetwork(nn.Module):
    """Maps clips, label texts and sets of descriptions into one space.

    Args:
        config: The settings.
        dim: D.
        blocks: Blocks of the frame features, whose directions are kept as buffers.
    """

    def __init__(self, config: CocoConfig, dim: int, blocks: list[int]) -> None:
        super().__init__()
        self.config = config
        inputs = dim + len(blocks) * config.components
        self.enter = nn.Linear(inputs, config.hidden)
        self.leave = nn.Linear(config.hidden, dim, bias=False)
        nn.init.zeros_(self.leave.weight)
        self.names = LowRankMap(dim, config.rank)
        self.texts = LowRankMap(dim, config.rank)
        self.key = nn.Linear(dim, config.rank)
        self.query = nn.Linear(config.rank, 1, bias=False)
        nn.init.zeros_(self.query.weight)  # all descriptions alike at the start
        register_directions(self, blocks, config.components)
        self.register_buffer("common", torch.zeros(dim))
        self.register_buffer("concepts", torch.zeros(len(config.labels), dim))

    def clips(self, inputs: Tensor, vectors: Tensor) -> Tensor:
        """(N, D) unit vectors of clips.

        Args:
            inputs: (N, K) small inputs, means over time.
            vectors: (N, D) of the encoder.
        """
        hidden = F.gelu(self.enter(torch.cat([inputs, vectors], dim=-1)))
        return F.normalize(vectors + self.leave(hidden), dim=-1)

    def single(self, texts: Tensor) -> Tensor:
        """(..., D) descriptions, each for itself, to unit vectors."""
        return F.normalize(self.texts(texts), dim=-1)

    def pooled(self, texts: Tensor) -> Tensor:
        """(P, D) descriptions of one label to one vector (D,); order and repetition do not count.

        Repeating the whole list leaves both poolings as they are.
        """
        if self.config.pooling == "attention":
            weights = self.query(self.key(texts).tanh()).softmax(dim=0)
        else:
            weights = texts.new_full((len(texts), 1), 1 / len(texts))
        return (weights * texts).sum(dim=0) - self.get_buffer("common")

    def labels(self, names: Tensor, described: list[Tensor]) -> Tensor:
        """(C, D) unit vectors of labels: their texts and their descriptions.

        Args:
            names: (C, D) of the encoder.
            described: C times (P, D) of the encoder; a label without any goes by its text.
        """
        name_vectors = F.normalize(self.names(names), dim=-1)
        share, rows = self.config.names, list(name_vectors)
        for index, texts in enumerate(described):
            if len(texts):
                text_vectors = F.normalize(self.texts(self.pooled(texts)), dim=-1)
                rows[index] = share * name_vectors[index] + (1 - share) * text_vectors
        return F.normalize(torch.stack(rows), dim=-1) if rows else name_vectors


class Reconstruction(NamedTuple):
    """One group rebuilt from another.

    Attributes:
        weights: (U, S), rows that sum to 1.
        rebuilt: (U, D), the weighted means of the other group's vectors.
    """

    weights: Tensor
    rebuilt: Tensor


def reconstruct(seen: Tensor, unseen: Tensor, temperature: float) -> Reconstruction:
    """Each unseen label as a mean of seen ones: ``softmax(Z_U Z_S^T / temperature) Z_S``.

    Args:
        seen: (S, D) vectors, of unit length where cosines are meant.
        unseen: (U, D).
        temperature: Above 0.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature is {temperature}; use a number above 0")
    weights = (unseen @ seen.T / temperature).softmax(dim=-1)
    return Reconstruction(weights, weights @ seen)


def cycle_consistency(seen: Tensor, unseen: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of finding each label again after the way through the other group.

    The seen labels are rebuilt from the rebuilt unseen ones, and the other way round; a label is
    found where its own vector is the nearest to what came back. All labels alike cannot win here,
    as they would with a mere distance.

    Args:
        seen: (S, D) vectors of unit length.
        unseen: (U, D).
        temperature: From ``LOWEST_TEMPERATURE``.

    Raises:
        ValueError: the temperature is lower.
    """
    if temperature < LOWEST_TEMPERATURE:
        raise ValueError(
            f"the temperature is {temperature}; below {LOWEST_TEMPERATURE} pairs of labels copy "
            "each other"
        )
    ways = [_way(a, b, temperature) for a, b in ((seen, unseen), (unseen, seen))]
    return torch.stack(ways).mean()


def _way(start: Tensor, other: Tensor, temperature: float) -> Tensor:
    rebuilt = reconstruct(start, other, temperature).rebuilt
    back = F.normalize(reconstruct(rebuilt, start, temperature).rebuilt, dim=-1)
    logits = back @ start.detach().T / temperature
    return F.cross_entropy(logits, torch.arange(len(start), device=start.device))
