"""What every registered detector must keep to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.people.made import TIMES_S, scene
from tests.unit.people.tiny_owl import save_owl
from vlar import registry
from vlar.errors import VlarError
from vlar.people.base import Boxes, Detector, load_detector
from vlar.pose import networks

NAMES = registry.names("detector")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_owl(tmp_path_factory.mktemp("owl"))


@pytest.fixture(params=NAMES)
def detector(request: pytest.FixtureRequest, folder: Path) -> Detector:
    if request.param == "rfdetr":
        pytest.skip("its library is an extra; tests/unit/people/test_detectors.py has a stand-in")
    if request.param == "pose" and not networks.is_installed():
        pytest.skip("lite-motion was not fetched")
    return load_detector(f"hf:{folder}" if request.param == "hf" else request.param)


def test_boxes_have_their_times_and_lie_in_the_frame(detector: Detector):
    frames = scene([(20, 3)])
    found = detector.detect(frames, TIMES_S, "person")
    assert isinstance(found, Boxes)
    assert found.rows.shape == (len(found), 5)
    assert found.rows.dtype == np.float32
    assert len(found.scores) == len(found)
    if len(found):
        assert set(found.rows[:, 0].tolist()) <= set(np.float32(TIMES_S).tolist())
        assert (found.rows[:, 1:] >= 0).all()
        assert (found.rows[:, 1:] <= [160, 96, 160, 96]).all()
        assert (found.rows[:, 3:] >= found.rows[:, 1:3]).all()


def test_the_same_frames_give_the_same_boxes(detector: Detector):
    frames = scene([(20, 3)])
    one, other = (detector.detect(frames, TIMES_S, "person") for _ in range(2))
    np.testing.assert_array_equal(one.rows, other.rows)


def test_no_frame_gives_no_box(detector: Detector):
    assert len(detector.detect(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0))) == 0


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_finds_and_refuses_a_wrong_spec(name: str):
    part = registry.get("detector", name)
    assert part.name == name
    assert part.finds in ("people", "movement", "words")
    assert part.rate_hz > 0
    refused(VlarError, "", load_detector, f"{name}:no/such/file")
