"""A folder as ``vlar export`` writes it, its three graphs made by hand, so that any fault fits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIDE, DIM, LENGTH = 8, 6, 12


def write(folder: Path, **changes: Any) -> Path:
    """The folder; ``changes`` replace values of its description."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    weights = random.normal(size=(3 * SIDE * SIDE, DIM)).astype(np.float32)
    save(folder, "image.onnx", image_graph(weights))
    words = random.normal(size=(LENGTH, DIM)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["ids"], ["numbers"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["numbers", "words"], ["out"]),
    ]
    save(folder, "text.onnx", graph(nodes, ("ids", "INT64", ["n", LENGTH]), words=words))
    nodes = [
        helper.make_node("ReduceMean", ["features", "axes"], ["mean"], keepdims=0),
        helper.make_node("LpNormalization", ["mean"], ["out"], axis=-1, p=2),
    ]
    axes = np.array([1], np.int64)
    save(folder, "pool.onnx", graph(nodes, ("features", "FLOAT", [1, "t", DIM]), axes=axes))
    describe(folder, **changes)
    return folder


def image_graph(weights: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["out"]),
    ]
    return graph(nodes, ("pixels", "FLOAT", ["n", 3, SIDE, SIDE]), weights=weights)


def graph(nodes: list[Any], given: tuple[str, str, list[Any]], **weights: Any) -> onnx.ModelProto:
    name, kind, shape = given
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "made",
        [value(name, getattr(onnx.TensorProto, kind), shape)],
        [value("out", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def save(folder: Path, name: str, model: onnx.ModelProto) -> None:
    (folder / name).write_bytes(model.SerializeToString())


def describe(folder: Path, **changes: Any) -> None:
    """Write the description anew, with the hashes of what lies there."""
    names = [f"{part}.onnx" for part in ("image", "text", "pool")]
    described = {
        "version": 1, "source": "made:by-hand", "source_fingerprint": "0" * 32,
        "licence": "none: made by hand", "dim": DIM, "n_frames": 4, "frames_fixed": False,
        "templates": "video", "logit_scale": 10.0, "logit_bias": None,
        "pixels": {"height": SIDE, "width": SIDE, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
                   "fit": "squash", "interpolation": "bilinear", "shorter": 0, "patch": 0,
                   "max_patches": 0},
        "tokens": {"kind": "clip", "max_tokens": LENGTH, "pad": 0, "lower": False},
        "check": {"image": 1.0, "text": 1.0, "clip": 1.0},
        "files": {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names},
    }  # fmt: skip
    (folder / "vlar-export.json").write_text(json.dumps({**described, **changes}))
