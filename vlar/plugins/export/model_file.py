"""An adapted model as one ONNX file with its labels: frames in, probabilities out.

The image tower is a graph of torch's exporter (or of ``onnx:FOLDER``); signature, head, rejector
and calibration are traced from the code that answers (``vlar.plugins.export.trace``). The file is
compared with the model before it is written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vlar.encoders.base import Encoder
from vlar.encoders.onnx import GRAPHS, OnnxEncoder, read_description, read_graph
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError, explained
from vlar.files.replacing import replacing
from vlar.model.model import Model
from vlar.numeric import unit
from vlar.plugins.export.answer import MOST_DIFFERENCE as MOST_DIFFERENCE
from vlar.plugins.export.answer import (
    UNKNOWN,
    check_clips,
    checked,
    exportable_head,
    head_answer,
    source_of,
)
from vlar.plugins.export.towers import exportable, tower_graph
from vlar.plugins.export.trace import TracedArray, TracedGraph
from vlar.pose.onnx import make_session
from vlar.version import __version__

_MOST_BYTES = 1_900_000_000  # a serialised graph holds at most 2 GB


def export_model(model: Model, target: Path, *, force: bool = False) -> float:
    """Write an adapted model as one file.

    Its input ``frames`` is (T, height, width, 3) uint8, RGB, already of the size of the encoder;
    its output ``probabilities`` is (C + 1,) float64: the labels, then unknown; they sum to 1. Its
    metadata has ``labels``, ``frames``, ``fit``, ``vlar`` and ``licence``.

    Args:
        model: Adapted by a closed form, or by ``temporal``, on a model with an image tower.
        target: The file.
        force: Replace a file that exists.

    Returns:
        The largest difference of a probability to the model's own, on clips of noise.

    Raises:
        UsageError: a part cannot be exported, or the file exists.
        ModelError: the file differs from the model by more than 1e-5, or cannot be written.
    """
    if target.exists() and not force:
        raise UsageError(f"{str(target)!r} exists; choose another file, or force=True")
    head = exportable_head(model)
    encoder: Any = model.encoder
    source: Encoder = source_of(encoder)
    pixels = image_source(source).towers.pixels
    shape = (source.n_frames, pixels.height, pixels.width, 3)
    clips = check_clips(shape)
    graph = TracedGraph()
    frames = graph.input("frames", clips[-1])
    try:
        features = _features(graph, source, frames)
        vector = clip_vector(graph, encoder, source, features)
        answer = head_answer(model, head, features, vector)
    except UsageError as error:
        raise UsageError(f"model {model.name!r} cannot be exported: {error.message}") from error
    onnx_model = graph.model([frames], answer, "probabilities")
    facts = {
        "labels": json.dumps([*head.labels, UNKNOWN]),
        "frames": str(shape[0]),
        "fit": pixels.fit,
        "vlar": __version__,
        "licence": encoder.licence,
        "encoder": source.name,
    }
    for key, value in facts.items():
        entry = onnx_model.metadata_props.add()
        entry.key, entry.value = key, value
    data = onnx_model.SerializeToString()
    session = make_session(data, "the exported model")
    difference = checked(model, None, clips, lambda x: session.run(None, {"frames": x})[0])
    _write(target, data)
    return difference


def image_source(source: Encoder) -> TorchEncoder:
    """The encoder, if its image tower is a graph or can become one."""
    return source if isinstance(source, OnnxEncoder) else exportable(source)


def _features(graph: TracedGraph, source: Encoder, frames: TracedArray) -> Any:
    """Frame features (1, T, F) of pixels."""
    encoder = image_source(source)
    pixels = encoder.towers.pixels
    scale = np.array([1 / (255 * s) for s in pixels.std], np.float32)
    shift = np.array([-m / s for m, s in zip(pixels.mean, pixels.std, strict=True)], np.float32)
    scaled = frames.astype(np.float32) * scale + shift
    rows = graph.part(image_graph(encoder), "image.", scaled.transpose(0, 3, 1, 2))
    return rows.reshape(1, *rows.shape)


def image_graph(encoder: TorchEncoder) -> bytes:
    """The image tower as a graph of pixels (T, 3, height, width) to features (T, F)."""
    if isinstance(encoder, OnnxEncoder):
        folder = Path(encoder.name.partition(":")[2]).expanduser()
        return read_graph(folder, GRAPHS[0], read_description(folder))
    return tower_graph(encoder)


def clip_vector(graph: TracedGraph, encoder: Encoder, source: Encoder, features: Any) -> Any:
    """Vector (1, D) of a clip from its features (1, T, F)."""
    vector = TorchEncoder.pool(image_source(source), features)
    if source is encoder:
        return vector
    from vlar.plugins.export.towers import module_graph

    tower: Any = encoder
    small = tower.small(features)
    residual = module_graph(tower.network, "residual", small.value, encoder.name)
    return unit(vector + graph.part(residual, "residual.", small))


def _write(target: Path, data: bytes) -> None:
    if len(data) > _MOST_BYTES:
        raise ModelError(f"the file has {len(data) / 1e9:.1f} GB; a graph may hold 1.9 GB")
    with explained(ModelError, f"cannot write {str(target)!r}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            part.write_bytes(data)
