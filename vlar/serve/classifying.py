"""Classifying on a server: labels that are texts, recordings that are bounded, time that ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vlar.errors import DecodeTimeout, LabelError, VlarError
from vlar.model.model import Model
from vlar.model.requests import ClassifyRequest
from vlar.sensors import Views
from vlar.serve.errors import ServeError, split, too_slow
from vlar.serve.limits import ServeLimits
from vlar.serve.media import Media
from vlar.serve.models import Models
from vlar.serve.sources import Source, Sources
from vlar.text.labels import LabelList, LabelSet, parse_labels
from vlar.types import Failure, JsonDict, Window

_MOST_SPANS = 2000  # of one recording that is classified piece by piece


class Classifying:
    """Answers ``Application.classify``.

    Args:
        models: Of the server.
        media: Reads recordings in processes.
        sources: Finds recordings.
        limits: Of the server.
    """

    def __init__(self, models: Models, media: Media, sources: Sources, limits: ServeLimits) -> None:
        self._models, self._media, self._sources, self._limits = models, media, sources, limits

    def __call__(
        self,
        source: Source,
        labels: Sequence[str] | str | None,
        model: str,
        top: int,
        every_s: float | None,
        mode: str,
    ) -> JsonDict:
        """The answer of ``Application.classify``."""
        asked = LabelSet(self._labels(labels), mode)
        request = ClassifyRequest(asked, top, every_s)
        window = source.window
        path, name = self._sources.find(source)
        loaded = self._models.get(model)
        classifier = loaded.recogniser.classifier(request.labels)
        if path.is_file() and loaded.modality == "video":
            self._require_duration(path, name, window, request)
        deadline_s = time.monotonic() + self._limits.request_s
        answers: list[JsonDict] = []
        for span in loaded.encode_spans(self._views(loaded, path, window, request)):
            if isinstance(span, Failure):
                failure = Failure(Path(name), span.kind, span.message.replace(str(path), name))
                if request.every_s is None:  # nothing else remains to answer with
                    raise _refused(failure)
                answers.append(failure.to_dict())
            else:
                row = replace(
                    classifier.answer(span, top=request.top, model=model), path=Path(name)
                )
                answers.append({**row.to_dict(), "label": row.label})
            if time.monotonic() > deadline_s:
                raise too_slow(self._limits.request_s)
        return {"answers": answers, "labels": list(classifier.labels), "model": model}

    def _labels(self, labels: Sequence[str] | str | None) -> LabelList | None:
        """Labels, but never the name of a file: it would be read from the server's disk."""
        if labels is None:
            return None
        if isinstance(labels, str):
            if not labels.startswith("bank:") or set(labels) & set("/\\.~"):
                error = f"{labels[:80]!r} is not a list of labels"
                raise ServeError(400, error, "send a list of texts, or bank:NAME", "labels")
        elif len(labels) > self._limits.labels:
            error = f"{len(labels)} labels; at most {self._limits.labels} are read"
            raise ServeError(400, error, "send fewer", "labels")
        elif not labels:
            raise LabelError("the list of labels is empty; send at least one")
        return parse_labels(labels)

    def _require_duration(
        self, path: Path, name: str, window: Window | None, request: ClassifyRequest
    ) -> None:
        every_s = request.every_s
        try:
            facts = self._media.facts(path)
        except VlarError as error:
            raise type(error)(error.message.replace(str(path), name)) from error
        duration_s, most_s = facts.duration_s, self._limits.video_s
        if window is not None:
            duration_s = window.duration_s
        if duration_s > most_s:
            error = f"{name} lasts {duration_s:.0f} s; at most {most_s:.0f} s are read"
            raise ServeError(422, error, "classify a span of it: start_s, end_s", "too_long")
        if every_s is not None and duration_s / every_s > _MOST_SPANS:
            error = f"{duration_s / every_s:.0f} parts of {every_s:g} s"
            raise ServeError(422, error, f"at most {_MOST_SPANS}: raise every_s", "too_long")

    def _views(
        self, model: Model, path: Path, window: Window | None, request: ClassifyRequest
    ) -> Iterator[Views | Failure]:
        sampler = replace(model.view_sampler, reader=self._media.reader(model.modality))
        if request.every_s is None:
            return sampler.sample_each([(path, window)])
        if window is not None:
            error = "every_s and a span cannot be asked for together"
            raise ServeError(400, error, "leave one of them out", "span")
        return sampler.sample_every([path], request.every_s)


def _refused(failure: Failure) -> ServeError:
    """The error of a recording that cannot be read."""
    status = 504 if failure.kind == DecodeTimeout.kind else 422
    return ServeError(status, *split(failure.message), failure.kind)
