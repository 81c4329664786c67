"""The head of C2C: verbs, objects, and each given the other.

Letters: B clips, T frames, d features of a frame, V verbs, O objects, E width of a component's
vector.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import Settings, setting
from vlar.training.tower_network import register_directions

_MOST_WEIGHTS = 1 << 22
_TEXT_GAIN = 0.3  # texts of the trained words move slower than the rest


@dataclass(frozen=True)
class C2CConfig(Settings):
    """Settings of the head and its training.

    Attributes:
        width: E, width of the vectors that verbs and objects are compared in.
        hidden: Width of the hidden layers.
        frames: Most frames of a clip that are read, as in the paper; of more, evenly spaced ones.
        components: Principal directions kept of each block of the frame features.
        blocks: Blocks of the frame features to read; empty means all.
        verbs_from: Input of verbs. ``frames``: along the directions in which frames differ, as
            objects are. ``deviations`` of the frames from the mean frame of their clip, along
            directions and on a scale of their own. ``similarities`` of these deviations to each
            other, which do not depend on the scene. ``both`` of the last two.
        ordered: Verbs are read from the frames in order; False reads the mean frame alone.
        mixed: Share of the steps in which clips are mixed, 0 to 1. Zero for the plain training.
        imagined: Weight of the loss of pairs that only a mixed clip might show.
        prior: Weight of the loss towards the shares of pairs in training.
        dependence: Weight of the dependence loss.
        component: Weight of the losses of verbs and of objects.
        crossed: The dependence loss takes verbs for objects, as the published trainer does with
            CLIP. For comparisons only.
        verbs: The verbs it was trained on.
        objects: The objects.
    """

    width: int = setting(128, at_least=2, at_most=4096)
    hidden: int = setting(256, at_least=1, at_most=4096)
    frames: int = setting(8, at_least=1, at_most=1024)
    components: int = setting(64, at_least=1, at_most=4096)
    blocks: tuple[str, ...] = ()
    verbs_from: str = setting("both", choices=("frames", "deviations", "similarities", "both"))
    ordered: bool = True
    mixed: float = setting(0.7, at_least=0, at_most=1)
    imagined: float = setting(0.1, at_least=0, at_most=100)
    prior: float = setting(0.1, at_least=0, at_most=100)
    dependence: float = setting(0.1, at_least=0, at_most=100)
    component: float = setting(0.2, at_least=0, at_most=100)
    crossed: bool = False
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()

    what: ClassVar[str] = "c2c setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        size, advice = self.hidden * self.components, "fewer: hidden * components"
        self.require_few("components", size, _MOST_WEIGHTS, advice)


@dataclass(frozen=True)
class C2COutput:
    """Scores of B clips; larger fits better.

    Attributes:
        verb: (B, V), 0 to 1, from the clip alone.
        object: (B, O), 0 to 1, from the clip alone.
        verb_given_object: (B, V, O), 0 to 1, of a verb where the object is known.
        object_given_verb: (B, V, O), 0 to 1, of an object where the verb is known.
        pair: (B, V, O), 0 to 2.
        verb_vector: (B, E) of the branch that gives ``verb``, not normalised.
        object_vector: (B, E) of the branch that gives ``object``, not normalised.
    """

    verb: Tensor
    object: Tensor
    verb_given_object: Tensor
    object_given_verb: Tensor
    pair: Tensor
    verb_vector: Tensor
    object_vector: Tensor


class Components(NamedTuple):
    """Vectors behind the scores of a clip; each (B, E), not normalised.

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


class C2CNetwork(nn.Module):
    """Frame inputs to scores of pairs.

    Texts lose the mean of the trained words' texts and get unit length: texts of one kind of word
    are alike, and their common part does not distinguish them. Words that a text tower cannot
    distinguish (such as left and right) are learned as a residual of each trained word, zero at the
    start.

    Args:
        config: Sizes and the trained words.
        text_dim: Width of the texts' vectors.
        widths: Entries of each part of a frame (``read_parts``); their projections are stored here.
        n_blocks: Number of the parts that are blocks of the frame features; the rest is for verbs.
    """

    def __init__(
        self, config: C2CConfig, text_dim: int, widths: Sequence[int], n_blocks: int
    ) -> None:
        super().__init__()
        self.config = config
        register_directions(self, widths, config.components)
        dim = n_blocks * config.components
        moving = (len(widths) - n_blocks) * config.components
        self.head = C2CHead(dim, text_dim, config.hidden, config.width, moving or dim)
        self._shown = dim
        for part, words in (("verb", config.verbs), ("object", config.objects)):
            self.register_buffer(f"{part}_centre", torch.zeros(text_dim))
            residual = nn.Parameter(torch.zeros(len(words), text_dim))
            self.register_parameter(f"{part}_residual", residual)

    def forward(self, inputs: Tensor, verbs: Tensor, objects: Tensor) -> C2COutput:
        """Scores of every trained verb with every trained object.

        Args:
            inputs: (N, T, K).
            verbs: (V, D) texts of the trained verbs, as the encoder has them.
            objects: (O, D).
        """
        return self.head.compose(
            self.components(inputs), self.moved("verb", verbs), self.moved("object", objects)
        )

    def components(self, inputs: Tensor) -> Components:
        """The four vectors (N, E) of each clip (N, T, K)."""
        if not self.config.ordered:
            inputs = inputs.mean(dim=1, keepdim=True).expand_as(inputs)
        if self.config.verbs_from == "frames":
            return self.head.components(inputs)
        return self.head.components(inputs[..., : self._shown], inputs[..., self._shown :])

    def moved(self, part: str, texts: Tensor, columns: Sequence[int] | None = None) -> Tensor:
        """Texts (n, D) of words as the head reads them.

        Args:
            part: ``verb`` or ``object``.
            texts: Texts of the trained words in their order, or of any words.
            columns: Which trained word each is, -1 for none; None for the trained words in order.
        """
        apart = nn.functional.normalize(texts - self.get_buffer(f"{part}_centre"), dim=-1)
        residual = self.get_parameter(f"{part}_residual")
        if columns is not None:
            zero = residual.new_zeros(1, residual.shape[1])
            residual = torch.cat([residual, zero])[list(columns)]
        return apart + _TEXT_GAIN * residual
