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
from vlar.language.bank import load_bank
from vlar.pose.attributes.base import Measurements, attribute_names
from vlar.pose.features import POSE_WIDTH, measure_features
from vlar.registry import register
from vlar.types import Clip, Encoded, Float32, Sampling

_LEAST = 0.45  # distance from ordinary clips, -1 to 1, that is worth a word
_MOST = 4
PHRASES: dict[tuple[str, int], str] = {
    ("travel", 1): "moves from place to place",
    ("fast", 1): "moves fast",
    ("approach", 1): "comes nearer",
    ("approach", -1): "goes away from the camera",
    ("turn", 1): "turns round",
    ("hip_down", 1): "goes down",
    ("hip_down", -1): "comes up",
    ("hip_dip", 1): "goes down and up again",
    ("pitch_max", 1): "bends over",
    ("lying", 1): "lies or hangs level",
    ("upside", 1): "is upside down",
    ("bounce", 1): "bounces",
    ("low_body", 1): "is near the ground",
    ("torso_twist", 1): "twists the torso",
    ("leg_swing", 1): "takes strides",
    ("leg_open", 1): "opens and closes the legs",
    ("airborne", 1): "leaves the ground with both feet",
    ("kick", 1): "lifts one leg high",
    ("leg_energy", 1): "moves the legs quickly",
    ("knee_bent", 1): "sits or crouches with bent knees",
    ("knee_osc", 1): "bends the knees again and again",
    ("one_leg_stand", 1): "stands on one leg",
    ("kneeling", 1): "kneels",
    ("one_arm_up", 1): "raises one arm",
    ("both_arms_up", 1): "raises both arms",
    ("arm_energy", 1): "moves the arms quickly",
    ("wrist_rep", 1): "repeats a movement of the hand",
    ("wrist_peak", 1): "makes a sudden strong movement of the arm, as in a throw or a blow",
    ("arm_straight", 1): "stretches an arm out",
    ("arms_wide", 1): "spreads the arms",
    ("hands_rise", 1): "lifts the hands",
    ("hands_rise", -1): "lowers the hands",
    ("arm_circle", 1): "circles with the arm",
    ("hand_to_head", 1): "has a hand at the head of another person",
    ("hand_to_hand", 1): "holds hands with another person",
    ("foot_to_body", 1): "kicks another person",
    ("strike", 1): "strikes at another person",
    ("arms_around", 1): "holds another person",
    ("two_people", 1): "is with a second person",
    ("closing", 1): "comes together with another person",
    ("closing", -1): "parts from another person",
    ("periodic", 1): "repeats the same movement",
    ("burst", 1): "makes a sudden movement",
    ("energy", -1): "hardly moves",
    ("face_up", 1): "looks up",
    ("head_nod", 1): "nods",
    ("head_shake", 1): "shakes the head",
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
