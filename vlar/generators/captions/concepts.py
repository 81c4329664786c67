"""``concepts``: objects and movements that vlar recognises itself, in sentences; offline.

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

from vlar.encoders.captions import Captioner, Captions
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.encoders.lite.space import SOFTMAX_SCALE
from vlar.errors import UsageError
from vlar.files import resources
from vlar.language.bank import load_bank
from vlar.pose.attributes.base import Measurements, attribute_names
from vlar.pose.features import POSE_WIDTH, measure_features
from vlar.registry import register
from vlar.toml import read_toml
from vlar.types import Clip, Encoded, Float32, Sampling

_LEAST = 0.45  # distance from ordinary clips, -1 to 1, that is worth a word
_MOST = 4
_FILE = resources.find("text_banks", "motion_phrases", ".toml")
PHRASES: dict[tuple[str, int], str] = {
    (name, {"above": 1, "below": -1}[side]): phrase
    for name, row in read_toml(_FILE.read_text(encoding="utf-8")).items()
    for side, phrase in row.items()
}


def motion_phrases(measured: Measurements) -> list[str]:
    """Up to four phrases of the attributes farthest from ordinary clips, strongest first."""
    away = measured.centred() * measured.visible_body
    names: Sequence[str] = attribute_names()
    phrases: list[str] = []
    for column in np.argsort(-np.abs(away), kind="stable").tolist():
        if abs(away[column]) < _LEAST or len(phrases) == _MOST:
            break
        phrase = PHRASES.get((names[column], 1 if away[column] > 0 else -1))
        if phrase is not None:
            phrases.append(phrase)
    return phrases


_CONCEPTS_LEAST = 0.03  # probability of an object that is named
_CONCEPTS_MOST = 5
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
        settings = json.dumps(
            [_VERSION, _CONCEPTS_LEAST, _CONCEPTS_MOST, sorted(map(str, PHRASES.items()))]
        )
        self.fingerprint = hashlib.sha256((encoder.fingerprint + settings).encode()).hexdigest()

    @classmethod
    def from_spec(cls, argument: str) -> ConceptCaptioner:
        if argument:
            raise UsageError(f"the captioner 'concepts' has no argument, got {argument!r}")
        return cls(LiteEncoder())

    @property
    def sampling(self) -> Sampling:
        return self._encoder.sampling

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return load_bank("imagenet_objects").texts

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        return [self.caption_encoded(row) for row in self._encoder.encode(clips)]

    def caption_encoded(self, encoded: Encoded) -> Captions:
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
        order = np.argsort(-mean, kind="stable")[:_CONCEPTS_MOST].tolist()
        return [
            self._names[column]
            for index, column in enumerate(order)
            if not index or mean[column] >= _CONCEPTS_LEAST
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
