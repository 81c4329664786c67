"""Asking in several orders: what is averaged, what is counted, what happens when it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UnknownNameError, UsageError
from vlar.generators.chat import AnswerTimeoutError, NoAnswerError, RefusedError
from vlar.generators.opinions.asking import UsageCounter, ask, cached_answer
from vlar.generators.opinions.base import Answer, Answerer, MediaItem, load_answerer
from vlar.generators.opinions.question import LETTERS, Question
from vlar.types import Clip, Window

QUESTION = Question(("run", "walk", "jump", "wave"), truth=2)


def clip(seed: int = 0) -> Clip:
    data = np.random.default_rng(seed).integers(0, 255, (4, 8, 8, 3), np.uint8)
    return Clip(Path("x.mp4"), Window(0, 1), "video", data, np.arange(4) / 4)


class Scripted(Answerer):
    """Answers with what a list holds, one after the other; errors are raised."""

    def __init__(self, *answers: object) -> None:
        self.answers: Iterator[object] = iter(answers)
        self.asked = 0

    @classmethod
    def from_spec(cls, argument: str) -> Scripted:
        return cls()

    identity = "scripted"

    def answer(self, shown: MediaItem, question: Question) -> Answer:
        self.asked += 1
        found = next(self.answers)
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, Answer)
        return found


@given(st.integers(2, 26), st.integers(0, 25))
def test_always_the_same_letter_is_no_opinion_after_all_rotations(k: int, letter: int):
    question = Question(tuple(f"label {n}" for n in range(k)), truth=0)
    chosen = LETTERS[letter % k]
    found = ask(lambda *_: f"{chosen}.", None, question)
    np.testing.assert_allclose(found.probability, np.full(k, 1 / k), rtol=0, atol=1e-12)
    assert found.letters == (letter % k,) * k
    once = ask(lambda *_: f"{chosen}.", None, question, rotations=1)
    assert once.probability is not None
    assert once.probability.max() == 1  # which is why all rotations are asked


@given(st.integers(2, 12), st.data())
def test_an_opinion_stays_with_its_option_in_every_order(k: int, data: st.DataObject):
    question = Question(tuple(f"label {n}" for n in range(k)))
    shares = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=k, max_size=k)))
    of = dict(zip(question.options, shares / shares.sum(), strict=True))
    rotations = data.draw(st.integers(1, k))
    found = ask(lambda _, q: [of[o] for o in q.options], None, question, rotations=rotations)
    np.testing.assert_allclose(found.probability, shares / shares.sum(), atol=1e-12)
    assert len(found.letters) == rotations


def test_a_bias_for_a_place_is_averaged_out_of_probabilities():
    def judge(_: object, question: Question) -> np.ndarray:
        liking = np.array([4.0, 1.0, 1.0, 1.0])
        return liking * [2.0 if option == "jump" else 1.0 for option in question.options]

    found = ask(judge, clip(), QUESTION)
    assert found.probability is not None
    assert found.probability.argmax() == 2
    others = np.delete(found.probability, 2)
    np.testing.assert_allclose(others, others[0], atol=0.02)


def test_an_answer_that_cannot_be_read_says_nothing_and_is_counted():
    answers = iter(["C. jump", "dunno", "A. jump", "B. walk"])
    found = ask(lambda *_: next(answers), clip(), QUESTION)
    assert found.unread == 1
    assert found.probability is not None
    assert found.probability.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("error", "kind", "final"),
    [
        (NoAnswerError("gone"), "no_answer", False),
        (AnswerTimeoutError("late"), "timeout", False),
        (RefusedError("no key"), "refused", True),
    ],
)
def test_an_order_without_an_answer_leaves_no_opinion_and_ends_the_question(
    error: Exception, kind: str, final: bool
):
    judge = Scripted(Answer(text="A. run"), error, Answer(text="A. run"))
    found = ask(judge, clip(), QUESTION)
    assert found.probability is None
    assert found.error == (kind, str(error))
    assert found.final is final
    assert judge.asked == 2
    assert found.letters == ()


def test_nonsense_and_refusals_leave_no_opinion():
    found = ask(lambda *_: "<html>no</html>", clip(), QUESTION)
    assert found.probability is None
    assert found.error is not None
    assert found.error[0] == "unread"
    assert "<html>no</html>" in found.error[1]
    refused = ask(Scripted(*[Answer(refused=True)] * 4), clip(), QUESTION)
    assert refused.error is not None
    assert refused.error[0] == "refusal"
    assert refused.refused == 4


@pytest.mark.parametrize("given", [[1.0, 2.0], [np.nan] * 4, [0.0] * 4, [-1.0, 1, 1, 1], object()])
def test_a_function_that_gives_no_probabilities_gives_no_opinion(given: object):
    found = ask(lambda *_: given, clip(), QUESTION)  # type: ignore[arg-type,return-value]
    assert found.probability is None
    assert found.error is not None


def test_a_function_that_fails_gives_no_opinion():
    def fails(*_: object) -> str:
        raise ZeroDivisionError("by me")

    found = ask(fails, clip(), QUESTION)
    assert found.error is not None
    assert "ZeroDivisionError: by me" in found.error[1]


def test_impossible_rotations_are_refused():
    for rotations in [0, 5]:
        given = (lambda *_: "A", clip(), QUESTION)
        refused(UsageError, "give 1 to 4", ask, *given, rotations=rotations)


def test_answers_are_kept_by_answerer_clip_and_question():
    answers = [Answer(text=f"A. {QUESTION.rotated(n).options[0]}") for n in range(4)]
    first = ask(Scripted(*answers), clip(), QUESTION)
    silent = Scripted()
    again = ask(silent, clip(), QUESTION)
    assert silent.asked == 0
    assert (again.asked, again.reused) == (0, 4)
    np.testing.assert_array_equal(again.probability, first.probability)
    assert again.tokens_in == 0
    assert cached_answer(silent, MediaItem.of(clip(1)), QUESTION) is None  # another clip
    assert cached_answer(silent, MediaItem.of(clip()), Question(("run", "walk"))) is None
    other = Scripted()
    other.identity = "another"  # type: ignore[misc]
    assert cached_answer(other, MediaItem.of(clip()), QUESTION) is None


def test_nonsense_is_not_kept_and_a_damaged_entry_is_asked_again(own_cache: Path):
    ask(Scripted(*[Answer(text="dunno")] * 4), clip(), QUESTION)
    assert not list(own_cache.rglob("*.json"))
    ask(Scripted(*[Answer(text="A.")] * 4), clip(), QUESTION)
    for file in own_cache.rglob("*.json"):
        file.write_text('{"probability": [1, "x"]}')
    judge = Scripted(*[Answer(text="B.")] * 4)
    assert ask(judge, clip(), QUESTION).asked == 4


def test_several_questions_run_at_once_where_that_is_faster():
    import threading

    class Slow(Scripted):
        concurrent = True
        cached = False
        barrier = threading.Barrier(4, timeout=20)

        def answer(self, shown: MediaItem, question: Question) -> Answer:
            self.barrier.wait()  # passes only if all four are asked at once
            return Answer(text=f"{LETTERS[question.options.index('jump')]}.")

    found = ask(Slow(), clip(), QUESTION)
    assert found.probability is not None
    assert found.probability.argmax() == 2
    assert found.probability.max() == 1


def test_a_tally_adds_up():
    tally = UsageCounter()
    tally.add(
        ask(Scripted(*[Answer(text="A.", tokens_in=100, tokens_out=5)] * 4), clip(5), QUESTION)
    )
    tally.add(ask(Scripted(AnswerTimeoutError("late")), clip(6), QUESTION))
    assert (tally.clips, tally.opinions, tally.questions) == (2, 1, 5)
    assert tally.failures == {"timeout": 1}
    assert "400 tokens in, 20 out" in tally.sentence()


def test_unknown_answerers_are_named_with_the_nearest():
    refused(UnknownNameError, "did you mean 'openai'", load_answerer, "openia:gpt")
    refused(UsageError, "empty", load_answerer, ":x")
