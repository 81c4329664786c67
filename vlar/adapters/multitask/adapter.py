"""The semantic map behind the encoder contract: attached to any encoder, then solved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.adapters.base import Adapter
from vlar.adapters.multitask.config import MultitaskConfig
from vlar.adapters.multitask.importance import bounded, effective_size, kliep
from vlar.adapters.multitask.map import SemanticMap
from vlar.adapters.multitask.selection import MapNumbers, choose_numbers, overlapping
from vlar.adapters.multitask.statistics import clip_statistics, width
from vlar.encoders.base import Block, Encoder
from vlar.encoders.sentences import count_word_pieces, load_text_tower, tower_hash
from vlar.errors import SupportError
from vlar.numeric import unit
from vlar.registry import register
from vlar.text.clean import clean_label
from vlar.text.prompts import fill, load_templates
from vlar.types import Clip, Encoded, Float32, Float64, Role

if TYPE_CHECKING:
    from torch import nn

_SMALL = 1e-6  # on the shared tasks, where labels are projected onto them
_SENTENCE_WIDTH = 384
_ENOUGH = 0.1  # least effective size of the weights, as a share of the clips


@dataclasses.dataclass(frozen=True)
class SolvedMap:
    """How a map was found.

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


@register("adapter", "multitask")
class Multitask(Adapter):
    """Clips are mapped to the vectors of labels; labels that were not trained are found by theirs.

    In the spirit of Xu, Hospedales and Gong, "Multi-task zero-shot action recognition with
    prioritised data augmentation", ECCV 2016, arXiv 1611.08663; the factors, their solution and
    the weights by labels are ours (``map``, ``importance``). Until it is solved the vectors are the
    encoder's own; with ``text = "sentences"`` they are all the same.

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
            self.dim, self.max_tokens = _SENTENCE_WIDTH, 256
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
        del seed, groups
        x = clip_statistics(features, self.encoder.frame_blocks).astype(np.float64)
        z = self._label_vectors(labels)
        targets = self._label_vectors(self.config.targets)
        dropped = overlapping(
            [clean_label(label) for label in labels],
            [clean_label(label) for label in self.config.targets],
            z @ targets.T,
        )
        gone = {label for label, _ in dropped}
        kept = np.array([clean_label(label) not in gone for label in labels])
        if kept.sum() < 2:
            raise SupportError(
                f"only {int(kept.sum())} of {len(labels)} labels differ from those that will be "
                "asked about ('targets'); give examples of other actions"
            )
        rows = np.flatnonzero(kept[columns])
        x, place = x[rows], np.cumsum(kept)[columns[rows]] - 1
        weights = self._weights(x, z[kept], place, targets, free)
        self._fit(x, z[kept], place, weights)
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
        found = SemanticMap(numbers.q, numbers.penalty, numbers.penalty)
        found.fit(x - mean_x, z[place] - mean_z, weights)
        q = found.s.shape[1]
        self.config = dataclasses.replace(config, q=q, penalty=numbers.penalty)
        self._build(q)
        state = {"s": found.s, "a": found.a, "mean_x": mean_x, "mean_z": mean_z}
        for name, array in state.items():
            self.parts.get_buffer(name).copy_(torch.from_numpy(array))
        self.refresh()
        self.solved = SolvedMap(
            dataclasses.replace(numbers, q=q), tuple(found.objective), effective_size(weights), ()
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
        """As the text tower counts."""
        if self.config.text == "sentences":
            return count_word_pieces(text)
        return self.encoder.count_tokens(text)
