"""A model with labels as a folder of static files that answers in a browser, without a server.

The page reads frames at the times and in the sizes that vlar reads them. ONNX Runtime Web runs the
image towers frame by frame, and a graph that is traced from the code that answers makes
probabilities of their outputs. Towers and graph are compared with the model before they are
written.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from pkgutil import get_data
from typing import Any

import numpy as np

from vlar.encoders.base import Encoder
from vlar.encoders.catalogue import entries, entry
from vlar.encoders.lite import towers as lite
from vlar.encoders.lite.encoder import LiteEncoder, sampled_frames
from vlar.encoders.model_spec import model_folder
from vlar.errors import ModelError, UsageError, explained
from vlar.files.fetched_weights.packages import extra, fetch
from vlar.files.replacing import replace_folder
from vlar.files.resources import work_folder
from vlar.heads.concept_heads import ConceptHead
from vlar.heads.signatures import parse_kind
from vlar.language.labels import Labels
from vlar.model.card import catalogue_card, folder_card
from vlar.model.folder import read_manifest
from vlar.model.model import Model, load
from vlar.plugins.export import answer
from vlar.plugins.export.trace import TracedGraph
from vlar.pose.onnx import make_session
from vlar.types import Encoded, Float32, JsonDict, UInt8
from vlar.version import __version__

CARD, RUNTIME = "card.json", "web-runtime"
_PAGE = ("index.html", "style.css", "app.js", "video.js", "pixels.js", "offline.js")
_MOTION = {"motion", "order", "direction"}  # signature terms of optical flow, which no graph has


@dataclass(frozen=True)
class WebTowers:
    """Image towers of an encoder as the page runs them.

    Attributes:
        graphs: Each maps pixels (1, 3, height, width) to its outputs (1, F).
        outputs: Names of the outputs of each.
        pixels: Settings of each: size, scale and fit of its pixels.
        prepared: A frame (H, W, 3) as the pixels (1, 3, height, width) of each.
        rows: Numbers of the frames of a clip that the towers read.
        features: Outputs of all towers, (R, F) each, as frame features (1, T, F).
    """

    graphs: list[bytes]
    outputs: list[str]
    pixels: list[JsonDict]
    prepared: list[Callable[[UInt8], Float32]]
    rows: list[int]
    features: Callable[[list[Any]], Any]


def export_web(
    model: Model, target: Path, labels: Labels | None = None, *, force: bool = False
) -> JsonDict:
    """Write the folder of a model.

    Args:
        model: Zero-shot, or adapted as ``export_model`` takes it; ``lite-objects``, or a model with
            an image tower. ``lite`` is written as ``lite-objects``.
        target: The folder; it must not exist.
        labels: Of a zero-shot model.
        force: Replace a folder that this function wrote.

    Returns:
        What ``card.json`` states; ``bytes`` has the size of each file.

    Raises:
        UsageError: a part cannot be exported, labels lack or are too many, or the folder exists.
        ModelError: the files differ from the model by more than 1e-5 in a probability, the runtime
            cannot be fetched, or the disk is full.
    """
    if target.exists() and not (force and (target / CARD).is_file()):
        raise UsageError(f"{str(target)!r} exists; choose another folder, or force=True")
    if isinstance(model.encoder, LiteEncoder) and model.encoder.body and model.head is None:
        model = load("lite-objects")
    card, contents = _model_files(model, labels)
    runtime = extra(RUNTIME)
    if not runtime.is_installed():
        fetch(runtime)
    for file in runtime.files:
        contents[f"runtime/{PurePosixPath(file.member).name}"] = runtime.read(file.name)
    for name in _PAGE:
        contents[name] = get_data("vlar.plugins.export", f"page/{name}") or b""
    licences = f"Model: {model.encoder.licence}\n\nRuntime: {runtime.licence}\n\n"
    contents["LICENCES.txt"] = f"{licences}{runtime.licence_text}\n".encode()
    card["bytes"] = {name: len(content) for name, content in contents.items()}
    stated = [json.dumps(card).encode(), *contents.values()]
    card["version"] = hashlib.sha256(b"".join(stated)).hexdigest()[:16]
    contents[CARD] = json.dumps(card, indent=1).encode()
    with explained(ModelError, f"cannot write to {str(target.parent)!r}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(target.parent.absolute()) as work:
            for name, content in contents.items():
                path = work / "web" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            replace_folder(work / "web", target)
    return card


def web_towers(encoder: Encoder) -> WebTowers:
    """The towers of an encoder, or of the one that an adapter is around.

    Raises:
        UsageError: it has none that become graphs.
    """
    if isinstance(encoder, LiteEncoder):
        return _lite_towers(encoder)
    from torch import device

    from vlar.encoders.clip.pixels import to_pixels
    from vlar.plugins.export.model_file import image_graph, image_source

    torch_encoder = image_source(answer.source_of(encoder))
    graph, pixels = image_graph(torch_encoder), torch_encoder.towers.pixels
    name = make_session(graph, "the image tower").get_outputs()[0].name
    return WebTowers(
        [graph],
        [name],
        [pixels.to_dict()],
        [lambda frame: to_pixels(frame[None], pixels, device("cpu")).numpy()],
        list(range(encoder.n_frames)),
        lambda rows: rows[0].reshape(1, *rows[0].shape),
    )


def _lite_towers(encoder: LiteEncoder) -> WebTowers:
    if encoder.body is not None:
        raise UsageError("it reads bodies, whose networks do not run in a browser")
    assert encoder.preprocess is not None  # it reads pictures
    settings = {**asdict(encoder.preprocess), "interpolation": "bicubic"}
    networks, rows = lite.IMAGE_NETWORKS, sampled_frames(encoder.n_frames)
    motion = np.zeros((len(rows), encoder.frame_dim - encoder.dim - 2 * lite.APPEARANCE_WIDTH), "f")

    def features(outputs: list[Any]) -> Any:
        scores = (outputs[0] + outputs[2]) / np.float32(2)
        joined = np.concatenate([scores, outputs[1], outputs[3], motion], axis=1)
        repeated = np.repeat(joined, encoder.n_frames // len(rows), axis=0)
        return repeated.reshape(1, *repeated.shape)

    return WebTowers(
        [lite.image_tower(row.state(), row.size, row.strided) for row in networks],
        ["logits", "appearance"],
        [settings | {"height": row.size[0], "width": row.size[1]} for row in networks],
        [partial(lite.lite_pixels, size=row.size) for row in networks],
        rows,
        features,
    )


def _outputs(towers: WebTowers, clips: UInt8) -> list[dict[str, Float32]]:
    """Outputs of the towers for each of N clips (N, T, H, W, 3), by name and number of tower."""
    outputs: list[dict[str, Float32]] = [{} for _ in clips]
    for i, (graph, prepared) in enumerate(zip(towers.graphs, towers.prepared, strict=True)):
        session = make_session(graph, "an image tower")
        feed = session.get_inputs()[0].name
        for clip_outputs, frames in zip(outputs, clips, strict=True):
            rows = [session.run(towers.outputs, {feed: prepared(frames[t])}) for t in towers.rows]
            for name, *column in zip(towers.outputs, *rows, strict=True):
                clip_outputs[f"{name}{i}"] = np.concatenate(column)
    return outputs


def _model_files(model: Model, labels: Labels | None) -> tuple[JsonDict, dict[str, bytes]]:
    """Facts that the page states of a model, and its graphs by name."""
    encoder, graph = model.encoder, TracedGraph()
    try:
        towers = web_towers(encoder)
        pixels = encoder.preprocess
        assert pixels is not None  # an image tower has pixels
        clips = answer.check_clips((encoder.n_frames, pixels.height, pixels.width, 3))
        outputs = _outputs(towers, clips)
        inputs = [graph.input(name, value) for name, value in outputs[-1].items()]
        names, shares, unsure = _traced(model, labels, graph, towers.features(inputs))
    except UsageError as error:
        raise UsageError(f"model {model.name!r} cannot be exported: {error.message}") from error
    data = graph.model(inputs, shares, "probabilities").SerializeToString()
    session, rows = make_session(data, "the exported answer"), iter(outputs)
    difference = answer.checked(model, labels, clips, lambda _: session.run(None, next(rows))[0])
    words = f" --labels {shlex.quote(', '.join(names))}" if model.head is None else ""
    card = {
        "model": model.name,
        "encoder": encoder.name,
        "fingerprint": model.fingerprint,
        "licence": encoder.licence,
        "vlar": __version__,
        "labels": names,
        "calibrated": model.words.calibrated or model.calibration is not None or bool(model.head),
        "unsure": unsure,
        "card": _card(model),
        "command": f"vlar classify FILE --model {shlex.quote(model.name)}{words}",
        "frames": encoder.n_frames,
        "rows": towers.rows,
        "shorter_side": encoder.sampling.shorter_side,
        "towers": towers.pixels,
        "outputs": towers.outputs,
        "difference": difference,
    }
    graphs = {f"model/tower{i}.onnx": tower for i, tower in enumerate(towers.graphs)}
    return card, graphs | {"model/answer.onnx": data}


def _traced(
    model: Model, labels: Labels | None, graph: TracedGraph, features: Any
) -> tuple[list[str], Any, dict[str, str]]:
    """C labels, their traced probabilities with unknown (C + 1,), and notes by best label."""
    encoder: Any = model.encoder
    if isinstance(encoder, LiteEncoder):
        vector: Any = encoder.pool(features)
    else:
        from vlar.plugins.export.model_file import clip_vector

        vector = clip_vector(graph, encoder, answer.source_of(encoder), features)
    if model.head is not None:
        if labels is not None:
            raise UsageError("it has labels of its own; leave --labels out")
        head = answer.exportable_head(model)
        kinds = map(parse_kind, (head.kind, head.head.kind))
        if isinstance(encoder, LiteEncoder) and any(map(_MOTION.intersection, kinds)):
            raise UsageError("it reads optical flow; adapt a model with an image tower (clip)")
        return list(head.labels), answer.head_answer(model, head, features, vector), {}
    classifier = model.classifier(labels)
    if not isinstance(classifier.head, ConceptHead):
        raise UsageError("its texts depend on the clip")
    scores: Any = classifier.scores([Encoded(features[0], vector[0])])
    shares = np.concatenate([scores.probability, scores.unknown.reshape(1, 1)], axis=1)
    return list(classifier.labels), shares.reshape(-1), dict(classifier.unsure)


def _card(model: Model) -> str:
    """The card of a model as Markdown; empty for one that neither folder nor catalogue has."""
    if (folder := model_folder(model.name)) is not None:
        return folder_card(folder, read_manifest(folder)[0].model_dump())
    name = "lite" if isinstance(model.encoder, LiteEncoder) else model.name
    return catalogue_card(entry(name).to_dict()) if name in entries() else ""
