"""An adapted model as one ONNX file: equal to the model, and refused where it cannot be."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import videos
from tests.refusals import refused
from tests.unit.encoders.clip import models
from tests.unit.model.test_people import Bands
from vlar.errors import UsageError
from vlar.heads.calibration import Calibration
from vlar.plugins.export import model_file
from vlar.plugins.export.model_file import MOST_DIFFERENCE, export_model
from vlar.plugins.export.trace import TracedGraph


@pytest.fixture(scope="module")
def support() -> dict[str, list[np.ndarray]]:
    draw = np.random.default_rng(0)
    return {
        label: [
            (draw.integers(0, 60, (9, 24, 24, 3)) + 60 * number).astype(np.uint8) for _ in range(4)
        ]
        for number, label in enumerate(("dark", "grey", "light"))
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> vlar.Model:
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("siglip")
    models.save_siglip(folder)
    return vlar.load(f"hf:{folder}", device="cpu")


_tower_graph = functools.cache(model_file.tower_graph)  # torch's exporter takes seconds


def run(file: Path, frames: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(file).run(None, {"frames": frames})[0]


@pytest.mark.slow  # torch's exporter takes seconds for each
@pytest.mark.parametrize(
    ("method", "unknown"),
    [("auto", "familiarity"), ("ridge", "energy"), ("prototype", "prototype"),
     ("cache", "max-softmax"), ("temporal", "familiarity")],
)  # fmt: skip
def test_the_file_gives_the_probabilities_of_the_model(
    plain: vlar.Model, support, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method, unknown
):
    monkeypatch.setattr(model_file, "tower_graph", _tower_graph)
    settings = {"epochs": 4} if method == "temporal" else None
    mine = plain.adapt(support, method=method, unknown=unknown, settings=settings)
    if method == "ridge":
        mine = mine.with_calibration(Calibration(slope=1.4, unknown_centre=0.2, best_slope=0.8))
    file = tmp_path / "mine.onnx"
    assert export_model(mine, file) <= MOST_DIFFERENCE
    size = mine.encoder.preprocess
    frames = np.random.default_rng(1).integers(
        0, 256, (mine.encoder.n_frames, size.height, size.width, 3), np.uint8
    )
    answer = mine.classify(frames)
    shares = run(file, frames)
    stated = {row.label: row.probability for row in answer.predictions}
    labels = [*mine.labels, "unknown"]
    assert shares.sum() == pytest.approx(1)
    for label, share in zip(labels, shares, strict=True):
        assert share == pytest.approx(stated.get(label, answer.unknown_probability), abs=1e-5)
    import onnxruntime

    facts = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == labels
    refused(UsageError, "exists", export_model, mine, file)
    if method == "ridge":
        the_example_gives_about_these(file, frames, dict(zip(labels, shares, strict=True)))


def the_example_gives_about_these(file: Path, frames: np.ndarray, shares: dict[str, float]) -> None:
    """``examples/run_onnx.py`` without vlar: the same labels first, from its own pictures."""
    clip = videos.make_video(
        file.with_suffix(".mp4"), len(frames), size=frames.shape[2:0:-1],
        picture=lambda number: frames[number], options={"crf": "0"}, pix_fmt="yuv444p",
    )  # fmt: skip
    script = Path(vlar.__file__).parents[1] / "examples" / "run_onnx.py"
    done = subprocess.run(
        [sys.executable, str(script), str(file), str(clip)],
        capture_output=True, text=True, check=True, env={"PATH": ""}, cwd=file.parent,
    )  # fmt: skip
    path, *rows = done.stdout.strip().split("  ")
    assert path == str(clip)
    pairs = (row.rpartition(" ") for row in rows)
    stated = {label: float(share.rstrip("%")) / 100 for label, _, share in pairs}
    assert len(stated) == 3
    for label, share in stated.items():
        assert share == pytest.approx(shares[label], abs=0.1)


def test_what_cannot_be_exported_is_one_line(tmp_path: Path):
    file = tmp_path / "x.onnx"
    refused(UsageError, "no labels of its own", export_model, vlar.Model(Bands()), file)
    mine = vlar.Model(Bands()).adapt({"a": [np.zeros((4, 8, 8, 3), np.uint8)] * 2,
                                      "b": [np.full((4, 8, 8, 3), 99, np.uint8)] * 2})  # fmt: skip
    refused(UsageError, "no image and text tower", export_model, mine, file)
    assert not file.exists()


def test_numpy_code_becomes_a_graph_or_is_refused():
    graph, value = TracedGraph(), np.arange(12, dtype=np.float32).reshape(3, 4)
    x = graph.input("x", value)

    def code(x):
        y = np.concatenate([np.diff(x, axis=1), x[:, ::-1][:, :2]], axis=1)
        total = np.zeros((3, 5))
        total += np.where(y > 2, np.exp(-np.abs(y)), np.clip(y, -1, 1)).astype(np.float64)
        y = total / np.linalg.norm(total, axis=1, keepdims=True)
        parts = np.split(y, [2], axis=1)
        return np.einsum("ab,cb->ac", parts[1], parts[1]).max(axis=0) + y.std(axis=1)

    import onnxruntime

    model = graph.model([x], code(x), "out")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for rows in (value, value[::-1] / 3):
        np.testing.assert_allclose(session.run(None, {"x": rows})[0], code(rows), atol=1e-6)
    with pytest.raises(UsageError, match="decides by a number"):
        float(x.max())
    with pytest.raises(UsageError, match="sort of numpy"):
        np.sort(x)
