"""The contract of an answerer, as a check; it is asked about an example video."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import UsageError, VlarError
from vlar.generators.opinions.asking import ask
from vlar.generators.opinions.base import Answer, Answerer, MediaItem, load_answerer
from vlar.generators.opinions.question import Question
from vlar.media.lookup import reader
from vlar.testing.contract import name_of, refused, registered, run, skip
from vlar.testing.readers import example_of
from vlar.types import Clip, Sampling, Window

QUESTION = Question(("red right", "blue left", "green left"))


@dataclass
class AnswererMaterial:
    """An answerer and what it is asked about.

    Attributes:
        name: Its registered name.
        argument: Text after the colon of its spec.
        answerer: The answerer.
        item: The clip.
    """

    name: str
    argument: str
    answerer: Answerer
    item: MediaItem

    def answer(self) -> Answer:
        """Answer to the question."""
        return self.answerer.answer(self.item, QUESTION)


def check_answerer(
    part: Any, *, argument: str | None = None, recording: str | Path | None = None
) -> None:
    """Try an answerer on a question with three options about a video.

    Args:
        part: The answerer: a class, or a registered name.
        argument: Text after the colon of its spec; default none.
        recording: A video; default a generated one.

    Raises:
        AssertionError: it breaks the contract of ``vlar.generators.opinions.base.Answerer``.
        unittest.SkipTest: it needs an argument.
    """
    part = registry.get("answerer", part) if isinstance(part, str) else part
    cls: type[Answerer] = part if isinstance(part, type) else type(part)
    name, source = name_of("answerer", cls), reader("video")
    with tempfile.TemporaryDirectory() as folder, registered("answerer", name, cls):
        path = Path(recording) if recording is not None else example_of(source, Path(folder) / "a")
        window = Window(0.0, 1.0)
        item = MediaItem(path, window, lambda: source.read_clip(path, window, Sampling(4)))
        try:
            answerer = cls.from_spec(argument or "")
        except VlarError as error:
            if argument is None:
                raise skip(f"{error} (give the check an argument)") from error
            raise
        try:
            material = AnswererMaterial(name, argument or "", answerer, item)
            run("answerer", name, STEPS, material)
        finally:
            answerer.close()


def _answer(m: AnswererMaterial) -> None:
    """An answer is a text, or a probability an option from 0 to 1 that sum to 1."""
    answer = m.answer()
    assert (answer.probability is None) == bool(answer.text)
    if answer.probability is not None:
        assert answer.probability.shape == (3,)
        assert abs(float(answer.probability.sum()) - 1) < 1e-6
        assert (answer.probability >= 0).all()
    assert answer.tokens_in >= 0


def _repeat(m: AnswererMaterial) -> None:
    """Equal questions get equal answers, since they are kept on disk."""
    one, other = (m.answer() for _ in range(2))
    assert one.text == other.text
    np.testing.assert_array_equal(one.probability, other.probability)


def _order(m: AnswererMaterial) -> None:
    """The order of the options makes no difference where order_free is stated."""
    if not m.answerer.order_free:
        return
    one = m.answer().probability
    assert one is not None
    turned = m.answerer.answer(m.item, QUESTION.rotated(1)).probability
    assert turned is not None
    np.testing.assert_allclose(turned, np.roll(one, -1), atol=1e-9)


def _identity(m: AnswererMaterial) -> None:
    """The identity is a stable text, by which answers are kept."""
    assert m.answerer.identity.strip()
    assert m.answerer.identity == m.answerer.identity


def _asked(m: AnswererMaterial) -> None:
    """Asking gives probabilities that sum to 1, or an error with a message."""
    opinion = ask(m.answerer, m.item, QUESTION)
    if opinion.probability is None:
        assert opinion.error is not None
        assert opinion.error[1]
    else:
        assert abs(float(opinion.probability.sum()) - 1) < 1e-6


def _in_memory(m: AnswererMaterial) -> None:
    """A clip in memory is answered like a file."""
    frames = np.random.default_rng(0).integers(0, 255, (8, 32, 48, 3), np.uint8)
    clip = Clip(Path("<array>"), Window(0, 1), "video", frames, np.arange(8) / 8)
    assert ask(m.answerer, clip, QUESTION).probability is not None


def _argument(m: AnswererMaterial) -> None:
    """A missing or surplus argument is refused by the name of the answerer."""
    useless = "" if m.argument else "surplus"
    refused(UsageError, m.name, load_answerer, f"{m.name}:{useless}")


def _close(m: AnswererMaterial) -> None:
    """Closing twice is harmless."""
    m.answerer.close()
    m.answerer.close()


STEPS = (_answer, _repeat, _order, _identity, _asked, _in_memory, _argument, _close)
