"""The contract of a captioner: clips in, sentences about what they show out."""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

from vlar import registry
from vlar.encoders.spec import split_parts
from vlar.errors import UsageError, VlarError
from vlar.formatting import without
from vlar.media.lookup import reader
from vlar.types import Clip, Encoded, Sampling

#: Captions of one clip; empty without anything to describe.
Captions = tuple[str, ...]


class Captioner(ABC):
    """Writes sentences about clips.

    Attributes:
        name: The spec that makes it again, such as ``concepts`` or ``hf:FOLDER``.
        modality: Name of the reader whose clips it takes.
        fingerprint: Hash of everything that changes a caption.
        licence: Licence of its weights.
        encoder_fingerprint: Hash of the encoder whose features ``caption_encoded`` reads; empty
            where there is none.
    """

    name: str
    modality: str = "video"
    fingerprint: str
    licence: str = "unknown"
    encoder_fingerprint: str = ""
    #: Argument of the contract tests; None where nothing can be had offline.
    contract_argument: ClassVar[str | None] = None

    @classmethod
    @abstractmethod
    def from_spec(cls, argument: str) -> Captioner:
        """Make the captioner.

        Args:
            argument: What follows the name in ``NAME:ARGUMENT``; empty if nothing does.

        Raises:
            UsageError: the argument is not usable.
            ModelError: a file that it needs is missing or damaged.
        """

    @property
    @abstractmethod
    def sampling(self) -> Sampling:
        """The clips it was made for; it takes others as well."""

    @abstractmethod
    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        """Captions of N clips, in order; a clip has the same ones alone and in company.

        Raises:
            ModelError: its model failed.
        """

    def caption_encoded(self, encoded: Encoded) -> Captions:
        """Captions of a clip that ``encoder_fingerprint`` has encoded, without another look at it.

        Raises:
            UsageError: it reads clips only.
        """
        raise UsageError(f"captioner {self.name!r} reads clips only")


def load_captioner(spec: str) -> Captioner:
    """The captioner that a spec names: ``concepts``, ``file:FILE.json``, ``hf:FOLDER``, ``A+B``.

    Raises:
        UnknownNameError: no captioner has this name.
        UsageError: the spec is empty, or its argument is not usable.
        ModelError: a file that it needs is missing or damaged.
    """
    return registry.load("captioner", spec)


def load(kind: str, spec: str) -> Captioner:
    """The captioner of a name, or several joined by ``+``; ``registry.load`` calls it."""
    parts = split_parts(spec.strip(), registry.names(kind))
    captioners: list[Captioner] = [registry.made(kind, part) for part in parts]
    return captioners[0] if len(captioners) == 1 else JoinedCaptioner(captioners)


class JoinedCaptioner(Captioner):
    """``A+B``: the captions of several captioners, in their order."""

    def __init__(self, parts: Sequence[Captioner]) -> None:
        self._parts = parts
        self.name = "+".join(part.name for part in parts)
        self.modality = parts[0].modality
        self.licence = "; ".join(dict.fromkeys(part.licence for part in parts))
        fingerprints = " ".join(part.fingerprint for part in parts)
        self.fingerprint = hashlib.sha256(fingerprints.encode()).hexdigest()

    @classmethod
    def from_spec(cls, argument: str) -> Captioner:
        return load_captioner(argument)

    @property
    def sampling(self) -> Sampling:
        return self._parts[0].sampling

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        captions = [part.caption(clips) for part in self._parts]
        return [tuple(chain.from_iterable(texts)) for texts in zip(*captions, strict=True)]


