"""Asking one question in several orders of its options, so that a liking for a letter is harmless.

Each of the K rotations puts every option once in every place. Averaged over all of them, an
answerer that always writes "A" gives each option 1 / K, which carries no information.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from vlar.errors import UsageError, VlarError
from vlar.formatting import counted
from vlar.generators.backends import in_threads, keep, kept_place, read_kept
from vlar.generators.chat import RefusedError
from vlar.generators.opinions.base import Answer, Answerer, Function, FunctionAnswerer, MediaItem
from vlar.generators.opinions.question import Question, parse_answer
from vlar.types import Clip, Float64, JsonDict, Window

_FOLDER = "answers"
_FORMAT = 1


def cached_answer(answerer: Answerer, shown: MediaItem, question: Question) -> Answer | None:
    """The answer that was given to this question about this clip before; None without one."""
    data = read_kept(_path(answerer, shown, question)) if answerer.cached else None
    if data is None:
        return None
    probability, text = data.get("probability"), data.get("text")
    if isinstance(probability, list):
        try:
            values = np.array(cast("list[Any]", probability), np.float64)
        except (ValueError, TypeError):
            return None
        if values.shape != (len(question),) or not np.isfinite(values).all():
            return None
        return Answer(values)
    return Answer(text=text) if isinstance(text, str) else None


def keep_answer(answerer: Answerer, shown: MediaItem, question: Question, answer: Answer) -> None:
    """Keep an answer for ``cached_answer``."""
    if answerer.cached:
        probability = answer.probability
        data: JsonDict = (
            {"text": answer.text} if probability is None else {"probability": probability.tolist()}
        )
        keep(_path(answerer, shown, question), data)


def _path(answerer: Answerer, shown: MediaItem, question: Question) -> Path:
    facts = [_FORMAT, answerer.identity, shown.key, question.text(), list(question.options)]
    return kept_place(_FOLDER, facts)


AT_ONCE = 4  # questions to a server


@dataclass(frozen=True)
class Opinion:
    """Opinion of an answerer on the K options of a question.

    Attributes:
        probability: (K,) float64 that sums to 1, in the order of the question's options; None
            where it has no opinion.
        letters: For each order that was asked, the place of the letter it chose; None where its
            answer could not be read.
        error: Kind and message of the error that left it without an opinion; else None.
        asked: Questions that were asked now.
        reused: Questions whose answers were on disk.
        refused: Questions that it refused.
        seconds: Wall time.
        tokens_in: Tokens of the questions asked now, where they are counted.
        tokens_out: Tokens of the answers.
    """

    probability: Float64 | None
    letters: tuple[int | None, ...] = ()
    error: tuple[str, str] | None = None
    asked: int = 0
    reused: int = 0
    refused: int = 0
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    final: bool = field(default=False, compare=False)

    @property
    def unread(self) -> int:
        """Answers that could not be read as one of the options."""
        return sum(letter is None for letter in self.letters)


def ask(
    answerer: Answerer | Function,
    clip: Clip | MediaItem | Any,
    question: Question,
    *,
    rotations: int | None = None,
) -> Opinion:
    """Ask about a clip with the options in several orders, and average.

    An answer in writing counts 1 for the option it means. One that cannot be read counts 1 / K for
    each. If an order gets no answer at all, the whole question has none: the mean of the
    others would favour some places.

    Args:
        answerer: Chooses; or a function of the clip and the question that returns a text or K
            probabilities.
        clip: What is shown.
        question: K options.
        rotations: R, orders to ask, 1 to K: every ``K / R``-th rotation. None is K, or 1 for an
            answerer that the order makes no difference to.

    Returns:
        The opinion. Errors of the answerer stand in it, and are not raised.

    Raises:
        UsageError: ``rotations`` is not 1 to K.
    """
    judge = answerer if isinstance(answerer, Answerer) else FunctionAnswerer(answerer)
    shown = clip if isinstance(clip, MediaItem) else _shown(clip)
    begin = time.monotonic()
    shifts = _shifts(judge, len(question), rotations)
    answers = _answers(judge, shown, [question.rotated(shift) for shift in shifts])
    opinion = _opinion(question, shifts, answers)
    return replace(opinion, seconds=time.monotonic() - begin)


def _shifts(judge: Answerer, k: int, rotations: int | None) -> list[int]:
    if rotations is not None and not 1 <= rotations <= k:
        raise UsageError(f"{rotations} orders of {k} options cannot be asked; give 1 to {k}")
    if rotations is None:
        rotations = 1 if judge.order_free else k
    return [number * k // rotations for number in range(rotations)]


def _opinion(question: Question, shifts: Sequence[int], answers: Sequence[_OrderResult]) -> Opinion:
    k = len(question)
    total, letters = np.zeros(k), list[int | None]()
    failed = next((answer.error for answer in answers if answer.error is not None), None)
    for shift, answer in zip(shifts, answers, strict=True):
        if answer.answer is None:
            continue
        shares, letter = _shares(answer.answer, question.rotated(shift))
        total += np.roll(shares, shift)
        letters.append(letter)
    fresh = [answer.answer for answer in answers if answer.answer is not None and not answer.reused]
    error = None if failed is None else (failed.kind, failed.message)
    refused = sum(answer.refused for answer in fresh)
    if error is None and all(letter is None for letter in letters):
        what = "refused to answer" if refused else "wrote nothing that names an option"
        sample = " ".join(next((a.text for a in fresh if a.text.strip()), "").split())
        quoted = f" ({sample[:80]!r})" if sample else ""
        error = "refusal" if refused else "unread", f"{what}{quoted}"
    return Opinion(
        probability=total / len(shifts) if error is None else None,
        letters=tuple(letters) if len(letters) == len(shifts) else (),
        error=error,
        asked=len(fresh) + sum(answer.error is not None for answer in answers),
        reused=sum(answer.reused for answer in answers),
        refused=refused,
        tokens_in=sum(answer.tokens_in for answer in fresh),
        tokens_out=sum(answer.tokens_out for answer in fresh),
        final=isinstance(failed, RefusedError),
    )


def _shares(answer: Answer, shown: Question) -> tuple[Float64, int | None]:
    """Shares of the options in the order shown, and the place of the letter that was chosen."""
    if answer.probability is not None:
        return answer.probability, int(answer.probability.argmax())
    choice = None if answer.refused else parse_answer(answer.text, shown.options)
    shares = np.full(len(shown), 1 / len(shown))
    if choice is not None:
        shares[:] = 0.0
        shares[choice] = 1.0
    return shares, choice


@dataclass(frozen=True)
class _OrderResult:
    """Result of one order: an answer or an error, or neither where it was not asked."""

    answer: Answer | None = None
    error: VlarError | None = None
    reused: bool = False


def _answers(
    judge: Answerer, shown: MediaItem, questions: Sequence[Question]
) -> list[_OrderResult]:
    """The answers in the order of the questions; after an error the others are not asked."""
    results = [_OrderResult()] * len(questions)
    stopped = threading.Event()

    def one(place: int) -> _OrderResult:
        if stopped.is_set():
            return _OrderResult()
        result = _one(judge, shown, questions[place])
        if result.error is not None:
            stopped.set()
        return result

    workers = AT_ONCE if judge.concurrent else 1
    for index, result in in_threads(one, range(len(questions)), workers, "vlar-ask"):
        results[index] = result
    return results


def _one(judge: Answerer, shown: MediaItem, question: Question) -> _OrderResult:
    try:
        stored = cached_answer(judge, shown, question)
        if stored is not None:
            return _OrderResult(stored, reused=True)
        answer = judge.answer(shown, question)
    except VlarError as error:
        return _OrderResult(error=error)
    if answer.probability is not None or parse_answer(answer.text, question.options) is not None:
        keep_answer(judge, shown, question, answer)
    return _OrderResult(answer)


def _shown(clip: Any) -> MediaItem:
    """Clip of any input: frames (T, H, W, 3) too, or an object that only a function reads."""
    if isinstance(clip, Clip):
        return MediaItem.of(clip)
    path = Path("<array>")
    if isinstance(clip, np.ndarray):
        n = len(clip)
        return MediaItem.of(Clip(path, Window(0.0, n / 25), "video", clip, np.arange(n) / 25))
    return MediaItem(path, None, lambda: clip)


@dataclass
class UsageCounter:
    """Cost and results of a run of questions.

    Attributes:
        clips: Clips that were asked about.
        opinions: Clips with an opinion.
        questions: Questions asked now; one a clip and order.
        reused: Questions whose answers were on disk.
        unread: Answers that name no option.
        refused: Questions that were refused.
        failures: Clips without an opinion, by the kind of the reason.
        seconds: Wall time.
        tokens_in: Tokens of the questions, where they are counted.
        tokens_out: Tokens of the answers.
    """

    clips: int = 0
    opinions: int = 0
    questions: int = 0
    reused: int = 0
    unread: int = 0
    refused: int = 0
    failures: dict[str, int] = field(default_factory=dict[str, int])
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, opinion: Opinion) -> None:
        """Count an opinion."""
        self.clips += 1
        self.opinions += opinion.probability is not None
        self.questions += opinion.asked
        self.reused += opinion.reused
        self.unread += opinion.unread
        self.refused += opinion.refused
        self.seconds += opinion.seconds
        self.tokens_in += opinion.tokens_in
        self.tokens_out += opinion.tokens_out
        if opinion.error is not None:
            kind = opinion.error[0]
            self.failures[kind] = self.failures.get(kind, 0) + 1

    def sentence(self) -> str:
        """Summary for a person, in one line."""
        parts = [f"{self.opinions} of {self.clips} clips have an opinion"]
        questions = counted(self.questions, "questions")
        parts.append(f"{questions} in {self.seconds:.1f} s, {self.reused} reused")
        if self.tokens_in or self.tokens_out:
            parts.append(f"{self.tokens_in} tokens in, {self.tokens_out} out")
        if self.unread:
            parts.append(f"{self.unread} answers name no option")
        if self.refused:
            parts.append(f"{self.refused} refused")
        parts += [f"{count} without opinion: {kind}" for kind, count in self.failures.items()]
        return "; ".join(parts)

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {**vars(self), "seconds": round(self.seconds, 3)}
