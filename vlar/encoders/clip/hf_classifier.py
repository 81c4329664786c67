"""Loads video classifiers of transformers: a tower, and a name for each of its classes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForVideoClassification

from vlar.encoders.base import Block, FrameBlock
from vlar.encoders.class_space import ClassSpace
from vlar.encoders.clip.hf_loader import WeightSource, clear_errors, licence, processor_of, weights
from vlar.encoders.clip.options import place_model
from vlar.encoders.clip.pixels import read_pixels
from vlar.encoders.clip.towers import Towers, towers_without_text
from vlar.encoders.lite.space import KIND_WEIGHTS, SOFTMAX_SCALE
from vlar.encoders.sentence_tower import count_word_pieces, tower_hash
from vlar.encoders.spec import INT8
from vlar.encoders.torch_encoder import WholeClipEncoder
from vlar.errors import LabelError, ModelError
from vlar.language.clean import check_sizes, clean_label
from vlar.types import Float32, Role

_RULE = 2  # of the texts: a class name is that class alone
LOGIT_SCALE = 10.0  # that of the objects of ``lite``, whose rule this is


class ClassNamesEncoder(WholeClipEncoder):
    """VideoMAE, TimeSformer, ViViT, V-JEPA 2 and VideoPrism with a classifier of named classes.

    Features are (1, C + P): the class scores, and the P numbers that the classifier reads, which
    few-shot methods use.
    """

    templates = "plain"

    def __init__(self, towers: Towers, name: str, names: Sequence[str], *, n_frames: int) -> None:
        """Take over a loaded classifier.

        Args:
            towers: ``image`` gives the scores of C classes and the P numbers before them.
            name: The spec that loads this encoder again.
            names: C names of the classes.
            n_frames: T, fixed.
        """
        super().__init__(towers, name, n_frames=n_frames, frames_fixed=True)
        self.names = self.trained_labels = tuple(names)
        classes = len(self.names)
        self.dim, self.frame_dim = classes, towers.dim
        self.blocks = (Block("classes", classes, 1.0, has_text=True),)
        self.frame_blocks = (
            FrameBlock("classes", classes, "logits"),
            FrameBlock("pooled", towers.dim - classes, "clip"),
        )
        self._space = ClassSpace(self.names)
        told = [self.fingerprint, self.names, tower_hash(), KIND_WEIGHTS, SOFTMAX_SCALE, _RULE]
        self.fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def pool(self, features: Float32) -> Float32:
        """(N, 1, C + P) to (N, C) float32 of unit length."""
        return self._space.video(features[..., : self.dim])

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, classes) float32 of unit length: how near each is to the class names."""
        return self._space.text(texts)

    def count_tokens(self, text: str) -> int:
        return count_word_pieces(text)


_CLASS = "ForVideoClassification"
_NO_NAME = re.compile(r"LABEL_\d+|\d*")
_LONGEST_NAME = 1_000  # characters; the text tower reads about 1,000


def is_classifier(config: Any) -> bool:
    """Return whether a configuration is that of a video classifier."""
    return any(str(name).endswith(_CLASS) for name in config.architectures or ())


def load_classifier(
    source: WeightSource, name: str, *, device: str | None, precision: str, random_init: bool
) -> ClassNamesEncoder:
    """A video classifier as an encoder; see ``HfEncoder.from_spec``.

    Raises:
        ModelError: its classes have no names, or it cannot be loaded.
    """
    names = class_names(source.config, source.name)
    if precision == INT8:
        raise ModelError(f"{source.name} is a video classifier and does not run in int8; use bf16")
    with clear_errors(source.target):
        model: Any = weights(source, AutoModelForVideoClassification, random_init)
        pixels = read_pixels(processor_of(source), source.config, source.name)
    place_model(model, device, precision, source.name)
    config = source.config
    n_frames = int(getattr(config, "num_frames", None) or config.frames_per_clip)
    pooled = int(model.classifier.in_features)

    towers = towers_without_text(
        model,
        _scores_and_pooled(model),
        pixels,
        dim=len(names) + pooled,
        scale=LOGIT_SCALE,
        licence=licence(source, random_init),
        why=f"{source.name} is a video classifier without a text tower",
    )
    return ClassNamesEncoder(towers, name, names, n_frames=n_frames)


def class_names(config: Any, what: str) -> tuple[str, ...]:
    """The names of C classes as a person would write them, in the order of the scores.

    Args:
        config: A configuration with ``id2label``.
        what: Names the model in the error.

    Raises:
        ModelError: a class has no name, or names are too long, too many or all the same.
    """
    stated = {int(number): str(label) for number, label in config.id2label.items()}
    if sorted(stated) != list(range(len(stated))):
        raise ModelError(
            f"{what}: the classes of its config.json are not numbered from 0 to {len(stated) - 1}"
        )
    raw = [stated[number] for number in range(len(stated))]
    try:
        check_sizes(raw, what)
    except LabelError as error:
        raise ModelError(error.message) from error
    names = tuple(clean_label(label[:_LONGEST_NAME]) for label in raw)
    nameless = next((label for label in raw if _NO_NAME.fullmatch(label.strip())), None)
    if nameless is not None or len(set(names)) < 2:
        raise ModelError(
            f"{what} is a video classifier whose classes have no names (id2label holds "
            f"{(nameless if nameless is not None else names[0])[:40]!r}): words cannot be compared "
            "with them; write the names into id2label of its config.json"
        )
    return names


def _scores_and_pooled(model: Any) -> Callable[[Tensor], Tensor]:
    """Clips (N, T, 3, H, W) to class scores and what the classifier reads, (N, C + P)."""

    def features(pixels: Tensor) -> Tensor:
        read: list[Tensor] = []

        def note(_: Any, given: tuple[Tensor, ...]) -> None:
            read.append(given[0].flatten(1))

        hook = model.classifier.register_forward_pre_hook(note)
        try:
            scores = model(**{model.main_input_name: pixels}).logits
        finally:
            hook.remove()
        return torch.cat([scores.flatten(1), read[-1]], dim=1)

    return features
