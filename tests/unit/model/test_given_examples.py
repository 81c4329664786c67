"""Examples that a caller holds learn what the same examples in files teach."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

import vlar
from tests.fixtures.models_1 import tiny
from tests.refusals import refused
from vlar import registry
from vlar.errors import SupportError, UsageError
from vlar.types import Method

LABELS = ("fall", "rise")


def frames(label: str, example: int) -> np.ndarray:
    return np.stack([tiny.picture(label, example, frame) for frame in range(8)])


@pytest.fixture(scope="module")
def model() -> vlar.Model:
    return vlar.load("tiny-for-fixtures")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("support")
    for label in LABELS:
        for example in range(3):
            (folder / label / str(example)).mkdir(parents=True)
            for number, frame in enumerate(frames(label, example)):
                Image.fromarray(frame).save(folder / label / str(example) / f"{number}.png")
    return folder


def test_mappings_and_pairs_teach_what_files_teach(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arrays = {label: [frames(label, example) for example in range(3)] for label in LABELS}
    paths = {label: sorted((folder / label).iterdir()) for label in LABELS}
    pictures = {n: [[Image.fromarray(f) for f in c] for c in own] for n, own in arrays.items()}
    pairs = [(clip, label) for label, own in arrays.items() for clip in own]
    asked = frames("rise", 7)
    wanted = model.adapt(folder, method="ridge").classify(asked)
    for given in (arrays, paths, pictures, pairs):
        adapted = model.adapt(given, method="ridge")
        assert adapted.labels == LABELS
        assert adapted.classify(asked).probabilities == wanted.probabilities
    swapped = dict(zip(LABELS, reversed(arrays.values()), strict=True))
    other = model.adapt(swapped, method="ridge").classify(asked)
    assert other.label != wanted.label  # the control
    scored, by_files = (model.evaluate(each, list(LABELS)).to_dict() for each in (arrays, folder))
    assert scored == {**by_files, "source": "<examples>"}
    assert not list(tmp_path.iterdir())  # what was written is gone


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"a": []}, SupportError, "has no example"),
        ({"a": ["x.mp4"]}, SupportError, "give at least 2"),
        ([("x.mp4", "a"), "y.mp4"], SupportError, "cannot learn from 'y.mp4'"),
        (7, SupportError, "cannot learn from 7"),
        ({"a": [np.zeros((3, 3))], "b": ["y.mp4"]}, UsageError, "not a video"),
        ({"a": ["x.mp4"], "b": ["y.mp4"]}, SupportError, "x.mp4"),
    ],
)
def test_what_cannot_be_examples(model, given, error, says):
    refused(error, says, model.adapt, given)


def test_hints_of_methods_are_names_of_methods():
    named = set(get_args(get_args(Method)[0]))
    assert named - {"auto"} <= {*registry.names("fewshot"), *registry.names("adapter")}
