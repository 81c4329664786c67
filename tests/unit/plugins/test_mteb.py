from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from tests.videos import make_video, read_barcode
from vlar.errors import UsageError
from vlar.media.lookup import reader
from vlar.model.model import Model
from vlar.plugins.mteb.encoder import FrameDecoder, VlarEncoder, mteb_clip
from vlar.plugins.mteb.run import run_tasks
from vlar.plugins.mteb.tasks import KINDS, own_tasks, read_own
from vlar.types import Sampling

LABELS = ("red sky", "blue sea", "green hill")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labels, four clips each from two groups; one more file is no video."""
    folder = tmp_path_factory.mktemp("own")
    rows: list[tuple[str, str, str]] = []
    random = np.random.default_rng(0)
    for label in LABELS:
        stripes = random.integers(40, 216, 8)  # the encoder looks at eight stripes
        for number in range(4):
            bright = (stripes + random.integers(-30, 30, 8)).astype(np.uint8)
            picture = np.repeat(bright, 8)[:, None, None] * np.ones((1, 96, 3), np.uint8)
            name = f"{label.split()[0]}{number}.mp4"
            make_video(folder / name, 16, picture=lambda _, shown=picture: shown)
            rows.append((name, label, f"day {number % 2}"))
    (folder / "broken.mp4").write_bytes(b"no video")
    rows.append(("broken.mp4", "red sky", "day 0"))
    with (folder / "clips.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "group"), *rows])
    return folder / "clips.csv"


def encoder(sampler: str = "vlar") -> VlarEncoder:
    return VlarEncoder(Model(FakeEncoder()), sampler=sampler)


def test_videos_are_encoded_as_vlar_encodes_them(labelled: Path):
    model = Model(FakeEncoder())
    paths = [labelled.parent / f"red{n}.mp4" for n in range(3)]
    expected = [model.words.encode_views(model.view_sampler.sample(path)).vector for path in paths]
    found = VlarEncoder(model).encode_videos(paths)
    np.testing.assert_array_equal(found, expected)


def test_bytes_of_a_video_give_the_vector_of_its_file(labelled: Path):
    path = labelled.parent / "blue1.mp4"
    found = encoder().encode_videos([{"path": "x.mp4", "bytes": path.read_bytes()}, str(path)])
    np.testing.assert_array_equal(found[0], found[1])


def test_what_cannot_be_read_is_named_and_answers_nothing(labelled: Path):
    wrapped = encoder()
    rows = wrapped.encode_videos([labelled.parent / "broken.mp4", labelled.parent / "red0.mp4"])
    assert [failure.path.name for failure in wrapped.failures] == ["broken.mp4"]
    assert not rows[0].any()
    cosines = wrapped.similarity(rows, rows)
    assert float(cosines[0, 0]) == 0
    assert float(cosines[1, 1]) == pytest.approx(1)
    assert wrapped.similarity_pairwise(rows, rows).tolist() == pytest.approx([0, 1])


def test_a_clip_that_cannot_be_read_is_in_no_task(labelled: Path):
    data = read_own(labelled, encoder())
    assert len(data.items) == 12
    assert [failure.path.name for failure in data.failed] == ["broken.mp4"]


@pytest.mark.parametrize("n_source", [5, 16, 40, 63])
def test_frames_by_number_are_those_frames(tmp_path: Path, n_source: int):
    path = make_video(tmp_path / "v.mp4", n_source)
    decoder = FrameDecoder(path, reader("video"), Sampling(4, shorter_side=64))
    wanted = [n_source - 1, 0, n_source // 2, n_source // 2]
    frames = decoder.get_frames_at(wanted).data.permute(0, 2, 3, 1).numpy()
    assert [read_barcode(frame) for frame in frames] == wanted
    assert decoder.metadata.num_frames == n_source
    assert decoder.metadata.end_stream_seconds == pytest.approx(n_source / 25)


def test_an_unknown_sampler_or_task_is_refused(labelled: Path):
    refused(UsageError, "sampler 'half'", encoder, "half")
    refused(UsageError, "task 'zero'", own_tasks, labelled, ["zero"])


def test_mteb_takes_the_model(labelled: Path):
    mteb_models = pytest.importorskip("mteb.models")
    wrapped = encoder("mteb")
    assert isinstance(wrapped, mteb_models.EncoderProtocol)
    meta = wrapped.mteb_model_meta
    assert meta.name == "vlar/fake"
    assert meta.experiment_kwargs == {"sampler": "mteb"}
    assert set(meta.modalities) == {"text", "video"}


@pytest.mark.parametrize("sampler", ["vlar", "mteb"])
def test_figures_of_mteb_are_those_of_vlar(labelled: Path, sampler: str):
    pytest.importorskip("mteb")
    wrapped = encoder(sampler)
    runs = list(run_tasks(wrapped, read_own(labelled, wrapped)))
    assert [run.kind for run in runs] == list(KINDS)
    for run in runs:
        assert run.difference < 1e-5, run
        assert set(run.mteb) == set(run.vlar)
    # Stripes tell the labels apart: a classifier is right, whatever the texts say.
    classified = next(run for run in runs if run.kind == "classification")
    assert classified.mteb["top1"] == 1
    assert classified.n == 6


@pytest.mark.parametrize("n_source", [20, 63])
def test_the_sampler_of_mteb_picks_its_frames(tmp_path: Path, n_source: int):
    collators = pytest.importorskip("mteb.models.modality_collators")
    path = make_video(tmp_path / "v.mp4", n_source)
    clip = mteb_clip(path, reader("video"), Sampling(32, shorter_side=64))
    expected = collators.frame_indices(n_source, 32)
    assert [read_barcode(frame) for frame in clip.data] == expected
    assert clip.meta["seen"] == pytest.approx((max(expected) - min(expected)) / (n_source - 1))


def test_a_column_of_videos_is_read_without_torchcodec(labelled: Path):
    datasets = pytest.importorskip("datasets")
    from torch.utils.data import DataLoader

    path = str(labelled.parent / "green1.mp4")
    column = datasets.Dataset.from_dict({"video": [path]}).cast_column("video", datasets.Video())
    task = SimpleNamespace(dataset={"path": "x", "revision": "1"})
    found = encoder().encode(
        DataLoader(column, collate_fn=lambda rows: {"video": [row["video"] for row in rows]}),
        task_metadata=task,
        hf_split="test",
        hf_subset="default",
    )
    np.testing.assert_array_equal(found, encoder().encode_videos([path]))