def quote(
    kind: str,
    start_s: float,
    end_s: float,
    text: str,
    language: str = "",
    box: Sequence[float] | None = None,
) -> str:
    r"""Words of a clip as a caption, which ``says "..."`` and ``shows "..."`` look up.

    >>> quote("shows", 1.25, 3.0, 'a "red" cup', "en")
    'shows (en, 1.2-3.0 s): "a \'red\' cup"'

    ``kind`` is ``says`` or ``shows``; times are seconds of the recording. Quotes in the text are
    replaced, so that they cannot end the caption. Where the words stand is a box of left, top,
    right and bottom, 0 to 1 of the frame, which is written in whole per cent around it:

    >>> quote("shows", 0, 2, "EXIT", box=(0.104, 0.2, 0.251, 0.3))
    'shows (0.0-2.0 s @10,20,26,30): "EXIT"'
    """
    words = " ".join(without(text).replace('"', "'").split())
    where = "" if box is None else f" @{','.join(map(str, _percent(box)))}"
    span = f"{f'{language}, ' * bool(language)}{start_s:.1f}-{end_s:.1f} s{where}"
    return f'{kind} ({span}): "{words}"'


def _percent(box: Sequence[float]) -> list[int]:
    """Whole per cent (4,) around a box: the least below its start, the greatest above its end."""
    shares = [100 * min(max(float(side), 0.0), 1.0) for side in box]
    return [
        math.floor(round(s, 6)) if n < 2 else math.ceil(round(s, 6)) for n, s in enumerate(shares)
    ]


@dataclass(frozen=True)
class CaptionQuote:
    """Words that captions quote.

    Attributes:
        kind: ``says`` or ``shows``.
        start_s: Begin, in seconds of the recording.
        end_s: End.
        text: The words.
        language: Code of the language; empty where it is not known.
        box: Left, top, right and bottom, 0 to 100 per cent of the frame, of where the words stand
            when they are first read; None where it is not known.
    """

    kind: str
    start_s: float
    end_s: float
    text: str
    language: str
    box: tuple[int, int, int, int] | None = None


_QUOTE = re.compile(
    r"""(?:^|(?<= ))(says|shows) \((?:([\w-]{1,20}), )?(\d+\.\d)-(\d+\.\d) s"""
    r'''(?: @(\d{1,3}(?:,\d{1,3}){3}))?\): "([^"]+)"'''
)
_TOUCHING_S = 0.11  # times are written in tenths


def quotes(captions: Iterable[str]) -> list[CaptionQuote]:
    """Quotes of the captions of a recording, by time; the same words that touch are one."""
    spans: dict[tuple[str, str, str], list[tuple[float, float, str]]] = {}
    for caption in captions:
        for kind, language, start_s, end_s, box, text in _QUOTE.findall(caption):
            spans.setdefault((kind, text, language), []).append((float(start_s), float(end_s), box))
    merged: list[CaptionQuote] = []
    for (kind, text, language), times in spans.items():
        begin_s, last_s, first_box = min(times)
        for start_s, end_s, box in sorted(times):
            if start_s > last_s + _TOUCHING_S:
                merged.append(CaptionQuote(kind, begin_s, last_s, text, language, _box(first_box)))
                begin_s, last_s, first_box = start_s, end_s, box
            last_s = max(last_s, end_s)
        merged.append(CaptionQuote(kind, begin_s, last_s, text, language, _box(first_box)))
    return sorted(merged, key=lambda quote: (quote.start_s, quote.end_s))


def _box(text: str) -> tuple[int, int, int, int] | None:
    """The box that a caption states; None without one, or where it has no area."""
    if not text:
        return None
    left, top, right, bottom = map(int, text.split(","))
    return (left, top, right, bottom) if left < right <= 100 and top < bottom <= 100 else None


def captions_of(paths: Sequence[Path], captioner: Captioner) -> Iterator[Captions]:
    """Captions of whole recordings, one at a time; none of one that cannot be read."""
    source = reader(captioner.modality)
    for path in paths:
        try:
            clip = source.read_clip(path, None, captioner.sampling)
        except (VlarError, OSError):
            yield ()
        else:
            yield captioner.caption([clip])[0]


def as_captioner(given: str | Captioner | None) -> Captioner | None:
    """The captioner that a name stands for; others as they are."""
    return load_captioner(given) if isinstance(given, str) else given


def one_text(captions: Captions) -> str:
    """The captions of a clip as one text, for a text encoder and for full-text search."""
    return " ".join(caption.strip() for caption in captions if caption.strip())
