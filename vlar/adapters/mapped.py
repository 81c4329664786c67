"""The base of adapters that map clips of any encoder to the vectors of texts, labels unseen.

Letters: n clips, T frames, F features of a frame, d entries of a clip, C labels, k entries of a
text's vector.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.adapters.base import Adapter
from vlar.adapters.clip_vectors import clip_vectors, clip_width
from vlar.adapters.gate import SeenClassifier, seen_scores
from vlar.adapters.held_out import Weighed, considers_gate, decided
from vlar.adapters.mapped_config import ALWAYS, BOTH, NEVER, OWN, SENTENCES, MappedConfig, Solved
from vlar.adapters.mixed_lists import MixedLists
from vlar.adapters.stacking import Pretended, Round, pretended, pretended_apart
from vlar.encoders.base import Block, Encoder
from vlar.encoders.sentences import count_word_pieces, sentence_vectors, tower_hash
from vlar.errors import SupportError
from vlar.numeric import unit
from vlar.text.clean import clean_label
from vlar.text.prompts import fill, load_templates
from vlar.types import Clip, Encoded, Float32, Float64, JsonDict, Role

if TYPE_CHECKING:
    from torch import nn

Integers = npt.NDArray[np.int64]
SENTENCE_WIDTH, _SENTENCE_TOKENS = 384, 256
_LEAST_LABELS = 2
_BY_HELD_OUT = ("own", "stacking", "gate", "gate_numbers")


class MappedAdapter(MixedLists, Adapter):
    """An encoder whose clips are mapped to vectors of texts; the learner ``solved`` finds the map.

    A subclass names its ``config_type`` and ``method``, builds what it learns in ``_build``, finds
    it in ``_fit`` and applies it in ``_clips`` and ``_words``. A vector is the encoder's own and
    the mapped one, by their shares. Until it is solved cosines are the encoder's own.

    Attributes:
        config: The settings.
        solved: How the map was found; None for one that was loaded.
        weighed: How a gate and stacking compare on labels held out; None where none was fitted.
    """

    needs: ClassVar[tuple[str, ...]] = ("pool", "fixed_text")
    learner: ClassVar[str] = "solved"
    open_vocabulary: ClassVar[bool] = True
    changes = frozenset({"dim", "max_tokens", "blocks", "descriptions"})
    solved: Solved | None = None
    weighed: Weighed | None = None
    _is_solved: bool = False

    def __init__(self, encoder: Encoder, config: MappedConfig) -> None:
        """Use ``attach``."""
        super().__init__(encoder, config)
        self._seed = 0
        if config.text != OWN:
            self.max_tokens = _SENTENCE_TOKENS
        self.text_width = {
            OWN: encoder.dim, SENTENCES: SENTENCE_WIDTH, BOTH: encoder.dim + SENTENCE_WIDTH,
        }[config.text]  # fmt: skip
        self.clip_width = clip_width(encoder.frame_blocks)
        self.mapped_width = self._width()
        self.dim = encoder.dim + self.mapped_width
        self.blocks = (
            Block("own", encoder.dim, 1.0, True), Block("mapped", self.mapped_width, 1.0, True),
        )  # fmt: skip
        self._build()
        if config.gate_numbers:
            self._keep_classifier(SeenClassifier.empty(len(config.labels), self.clip_width))
        self.refresh()

    def refresh(self) -> None:
        """Compute what follows from the parameters, and the fingerprint."""
        more = "" if self.config.text == OWN else tower_hash()
        made_of = [self.name, self._hashed()]
        self.fingerprint = self.content_hash(self.encoder, made_of, more)
        self._is_solved = bool(self.config.labels)
        self._read_gate()
        self._refreshed()

    def _hashed(self) -> JsonDict:
        """The settings; without a gate as they were before there were gates."""
        kept = self.settings.items()
        return {k: v for k, v in kept if self.config.gate_numbers or not k.startswith("gate")}

    def _refreshed(self) -> None:
        """What a method keeps for speed; called by ``refresh``."""

    # What a method gives

    @abstractmethod
    def _width(self) -> int:
        """W, width of the space that clips and texts are mapped to."""

    @abstractmethod
    def _build(self) -> None:
        """Build what is learned, at its start."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """What is learned."""

    @abstractmethod
    def _fit(self, x: Float64, z: Float64, columns: Integers) -> Solved:
        """Learn from clips (n, d) and label vectors (C, k); ``columns`` (n,) are their labels."""

    @abstractmethod
    def _clips(self, x: Float32) -> Float32:
        """Clips (n, d) to (n, W)."""

    @abstractmethod
    def _words(self, z: Float32) -> Float32:
        """Vectors of texts (C, k) to (C, W)."""

    def clip_vectors(self, features: Float32) -> Float32:
        """Frame features (n, T, F) to what is mapped, (n, d)."""
        return clip_vectors(features, self.encoder.frame_blocks)

    # Solving

    def solve(
        self,
        features: Float32,
        columns: Integers,
        labels: Sequence[str],
        free: Float32 | None = None,
        *,
        seed: int = 0,
        groups: Sequence[str] | None = None,
    ) -> Solved:
        """Find the map from n labelled clips.

        Args:
            features: (n, T, F) frame features of the encoder.
            columns: (n,) label of each clip.
            labels: C labels.
            free: Not used.
            seed: Of the start and of every draw, where the map is trained.
            groups: n names, such as people; a gate is fitted on clips of others than the map.

        Raises:
            SupportError: fewer than two labels.
        """
        del free
        if len(labels) < _LEAST_LABELS:
            raise SupportError(
                f"{len(labels)} label is too few for method {self.method!r}, which learns what "
                "tells labels apart; give examples of more actions"
            )
        self._start(seed)
        x = self.clip_vectors(features).astype(np.float64)
        z = self.label_vectors(labels).astype(np.float64)
        config = self.config
        if config.own < 0 or config.stacking < 0 or (config.gate == ALWAYS and self._gate is None):
            config = self._chosen(x, z, columns, self._own_cosines(features, labels), groups)
        found = self._fit(x, z, columns)
        cleaned = tuple(clean_label(label) for label in labels)
        held = {name: getattr(config, name) for name in _BY_HELD_OUT}
        self.config = dataclasses.replace(self.config, **held, labels=cleaned)
        if config.gate_numbers:
            self._keep_classifier(SeenClassifier.fit(x, columns, len(z)))
        self.refresh()
        self.solved = found
        return found

    def _start(self, seed: int) -> None:
        """Parameters as they are before the map is found, drawn from a seed."""
        self._seed = seed
        self._build()

    def _chosen(
        self, x: Float64, z: Float64, columns: Integers, own: Float64, groups: Sequence[str] | None
    ) -> Any:
        """The settings, with those that labels held out in turn decide (``decided``).

        Args:
            x: (n, d).
            z: (C, k).
            columns: (n,) label of each clip.
            own: (n, C) cosines of the encoder.
            groups: n names, or None.
        """

        def compared(splits: list[Pretended]) -> list[Round]:
            found: list[Round] = []
            for split in splits:
                mapped = self._cosines(x, z, columns, split.kept, split.asked)
                found.append(Round(own[split.asked], mapped, columns[split.asked], split.seen))
            return found

        config, splits, apart = self.config, pretended(columns, len(z)), list[Pretended]()
        if groups is not None and considers_gate(config):
            apart = pretended_apart(columns, len(z), groups)
        is_given = config.own >= 0 and config.stacking >= 0 and len(apart) > 1
        rounds = of_gate = [] if is_given else compared(splits)
        if len(apart) > 1:
            splits, of_gate = apart, compared(apart)
        scores = [seen_scores(x, columns, split.kept, split.asked) for split in splits]
        done, self.weighed = decided(config, rounds, of_gate, scores)
        return done

    def _own_cosines(self, features: Float32, labels: Sequence[str]) -> Float64:
        texts = self._own_vectors([clean_label(label) for label in labels])
        return (self.encoder.pool(features) @ texts.T).astype(np.float64)

    def _own_vectors(self, texts: Sequence[str]) -> Float32:
        """(C, D) the encoder's vectors of labels, each the mean over the prompts."""
        prompts = fill(load_templates(self.templates), texts)
        flat = self.encoder.encode_in_role([p for row in prompts for p in row], "label")
        return unit(flat.reshape(len(texts), -1, self.encoder.dim).mean(axis=1))

    def _cosines(
        self, x: Float64, z: Float64, columns: Integers, kept: Integers, asked: Integers
    ) -> Float64:
        """(m, C) cosines of some clips with all labels, after learning from others."""
        names, place = np.unique(columns[kept], return_inverse=True)
        settings = {**self.settings, "labels": [], "stacking": 0.0, "own": 0.0,
                    "gate": NEVER, "gate_numbers": []}  # fmt: skip
        other = type(self).attach(self.encoder, settings)
        other._start(self._seed)
        other._fit(x[kept], z[names], place.astype(np.int64))
        other._refreshed()
        clips = unit(other._clips(x[asked].astype(np.float32)))
        return (clips @ unit(other._words(z.astype(np.float32))).T).astype(np.float64)

    def label_vectors(self, labels: Sequence[str]) -> Float32:
        """(C, k) vectors of labels, each the mean over the prompts."""
        texts = [clean_label(label) for label in labels]
        prompts = fill(load_templates(self.templates), texts)
        flat = self.text_vectors([prompt for row in prompts for prompt in row])
        return unit(flat.reshape(len(texts), -1, self.text_width).mean(axis=1))

    def text_vectors(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """(C, k) unit vectors of texts before they are mapped."""
        parts: list[Float32] = []
        if self.config.text != SENTENCES:
            parts.append(self.encoder.encode_in_role(texts, role))
        if self.config.text != OWN:
            parts.append(sentence_vectors(texts))
        return unit(np.concatenate(parts, axis=1))

    # The encoder contract

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """The encoder's own frame features, and mapped vectors."""
        rows = self.encoder.encode(clips)
        return [Encoded(row.features, self.pool(row.features[None])[0]) for row in rows]

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to vectors (N, D) of unit length."""
        own = self.encoder.pool(features)
        if not self._is_solved:
            return np.pad(own, ((0, 0), (0, self.mapped_width)))
        # One by one, so that a window is bit for bit the same alone and in company.
        rows = [self._clips(self.clip_vectors(clip[None])) for clip in features]
        return self._joined(own, np.concatenate(rows)) if rows else self._none()

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length."""
        if not texts:
            return self._none()
        own = self.encoder.encode_in_role(texts, role)
        if not self._is_solved:
            return np.pad(own, ((0, 0), (0, self.mapped_width)))
        # One by one, so that a text is the same alone and in company.
        rows = [self._words(row[None]) for row in self.text_vectors(texts, role)]
        return self._joined(own, np.concatenate(rows))

    def _joined(self, own: Float32, mapped: Float32) -> Float32:
        """Own (n, D) and mapped vectors (n, W) by their shares."""
        share = max(self.config.own, 0.0)
        parts = [np.sqrt(share) * own, np.sqrt(1 - share) * unit(mapped)]
        return unit(np.concatenate(parts, axis=1))

    def _none(self) -> Float32:
        return np.zeros((0, self.dim), np.float32)

    def count_tokens(self, text: str) -> int:
        """As the text tower counts."""
        if self.config.text == OWN:
            return self.encoder.count_tokens(text)
        return count_word_pieces(text)
