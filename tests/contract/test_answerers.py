"""What every registered answerer must keep to.

Each needs a stand-in for what it asks: a chat server, a model with random weights, or a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.evaluation import colours
from tests.unit.generators.descriptions.chat_server import chat_server, message
from tests.unit.generators.opinions.tiny_vlm import save_tiny_vlm
from tests.videos import make_video
from vlar import registry
from vlar.errors import UsageError
from vlar.files import resources
from vlar.generators.opinions.asking import ask
from vlar.generators.opinions.base import Answer, Answerer, MediaItem, WaitingError, load_answerer
from vlar.generators.opinions.question import Question
from vlar.media.video.decode import read_clip
from vlar.types import Clip, Window

QUESTION = Question(("red right", "blue left", "green left"))
SHIPPED = [name for name in registry.names("answerer") if not name.startswith("test-")]


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vlm(tmp_path_factory.mktemp("contract") / "tiny")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> MediaItem:
    path = make_video(tmp_path_factory.mktemp("clips") / "a.mp4", 8, fps=8)
    window = Window(0.0, 1.0)
    return MediaItem(path, window, lambda: read_clip(path, window, 4))


@pytest.fixture(params=SHIPPED)
def answerer(
    request: pytest.FixtureRequest, tmp_path: Path, vlm: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Answerer]:
    monkeypatch.setattr(resources, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr("vlar.model.model.load", lambda _: colours.model())
    arguments: dict[str, Callable[[], object]] = {
        "self": lambda: "any",
        "local": lambda: f"{vlm}?frames=2",
        "openai": lambda: "m",
        "sheet": lambda: tmp_path / "sheet.csv",
    }
    with chat_server(lambda *_: message("B. blue left")) as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        made = load_answerer(f"{request.param}:{arguments[request.param]()}")
        yield made
        made.close()


def answered(answerer: Answerer, shown: MediaItem) -> Answer:
    try:
        return answerer.answer(shown, QUESTION)
    except WaitingError:  # a person has not answered yet, which is an answer of its own
        return Answer(np.full(3, 1 / 3))


def test_an_answer_is_probabilities_or_a_text(answerer: Answerer, shown: MediaItem):
    answer = answered(answerer, shown)
    assert (answer.probability is None) == bool(answer.text)
    if answer.probability is not None:
        assert answer.probability.shape == (3,)
        assert answer.probability.sum() == pytest.approx(1)
        assert (answer.probability >= 0).all()
    assert answer.tokens_in >= 0


def test_equal_questions_get_equal_answers(answerer: Answerer, shown: MediaItem):
    one, other = (answered(answerer, shown) for _ in range(2))
    assert one.text == other.text
    np.testing.assert_array_equal(one.probability, other.probability)


def test_order_makes_no_difference_to_one_that_says_so(answerer: Answerer, shown: MediaItem):
    if answerer.order_free:
        one = answered(answerer, shown).probability
        assert one is not None
        try:
            turned = answerer.answer(shown, QUESTION.rotated(1)).probability
        except WaitingError:
            return
        np.testing.assert_allclose(turned, np.roll(one, -1), atol=1e-9)


def test_its_identity_is_a_stable_text(answerer: Answerer):
    assert answerer.identity.strip()
    assert answerer.identity == answerer.identity


def test_asking_gives_an_opinion_or_names_what_is_missing(answerer: Answerer, shown: MediaItem):
    found = ask(answerer, shown, QUESTION)
    if found.probability is None:
        assert found.error is not None
        assert found.error[1]
    else:
        assert found.probability.sum() == pytest.approx(1)


def test_a_clip_in_memory_is_a_clip_too(answerer: Answerer):
    frames = np.random.default_rng(0).integers(0, 255, (8, 32, 48, 3), np.uint8)
    clip = Clip(Path("<array>"), Window(0, 1), "video", frames, np.arange(8) / 8)
    found = ask(answerer, clip, QUESTION)
    assert found.probability is not None or (found.error or ("",))[0] == "waiting"


def test_closing_twice_is_fine(answerer: Answerer):
    answerer.close()
    answerer.close()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_useless_argument_is_named(name: str):
    refused(UsageError, name, load_answerer, f"{name}:")
