"""C2C behind the encoder contract: attached to any encoder, trained on pairs of verb and object."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from vlar.adapters.base import Adapter
from vlar.adapters.c2c.config import C2CConfig
from vlar.adapters.c2c.inputs import part_widths, read_parts, sampled
from vlar.adapters.frame_inputs import (
    along_directions,
    check_names,
    chosen,
    fit_directions,
)
from vlar.adapters.trainable import Trainable, TrainingBatch, TrainingOutput
from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.encoders.composed import ComposedLabels, Pair
from vlar.encoders.session import Session
from vlar.errors import UsageError
from vlar.numeric import unit
from vlar.registry import register
from vlar.text.clean import clean_label
from vlar.text.prompts import fill, load_templates
from vlar.types import Clip, Encoded, Float32, JsonDict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.adapters.c2c.losses import PairClasses
    from vlar.adapters.c2c.network import C2CNetwork

PARTS = ("verb", "object")
SCALE = 100.0
_TOKENS = 4  # vectors of a clip that pairs are scored by
_MOST_NUMBERS = 1 << 24  # of the vectors of clips and pairs, at a time
_KEPT_LISTS = 64


@register("adapter", "c2c")
class C2C(Adapter, Trainable, ComposedLabels):
    """Verbs and objects learned apart and given each other, for pairs that training never shows.

    Source: Li et al., "C2C: component-to-composition learning for zero-shot compositional action
    recognition", 2024. It reads the frame features alone, so it works on every encoder of frames.
    Vectors, texts and features stay the encoder's own; what pairs are scored by is the context
    (4, E) of a clip: its verb, its object, and either to be joined with the other.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames", "pool", "fixed_text")
    changes: ClassVar[frozenset[str]] = frozenset({"descriptions"})
    learner: ClassVar[str] = "compositional"
    label_parts: ClassVar[tuple[str, ...]] = PARTS
    reads: Literal["pixels", "features"] = "features"
    pair_scale = SCALE
    network: C2CNetwork

    def __init__(self, encoder: Encoder, config: C2CConfig) -> None:
        """Use ``attach``."""
        self._wrap(encoder, "c2c")
        self._blocks = chosen(encoder.frame_blocks, config.blocks or _names(encoder))
        self.input_widths = [config.components] * len(part_widths(self._blocks, config))
        self._label_parts: list[Mapping[str, str]] = []
        self._label_counts: list[int] = []
        self._build(config)

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> C2C:
        """The adapter at its start; vectors and texts are the encoder's, and stay so.

        Raises:
            ModelError: the encoder has no frame features, or its text depends on the video.
            UnknownNameError: a setting or a block does not exist.
        """
        require(encoder, cls.needs, "c2c")
        config = C2CConfig.from_dict(settings or {})
        check_names(encoder, config.blocks)
        return cls(encoder, config)

    @classmethod
    def check_settings(cls, settings: JsonDict) -> None:
        """See ``Adapter``."""
        C2CConfig.from_dict(settings)

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return self.config.to_dict()

    @property
    def module(self) -> nn.Module:
        """The head, the directions its inputs are read along, and the words' residuals."""
        return self.network

    def refresh(self) -> None:
        """Compute the fingerprint from the parameters."""
        self.fingerprint = self.content_hash(self.encoder, self.settings)
        self._texts: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    # The encoder contract

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """The encoder's own features and vectors, with the context that pairs are scored by."""
        return self._with_contexts(self.encoder.encode(clips))

    def session(self, *, features: bool = True) -> Session:
        """The wrapped encoder's session; its frame features give the context, window by window."""
        del features
        return self.encoder.session().then(self._with_contexts)

    def _with_contexts(self, rows: Sequence[Encoded]) -> list[Encoded]:
        return [replace(row, context=self.context(row.features[None])[0]) for row in rows]

    def context(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to context tokens (N, 4, E) float32."""
        import torch

        rows: list[Float32] = []
        with torch.inference_mode():
            for clip in features:  # one by one: the same alone and in company
                found = self.network.components(torch.from_numpy(self._inputs(clip[None])))
                rows.append(torch.stack(list(found), dim=1)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, _TOKENS, self.config.width), np.float32)

    def pool(self, features: Float32) -> Float32:
        """As the encoder."""
        return self.encoder.pool(features)

    # Pairs

    def pair_similarity(self, context: np.ndarray, pairs: Sequence[Pair]) -> Float32:
        """See ``ComposedLabels``: the pair's score, 0 to 2, less 1."""
        import torch

        from vlar.adapters.c2c.head import Components

        found = np.zeros((len(context), len(pairs)), np.float32)
        if not found.size:
            return found
        tokens = torch.from_numpy(np.asarray(context, np.float32))
        rows = max(1, _MOST_NUMBERS // (len(pairs) * self.config.width))
        with torch.inference_mode():
            verbs = self._words("verb", tuple(verb for verb, _ in pairs))
            objects = self._words("object", tuple(noun for _, noun in pairs))
            for start in range(0, len(tokens), rows):
                clips = Components(*tokens[start : start + rows].unbind(dim=1))
                scores = self.network.head.compose_listed(clips, verbs, objects)
                found[start : start + rows] = scores.numpy() - 1
        return found

    def _words(self, part: str, words: tuple[str, ...]) -> Tensor:
        """(n, D) texts of words as the head reads them; those of one list are kept."""
        if (part, words) not in self._texts:
            if len(self._texts) >= _KEPT_LISTS:
                self._texts.clear()
            trained = self.verbs if part == "verb" else self.objects
            place = {word: column for column, word in enumerate(trained)}
            each = list(dict.fromkeys(words))
            columns = [place.get(word, -1) for word in each]
            moved = self.network.moved(part, self._encoded(each), columns)
            row = {word: number for number, word in enumerate(each)}
            self._texts[part, words] = moved[[row[word] for word in words]]
        return self._texts[part, words]

    def _encoded(self, words: Sequence[str]) -> Tensor:
        """(n, D) texts of words as a model of this encoder has them."""
        import torch

        prompts = fill(load_templates(self.templates), [clean_label(word) for word in words])
        flat = self.encoder.encode_text([text for texts in prompts for text in texts])
        means = unit(flat.reshape(len(words), -1, self.dim).mean(axis=1))
        return torch.from_numpy(means)

    # Training

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; ``training_classes`` comes before."""
        self.network.requires_grad_(True)
        return list(self.network.named_parameters())

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
        import torch

        from vlar.adapters.c2c.losses import PairClasses
        from vlar.losses.components import pair_counts

        if len(self._label_parts) != len(labels):
            raise UsageError(
                f"{len(labels)} labels, and the verbs and objects of {len(self._label_parts)}; "
                "method 'c2c' needs a verb and an object of each label"
            )
        of_label = [[row[part] for row in self._label_parts] for part in PARTS]
        verbs, objects = (tuple(sorted(set(words))) for words in of_label)
        if (verbs, objects) != (self.verbs, self.objects):
            kept = {k: v for k, v in self.network.state_dict().items() if "residual" not in k}
            self._build(dataclasses.replace(self.config, verbs=verbs, objects=objects))
            self.network.load_state_dict(kept, strict=False)
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

    def fit_inputs(self, features: Float32) -> None:
        """Find the directions in which the frames (N, T, F) of the training set differ."""
        parts = read_parts(features, self._blocks, self.config)
        fit_directions(self.network, parts, self.config.components)
        self.refresh()

    def training_inputs(self, features: Float32) -> Float32:
        """(N, T, F) to the small inputs (N, T', K) of at most ``frames`` frames."""
        return self._inputs(features)

    def training_step(self, batch: TrainingBatch, classes: PairClasses) -> TrainingOutput:
        """Scaled scores of the labels' pairs, and C2C's losses.

        Args:
            batch: Inputs (N, T, K) of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        import torch

        from vlar.adapters.c2c.losses import enhanced_losses
        from vlar.losses.components import listed

        inputs = batch.inputs
        if inputs.shape[-1] == self.frame_dim:
            inputs = torch.from_numpy(self._inputs(inputs.detach().numpy()))
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

    def _build(self, config: C2CConfig) -> None:
        import torch

        from vlar.adapters.c2c.network import C2CNetwork

        self.config, self.verbs, self.objects = config, config.verbs, config.objects
        widths = part_widths(self._blocks, config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # two adapters of the same settings start the same
            self.network = C2CNetwork(config, self.dim, widths, len(self._blocks))
        self.network.eval().requires_grad_(False)
        self.refresh()

    def _inputs(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T', K), T' at most the ``frames`` of the settings."""
        features = sampled(features, self.config)
        return along_directions(self.network, read_parts(features, self._blocks, self.config))


def _names(encoder: Encoder) -> list[str]:
    return [block.name for block in encoder.frame_blocks]
