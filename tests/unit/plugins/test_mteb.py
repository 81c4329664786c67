from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.unit.training.fakes import FakeEncoder
from tests.videos import make_video
from vlar.model.model import Model
from vlar.plugins.mteb.encoder import VlarEncoder

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


def encoder() -> VlarEncoder:
    return VlarEncoder(Model(FakeEncoder()))


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


def test_mteb_takes_the_model(labelled: Path):
    mteb_models = pytest.importorskip("mteb.models")
    wrapped = encoder()
    assert isinstance(wrapped, mteb_models.EncoderProtocol)
    meta = wrapped.mteb_model_meta
    assert meta.name == "vlar/fake"
    assert set(meta.modalities) == {"text", "video"}


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
