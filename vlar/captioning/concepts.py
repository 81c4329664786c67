"""``concepts``: what vlar sees itself, in sentences; offline and without another model.

The objects are those of the encoder ``lite``, the movements those of its bodies (with
``lite-motion``). It is the captioner that is always there; a captioning network writes better ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from vlar.captioning.base import Captioner, Captions
from vlar.captioning.motion_phrases import PHRASES, motion_phrases
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.encoders.lite.space import SOFTMAX_SCALE
from vlar.errors import UsageError
from vlar.pose.features import POSE_WIDTH, measure_features
from vlar.registry import register
from vlar.text.bank import load_bank
from vlar.types import Clip, Encoded, Float32, Sampling

_LEAST = 0.03  # probability of an object that is named
_MOST = 5
_VERSION = 1


@register("captioner", "concepts")
class ConceptCaptioner(Captioner):
    """One sentence with the objects of a clip, and one with what its people do."""

    name = "concepts"
    contract_argument: ClassVar[str | None] = ""

    def __init__(self, encoder: LiteEncoder) -> None:
        self._encoder = encoder
        self.licence, self.modality = encoder.licence, encoder.modality
        self.encoder_fingerprint = encoder.fingerprint
        settings = json.dumps([_VERSION, _LEAST, _MOST, sorted(map(str, PHRASES.items()))])
        self.fingerprint = hashlib.sha256((encoder.fingerprint + settings).encode()).hexdigest()

    @classmethod
    def from_spec(cls, argument: str) -> ConceptCaptioner:
        """The captioner; it has no argument.

        Raises:
            UsageError: one is given.
        """
        if argument:
            raise UsageError(f"the captioner 'concepts' has no argument, got {argument!r}")
        return cls(LiteEncoder())

    @property
    def sampling(self) -> Sampling:
        """Those of ``lite``."""
        return self._encoder.sampling

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return load_bank("imagenet_objects").texts

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        """See ``Captioner``."""
        return [self.caption_encoded(row) for row in self._encoder.encode(clips)]

    def caption_encoded(self, encoded: Encoded) -> Captions:
        """Sentences from the frame features of ``lite``."""
        features = encoded.features
        if not len(features):
            return ()
        objects = self._objects(features[:, : len(self._names)])
        captions = [f"a video showing {_listed([_article(name) for name in objects])}"]
        if self._encoder.body is not None:
            start = self._encoder.frame_dim - self._encoder.body.frame_width
            measured = measure_features(features[:, start : start + POSE_WIDTH])
            if doing := motion_phrases(measured):
                captions.append(f"a person {_listed(doing)}")
        return tuple(f"{caption}." for caption in captions)

    def _objects(self, scores: Float32) -> list[str]:
        """Names of the likeliest objects over a clip, at least one."""
        shifted = SOFTMAX_SCALE * (scores - scores.max(axis=-1, keepdims=True))
        shares = np.exp(shifted)
        mean = (shares / shares.sum(axis=-1, keepdims=True)).mean(axis=0)
        order = np.argsort(-mean, kind="stable")[:_MOST].tolist()
        return [
            self._names[place] for at, place in enumerate(order) if not at or mean[place] >= _LEAST
        ]


def _listed(parts: Sequence[str]) -> str:
    """Parts joined as in a sentence.

    >>> _listed(["a cup", "a spoon", "a plate"])
    'a cup, a spoon and a plate'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _article(name: str) -> str:
    """A noun with its article.

    >>> _article("barbell"), _article("electric fan")
    ('a barbell', 'an electric fan')
    """
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
