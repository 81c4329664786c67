"""Exported models: equal to their source, and a stranger's folder costs one line at most."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.clips import clips_of
from tests.refusals import refused
from vlar.encoders.base import load_encoder
from vlar.errors import ModelError, UsageError

from . import made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made.write(tmp_path / "made")


def frames(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, count, 20, 30, 3), dtype=np.uint8)


def test_rows_are_the_same_alone_and_in_company(folder: Path):
    encoder = load_encoder(f"onnx:{folder}")
    both = encoder.encode(clips_of(frames()))
    for clip, row in zip(clips_of(frames()), both, strict=True):
        (alone,) = encoder.encode([clip])
        np.testing.assert_array_equal(alone.features, row.features)
        np.testing.assert_array_equal(alone.vector, row.vector)
    vectors = encoder.encode_text(["a dog", "a cat"])
    np.testing.assert_array_equal(encoder.encode_text(["a cat"]), vectors[1:])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.encode_text([]).shape == (0, made.DIM)
    refused(UsageError, "runs in float32", load_encoder, f"onnx:{folder}", dtype="bf16")
    refused(UsageError, "no CUDAExec", load_encoder, f"onnx:{folder}", device="cuda")
    with pytest.raises(ModelError, match="no transformer blocks"):
        encoder.towers.vision_view()  # pyright: ignore


def not_loaded(folder: Path, words: str) -> None:
    error = refused(ModelError, words, load_encoder, f"onnx:{folder}")
    assert "\n" not in error.value.message


def test_a_graph_must_not_read_other_files(folder: Path, tmp_path: Path):
    (tmp_path / "secret").write_bytes(bytes(4 * 3 * 64 * made.DIM))
    model = onnx.load(folder / "image.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    made.save(folder, "image.onnx", model)
    made.describe(folder)
    not_loaded(folder, "weights in another file")
    # In a constant of a node, where the runtime would look too.
    node = helper.make_node("Constant", [], ["weights"], value=tensor)
    model.graph.ClearField("initializer")
    model.graph.node.insert(0, node)
    made.save(folder, "image.onnx", model)
    made.describe(folder)
    not_loaded(folder, "weights in another file")


def test_a_graph_must_end(folder: Path):
    model = onnx.load(folder / "image.onnx")
    model.graph.node.append(helper.make_node("Loop", ["", "", "flat"], ["x"], body=model.graph))
    made.save(folder, "image.onnx", model)
    made.describe(folder)
    not_loaded(folder, "operator 'Loop'")


def test_only_operators_of_onnx_run(folder: Path):
    model = onnx.load(folder / "image.onnx")
    model.graph.node[0].domain = "com.microsoft"
    made.save(folder, "image.onnx", model)
    made.describe(folder)
    not_loaded(folder, "operator of 'com.microsoft'")
    model.graph.node[0].domain = ""
    model.functions.add(name="Flatten", domain="x")
    made.save(folder, "image.onnx", model)
    made.describe(folder)
    not_loaded(folder, "functions of its own")


def test_weights_missing_or_left_over_are_refused(folder: Path):
    model = onnx.load(folder / "image.onnx")
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "extra"))
    made.save(folder, "image.onnx", model)
    made.describe(folder)
    not_loaded(folder, "weights that no operator reads ..extra.")
    model.graph.ClearField("initializer")
    made.save(folder, "image.onnx", model)
    made.describe(folder)
    not_loaded(folder, "lacks the weights .weights")


def test_a_graph_that_does_not_fit_is_one_line(folder: Path):
    narrow = numpy_helper.from_array(np.zeros((5, made.DIM), np.float32), "weights")
    model = onnx.load(folder / "image.onnx")
    model.graph.initializer[0].CopyFrom(narrow)
    made.save(folder, "image.onnx", model)
    made.describe(folder)
    with pytest.raises(ModelError, match="ONNX Runtime cannot"):
        load_encoder(f"onnx:{folder}").encode(clips_of(frames()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dim": 0}, "dim is 0"), ({"dim": True}, "dim is True"), ({"n_frames": 10**9}, "n_frames"),
        ({"version": 2}, "version 2"), ({"logit_scale": -1.0}, "logit_scale"),
        ({"pixels": {}}, "malformed"), ({"tokens": {"kind": "python", "max_tokens": 9}}, "python"),
        ({"files": {"../secret": "0"}}, "files are"), ({"more": 1}, "exactly the keys"),
        ({"check": {}}, "cosine 0.0000"), ({"check": {"image": 0.5}}, "cosine 0.5000"),
    ],
)  # fmt: skip
def test_a_malformed_description_is_one_line(folder: Path, changes: dict, words: str):
    made.describe(folder, **changes)
    not_loaded(folder, words)


def test_files_are_regular_and_have_their_hash(folder: Path, tmp_path: Path):
    not_loaded(tmp_path / "absent", "is not a folder")
    (folder / "text.onnx").write_bytes(b"changed")
    not_loaded(folder, "another hash")
    made.describe(folder)
    not_loaded(folder, "not an ONNX graph")
    (folder / "text.onnx").unlink()
    (folder / "text.onnx").symlink_to("/etc/passwd")
    not_loaded(folder, "a link")
    (folder / "text.onnx").unlink()
    os.mkfifo(folder / "text.onnx")
    not_loaded(folder, "a named pipe")
    (folder / "vlar-export.json").write_text("[" * 100)
    not_loaded(folder, "vlar-export.json")
