"""Answers about one person: ``who`` and ``zoom`` of ``Model.classify``, on made clips."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.people.made import FPS, Given, clip, scene, track
from tests.unit.training.fakes import FakeEncoder
from vlar.errors import PersonError, UsageError
from vlar.heads.base import Scores
from vlar.model.model import Model
from vlar.model.people import WHOLE_WEIGHT, PersonAnswers
from vlar.people import focus
from vlar.types import Classification, Failure

FRAMES = scene([(20, 1), (110, 1)])
LABELS = ["red", "blue"]


class Bands(FakeEncoder):
    """Mean brightness of eight bands of a frame of any size."""

    def encode(self, clips):
        return super().encode(
            [
                replace(c, data=np.stack([_bands(frame) for frame in c.data]).astype(np.float32))
                for c in clips
            ]
        )


def _bands(frame: np.ndarray) -> np.ndarray:
    return np.array([band.mean() for band in np.array_split(frame, 8, axis=1)])


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    given = Given(track(27, 52, step=1), track(117, 52, step=1, tall=30))
    monkeypatch.setattr(focus, "load_detector", lambda spec: given)
    monkeypatch.setattr(focus.networks, "is_installed", lambda: True)
    return Model(Bands())


def test_the_person_who_is_named_is_judged(model: Model):
    whole = model.classify(FRAMES, LABELS, fps=FPS)
    left = model.classify(FRAMES, LABELS, fps=FPS, who="the person on the left")
    right = model.classify(FRAMES, LABELS, fps=FPS, who="the person on the right")
    assert whole.person is None
    assert "person" not in whole.to_dict()
    assert left.person is not None
    assert right.person is not None
    assert (left.person.number, right.person.number) == (1, 2)
    of_left = [p.probability for p in left.predictions]
    assert of_left != [p.probability for p in right.predictions]
    assert right.to_dict()["person"]["of"] == 2


def test_the_default_path_is_bit_equal(model: Model):
    plain = model.classify(FRAMES, LABELS, fps=FPS)
    assert model.classify(FRAMES, LABELS, fps=FPS, zoom="off") == plain
    # Both are large in the frame: nothing is cut, and the answer is that of the whole picture.
    auto = model.classify(scene([], height=60), LABELS, fps=FPS, zoom="auto")
    assert auto.predictions == model.classify(scene([], height=60), LABELS, fps=FPS).predictions


def test_zoom_mixes_the_cut_with_the_whole(model: Model):
    whole = model.classify(FRAMES, LABELS, fps=FPS)
    zoomed = model.classify(FRAMES, LABELS, fps=FPS, zoom="person")
    assert zoomed.person is not None
    assert zoomed.predictions != whole.predictions
    total = sum(p.probability for p in zoomed.predictions) + zoomed.unknown_probability
    assert total == pytest.approx(1)


def test_a_person_who_is_not_there(model: Model):
    with pytest.raises(PersonError, match="2 people"):
        model.classify(FRAMES, LABELS, fps=FPS, who="person 3")
    first, second = model.classify([FRAMES, clip(FRAMES)], LABELS, fps=FPS, who="person 3")
    assert isinstance(first, Failure)
    assert isinstance(second, Failure)
    assert first.kind == "person"
    rows = model.classify([FRAMES], LABELS, fps=FPS, who="person 2")
    assert isinstance(rows[0], Classification)


def test_words_that_nothing_measures_are_compared_by_the_encoder(model: Model):
    found = model.classify(FRAMES, LABELS, fps=FPS, who="the person with a bat")
    assert found.person is not None


def test_a_sensor_without_pictures_is_refused():
    core: Any = SimpleNamespace(modality="imu", name="wrist")
    nothing: Any = None
    with pytest.raises(UsageError, match="shows no people"):
        PersonAnswers(core, nothing, nothing, nothing)


def test_scores_are_mixed_by_weight():
    one = Scores(np.array([[1.0, 0]], np.float32), np.array([[0.8, 0.1]]), np.array([0.1]))
    other = Scores(np.array([[0.0, 1]], np.float32), np.array([[0.2, 0.6]]), np.array([0.2]))
    mixed = Scores.mixed([one, other], [1 - WHOLE_WEIGHT, WHOLE_WEIGHT])
    np.testing.assert_allclose(mixed.probability, [[0.62, 0.25]])
    np.testing.assert_allclose(mixed.unknown, [0.13])
