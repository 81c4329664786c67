"""``self:MODEL``: another vlar model gives its opinion, as softmax over the options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vlar.errors import UsageError
from vlar.files.recent import Recent
from vlar.generators.chat import NoAnswerError
from vlar.generators.opinions.base import Answer, Answerer, MediaItem, checked_probability
from vlar.generators.opinions.question import Question, normalised
from vlar.language.clean import clean_label
from vlar.registry import register
from vlar.types import Encoded

if TYPE_CHECKING:
    from vlar.model.model import Model

_KEPT = 64  # encoded clips


@register("answerer", "self")
class ModelAnswerer(Answerer):
    """Any model of vlar: zero-shot, or adapted to labels that hold the options."""

    order_free = True
    cached = False  # its clips are encoded faster than an entry of a cache is worth

    def __init__(self, model: Model) -> None:
        self._model = model
        self._encoded = Recent(_KEPT)

    @classmethod
    def from_spec(cls, argument: str) -> ModelAnswerer:
        if not argument:
            raise UsageError("the answerer self: names no model; write self:motion or self:FOLDER")
        from vlar.model.model import load

        return cls(load(argument))

    @property
    def identity(self) -> str:
        return f"self {self._model.name} {self._model.fingerprint}"

    def answer(self, shown: MediaItem, question: Question) -> Answer:
        """Probabilities of the options by the model alone."""
        encoded = self._encoded.keep(shown.key, lambda: self._encode(shown))
        try:
            classifier = self._model.classifier(self._spelled(question), descriptions="none")
        except UsageError as error:
            raise NoAnswerError(error.message) from error
        scores = classifier.scores([encoded])
        shares = scores.probability[0]
        if not shares.sum() > 0:  # unknown for certain: the nearest option is still one
            shares = np.exp(self._model.encoder.logit_scale * scores.similarity[0].astype(float))
        return Answer(checked_probability(np.asarray(shares, np.float64), len(question)))

    def _spelled(self, question: Question) -> list[str]:
        """The labels asked about, as an adapted model spells them: ``brush_hair``."""
        labels = {normalised(clean_label(label)): label for label in self._model.labels or ()}
        return [labels.get(normalised(option), option) for option in question.options]

    def _encode(self, shown: MediaItem) -> Encoded:
        model = self._model
        if shown.is_file:  # it samples for itself: more frames, or other ones
            return model.words.encode_views(model.view_sampler.sample(shown.path, shown.window))
        (encoded,) = model.words.encode([shown.clip])
        return encoded
