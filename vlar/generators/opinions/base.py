"""The contract of an answerer: a clip and a question in, what it chose out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.errors import UsageError, VlarError
from vlar.generators.chat import NoAnswerError
from vlar.generators.opinions.question import Question
from vlar.media.video.files import content_hash
from vlar.types import Clip, Float64, Window


@dataclass(frozen=True)
class Answer:
    """Answer of an answerer to K options, in the order in which they were shown.

    Attributes:
        probability: (K,) float64 that sums to 1; None where it only wrote.
        text: Written answer; empty where it gave probabilities.
        refused: Whether it refused to answer this question.
        tokens_in: Tokens of the question, if they are counted.
        tokens_out: Tokens of the answer.
    """

    probability: Float64 | None = None
    text: str = ""
    refused: bool = False
    tokens_in: int = 0
    tokens_out: int = 0


class MediaItem:
    """A clip that is shown with a question; it is read when somebody needs its frames.

    Args:
        path: The recording.
        window: The span; None for the whole recording.
        read: Reads the clip.
        part: What part of the pictures is shown, for the hash; empty for all of them.
    """

    def __init__(
        self, path: Path, window: Window | None, read: Callable[[], Clip], part: str = ""
    ) -> None:
        self.path = path
        self.window = window
        self._read, self._part = read, part

    @staticmethod
    def of(clip: Clip | MediaItem) -> MediaItem:
        """A clip that is there already."""
        return clip if isinstance(clip, MediaItem) else _Here(clip)

    @cached_property
    def clip(self) -> Clip:
        """The clip.

        Raises:
            DecodeError: it cannot be read.
        """
        return self._read()

    @property
    def is_file(self) -> bool:
        """Whether the recording can be read again in another way."""
        return not self._part and self.path.exists()

    @cached_property
    def key(self) -> str:
        """Hash of what is shown: the recording's content and the span.

        Raises:
            DecodeError: it cannot be read.
        """
        window = self.window
        span = "" if window is None else f"{window.start_s!r} {window.end_s!r}"
        span += f" {self._part}" if self._part else ""
        return hashlib.sha256(f"{content_hash(self.path)} {span}".encode()).hexdigest()


class _Here(MediaItem):
    """A clip in memory; its samples name it."""

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip.path, clip.window, lambda: clip)

    @cached_property
    def key(self) -> str:
        data = np.ascontiguousarray(self.clip.data)
        digest = hashlib.sha256(f"{data.shape} {data.dtype}".encode())
        digest.update(data.tobytes())
        digest.update(np.ascontiguousarray(self.clip.times_s).tobytes())
        return digest.hexdigest()


class Answerer(ABC):
    """Chooses one of the options of a question. Registered as ``@register("answerer", NAME)``.

    Attributes:
        order_free: Whether the order of the options makes no difference to it.
        concurrent: Whether several questions at once are faster.
        cached: Whether its answers are worth keeping on disk.
    """

    order_free: bool = False
    concurrent: bool = False
    cached: bool = True

    @classmethod
    @abstractmethod
    def from_spec(cls, argument: str) -> Answerer:
        """Make the answerer.

        Args:
            argument: What follows the name in ``NAME:ARGUMENT``; empty if nothing does.

        Raises:
            UsageError: the argument is not usable.
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything that an answer depends on besides the clip and the question."""

    @abstractmethod
    def answer(self, shown: MediaItem, question: Question) -> Answer:
        """Choose one option; ``shown.clip`` has the frames.

        Raises:
            NoAnswerError: this question gets no answer.
            RefusedError: no question will get an answer.
            DecodeError: the clip cannot be read.
        """

    def close(self) -> None:
        """Stop waiting for answers, and write what is not written yet. May be called twice."""
        return


Function = Callable[[Any, Question], str | npt.ArrayLike]


class FunctionAnswerer(Answerer):
    """A function of your own as an answerer.

    Args:
        function: Takes the clip (``vlar.types.Clip``, or what was given to ``ask``) and the
            question, and returns what it writes, such as ``"B"``, or K probabilities.
    """

    cached = False

    def __init__(self, function: Function) -> None:
        self._function = function

    @classmethod
    def from_spec(cls, argument: str) -> Answerer:
        raise UsageError(f"an answerer cannot be made from {argument!r}; pass the function itself")

    @property
    def identity(self) -> str:
        return f"function {getattr(self._function, '__qualname__', self._function)}"

    def answer(self, shown: MediaItem, question: Question) -> Answer:
        try:
            answer = self._function(shown.clip, question)
            if isinstance(answer, str):
                return Answer(text=answer)
            return Answer(checked_probability(np.asarray(answer, np.float64), len(question)))
        except VlarError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise NoAnswerError(f"{self.identity} failed ({what})") from error


def checked_probability(values: Float64, k: int) -> Float64:
    """K values, 0 or more, scaled to sum to 1.

    Raises:
        NoAnswerError: there are others.
    """
    good = values.shape == (k,) and bool(np.isfinite(values).all()) and bool((values >= 0).all())
    if not good or not values.sum() > 0:
        raise NoAnswerError(f"the answer is not {k} probabilities but {np.shape(values)} numbers")
    return values / values.sum()


def load_answerer(spec: str) -> Answerer:
    """The answerer that a spec names, such as ``self:motion``, ``local:FOLDER``, ``openai:MODEL``.

    Args:
        spec: ``NAME:ARGUMENT``.

    Raises:
        UnknownNameError: no answerer has this name.
        UsageError: the spec is empty, or its argument is not usable.
    """
    return registry.load("answerer", spec)
