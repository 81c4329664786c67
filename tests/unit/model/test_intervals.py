"""Answers about an interval: of models that are asked about it, and of all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.refusals import refused
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.beside import Wrapper, copy_attributes
from vlar.errors import DecodeError, UsageError
from vlar.media.lookup import reader
from vlar.model.model import Model
from vlar.types import Failure, Float32, Window

LABELS = ["clap", "jump"]


class Halves(Wrapper):
    """Answers with the first label for an interval of the first half, else with the second."""

    answers_intervals = True

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        copy_attributes(self, encoder)
        self.asked: list[tuple[tuple[int, ...], list[float]]] = []

    def interval_vectors(self, features: Float32, intervals: Float32) -> Float32:
        self.asked += [(features.shape, row.tolist()) for row in intervals]
        words = self.encode_text(LABELS)
        return words[(intervals.mean(axis=1) > 0.5).astype(int)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of an IMU."""
    path = tmp_path_factory.mktemp("imu") / "a.csv"
    rows = [f"{i / 50},{np.sin(i):.3f},0,1" for i in range(500)]
    path.write_text("\n".join(["time_s,acc_x_g,acc_y_g,acc_z_g", *rows]) + "\n")
    return path


def test_an_interval_is_asked_of_all_windows(recording: Path):
    encoder = Halves(load_encoder("imu"))
    model = Model(encoder)
    found = [model.classify(recording, LABELS, at=span) for span in ((1, 2), (8, 30))]
    assert [each.predictions[0].label for each in found] == LABELS
    assert [(each.start_s, each.end_s) for each in found] == [(1, 2), (8, pytest.approx(10))]
    shape = (3, 64, encoder.frame_dim)  # three equal windows of at most four seconds
    assert [shape_of for shape_of, _ in encoder.asked] == [shape, shape]
    assert encoder.asked[0][1] == pytest.approx([0.1, 0.2])
    assert encoder.asked[1][1] == pytest.approx([0.8, 1.0])
    several = model.classify([recording, recording.with_name("no.csv")], LABELS, at=(1, 2))
    assert several[0] == found[0]
    assert isinstance(several[1], Failure)
    refused(DecodeError, "lies past its end", model.classify, recording, LABELS, at=(10.5, 11))
    whole = model.classify(recording, LABELS)
    assert whole.end_s == pytest.approx(10)
    assert len(encoder.asked) == 3
    clip = reader("imu").read_clip(recording, None, encoder.sampling)
    refused(UsageError, "one window", model.classify, clip, LABELS, at=(1, 2))


def test_a_head_of_examples_does_not_answer_for_an_interval(recording: Path, tmp_path: Path):
    encoder = Halves(load_encoder("imu"))
    table = tmp_path / "rows.csv"
    lines = [
        f"{recording},{start},{start + 2},{label}" for start, label in ((0, "clap"), (6, "jump"))
    ]
    table.write_text("\n".join(["path,start_s,end_s,label", *lines]) + "\n")
    mine = Model(encoder).adapt(table, method="prototype")
    found = [mine.classify(recording, at=span).predictions[0].label for span in ((6, 8), (0, 2))]
    assert found == ["jump", "clap"]
    assert len(encoder.asked) == 2


def test_another_model_reads_the_interval_up_to_the_end(recording: Path):
    model = vlar.load("imu")
    found = model.classify(recording, LABELS, at=(8, 30))
    clip = reader("imu").read_clip(
        recording, Window(8.0, reader("imu").probe(recording).duration_s), model.encoder.sampling
    )
    assert found == model.classify(clip, LABELS)
    for answer in model.classify([recording], LABELS, at=(8, 30)):
        assert answer == found
    refused(DecodeError, "starts at 11 s", model.classify, recording, LABELS, at=(11, 12))
    frames = np.zeros((20, 8, 8, 3), np.uint8)
    refused(UsageError, "instead of an array", model.classify, frames, LABELS, at=(0, 1))
