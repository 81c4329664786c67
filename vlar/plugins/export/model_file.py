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
from vlar.heads.adapted_head import AdaptedHead
from vlar.heads.logistic import logistic
from vlar.heads.reject import LogitRejector
from vlar.heads.signatures import names_sensors, signature
from vlar.heads.zero_shot import ContentFree
from vlar.model.model import Model
from vlar.numeric import unit
from vlar.plugins.export.towers import exportable, tower_graph
from vlar.plugins.export.trace import Graph, TracedArray
from vlar.types import UInt8
from vlar.version import __version__

MOST_DIFFERENCE = 1e-5
_MOST_BYTES = 1_900_000_000  # a serialised graph holds at most 2 GB
_UNKNOWN = "unknown"
_CHECKED = 3  # clips


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
    head = _exportable_head(model)
    encoder: Any = model.encoder
    source: Encoder = encoder.source if _is_tower(encoder) else encoder
    pixels = _towers(source).towers.pixels
    shape = (source.n_frames, pixels.height, pixels.width, 3)
    draw = np.random.default_rng(0)
    clips = draw.integers(0, 256, (_CHECKED, *shape), np.uint8)
    clips[0] = clips[0] // 8 * 0 + 17  # nothing to recognise
    graph = Graph()
    frames = graph.input("frames", clips[-1])
    try:
        features = _features(graph, source, frames)
        vector = _vector(graph, encoder, source, features)
        answer = _answer(model, head, features, vector)
    except UsageError as error:
        raise UsageError(f"model {model.name!r} cannot be exported: {error.message}") from error
    onnx_model = graph.model([frames], answer, "probabilities")
    facts = {
        "labels": json.dumps([*head.labels, _UNKNOWN]),
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
    difference = _difference(model, data, clips)
    _write(target, data)
    return difference


def _exportable_head(model: Model) -> AdaptedHead:
    """The head of an adapted model.

    Raises:
        UsageError: it has none, or answers by more than one picture's vectors.
    """
    head, why = model.head, None
    if head is None:
        why = "it has no labels of its own; adapt it first"
    elif model.words.conditions_text and head.head.trained:
        why = "its texts depend on the clip"
    elif hasattr(head.head, "pair_logits"):
        why = "it answers about verbs and objects apart"
    elif names_sensors(head.kind):
        why = "it reads several sensors"
    if head is None or why is not None:
        raise UsageError(f"model {model.name!r} cannot be exported: {why}")
    return head


def _is_tower(encoder: Any) -> bool:
    """Return whether it is an adapter that adds a residual to the vector of an image tower.

    Raises:
        UsageError: it is an adapter of another kind.
    """
    if isinstance(encoder, TorchEncoder) or not hasattr(encoder, "encoder"):
        return False
    if getattr(encoder, "method", "") != "temporal" or getattr(encoder.config, "regions", 0):
        name = getattr(encoder, "method", encoder.name)
        raise UsageError(
            f"the adapter {name!r} cannot be exported; closed forms and a plain temporal can"
        )
    return True


def _towers(source: Encoder) -> TorchEncoder:
    return source if isinstance(source, OnnxEncoder) else exportable(source)


def _features(graph: Graph, source: Encoder, frames: TracedArray) -> Any:
    """Frame features (1, T, F) of pixels."""
    encoder = _towers(source)
    pixels = encoder.towers.pixels
    scale = np.array([1 / (255 * s) for s in pixels.std], np.float32)
    shift = np.array([-m / s for m, s in zip(pixels.mean, pixels.std, strict=True)], np.float32)
    scaled = frames.astype(np.float32) * scale + shift
    rows = graph.part(_image_graph(encoder), "image.", scaled.transpose(0, 3, 1, 2))
    return rows.reshape(1, *rows.shape)


def _image_graph(encoder: TorchEncoder) -> bytes:
    if isinstance(encoder, OnnxEncoder):
        folder = Path(encoder.name.partition(":")[2]).expanduser()
        return read_graph(folder, GRAPHS[0], read_description(folder))
    return tower_graph(encoder)


def _vector(graph: Graph, encoder: Encoder, source: Encoder, features: Any) -> Any:
    """Vector (1, D) of a clip from its features (1, T, F)."""
    vector = TorchEncoder.pool(_towers(source), features)
    if source is encoder:
        return vector
    from vlar.plugins.export.towers import module_graph

    tower: Any = encoder
    small = tower.small(features)
    residual = module_graph(tower.network, "residual", small.value, encoder.name)
    return unit(vector + graph.part(residual, "residual.", small))


def _answer(model: Model, head: AdaptedHead, features: Any, vector: Any) -> Any:
    """(C + 1,) probabilities of the labels and of unknown, as ``LabelClassifier`` gives them."""
    row = signature(features, head.blocks, head.head.kind)
    own = row if head.kind == head.head.kind else signature(features, head.blocks, head.kind)
    zero_shot = vector @ head.concepts.T
    logits, rejector = head.head.logits(row, zero_shot), head.rejector
    if isinstance(rejector, LogitRejector):
        unknown = logistic(rejector.of_logits(logits), rejector.centre, rejector.slope)
    else:
        unknown = rejector.probability(own)
    share = head.head.probabilities(row, zero_shot)
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
    blank = ContentFree(model.words.content_free).probability(vector)
    known = share * ((1.0 - unknown) * (1.0 - blank)).reshape(1, 1)
    unknown = blank + (1.0 - blank) * unknown
    if model.calibration is not None:
        known, unknown = model.calibration.one(known, unknown)
    return np.concatenate([known, unknown.reshape(1, 1)], axis=1).reshape(-1)


def _difference(model: Model, data: bytes, clips: UInt8) -> float:
    """Largest difference of a probability between the file and the model.

    Raises:
        ModelError: it is above 1e-5.
    """
    from vlar.pose.onnx import make_session

    session = make_session(data, "the exported model")
    largest = 0.0
    for frames in clips:
        answer = model.classify(frames, top=len(model.labels or ()))
        stated = {row.label: row.probability for row in answer.predictions}
        stated[_UNKNOWN] = answer.unknown_probability
        (shown,) = session.run(None, {"frames": frames})
        names = [*(model.labels or ()), _UNKNOWN]
        rows = zip(names, shown.tolist(), strict=True)
        largest = max(largest, *(abs(value - stated[name]) for name, value in rows))
    if not largest <= MOST_DIFFERENCE:
        raise ModelError(
            f"the file differs from model {model.name!r} by {largest:.2g} in a probability "
            f"({MOST_DIFFERENCE:g} is allowed); nothing was written"
        )
    return largest


def _write(target: Path, data: bytes) -> None:
    if len(data) > _MOST_BYTES:
        raise ModelError(f"the file has {len(data) / 1e9:.1f} GB; a graph may hold 1.9 GB")
    with explained(ModelError, f"cannot write {str(target)!r}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            part.write_bytes(data)
