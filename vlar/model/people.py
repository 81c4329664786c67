"""Answers about one person of a recording: ``who`` and ``zoom`` of ``classify``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlar.errors import PersonError, UsageError
from vlar.heads.support import SupportItem
from vlar.language.referring import Reference
from vlar.media.base import Reader
from vlar.media.views import Views, ViewSampler
from vlar.model.core import EncodedSpan, ModelCore, lost_share
from vlar.model.label_heads import LabelClassifier
from vlar.numeric import unit
from vlar.people.focus import ClipCut, Focus, make_focus, needs_words
from vlar.people.people import People
from vlar.types import Classification, Clip, Failure, Float64


def about(
    spans: Iterable[Views | Failure], items: Sequence[SupportItem], source: Reader
) -> Iterator[Views | Failure]:
    """The views of examples; those with a ``who`` are cut around that person.

    Args:
        spans: The views of each example.
        items: The examples in the same order.
        source: Reads a recording again where a detector needs more of it.

    Yields:
        Views as they came for examples of the whole picture; a Failure where the person is not
        there.
    """
    if not any(item.who for item in items):
        yield from spans
        return
    focuses: dict[str, Focus] = {}
    for views, item in zip(spans, items, strict=True):
        if isinstance(views, Failure) or not item.who:
            yield views
            continue
        focus = focuses.get(item.who) or make_focus(item.who)
        assert focus is not None  # a phrase always asks for a focus
        focuses[item.who] = focus
        yield _cut(views, focus, item, source)


def _cut(views: Views, focus: Focus, item: SupportItem, source: Reader) -> Views | Failure:
    try:
        view_cuts = [focus.find(clip, source).cut for clip in views]
    except PersonError as error:
        return Failure(item.path, error.kind, f"{item.path}: {error.message}")
    cuts = [cut for cut in view_cuts if cut is not None]
    if cuts:
        return cuts
    message = f"{item.path}: nobody is found, and the example is about {item.who!r}; leave it out"
    return Failure(item.path, PersonError.kind, message)


WHOLE_WEIGHT = 0.3  # of the whole picture's scores next to those of a zoomed cut


@dataclass(frozen=True)
class PersonAnswers:
    """Answers about the person whom a focus finds in each span.

    Attributes:
        core: Encodes clips.
        classifier: The label list.
        focus: Whom to look for.
        sampler: Reads recordings; its reader is asked again for detail.
    """

    core: ModelCore
    classifier: LabelClassifier
    focus: Focus
    sampler: ViewSampler

    def __post_init__(self) -> None:
        """Refuse sensors without pictures.

        Raises:
            UsageError: the model reads another sensor than video.
        """
        if self.core.modality != "video":
            raise UsageError(
                f"model {self.core.name!r} reads the sensor {self.core.modality!r}, which shows no "
                "people to point at; leave who and zoom out"
            )

    def each(
        self, spans: Iterable[Views | Failure], top: int
    ) -> Iterator[Classification | Failure]:
        """The answer for each span; one whose person is not there is a Failure in its place."""
        for views in spans:
            if isinstance(views, Failure):
                yield views
                continue
            try:
                yield self.answer(views, top)
            except PersonError as error:
                message = f"{views[0].path}: {error.message}"
                yield Failure(views[0].path, error.kind, message)

    def answer(self, views: Views, top: int) -> Classification:
        """The answer for one span.

        Args:
            views: Its clips; a long span has several, and people are followed in the short ones.
            top: How many labels to return.

        Raises:
            PersonError: the reference counts beyond the people who are there.
        """
        source = self.sampler.reader
        followed = views[1:] or views
        people = [self._find(clip, source) for clip in followed]
        cuts = [person.cut for person in people if person.cut is not None]
        whole = [] if cuts and not self.focus.keeps_whole else list(views)
        encoded = self.core.encode([*cuts, *whole])
        parts: list[tuple[float, EncodedSpan]] = []
        lost = lost_share(views)
        for weight, rows in (
            (1.0 - WHOLE_WEIGHT, encoded[: len(cuts)]),
            (WHOLE_WEIGHT, encoded[len(cuts) :]),
        ):
            if rows:
                mean = unit(np.mean([row.vector for row in rows], axis=0)) if rows[1:] else None
                one = rows[0] if mean is None else replace(rows[0], vector=mean)
                parts.append((weight, EncodedSpan(views[0].path, views[0].window, one, lost)))
        answer = self.classifier.answer_mixed(parts, top=top, model=self.core.name)
        person = next((person.person for person in people if person.person), None)
        notes = tuple(dict.fromkeys(note for person in people for note in person.notes))
        return replace(answer, person=person, notes=notes)

    def _find(self, clip: Clip, source: Reader) -> ClipCut:
        size = self.core.sampling.size
        meta = {**clip.meta, "encoder_side": min(size)} if size else clip.meta
        return self.focus.find(replace(clip, meta=meta), source, self._likeness)

    def _likeness(self, people: People, clip: Clip, reference: Reference) -> Float64 | None:
        """(K,) logits of the people for the words of a reference; None where measures decide."""
        pointer = getattr(self.core.encoder, "point", None)
        if pointer is None and not needs_words(reference):
            return None
        cuts = [people.cut_out(track, clip) for track in range(len(people.tracks))]
        rows = self.core.encode([*cuts, clip] if pointer else cuts)
        vectors = np.stack([row.vector for row in rows])
        if pointer is not None:
            return pointer(people, vectors[:-1], vectors[-1], str(reference))
        text = self.core.encode_queries([str(reference)])[0]
        return self.core.logit_scale * (vectors @ text).astype(np.float64)
