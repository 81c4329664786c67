"""Pipelines in the form of transformers, data sets with a column of videos, decoders of frames."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import vlar
from tests.fake_device import DEVICE, fake_device
from tests.refusals import refused
from tests.unit.library.fakes import FakeModel, tiny_video
from tests.unit.model.test_people import Bands
from vlar.errors import UsageError
from vlar.media.dataset_rows import labelled_files, rows

LABELS = ["playing the piano", "riding a bike", "cooking"]


class Video:
    """Stands for the feature of the same name of ``datasets``."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


@dataclass
class Rows:
    """A data set of ``datasets`` as far as it is used."""

    listed: list[dict[str, Any]]
    features: dict[str, Any]

    def cast_column(self, column: str, feature: Video) -> Rows:
        assert not feature.decode
        return Rows(self.listed, {**self.features, column: feature})

    def __iter__(self):
        return (dict(row) for row in self.listed)


class Frames:
    """A decoder of torchcodec as far as it is used: channels first, at times of the stream."""

    def __init__(self, frames: Any, fps: float, begin_s: float = 0.0) -> None:
        self.frames, self.fps = frames, fps
        self.metadata = SimpleNamespace(
            begin_stream_seconds=begin_s, duration_seconds=len(frames) / fps
        )

    def get_frames_played_at(self, seconds: list[float]) -> Any:
        begin_s = self.metadata.begin_stream_seconds
        numbers = [int((at_s - begin_s) * self.fps + 1e-6) for at_s in seconds]
        assert max(numbers) < len(self.frames)
        return SimpleNamespace(data=self.frames[numbers].transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def model() -> vlar.Model:
    return vlar.Model(Bands())


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)


def test_zero_shot_scores_are_those_of_classify(model, frames):
    pipe = vlar.pipeline("zero-shot-video-classification", model)
    scores = pipe(frames, candidate_labels=LABELS)
    answer = model.classify(frames, LABELS)
    assert [(row["label"], row["score"]) for row in scores] == [
        (row.label, row.probability) for row in answer.predictions
    ]
    assert {row["label"] for row in scores} == set(LABELS)
    several = pipe([frames, frames[::-1]], candidate_labels=", ".join(LABELS), top_k=1)
    assert several[0] == scores[:1]
    assert len(several) == 2
    assert len(pipe(frames, candidate_labels=LABELS[:1])) == 1
    other = vlar.pipeline("video-text-retrieval", model)("noise", [frames, frames[:9]])
    assert [row["score"] for row in other] == sorted((r["score"] for r in other), reverse=True)


def test_what_a_pipeline_cannot_do_is_one_line(model):
    refused(UsageError, "video-classification", vlar.pipeline, "video-clasification", model)
    refused(UsageError, "labels of its own", vlar.pipeline, "video-classification", model)
    pipe = vlar.pipeline("zero-shot-video-classification", model)
    refused(UsageError, "leave it out", pipe, [Path("/example/none.mp4")], LABELS)


def test_a_decoder_is_read_as_its_frames_are(model, frames):
    array = model.classify(frames, LABELS)
    for begin_s in (0.0, 1.5):
        answer = model.classify(Frames(frames, 25.0, begin_s), LABELS)
        assert answer.predictions == array.predictions
    spans = model.classify(Frames(frames, 25.0), LABELS, every_s=1.0)
    assert [row.end_s for row in spans] == [1.0, 2.0]


class CardFrames(Frames):
    """A decoder with ``device="cuda"``: its frames lie on the device."""

    def get_frames_played_at(self, seconds: list[float]) -> Any:
        data = torch.from_numpy(super().get_frames_played_at(seconds).data)
        return SimpleNamespace(data=data.to(torch.device(DEVICE, 0)))


