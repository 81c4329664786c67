"""C2C behind the encoder contract: attached to any encoder, trained on pairs of verb and object."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vlar.encoders.base import FrameBlock
from vlar.encoders.protocols import ComposedLabels, Pair
from vlar.errors import UsageError
from vlar.files.recent import Recent
from vlar.language.labels import PARTS
from vlar.methods.c2c.losses import SCALE, PairClasses, enhanced_losses, listed, pair_counts
from vlar.methods.c2c.network import C2CConfig, C2CNetwork, Components
from vlar.registry import register
from vlar.training.frame_inputs import block_width, read_blocks
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Encoded, Float32

_STILL = 0.01  # of a frame's energy: deviations below it are noise

_SQUARE = ("similarities", "both")  # these need as many frames of every clip

Blocks = Sequence[tuple[int, FrameBlock]]
_TOKENS = 4  # vectors of a clip that pairs are scored by
_MOST_NUMBERS = 1 << 24  # of the vectors of clips and pairs, at a time
_KEPT_LISTS = 64


def part_widths(blocks: Blocks, config: C2CConfig) -> list[int]:
    """Entries of each part of a frame as ``read_parts`` gives it."""
    widths = [block_width(block) for _, block in blocks]
    input_widths = list(widths)
    if config.verbs_from in ("deviations", "both"):
        input_widths += widths
    if config.verbs_from in ("similarities", "both"):
        input_widths += [config.frames] * len(widths)
    return input_widths


def sampled(features: Float32, config: C2CConfig) -> Float32:
    """(N, T, F) to (N, T', F): evenly spaced frames, at most ``frames`` of the settings.

    Similarities need as many of every clip: of a shorter one frames come again.
    """
    count, most = features.shape[1], config.frames
    if count <= most and (config.verbs_from not in _SQUARE or not count):
        return features
    return features[:, ((np.arange(most) + 0.5) * count / most).astype(int)]


def read_parts(features: Float32, blocks: Blocks, config: C2CConfig) -> list[Float32]:
    """Blocks (N, T, W) of frame features (N, T, F), and as many parts for verbs where set so."""
    if config.verbs_from in _SQUARE:
        features = sampled(features, config)
    shown = read_blocks(features, blocks)
    if config.verbs_from == "frames":
        return shown
    apart = [part - part.mean(axis=1, keepdims=True) for part in shown]
    if config.verbs_from == "deviations":
        return shown + apart
    alike = [_alike(*rows) for rows in zip(shown, apart, strict=True)]
    return shown + (alike if config.verbs_from == "similarities" else apart + alike)


def _alike(shown: Float32, apart: Float32) -> Float32:
    """(N, T, T) products of deviations (N, T, W), over their mean square; 0 of a still clip."""
    products = apart @ apart.swapaxes(1, 2)
    moved = np.square(apart).sum(axis=2).mean(axis=1)
    still = np.square(shown).sum(axis=2).mean(axis=1)
    return (products / np.maximum(moved + _STILL * still, 1e-9)[:, None, None]).astype(np.float32)


@register("adapter", "c2c", status="in the spirit")
class C2C(ResidualTower, ComposedLabels):
    """Verbs and objects learned apart and given each other, for pairs that training never shows.

    Source: Li et al., "C2C: component-to-composition learning for zero-shot compositional action
    recognition", 2024. It reads the frame features alone, so it works on every encoder of frames.
    Vectors, texts and features stay the encoder's own; what pairs are scored by is the context
    (4, E) of a clip: its verb, its object, and either to be joined with the other.

    Reference: Li et al., "C2C: component-to-composition learning for zero-shot compositional action
    recognition", ECCV 2024.
    Example: ``vlar adapt pairs.csv --out composed --method c2c``.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    method, config_type = "c2c", C2CConfig
    changes: ClassVar[frozenset[str]] = frozenset({"descriptions"})
    learner: ClassVar[str] = "compositional"
    label_parts: ClassVar[tuple[str, ...]] = PARTS
    pair_scale = SCALE
    network: C2CNetwork
    config: C2CConfig

    def prepare(self) -> None:
        """No label has been read; a training may leave out the inputs of one part at a time."""
        self.input_widths = [self.config.components] * len(part_widths(self._blocks, self.config))
        self._label_parts: list[Mapping[str, str]] = []
        self._label_counts: list[int] = []

    def build(self) -> C2CNetwork:
        """The head at its start; residuals of words are zero."""
        widths = part_widths(self._blocks, self.config)
        return C2CNetwork(self.config, self.dim, widths, len(self._blocks))

    def refresh(self) -> None:
        """Compute the fingerprint from the parameters, and clear the words' texts."""
        super().refresh()
        self.verbs, self.objects = self.config.verbs, self.config.objects
        self._texts = Recent(_KEPT_LISTS)

    # The encoder contract

    def row(self, row: Encoded) -> Encoded:
        """The encoder's own features and vector, with the context that pairs are scored by."""
        return replace(row, context=self.context(row.features[None])[0])

    def context(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to context tokens (N, 4, E) float32."""
        rows: list[Float32] = []
        with torch.inference_mode():
            for clip in features:  # one by one: the same alone and in company
                components = self.network.components(torch.from_numpy(self.small(clip[None])))
                rows.append(torch.stack(list(components), dim=1)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, _TOKENS, self.config.width), np.float32)

    def pool(self, features: Float32) -> Float32:
        """Pool by the encoder."""
        return self.pooled(features)

    # Pairs

    def pair_similarity(self, context: np.ndarray, pairs: Sequence[Pair]) -> Float32:
        """Score pairs: 0 to 2, less 1."""
        similarity = np.zeros((len(context), len(pairs)), np.float32)
        if not similarity.size:
            return similarity
        tokens = torch.from_numpy(np.asarray(context, np.float32))
        rows = max(1, _MOST_NUMBERS // (len(pairs) * self.config.width))
        with torch.inference_mode():
            verbs = self._words("verb", tuple(verb for verb, _ in pairs))
            objects = self._words("object", tuple(noun for _, noun in pairs))
            for start in range(0, len(tokens), rows):
                clips = Components(*tokens[start : start + rows].unbind(dim=1))
                scores = self.network.head.compose_listed(clips, verbs, objects)
                similarity[start : start + rows] = scores.numpy() - 1
        return similarity

    def _words(self, part: str, words: tuple[str, ...]) -> Tensor:
        """(n, D) texts of words as the head reads them; those of one list are kept."""

        def moved_words() -> Tensor:
            trained = self.verbs if part == "verb" else self.objects
            columns_of = {word: column for column, word in enumerate(trained)}
            distinct_words = list(dict.fromkeys(words))
            columns = [columns_of.get(word, -1) for word in distinct_words]
            moved = self.network.moved(part, self._encoded(distinct_words), columns)
            row = {word: number for number, word in enumerate(distinct_words)}
            return moved[[row[word] for word in words]]

        return self._texts.keep((part, words), moved_words)

    def _encoded(self, words: Sequence[str]) -> Tensor:
        """(n, D) texts of words as a model of this encoder has them."""
        return torch.from_numpy(self.label_vectors(words))

    # Training

    def read_label_parts(self, parts: Sequence[Mapping[str, str]], counts: Sequence[int]) -> None:
        """Keep the verb and the object of each label for ``training_classes``.

        Raises:
            UsageError: a label has not both.
        """
        for label in parts:
            missing = [name for name in PARTS if not label.get(name)]
            if missing:
                raise UsageError(
                    f"method 'c2c' learns verbs and objects apart, and a label has no "
                    f"{missing[0]!r}; give a CSV with the columns path,verb,object"
                )
        self._label_parts, self._label_counts = list(parts), list(counts)

    def training_classes(self, labels: Sequence[str]) -> PairClasses:
        """Texts of the verbs and objects of the labels; ``read_label_parts`` comes before.

        Other verbs or objects than before start without a residual.

        Raises:
            UsageError: ``read_label_parts`` did not get the parts of these labels.
        """
        if len(self._label_parts) != len(labels):
            raise UsageError(
                f"{len(labels)} labels, and the verbs and objects of {len(self._label_parts)}; "
                "method 'c2c' needs a verb and an object of each label"
            )
        of_label = [[row[part] for row in self._label_parts] for part in PARTS]
        verbs, objects = (tuple(sorted(set(words))) for words in of_label)
        if (verbs, objects) != (self.verbs, self.objects):
            state = {k: v for k, v in self.network.state_dict().items() if "residual" not in k}
            self.rebuild(dataclasses.replace(self.config, verbs=verbs, objects=objects))
            self.network.load_state_dict(state, strict=False)
        texts = [self._encoded(words) for words in (verbs, objects)]
        for part, rows in zip(PARTS, texts, strict=True):
            # Of a single word nothing but its text is left.
            centre = rows.mean(dim=0) if len(rows) > 1 else torch.zeros_like(rows[0])
            self.network.get_buffer(f"{part}_centre").copy_(centre)
        self.refresh()
        columns = [
            [words.index(word) for word in row]
            for words, row in zip((verbs, objects), of_label, strict=True)
        ]
        pairs = torch.tensor(columns, dtype=torch.int64).T.contiguous()
        clips = torch.arange(len(labels)).repeat_interleave(torch.tensor(self._label_counts))
        counts = pair_counts(pairs, clips, len(verbs), len(objects))
        return PairClasses(texts[0], texts[1], pairs, counts)

    def read(self, features: Float32) -> list[Float32]:
        """The blocks of frame features (N, T, F), and what verbs are read from."""
        return read_parts(features, self._blocks, self.config)

    def small(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T', K), T' at most the ``frames`` of the settings."""
        return super().small(sampled(features, self.config))

    def training_inputs(self, features: Float32) -> Float32:
        """(N, T, F) to the small inputs (N, T', K)."""
        return self.small(features)

    def training_step(self, batch: TrainingBatch, classes: PairClasses) -> TrainingOutput:
        """Scaled scores of the labels' pairs, and C2C's losses.

        Args:
            batch: Inputs (N, T, K) of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        inputs = self.inputs_of(batch.inputs)
        output = self.network(inputs, classes.verbs, classes.objects)
        logits = SCALE * (listed(output.pair, classes.pairs) - 1)
        parts = {"verb": SCALE * output.verb, "object": SCALE * output.object}
        shown, targets = batch.labelled(inputs), batch.labelled(batch.targets)
        losses = {"total": logits.sum() * 0}
        if len(shown) and self.network.training:
            losses = enhanced_losses(self.network, shown, targets.argmax(dim=1), classes)
        elif len(shown):
            losses = {"total": batch.loss(logits)}
        return TrainingOutput(logits, losses, parts=parts)
