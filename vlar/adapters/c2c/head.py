"""The head of C2C: verbs, objects, and each given the other.

Letters: B clips, T frames, d features of a frame, V verbs, O objects, E width of a component's
vector.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.losses.components import C2COutput

__all__ = ["C2CHead", "C2COutput", "Components"]


class Components(NamedTuple):
    """What the scores of a clip are made of; each (B, E), not normalised.

    Attributes:
        verb: Compared with verbs.
        object: Compared with objects.
        verb_given: Joined with an object, then compared with verbs.
        object_given: Joined with a verb, then compared with objects.
    """

    verb: Tensor
    object: Tensor
    verb_given: Tensor
    object_given: Tensor


class C2CHead(nn.Module):
    """Frame features and texts to scores of verbs, objects and pairs.

    Source: Li et al., "C2C", 2024. Verbs are read from the frames in order (convolutions over
    time), objects from the mean frame.

    Args:
        dim: d.
        text_dim: Width of the texts' vectors.
        hidden: Width of the hidden layers.
        width: E.
        time_dim: Entries of a frame that verbs are read from; None for d.
    """

    def __init__(
        self, dim: int, text_dim: int, hidden: int, width: int, time_dim: int | None = None
    ) -> None:
        super().__init__()
        self.A_v, self.A_o = nn.Linear(text_dim, width), nn.Linear(text_dim, width)
        self.G_v, self.G_o = nn.Linear(2 * width, width), nn.Linear(2 * width, width)
        self.mlp1, self.mlp2 = (_mean_branch(dim, hidden, width) for _ in range(2))
        self.tcn1, self.tcn2 = (TimeBranch(time_dim or dim, hidden, width) for _ in range(2))

    def forward(self, frames: Tensor, verb_text: Tensor, object_text: Tensor) -> C2COutput:
        """Scores of every verb with every object.

        Args:
            frames: (B, T, d).
            verb_text: (V, text_dim).
            object_text: (O, text_dim).
        """
        return self.compose(self.components(frames), verb_text, object_text)

    def components(self, frames: Tensor, moving: Tensor | None = None) -> Components:
        """The four vectors of each clip (B, T, d); verbs go by ``moving`` (B, T, time_dim)."""
        mean, time = frames.mean(dim=1), frames if moving is None else moving
        return Components(self.tcn1(time), self.mlp1(mean), self.tcn2(time), self.mlp2(mean))

    def compose(self, clips: Components, verb_text: Tensor, object_text: Tensor) -> C2COutput:
        """Scores from the vectors of B clips; texts as in ``forward``."""
        verbs, objects = self.A_v(verb_text), self.A_o(object_text)
        of_verb, of_object = _fit(clips.verb, verbs), _fit(clips.object, objects)
        knowing_object = _joined(self.G_v, clips.verb_given, objects)  # (B, O, E)
        knowing_verb = _joined(self.G_o, clips.object_given, verbs)  # (B, V, E)
        verb_given_object = _fit(knowing_object, verbs).transpose(1, 2)
        object_given_verb = _fit(knowing_verb, objects)
        return C2COutput(
            verb=of_verb,
            object=of_object,
            verb_given_object=verb_given_object,
            object_given_verb=object_given_verb,
            pair=verb_given_object * of_object[:, None] + object_given_verb * of_verb[:, :, None],
            verb_vector=clips.verb,
            object_vector=clips.object,
        )

    def compose_listed(self, clips: Components, verb_text: Tensor, object_text: Tensor) -> Tensor:
        """Scores (B, P) of P pairs, each a text of a verb and one of an object (P, text_dim)."""
        verbs, objects = self.A_v(verb_text), self.A_o(object_text)
        of_verb, of_object = _fit(clips.verb, verbs), _fit(clips.object, objects)
        verb_given = _cosine(_joined(self.G_v, clips.verb_given, objects), verbs)
        object_given = _cosine(_joined(self.G_o, clips.object_given, verbs), objects)
        return verb_given * of_object + object_given * of_verb


class TimeBranch(nn.Module):
    """Frames (B, T, d) in order to a vector (B, E): two convolutions over time, then the mean."""

    def __init__(self, dim: int, hidden: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(dim, hidden, 3, padding=1)
        self.ln = nn.LayerNorm(hidden)
        self.conv2 = nn.Conv1d(hidden, width, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """See the class."""
        x = self.conv1(frames.transpose(1, 2)).transpose(1, 2)
        x = F.relu(self.ln(x)).transpose(1, 2)
        return self.conv2(x).mean(dim=2)


def _mean_branch(dim: int, hidden: int, width: int) -> nn.Sequential:
    layers = {
        "lin1": nn.Linear(dim, hidden),
        "ln": nn.LayerNorm(hidden),
        "relu": nn.ReLU(),
        "lin2": nn.Linear(hidden, width),
    }
    return nn.Sequential(OrderedDict(layers))


def _joined(layer: nn.Linear, clips: Tensor, texts: Tensor) -> Tensor:
    """(B, K, E): the layer on each clip (B, E) joined with each text (K, E)."""
    of_clip, of_text = layer.weight.split(clips.shape[1], dim=1)
    return (clips @ of_clip.T)[:, None] + (texts @ of_text.T + layer.bias)


def _fit(clips: Tensor, texts: Tensor) -> Tensor:
    """(..., K) from 0 to 1: cosines of (..., E) with texts (K, E), moved."""
    return (1 + F.normalize(clips, dim=-1) @ F.normalize(texts, dim=-1).T) / 2


def _cosine(clips: Tensor, texts: Tensor) -> Tensor:
    """(B, P) from 0 to 1: cosines of (B, P, E) with texts (P, E), one by one."""
    same = (F.normalize(clips, dim=-1) * F.normalize(texts, dim=-1)).sum(dim=-1)
    return (1 + same) / 2