def test_a_decoder_on_a_device_is_read_as_its_frames_are(model, frames):
    array = model.classify(frames, LABELS)
    with fake_device() as counts:
        decoder = CardFrames(frames, 25.0)
        with pytest.raises(TypeError):  # the control: numpy does not read a device
            np.asarray(decoder.get_frames_played_at([0.5]).data)
        before = counts.to_host
        answer = model.classify(decoder, LABELS)
        assert counts.to_host > before
    assert answer.predictions == array.predictions


def test_rows_of_a_data_set_are_files_and_their_labels(tmp_path: Path):
    names = SimpleNamespace(names=["run", "sit"])
    listed = [
        {"clip": {"path": str(tmp_path / "a.mp4"), "bytes": None}, "label": 1, "place": "gym"},
        {"clip": {"path": "b.webm", "bytes": b"bytes"}, "label": 0, "place": None},
    ]
    data = Rows(listed, {"clip": Video(), "label": names, "place": SimpleNamespace()})
    first, second = rows(data)
    assert (first.path, first.label, first.cells) == (
        tmp_path / "a.mp4", "sit", {"label": "sit", "place": "gym"},
    )  # fmt: skip
    assert (second.path, second.ending, second.data) == (None, ".webm", b"bytes")
    with labelled_files(data) as pairs:
        (path, label), (memory, other) = pairs
        assert (path, label, other) == (tmp_path / "a.mp4", "sit", "run")
        assert memory.read_bytes() == b"bytes"
    assert not memory.exists()
    refused(UsageError, "no column of the type Video", list, rows(Rows([], {"x": names})))
    refused(UsageError, "has no video", list, rows(Rows([{"v": None}], {"v": Video()})))


def test_a_library_takes_the_files_of_a_data_set_with_its_columns_as_tags(tmp_path: Path):
    path = tiny_video(tmp_path / "a.mp4", 1)
    listed = [{"video": {"path": str(path), "bytes": None}, "label": "run"}]
    data = Rows(listed, {"video": Video(), "label": SimpleNamespace()})
    with vlar.Library(tmp_path / "x.vlar", FakeModel()) as library:
        assert library.add(data).added == 1
        (row,) = library.videos()
        assert row.tags == {"label": "run"}
        data.listed[0]["video"]["bytes"] = b"bytes"
        refused(UsageError, "holds the bytes", library.add, data)


@pytest.mark.slow  # needs datasets and torchcodec, and learns from real clips
def test_real_data_sets_go_in_and_out(lite_model, real_videos: Path, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    with (real_videos / "manifest.csv").open() as stream:
        listed = list(csv.DictReader(stream))
    names = sorted({row["label"] for row in listed})[:2]
    chosen = [row for name in names for row in [r for r in listed if r["label"] == name][:3]]
    files = [str(real_videos / row["path"]) for row in chosen]
    data = datasets.Dataset.from_dict({"video": files, "label": [row["label"] for row in chosen]})
    data = data.cast_column("video", datasets.Video())
    mine = lite_model.adapt(data)
    by_hand = lite_model.adapt(list(zip(files, [row["label"] for row in chosen], strict=True)))
    answers = mine.classify(files)
    assert [a.label for a in answers] == [a.label for a in by_hand.classify(files)]
    assert mine.evaluate(data).top1 == by_hand.evaluate(data).top1
    table = answers.to_dataset()
    assert table["label"][:] == [answer.label for answer in answers]
    try:
        decoder = data[0]["video"]
    except (ImportError, OSError, RuntimeError) as error:  # its wheels need libraries of their own
        pytest.skip(f"torchcodec cannot be loaded: {error!s:.80}")
    assert mine.classify(decoder).label == answers[0].label


def test_a_task_that_lacks_its_labels_states_which(lite_model: vlar.Model):
    classify = vlar.pipeline("zero-shot-video-classification", lite_model)
    for labels in ({}, {"candidate_labels": []}):
        with pytest.raises(UsageError, match="needs candidate_labels"):
            classify("clip.mp4", **labels)
