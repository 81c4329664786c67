"""``parts``: parts of a body and the clauses of a text on each, behind the encoder contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import setting
from vlar.encoders.base import FrameBlock
from vlar.encoders.sentence_tower import text_tower
from vlar.errors import UsageError
from vlar.language.bank import load_bank
from vlar.language.clean import base_forms, clean_label
from vlar.language.motion.verb_table import VerbTable
from vlar.methods.aligned.text_map_adapter import (
    SENTENCES,
    Integers,
    MappedAdapter,
    MappedConfig,
    Solved,
    clip_vectors,
    clip_width,
    signal_vectors,
    signal_width,
)
from vlar.methods.clauses import PARTS, part_clauses
from vlar.numeric import unit
from vlar.pose.skeletons import BLAZEPOSE_33
from vlar.registry import register
from vlar.training.frame_inputs import directions, read_block
from vlar.types import Float32, Float64, Role

_JOINTS: dict[str, tuple[str, ...]] = {
    "head": ("nose", "eye", "ear", "mouth"),
    "hand": ("shoulder", "elbow", "wrist", "index", "pinky", "thumb"),
    "hip": ("shoulder", "hip"),
    "foot": ("hip", "knee", "ankle", "heel", "foot", "toe"),
}
_START = math.log(1 / 0.07)
Array = npt.NDArray[np.floating[Any]]
_SAME = 0.98  # cosine from which two texts of a part are one
_N = 1 + len(PARTS)


@dataclass(frozen=True)
class PartsConfig(MappedConfig):
    """Learning of descriptions by the parts of the body.

    Attributes:
        text: The same as in ``MappedConfig``; a sentence encoder distinguishes clauses.
        bank: Name or file of a bank with the kinds ``part:head``, ``part:hand``, ``part:hip`` and
            ``part:foot``; empty for clauses of the verb table. A label that the bank lacks gets
            those too.
        components: Entries that each part is read by: principal directions of the training clips.
        steps: Steps of the training.
        batch: Clips of a step.
        rate: Rate of Adam.
        decay: Weight decay.
        factor: On the mean of the part losses, next to the cross-entropy of labels.
        whole: Share of the whole body in a score; the parts have the rest, evenly.
        scale: ``exp`` learns the logarithm of the factor from cosine to logit; ``linear`` the
            factor itself, as the published code does.
    """

    text: str = setting(SENTENCES, choices=("own", "sentences", "both"))
    bank: str = ""
    components: int = setting(64, at_least=1, at_most=4096)
    steps: int = setting(400, at_least=1, at_most=1_000_000)
    batch: int = setting(64, at_least=2, at_most=4096)
    rate: float = setting(2e-3, above=0, at_most=1)
    decay: float = setting(1e-2, at_least=0, at_most=1)
    factor: float = setting(0.8, at_least=0)
    whole: float = setting(0.5, at_least=0, at_most=1)
    scale: str = setting("exp", choices=("exp", "linear"))
    what: ClassVar[str] = "parts setting"


def part_joints(part: str) -> list[int]:
    """The joints of a part among the 33 points, by their names."""
    return [
        index
        for index, name in enumerate(BLAZEPOSE_33.joints)
        if name.rpartition("_")[2] in _JOINTS[part]
    ]


def part_widths(blocks: Sequence[FrameBlock]) -> list[int]:
    """Entries of ``part_vectors``: the whole body, then each of ``PARTS``."""
    return [clip_width(blocks), *(signal_width(2 * len(part_joints(part))) for part in PARTS)]


def part_vectors(features: Float32, blocks: Sequence[FrameBlock]) -> Float32:
    """(N, T, F) frame features to (N, d): the whole body, then each of ``PARTS``.

    A part is the path of its joints, seen from the hips in heights of the body, over time.
    """
    starts = np.cumsum([0, *(block.width for block in blocks)])
    pose = next(index for index, block in enumerate(blocks) if block.kind == "pose")
    joints = read_block(features[..., starts[pose] : starts[pose + 1]], "pose")
    points = joints.reshape(*joints.shape[:2], -1, 2)
    vectors = [clip_vectors(features, blocks)]
    for part in PARTS:
        chosen = points[:, :, part_joints(part)]
        vectors.append(signal_vectors(chosen.reshape(*chosen.shape[:2], -1)))
    return np.concatenate(vectors, axis=1)


def part_contrastive(
    visual: Tensor, text: Tensor, labels: Tensor, scale: Tensor, *, sharpness: float = 10.0
) -> Tensor:
    """Divergence of the vectors of each part from the texts of their own labels.

    Clips and texts are compared in both directions. The target of a clip is a softmax over the
    texts of the batch, in which those of its own label have ``sharpness`` and the others 0, so
    clips of one label get equal targets. The loss is the Kullback-Leibler divergence from these
    targets, the mean of both directions, summed over texts and averaged over clips.

    Args:
        visual: (P, B, D) vectors of the clips, scaled to length 1 here.
        text: (P, B, D) vectors of each clip's label text, scaled to length 1 here.
        labels: (B,) integers; equal numbers are equal labels.
        scale: (P,) factor from cosine to logit; unchanged, not its exponential.
        sharpness: Logit of the texts of a clip's own label in the target, above 0.

    Returns:
        (P,) the loss of each part; 0 for a batch of one clip. The caller takes the mean.

    Raises:
        UsageError: shapes that do not fit.
    """
    if visual.shape != text.shape or visual.ndim != 3:
        raise UsageError(
            f"vectors of shape {tuple(visual.shape)} and texts of shape {tuple(text.shape)}; give "
            "(P, B, D) of both"
        )
    if labels.shape != visual.shape[1:2] or scale.shape != visual.shape[:1]:
        raise UsageError(
            f"{tuple(labels.shape)} labels and {tuple(scale.shape)} scales for vectors of shape "
            f"{tuple(visual.shape)}; give (B,) and (P,)"
        )
    cosine = F.normalize(visual, dim=-1) @ F.normalize(text, dim=-1).transpose(1, 2)
    logits = scale[:, None, None] * cosine
    same = (labels[:, None] == labels[None]).to(logits.dtype)
    target = torch.softmax(sharpness * same, dim=-1).expand_as(logits)
    both = _divergence(target, logits) + _divergence(target, logits.transpose(1, 2))
    return both / 2


def _divergence(target: Tensor, logits: Tensor) -> Tensor:
    """(P,) mean over rows of KL(target || softmax of logits)."""
    return (target * (target.log() - logits.log_softmax(dim=-1))).sum(dim=-1).mean(dim=-1)


class PartsNetwork(nn.Module):
    """P linear heads, each from its own entries of a clip to the width of texts.

    Args:
        components: Entries of a clip that each head reads.
        text: Width of a text's vector.
        n_parts: P, the whole body included.
    """

    def __init__(self, components: int, text: int, n_parts: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(components, text) for _ in range(n_parts))
        self.scale = nn.Parameter(torch.full((n_parts,), _START))

    def forward(self, clips: Tensor) -> Tensor:
        """(n, P, S) to (P, n, K) vectors of unit length."""
        rows = [head(part) for head, part in zip(self.heads, clips.unbind(dim=1), strict=True)]
        return F.normalize(torch.stack(rows), dim=-1)


def train(
    network: PartsNetwork,
    clips: Tensor,
    texts: Tensor,
    same: Tensor,
    columns: Tensor,
    config: PartsConfig,
) -> list[float]:
    """Train on clips (n, P, S) and texts (P, C, K) of labels (n,); the loss at start and end.

    The cross-entropy of labels is that of a linear classifier of the whole body, which is dropped
    afterwards. Labels are drawn evenly. Draws are torch's own: seed it before.

    Args:
        network: Is changed.
        clips: (n, P, S).
        texts: (P, C, K).
        same: (P, C) numbers; labels with one number have one text of a part.
        columns: (n,) label of each clip.
        config: The settings.
    """
    classify = nn.Linear(clips.shape[2], texts.shape[1])
    parameters = [*network.parameters(), *classify.parameters()]
    adam = torch.optim.AdamW(parameters, config.rate, weight_decay=config.decay)
    slope = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    chance = 1.0 / torch.bincount(columns).double()[columns]
    losses: list[float] = []
    for _ in range(config.steps):
        rows = torch.multinomial(chance, config.batch, replacement=True)
        y = columns[rows]
        vectors = network(clips[rows])
        scale = network.scale.exp().clamp(max=100) if config.scale == "exp" else network.scale
        part_losses = [
            part_contrastive(vectors[p : p + 1], texts[p : p + 1, y], same[p, y], scale[p : p + 1])
            for p in range(len(vectors))
        ]
        loss = F.cross_entropy(classify(clips[rows, 0]), y)
        loss = loss + config.factor * torch.cat(part_losses).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        slope.step()
        losses.append(float(loss.detach()))
    return [losses[0], losses[-1]]


@register("adapter", "parts", status="null here")
class Parts(MappedAdapter):
    """Head, hands, hips and feet are drawn to the clauses that describe them.

    GAP, Xiang et al., "Generative action description prompts for skeleton-based action
    recognition", ICCV 2023, with texts that are not trained. A clip's vector holds the whole body
    and each part; a text's vector the label and its clauses. Their cosine is ``whole`` times that
    of the whole body and the rest of the parts', evenly, so labels without examples are answered.

    Reference: Xiang et al., "Generative action description prompts for skeleton-based action
    recognition", ICCV 2023.
    Example: ``vlar adapt skeletons/ --model skeleton --out mine --method parts``.

    Attributes:
        network: A linear head for the whole body and for each part.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("pool", "fixed_text", "bodies")
    contract_base: ClassVar[str | None] = None
    config_type = PartsConfig
    method = "parts"
    config: PartsConfig
    network: PartsNetwork

    def _width(self) -> int:
        self.one_width, self.text_width = self.text_width, _N * self.text_width
        return self.text_width

    def _build(self) -> None:
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self.network = PartsNetwork(config.components, self.one_width, _N)
        self.widths = part_widths(self.encoder.frame_blocks)
        self.clip_width = sum(self.widths)
        sizes = {"clip_centre": (self.clip_width,), "text_centre": (_N, self.one_width)}
        sizes |= {f"axes_{p}": (width, config.components) for p, width in enumerate(self.widths)}
        for name, size in sizes.items():
            self.network.register_buffer(name, torch.zeros(size))
        self.network.eval().requires_grad_(False)

    @property
    def module(self) -> nn.Module:
        """The heads, the directions that clips are read along, and the means."""
        return self.network

    def clip_vectors(self, features: Float32) -> Float32:
        """Vectors of the whole body, then of its parts."""
        return part_vectors(features, self.encoder.frame_blocks)

    def _fit(self, x: Float64, z: Float64, columns: Integers) -> Solved:
        for p, part in enumerate(self._split(x)):
            mean, axes = directions(part, self.config.components)
            start = sum(self.widths[:p])
            self._set("clip_centre", mean, slice(start, start + self.widths[p]))
            self._set(f"axes_{p}", axes)
        texts = z.reshape(len(z), _N, -1)
        self._set("text_centre", texts.mean(axis=0))
        away = unit(texts - texts.mean(axis=0)).transpose(1, 0, 2)
        same = np.stack([_numbers(part) for part in texts.transpose(1, 0, 2)])
        clips = torch.from_numpy(self._read(x.astype(np.float32)))
        self.network.requires_grad_(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            losses = train(
                self.network,
                clips,
                torch.from_numpy(away.copy()),
                torch.from_numpy(same),
                torch.from_numpy(columns),
                self.config,
            )
        self.network.requires_grad_(False)
        return Solved(tuple(losses))

    def _set(self, name: str, array: Float64, where: slice = slice(None)) -> None:
        self.network.get_buffer(name)[where].copy_(torch.from_numpy(array))

    def _split(self, x: Array) -> list[Array]:
        return np.split(x, np.cumsum(self.widths)[:-1], axis=1)

    def _read(self, x: Float32) -> Float32:
        """Clips (n, d) along the directions of each part: (n, P, S)."""
        away = x - self.network.get_buffer("clip_centre").numpy()
        parts = [
            part @ self.network.get_buffer(f"axes_{p}").numpy()
            for p, part in enumerate(self._split(away))
        ]
        return np.stack(parts, axis=1).astype(np.float32)

    def _clips(self, x: Float32) -> Float32:
        with torch.inference_mode():
            parts = self.network(torch.from_numpy(self._read(x))).numpy()
        return self._weighed(parts.transpose(1, 0, 2))

    def _words(self, z: Float32) -> Float32:
        texts = z.reshape(len(z), _N, -1) - self.network.get_buffer("text_centre").numpy()
        return self._weighed(unit(texts))

    def _weighed(self, parts: Float32) -> Float32:
        """(n, P, K) unit vectors to (n, P K), so that cosines add up by their shares."""
        whole = self.config.whole
        shares = np.array([whole, *[(1 - whole) / len(PARTS)] * len(PARTS)])
        weighed = parts * np.sqrt(shares)[:, None].astype(np.float32)
        return weighed.reshape(len(parts), -1).astype(np.float32)

    # Texts

    def text_vectors(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """(C, P K): a text, and the text with the clause of each part."""
        rows = self.part_texts(texts)
        flat = super().text_vectors([text for row in rows for text in row], role)
        return unit(flat.reshape(len(texts), -1))

    def part_texts(self, texts: Sequence[str]) -> list[list[str]]:
        """Each text, and the text with the clause of each of ``PARTS``."""
        return [
            [text, *(f"{text}, {clauses[p]}" if p in clauses else text for p in PARTS)]
            for text, clauses in zip(texts, map(self.clauses, texts), strict=True)
        ]

    def clauses(self, text: str) -> dict[str, str]:
        """Clauses on each part from the bank, else the verb table; empty where neither has any."""
        return self._of_bank.get(_key(text)) or part_clauses(self._verbs.lookup(text))

    @cached_property
    def _of_bank(self) -> dict[frozenset[str], dict[str, str]]:
        if not self.config.bank:
            return {}
        texts_by_label: dict[frozenset[str], dict[str, str]] = {}
        for entry in load_bank(self.config.bank).entries:
            told = {
                row.kind.removeprefix("part:"): row.text
                for row in entry.descriptions[::-1]
                if row.kind.startswith("part:")
            }
            if told:
                texts_by_label |= {
                    _key(name): told for name in (entry.text, clean_label(entry.label))
                }
        return texts_by_label

    @cached_property
    def _verbs(self) -> VerbTable:
        return VerbTable.packaged(text_tower())


def _key(text: str) -> frozenset[str]:
    """The words of a text in their base forms."""
    words = clean_label(text).casefold().split()
    return frozenset(min(base_forms(word), key=lambda form: (len(form), form)) for word in words)


def _numbers(texts: Float64) -> Integers:
    """(C,) one number for all texts (C, K) that mean the same."""
    near = unit(texts) @ unit(texts).T > _SAME
    return near.argmax(axis=1).astype(np.int64)
