"""The base of adapters that map clips of any encoder to the vectors of texts, labels unseen.

Letters: n clips, T frames, F features of a frame, d entries of a clip, C labels, k entries of a
text's vector.
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar.adapters.base import Adapter
from vlar.adapters.settings import Settings, setting
from vlar.encoders.base import Block, Encoder, FrameBlock
from vlar.encoders.sentence_tower import (
    SENTENCE_WIDTH,
    count_word_pieces,
    sentence_vectors,
    tower_hash,
)
from vlar.errors import SupportError
from vlar.language.clean import clean_label
from vlar.language.prompts import fill, load_templates
from vlar.methods.aligned.gate import (
    MOST,
    Gate,
    ListGate,
    SeenClassifier,
    Sides,
    fit_gate,
    held_out_harmonic,
    seen_scores,
)
from vlar.methods.aligned.stacking import (
    Integers,
    Pretended,
    Round,
    best_offset,
    best_share,
    held_out_offset,
    pretended,
    pretended_apart,
)
from vlar.numeric import unit
from vlar.training.frame_inputs import block_width, read_block
from vlar.types import Clip, Encoded, Float32, Float64, JsonDict, Role

if TYPE_CHECKING:
    from torch import nn

OWN, SENTENCES, BOTH = "own", "sentences", "both"
CHOSEN, ALWAYS, NEVER = "chosen", "always", "never"
_MOMENTS = 8
_ORDERED = ("signal", "pose")
_log = logging.getLogger("vlar")
_BUFFERS = ("seen_weights", "seen_bias")  # of the classifier of labels with examples
_SENTENCE_TOKENS = 256
_LEAST_LABELS = 2
_BY_HELD_OUT = ("own", "stacking", "gate", "gate_numbers")


@dataclass(frozen=True)
class MappedConfig(Settings):
    """Settings that all of these methods share.

    Attributes:
        text: Source of the labels' vectors: ``own`` (the encoder), ``sentences`` (a sentence
            encoder, so that clips and texts need no common space), or ``both``, one after the
            other.
        own: Share of the encoder's own cosine in that of a clip and a text; the map has the rest.
            -1 chooses it by labels that are held out, and may choose 1: words alone are better.
        stacking: Calibrated stacking (Chao et al., "An empirical study and analysis of generalized
            zero-shot learning", 2016): subtracted from the cosine of a label with examples in a
            list that has others too. -1 chooses it by labels that are held out.
        gate: Whether a logistic gate (``vlar.methods.aligned.gate``) and not stacking separates
            clips of labels with examples from others in a list that has both: ``never``,
            ``always``, or ``chosen``: where it is better than stacking on labels that are held out.
        gate_top: Scores of each side that the gate reads, the best ones; a list with fewer labels
            without examples is answered with stacking.
        gate_numbers: The gate, as it was fitted; set when it is solved.
        labels: The labels that it has examples of; set when it is solved.
    """

    text: str = setting(BOTH, choices=(OWN, SENTENCES, BOTH))
    own: float = setting(-1.0, at_least=-1, at_most=1)
    stacking: float = setting(-1.0, at_least=-1, at_most=2)
    gate: str = setting(NEVER, choices=(CHOSEN, ALWAYS, NEVER))
    gate_top: int = setting(1, at_least=1, at_most=MOST)
    gate_numbers: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse values that do not go together."""
        if self.gate_numbers:
            Gate.of(self.gate_numbers)


@dataclass(frozen=True)
class Solved:
    """Result of the search for a map.

    Attributes:
        objective: The objective at the start and after each round.
        rank: Mean reciprocal rank of the right label among held-out ones, 0 to 1; None where none
            were held out.
    """

    objective: tuple[float, ...]
    rank: float | None = None


def clip_width(blocks: Sequence[FrameBlock]) -> int:
    """d, entries of ``clip_vectors``."""
    return sum(block_width(block) * _parts_of(block.kind) for block in blocks)


def clip_vectors(features: Float32, blocks: Sequence[FrameBlock]) -> Float32:
    """(N, T, F) frame features to (N, d) float32: parts of unit length, one after the other.

    A block gives its mean over time; appearance also its mean absolute step from frame to frame;
    joints and other signals also that, the deviation over time, and eight moments less their mean,
    in which the order of a movement shows.
    """
    vectors: list[Float32] = []
    start = 0
    for block in blocks:
        part = read_block(features[..., start : start + block.width], block.kind)
        start += block.width
        if block.kind in _ORDERED:
            vectors.append(signal_vectors(part))
            continue
        vectors.append(unit(part.mean(axis=1)))
        if block.kind == "appearance":
            vectors.append(unit(_steps(part)))
    return np.concatenate(vectors, axis=1)


def signal_width(width: int) -> int:
    """Entries of ``signal_vectors`` of a signal of ``width`` channels."""
    return (3 + _MOMENTS) * width


def signal_vectors(part: Float32) -> Float32:
    """(N, T, W) signals to their mean, mean step, deviation and course, each of unit length."""
    parts = (part.mean(axis=1), _steps(part), part.std(axis=1), _course(part))
    return np.concatenate([unit(part) for part in parts], axis=1)


def _parts_of(kind: str) -> int:
    if kind in _ORDERED:
        return signal_width(1)
    return 2 if kind == "appearance" else 1


def _steps(part: Float32) -> Float32:
    if part.shape[1] < 2:
        return np.zeros_like(part[:, 0])
    return np.abs(np.diff(part, axis=1)).mean(axis=1)


def _course(part: Float32) -> Float32:
    """(N, 8 W) moments of (N, T, W), less their mean."""
    length = part.shape[1]
    positions = ((np.arange(_MOMENTS) + 0.5) * length / _MOMENTS - 0.5).clip(0, length - 1)
    before = np.floor(positions).astype(np.intp)
    after, share = np.minimum(before + 1, length - 1), (positions - before)[None, :, None]
    moments = part[:, before] * (1 - share) + part[:, after] * share
    away = moments - moments.mean(axis=1, keepdims=True)
    return away.reshape(len(part), -1).astype(np.float32)


def considers_gate(config: MappedConfig) -> bool:
    """Return whether a gate is to be fitted: not where the offset of stacking is given."""
    return config.gate == ALWAYS or (config.gate == CHOSEN and config.stacking < 0)


@dataclass(frozen=True)
class Weighed:
    """Mean harmonic means on splits that neither was fitted on, 0 to 1.

    Attributes:
        gate: With the gate.
        stacking: With the offset.
    """

    gate: float
    stacking: float


def decided(
    config: MappedConfig,
    rounds: Sequence[Round],
    of_gate: Sequence[Round],
    scores: Sequence[Float64],
) -> tuple[MappedConfig, Weighed | None]:
    """The settings with share, offset and gate; those that are given stay.

    The share of the encoder's own cosine is that with which clips of labels held out find them best
    among themselves; the offset is the one with the best mean of seen and unseen accuracy. A gate
    is weighed against the offset, each on splits that it was not fitted on.

    Args:
        config: As given.
        rounds: One for each way to hold labels out; none for too few labels.
        of_gate: Those by which the gate is fitted and weighed; they may hold people out too.
        scores: (m, S) of each of these, by a classifier of the labels with examples.

    Returns:
        The settings; how gate and offset compare, None where no gate was fitted.
    """
    share = config.own if config.own >= 0 else best_share(rounds)
    offset = config.stacking if config.stacking >= 0 else best_offset(rounds, share)
    numbers: tuple[float, ...] = ()
    sides, weighed = [], None
    if considers_gate(config):
        sides = [
            Sides.of(own_scores, gate_scores.cosines(share), gate_scores.truth, gate_scores.seen)
            for own_scores, gate_scores in zip(scores, of_gate, strict=True)
        ]
    if considers_gate(config) and _enough(sides, config.gate_top):
        reached = held_out_harmonic(sides, config.gate_top)
        weighed = Weighed(reached, held_out_offset(of_gate, share))
        _log.info(
            "labels with and without examples in one list, harmonic mean where some are held out: "
            "%.3f with a gate, %.3f with stacking",
            weighed.gate,
            weighed.stacking,
        )
        if config.gate == ALWAYS or weighed.gate > weighed.stacking:
            numbers = fit_gate(sides, config.gate_top).numbers
    done = dataclasses.replace(
        config, own=share, stacking=offset, gate=ALWAYS if numbers else NEVER, gate_numbers=numbers
    )
    return done, weighed


def _enough(sides: Sequence[Sides], top: int) -> bool:
    """Return whether there are enough splits to fit and weigh a gate; warn where there are not."""
    fewest = min((min(side.seen.shape[1], side.unseen.shape[1]) for side in sides), default=0)
    if len(sides) > 1 and fewest >= top:
        return True
    _log.warning(
        "labels with and without examples are separated by stacking: there are too few labels "
        "to hold some out and fit a gate; give examples of at least %d labels",
        max(6, 3 * top),
    )
    return False


class MixedLists(ABC):
    """Calibrated stacking, or a gate where one was fitted.

    Attributes:
        config: With ``labels``, ``stacking`` and ``gate_numbers``.
    """

    config: Any
    _gate: tuple[Gate, SeenClassifier] | None = None

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """Saved module; it has the classifier of the gate too."""

    @abstractmethod
    def clip_vectors(self, features: Float32) -> Float32:
        """Frame features (n, T, F) to (n, d)."""

    def label_offsets(self, texts: Sequence[str]) -> Float64:
        """(C,) what each label loses from its cosine in a list with labels without examples."""
        trained = set(self.config.labels)
        lost = max(self.config.stacking, 0.0)
        return np.array([lost if clean_label(text) in trained else 0.0 for text in texts])

    def label_gate(self, texts: Sequence[str]) -> ListGate | None:
        """Gate between clips of labels with examples and others, for a list of labels (C,).

        None without a gate, and for lists that it cannot serve: all of one side, or fewer labels
        without examples than it reads scores of.
        """
        if self._gate is None:
            return None
        columns_of = {label: index for index, label in enumerate(self.config.labels)}
        columns = np.array([columns_of.get(clean_label(text), -1) for text in texts], np.int64)
        bound = ListGate(*self._gate, columns, self.clip_vectors)
        return bound if bound.serves else None

    def _keep_classifier(self, made: SeenClassifier) -> None:
        """Put the classifier of labels with examples among what is saved."""
        import torch

        for name, array in zip(_BUFFERS, (made.weights, made.bias), strict=True):
            self.module.register_buffer(name, torch.from_numpy(array.astype(np.float32)))

    def _read_gate(self) -> None:
        """Take the gate from the settings and its classifier from what is saved."""
        self._gate = None
        if self.config.gate_numbers:
            arrays = (self.module.get_buffer(name).double().numpy() for name in _BUFFERS)
            self._gate = Gate.of(self.config.gate_numbers), SeenClassifier(*arrays)


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
            OWN: encoder.dim,
            SENTENCES: SENTENCE_WIDTH,
            BOTH: encoder.dim + SENTENCE_WIDTH,
        }[config.text]
        self.clip_width = clip_width(encoder.frame_blocks)
        self.mapped_width = self._width()
        self.dim = encoder.dim + self.mapped_width
        self.blocks = (
            Block("own", encoder.dim, 1.0, True),
            Block("mapped", self.mapped_width, 1.0, True),
        )
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
        settings = self.settings.items()
        return {k: v for k, v in settings if self.config.gate_numbers or not k.startswith("gate")}

    def _refreshed(self) -> None:
        """Update the values that a method keeps for speed; called by ``refresh``."""

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
        """Learned module."""

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
            seed: Seed of the start and of every draw, where the map is trained.
            groups: n names, such as people; a gate is fitted on clips of others than the map.

        Raises:
            SupportError: fewer than two labels.
        """
        if len(labels) < _LEAST_LABELS:
            raise SupportError(
                f"{len(labels)} label is too few for method {self.method!r}, which learns what "
                "separates labels; give examples of more actions"
            )
        self._start(seed)
        x = self.clip_vectors(features).astype(np.float64)
        z = self.label_vectors(labels).astype(np.float64)
        config = self.config
        if config.own < 0 or config.stacking < 0 or (config.gate == ALWAYS and self._gate is None):
            config = self._chosen(x, z, columns, self._own_cosines(features, labels), groups)
        solution = self._fit(x, z, columns)
        cleaned = tuple(clean_label(label) for label in labels)
        held = {name: getattr(config, name) for name in _BY_HELD_OUT}
        self.config = dataclasses.replace(self.config, **held, labels=cleaned)
        if config.gate_numbers:
            self._keep_classifier(SeenClassifier.fit(x, columns, len(z)))
        self.refresh()
        self.solved = solution
        return solution

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
            rounds: list[Round] = []
            for split in splits:
                mapped = self._cosines(x, z, columns, split.kept, split.asked)
                rounds.append(Round(own[split.asked], mapped, columns[split.asked], split.seen))
            return rounds

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
        names, column_of = np.unique(columns[kept], return_inverse=True)
        settings = {
            **self.settings,
            "labels": [],
            "stacking": 0.0,
            "own": 0.0,
            "gate": NEVER,
            "gate_numbers": [],
        }
        other = type(self).attach(self.encoder, settings)
        other._start(self._seed)
        other._fit(x[kept], z[names], column_of.astype(np.int64))
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
        pooled = self.encoder.pool(features)
        if not self._is_solved:
            return np.pad(pooled, ((0, 0), (0, self.mapped_width)))
        # One by one, so that a window is bit for bit the same alone and in company.
        rows = [self._clips(self.clip_vectors(clip[None])) for clip in features]
        return self._joined(pooled, np.concatenate(rows)) if rows else self._none()

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length."""
        if not texts:
            return self._none()
        vectors = self.encoder.encode_in_role(texts, role)
        if not self._is_solved:
            return np.pad(vectors, ((0, 0), (0, self.mapped_width)))
        # One by one, so that a text is the same alone and in company.
        rows = [self._words(row[None]) for row in self.text_vectors(texts, role)]
        return self._joined(vectors, np.concatenate(rows))

    def _joined(self, own: Float32, mapped: Float32) -> Float32:
        """Own (n, D) and mapped vectors (n, W) by their shares."""
        share = max(self.config.own, 0.0)
        parts = [np.sqrt(share) * own, np.sqrt(1 - share) * unit(mapped)]
        return unit(np.concatenate(parts, axis=1))

    def _none(self) -> Float32:
        return np.zeros((0, self.dim), np.float32)

    def count_tokens(self, text: str) -> int:
        """Count tokens by the text tower."""
        if self.config.text == OWN:
            return self.encoder.count_tokens(text)
        return count_word_pieces(text)
