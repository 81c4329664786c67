"""The semantic map behind the encoder contract: attached to any encoder, then solved."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.adapters.base import Adapter
from vlar.adapters.settings import Settings, setting
from vlar.encoders.base import Block, Encoder, FrameBlock
from vlar.encoders.sentence_tower import (
    SENTENCE_WIDTH,
    count_word_pieces,
    load_text_tower,
    tower_hash,
)
from vlar.errors import SupportError
from vlar.language.clean import base_forms, clean_label
from vlar.language.prompts import fill, load_templates
from vlar.methods.multitask_zero_shot.map import SemanticMap, reduced
from vlar.methods.multitask_zero_shot.weights import bounded, effective_size, kliep
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.frame_inputs import block_width, read_block
from vlar.types import Clip, Encoded, Float32, Float64, Role

if TYPE_CHECKING:
    from torch import nn

_TASKS = (5, 10, 25, 50, 100, 200)
_PENALTIES = tuple(float(10.0**power) for power in range(-4, 3))
_FOLDS = 4
_ROUNDS = 15  # after them the order of labels hardly changes
_DEFAULT = (50, 1.0)
_LITTLE = frozenset({"a", "an", "the", "do", "doing", "does", "someone", "person"})
_SMALL = 1e-6  # on the shared tasks, where labels are projected onto them
_ENOUGH = 0.1  # least effective size of the weights, as a share of the clips


@dataclass(frozen=True)
class MultitaskConfig(Settings):
    """Settings of the search for a map, and of its answers.

    Attributes:
        q: Tasks that the entries of a label's vector share; 0 chooses by held-out labels.
        penalty: On both factors of the map; 0 chooses by held-out labels.
        text: Source of the label vectors: ``own`` (the encoder) or ``sentences`` (a sentence
            encoder, so that video and text need no common space).
        match: Clips are compared with labels in the space of ``labels``, or in the ``latent`` space
            of the shared tasks, which leaves out what no task uses.
        targets: Labels of the later queries. Training clips count more where their label is near;
            those that show a target under another name are left out.
        weigh_clips: Weigh by clips without labels too, where there are any. They may be the very
            clips of the queries: such figures are transductive.
    """

    q: int = setting(0, at_least=0, at_most=4096)
    penalty: float = setting(0.0, at_least=0, at_most=1e6)
    text: str = setting("own", choices=("own", "sentences"))
    match: str = setting("labels", choices=("labels", "latent"))
    targets: tuple[str, ...] = ()
    weigh_clips: bool = True

    what: ClassVar[str] = "multitask setting"


@dataclass(frozen=True)
class MapNumbers:
    """The numbers of a map, and how held-out labels rank with them.

    Attributes:
        q: Shared tasks.
        penalty: On both factors.
        rank: Mean reciprocal rank of the right label, 0 to 1; None where no label was held out.
    """

    q: int
    penalty: float
    rank: float | None = None


def choose_numbers(
    x: Float64,
    label_vectors: Float64,
    columns: npt.NDArray[np.int64],
    weights: Float64,
    *,
    q: int = 0,
    penalty: float = 0.0,
) -> MapNumbers:
    """The numbers with which labels left out of the fit are found best.

    A fold leaves out labels with all their clips, never clips of a label that stays. The smallest
    ``q`` and the largest penalty win where several do equally well.

    Args:
        x: (n, d) features.
        label_vectors: (C, k), centred.
        columns: (n,) label of each clip.
        weights: (n,).
        q: Taken as it is unless 0.
        penalty: Taken as it is unless 0.
    """
    n_labels = len(label_vectors)
    most = min(*x.shape, *label_vectors.shape)
    tasks = sorted({min(count, most) for count in ((q,) if q else _TASKS)})
    penalties = (penalty,) if penalty else _PENALTIES[::-1]
    if (q and penalty) or n_labels < 4:
        return MapNumbers(q or min(_DEFAULT[0], most), penalty or _DEFAULT[1])
    # Angles stay as they are, and each of the many fits below is as small as the data is.
    x, label_vectors = reduced(x)[0], reduced(label_vectors)[0]
    folds = [np.arange(n_labels) % min(_FOLDS, n_labels // 2) == fold for fold in range(_FOLDS)]
    best = MapNumbers(tasks[0], penalties[0], -1.0)
    for count, amount in itertools.product(tasks, penalties):
        ranks = [
            _ranks(x, label_vectors, columns, weights, out, _map(count, amount))
            for out in folds
            if out.any() and not out[columns].all()
        ]
        mean_rank = float(np.mean(np.concatenate(ranks)))
        if best.rank is None or mean_rank > best.rank + 1e-9:
            best = MapNumbers(count, amount, mean_rank)
    return best


def _map(q: int, penalty: float) -> SemanticMap:
    return SemanticMap(q, penalty, penalty, rounds=_ROUNDS)


def _ranks(
    x: Float64,
    label_vectors: Float64,
    columns: npt.NDArray[np.int64],
    weights: Float64,
    out: npt.NDArray[np.bool_],
    semantic: SemanticMap,
) -> Float64:
    """Reciprocal rank of the right label among those held out, for each of their clips."""
    held = out[columns]
    mean = x[~held].mean(axis=0)
    train_weights = weights[~held]
    train_weights = train_weights if train_weights.any() else np.ones_like(train_weights)
    semantic.fit(x[~held] - mean, label_vectors[columns[~held]], train_weights)
    names = np.flatnonzero(out)
    scores = unit(semantic.transform(x[held] - mean)) @ unit(label_vectors[names]).T
    right = np.searchsorted(names, columns[held])
    return 1.0 / (1 + (scores > scores[np.arange(len(right)), right][:, None]).sum(axis=1))


def overlapping(
    labels: Sequence[str], targets: Sequence[str], cosines: Float64, most: float = 0.8
) -> list[tuple[str, str]]:
    """Labels that may show a target under another name, each with it.

    These are labels of the same head word (``kicking a ball``, ``kick``), or of a near vector.

    Args:
        labels: C training labels.
        targets: The labels that will be asked about.
        cosines: (C, targets) of their vectors.
        most: Greatest cosine of different actions.
    """
    pairs: list[tuple[str, str]] = []
    for label, row in zip(labels, cosines, strict=True):
        nearest = int(row.argmax()) if len(row) else -1
        same = [target for target in targets if _head(target) == _head(label)]
        if same or (nearest >= 0 and row[nearest] > most):
            pairs.append((label, same[0] if same else targets[nearest]))
    return pairs


def _head(label: str) -> str:
    """The base form of the first word that has a meaning of its own.

    >>> _head("doing pull-ups"), _head("kicks a ball")
    ('pull', 'kick')
    """
    words = re.findall(r"[^\W\d_]+", label.casefold())
    first = next((word for word in words if word not in _LITTLE), words[0] if words else label)
    return min(base_forms(first), key=lambda form: (len(form), form))


def width(blocks: Sequence[FrameBlock]) -> int:
    """d, entries of ``clip_statistics``."""
    return sum(block_width(block) * (1 + (block.kind == "appearance")) for block in blocks)


def clip_statistics(features: Float32, blocks: Sequence[FrameBlock]) -> Float32:
    """(N, T, F) frame features to (N, d) float32: blocks of unit length, one after the other.

    A block is its mean over time, in units that may be compared; appearance also has its mean
    absolute step from frame to frame.
    """
    parts: list[Float32] = []
    start = 0
    for block in blocks:
        part = read_block(features[..., start : start + block.width], block.kind)
        start += block.width
        parts.append(unit(part.mean(axis=1)))
        if block.kind == "appearance":
            steps = np.abs(np.diff(part, axis=1)) if part.shape[1] > 1 else np.zeros_like(part)
            parts.append(unit(steps.mean(axis=1)))
    return np.concatenate(parts, axis=1)


@dataclasses.dataclass(frozen=True)
class SolvedMap:
    """Result of the search for a map.

    Attributes:
        numbers: Its numbers.
        objective: The objective after each round.
        effective: Effective number of clips that the weights leave.
        dropped: Labels that were left out, each with the target it may show.
    """

    numbers: MapNumbers
    objective: tuple[float, ...]
    effective: float
    dropped: tuple[tuple[str, str], ...]


@register("adapter", "multitask", status="null here")
class Multitask(Adapter):
    """Clips are mapped to the vectors of labels; labels that were not trained are found by theirs.

    In the spirit of Xu, Hospedales and Gong, "Multi-task zero-shot action recognition with
    prioritised data augmentation", ECCV 2016, arXiv 1611.08663; the factors, their solution and
    the weights by labels are ours (``map``, ``importance``). Until it is solved the vectors are the
    encoder's own; with ``text = "sentences"`` they are all the same.

    Reference: Xu, Hospedales and Gong, "Multi-task zero-shot action recognition with prioritised
    data augmentation", ECCV 2016, arXiv 1611.08663.
    Example: ``vlar adapt support/ --out mine --method multitask``.

    Attributes:
        config: The settings.
        parts: The factors S (k, q) and A (q, d), and the means that are subtracted, (d,) and (k,).
        solved: How the map was found; None for one that was loaded.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames", "pool", "fixed_text")
    method, config_type = "multitask", MultitaskConfig
    learner: ClassVar[str] = "solved"
    open_vocabulary: ClassVar[bool] = True
    changes = frozenset({"dim", "max_tokens", "blocks", "descriptions"})
    config: MultitaskConfig
    parts: nn.Module
    solved: SolvedMap | None = None

    def __init__(self, encoder: Encoder, config: MultitaskConfig) -> None:
        """Use ``attach``."""
        super().__init__(encoder, config)
        if config.text == "sentences":
            self.dim, self.max_tokens = SENTENCE_WIDTH, 256
        self.blocks = (Block("meaning", self.dim, 1.0, True),)
        self._build(max(1, config.q))

    @property
    def module(self) -> nn.Module:
        """The factors and the means."""
        return self.parts

    def refresh(self) -> None:
        """Compute what the factors give, and the fingerprint."""
        more = tower_hash() if self.config.text == "sentences" else ""
        self.fingerprint = self.content_hash(self.encoder, self.settings, more)
        state = self.state_dict()
        self._s, self._a = state["s"].astype(np.float64), state["a"].astype(np.float64)
        self._mean_x, self._mean_z = state["mean_x"], state["mean_z"]
        self._is_solved = bool(self._s.any() and self._a.any())
        # In the latent space a label is what the tasks make of it; Q keeps the width and all
        # inner products of the space of labels: S = Q R.
        self._q = np.linalg.qr(self._s)[0] if self._is_solved else self._s

    def _build(self, q: int) -> None:
        import torch
        from torch import nn

        sizes = {"s": (self.dim, q), "a": (q, width(self.encoder.frame_blocks))}
        sizes |= {"mean_x": (sizes["a"][1],), "mean_z": (self.dim,)}
        self.parts = nn.Module()
        for name, size in sizes.items():
            self.parts.register_buffer(name, torch.zeros(size))
        self.refresh()

    # Solving

    def solve(
        self,
        features: Float32,
        columns: npt.NDArray[np.int64],
        labels: Sequence[str],
        free: Float32 | None = None,
        *,
        seed: int = 0,
        groups: Sequence[str] | None = None,
    ) -> SolvedMap:
        """Find the map from n labelled clips.

        Args:
            features: (n, T, F) frame features of the encoder.
            columns: (n,) label of each clip.
            labels: C labels.
            free: (m, T, F) clips without labels, for ``weigh_clips``.
            groups: Not used.
            seed: Not used: nothing is drawn.

        Raises:
            SupportError: fewer than two labels are left.
        """
        x = clip_statistics(features, self.encoder.frame_blocks).astype(np.float64)
        z = self._label_vectors(labels)
        targets = self._label_vectors(self.config.targets)
        dropped = overlapping(
            [clean_label(label) for label in labels],
            [clean_label(label) for label in self.config.targets],
            z @ targets.T,
        )
        gone = {label for label, _ in dropped}
        unpenalised = np.array([clean_label(label) not in gone for label in labels])
        if unpenalised.sum() < 2:
            raise SupportError(
                f"only {int(unpenalised.sum())} of {len(labels)} labels differ from those that "
                "will be asked about ('targets'); give examples of other actions"
            )
        rows = np.flatnonzero(unpenalised[columns])
        x, targets_of_rows = x[rows], np.cumsum(unpenalised)[columns[rows]] - 1
        weights = self._weights(x, z[unpenalised], targets_of_rows, targets, free)
        self._fit(x, z[unpenalised], targets_of_rows, weights)
        assert self.solved is not None
        self.solved = dataclasses.replace(self.solved, dropped=tuple(dropped))
        return self.solved

    def _fit(self, x: Float64, z: Float64, place: npt.NDArray[np.int64], weights: Float64) -> None:
        import torch

        share = weights / weights.sum()
        mean_x, mean_z = share @ x, share @ z[place]
        config = self.config
        numbers = choose_numbers(
            x - mean_x, z - mean_z, place, weights, q=config.q, penalty=config.penalty
        )
        semantic_map = SemanticMap(numbers.q, numbers.penalty, numbers.penalty)
        semantic_map.fit(x - mean_x, z[place] - mean_z, weights)
        q = semantic_map.s.shape[1]
        self.config = dataclasses.replace(config, q=q, penalty=numbers.penalty)
        self._build(q)
        state = {"s": semantic_map.s, "a": semantic_map.a, "mean_x": mean_x, "mean_z": mean_z}
        for name, array in state.items():
            self.parts.get_buffer(name).copy_(torch.from_numpy(array))
        self.refresh()
        self.solved = SolvedMap(
            dataclasses.replace(numbers, q=q),
            tuple(semantic_map.objective),
            effective_size(weights),
            (),
        )

    def _weights(
        self,
        x: Float64,
        z: Float64,
        place: npt.NDArray[np.int64],
        targets: Float64,
        free: Float32 | None,
    ) -> Float64:
        """(n,) weights with mean 1: by labels where targets are known, by clips where given."""
        weights = np.ones(len(x))
        if len(targets):
            weights = weights * kliep(z[place], targets)
        if free is not None and len(free) and self.config.weigh_clips:
            other = clip_statistics(free, self.encoder.frame_blocks)
            weights = weights * kliep(unit(x), unit(other))
        return bounded(weights, _ENOUGH) if weights.any() else np.ones(len(x))

    def _label_vectors(self, labels: Sequence[str]) -> Float64:
        """(C, k) vectors of labels as the text tower has them, before anything is subtracted."""
        if not labels:
            return np.zeros((0, self.dim))
        texts = [clean_label(label) for label in labels]
        prompts = fill(load_templates(self.templates), texts)
        flat = self._text([prompt for row in prompts for prompt in row], "label")
        return unit(flat.reshape(len(texts), -1, self.dim).mean(axis=1)).astype(np.float64)

    def _text(self, texts: Sequence[str], role: Role) -> Float32:
        if self.config.text == "sentences":
            return load_text_tower()(texts)
        return self.encoder.encode_in_role(texts, role)

    # The encoder contract

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """The encoder's own frame features, and mapped vectors."""
        rows = self.encoder.encode(clips)
        return [Encoded(row.features, self.pool(row.features[None])[0]) for row in rows]

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to vectors (N, D) of unit length in the space of labels."""
        if not self._is_solved:
            return self._start(features)
        # One by one, so that a window is bit for bit the same alone and in company.
        rows = [self._mapped(clip[None]) for clip in features]
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)

    def _mapped(self, clip: Float32) -> Float32:
        x = clip_statistics(clip, self.encoder.frame_blocks) - self._mean_x
        turn = self._q if self.config.match == "latent" else self._s
        return unit(x @ self._a.T @ turn.T)

    def _start(self, features: Float32) -> Float32:
        if self.config.text == "own":
            return self.encoder.pool(features)
        return np.eye(1, self.dim, dtype=np.float32).repeat(len(features), axis=0)

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length, without what all labels share."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        vectors = self._text(texts, role)
        if not self._is_solved:
            return vectors
        away = vectors.astype(np.float64) - self._mean_z
        if self.config.match == "latent":
            gram = self._s.T @ self._s + _SMALL * np.eye(self._s.shape[1])
            away = np.linalg.solve(gram, self._s.T @ away.T).T @ self._q.T
        return unit(away)

    def count_tokens(self, text: str) -> int:
        """Count tokens by the text tower."""
        if self.config.text == "sentences":
            return count_word_pieces(text)
        return self.encoder.count_tokens(text)
