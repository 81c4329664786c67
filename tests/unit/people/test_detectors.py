"""Detectors: zero-shot ones of Transformers, and the second look of ``pose``."""

# pyright: basic
from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.people.made import TIMES_S, scene, track
from tests.unit.people.tiny_dino import save_dino
from tests.unit.people.tiny_owl import save_owl
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.people.base import load_detector
from vlar.people.detectors.hf import HubDetector, not_doubled, searched_frames
from vlar.people.detectors.pose import PoseDetector


@pytest.fixture(scope="module")
def owl(tmp_path_factory: pytest.TempPathFactory) -> HubDetector:
    return load_detector(f"hf:{save_owl(tmp_path_factory.mktemp('owl'))}")


def test_boxes_are_those_of_the_library(owl: HubDetector):
    import torch

    frames = scene([(20, 3)])
    owl.least_score = 0.0
    found = owl.detect(frames, TIMES_S, "dog")
    inputs = owl._processor(images=frames[0], text=[["dog"]], return_tensors="pt")
    with torch.inference_mode():
        outputs = owl._model(**inputs)
    (wanted,) = owl._processor.post_process_grounded_object_detection(
        outputs, threshold=owl.least_score, target_sizes=[(96, 160)]
    )
    first = found.rows[found.rows[:, 0] == 0]
    sure = found.scores[found.rows[:, 0] == 0]
    assert 0 < len(first) <= len(wanted["boxes"])
    best = wanted["boxes"][wanted["scores"].argmax()].numpy().clip(0, [160, 96, 160, 96])
    np.testing.assert_allclose(first[0, 1:], best, atol=1e-3)
    assert sure.max() == pytest.approx(float(wanted["scores"].max()), abs=1e-5)


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> HubDetector:
    return load_detector(f"hf:{save_dino(tmp_path_factory.mktemp('dino'))}")


def test_boxes_of_grounding_dino_are_those_of_the_library(dino: HubDetector):
    import torch

    frames = scene([(20, 3)])
    dino.least_score = 0.0
    found = dino.detect(frames, TIMES_S, "dog")
    inputs = dino._processor(images=frames[0], text="dog.", return_tensors="pt")
    with torch.inference_mode():
        outputs = dino._model(**inputs)
    (wanted,) = dino._processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], threshold=0.0, target_sizes=[(96, 160)]
    )
    first = found.rows[found.rows[:, 0] == 0]
    sure = found.scores[found.rows[:, 0] == 0]
    kept = not_doubled(
        wanted["boxes"].numpy().clip(0, [160, 96, 160, 96]), wanted["scores"].numpy()
    )
    np.testing.assert_allclose(sure, wanted["scores"][kept].numpy(), atol=1e-5)
    boxes = wanted["boxes"][kept].numpy().clip(0, [160, 96, 160, 96])
    np.testing.assert_allclose(first[:, 1:], boxes, atol=1e-3)


def test_grounding_dino_gets_its_words_as_one_sentence(dino: HubDetector):
    inputs = dino._processor(images=scene([])[0], text=[["person", "human"]], return_tensors="pt")
    said = dino._processor.batch_decode(inputs["input_ids"])
    assert said == ["[CLS] person. human. [SEP]"]
    dino.least_score = 0.0
    frames = scene([(20, 3)])[:3]
    dog, drone = (dino.detect(frames, TIMES_S[:3], word) for word in ("dog", "drone"))
    assert len(dog) != len(drone) or not np.allclose(dog.scores, drone.scores)


def test_the_words_change_the_scores(owl: HubDetector):
    frames = scene([(20, 3)])[:3]
    dog, drone = (owl.detect(frames, TIMES_S[:3], word) for word in ("dog", "drone"))
    assert len(dog) != len(drone) or not np.allclose(dog.scores, drone.scores)


def test_two_frames_a_second_are_searched():
    assert searched_frames(np.arange(33) / 8) == list(range(0, 33, 4))
    assert searched_frames(np.zeros(1)) == [0]
    assert searched_frames(np.zeros(0)) == []


def test_doubles_are_left_out():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10]], np.float32)
    assert not_doubled(boxes, np.array([0.3, 0.9, 0.5])) == [1, 2]


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    refused(ModelError, "not a zero-shot detector", load_detector, f"hf:{tmp_path}")
    refused(UsageError, "needs a model", load_detector, "hf")


def test_rfdetr_reads_the_boxes_of_its_library(tmp_path: Path, monkeypatch):
    class Made:
        class_names = ("person", "dog")

        def __init__(self, pretrain_weights: str) -> None:
            assert Path(pretrain_weights).is_file()

        def predict(self, frame, threshold):
            assert frame.shape == (96, 160, 3)
            assert 0 < threshold < 1
            boxes = np.array([[1, 2, 30, 40], [50, 2, 90, 40]], np.float32)
            names = np.array(["person", "dog"], object)
            return SimpleNamespace(xyxy=boxes, confidence=[0.9, 0.8], data={"class_name": names})

    library = ModuleType("rfdetr")
    library.RFDETRNano = library.RFDETRBase = Made
    monkeypatch.setitem(sys.modules, "rfdetr", library)
    weights = tmp_path / "nano.pth"
    weights.write_bytes(b"x")
    detector = load_detector(f"rfdetr:nano:{weights}")
    found = detector.detect(scene([]), TIMES_S, "dog")
    assert set(found.rows[:, 1].tolist()) == {50.0}
    assert len(detector.detect(scene([]), TIMES_S, "owl")) == 0
    refused(UnknownNameError, "owl", detector.check_noun, "owl", False)


def test_rfdetr_names_what_is_missing(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rfdetr", None)
    weights = tmp_path / "nano.pth"
    weights.write_bytes(b"x")
    refused(ModelError, r"\[zoom\]", load_detector, f"rfdetr:{weights}")
    refused(ModelError, "no such file", load_detector, "rfdetr:nothing.pth")
    refused(UsageError, "needs its weights", load_detector, "rfdetr")


def looking(sure):
    """A detector whose landmark network is as sure of a body as ``sure(region, call)`` says."""
    asked = []

    def landmarks(image, region):
        asked.append((image.size, region))
        return SimpleNamespace(score=sure(region, len(asked)))

    detector = PoseDetector.__new__(PoseDetector)
    detector._networks = (None, landmarks)
    return detector, asked


@pytest.mark.parametrize(("every", "is_body"), [(1, True), (3, True), (4, False), (100, False)])
def test_a_third_of_the_frames_must_show_a_body(every, is_body):
    detector, asked = looking(lambda region, call: 0.9 if call % every == 0 else 0.1)
    assert detector.confirms(scene([]), TIMES_S, track(60).boxes) is is_body
    assert len(asked) == 9


def test_it_looks_around_what_moves_where_that_is_at_the_time():
    detector, asked = looking(lambda region, call: 1.0)
    moving = track(40, 50, wide=20, tall=40, step=3)
    assert detector.confirms(scene([]), TIMES_S, moving.boxes[4:7])
    regions = [region for _, region in asked]
    assert [region.x for region in regions] == pytest.approx(moving.centres[4:7, 0].tolist())
    assert {round(region.size, 3) for region in regions} == {64.0}
    assert np.ptp([region.y for region in regions]) == 0
