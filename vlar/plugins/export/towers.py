"""``vlar export``: image tower, text tower and pooling of a model as ONNX graphs.

torch's exporter writes them. The folder is then read as ``onnx:FOLDER`` and compared with the model
on fixed frames and texts; the least cosines stand in the folder. Below .999 nothing is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlar.encoders.base import Encoder
from vlar.encoders.clip.towers import ClipTokens, HfTokens
from vlar.encoders.onnx import (
    DESCRIPTION,
    GRAPHS,
    TOKENIZER,
    VERSION,
    ExportDescription,
    OnnxEncoder,
)
from vlar.encoders.protocols import ConditionedText
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError, VlarError, explained
from vlar.files.replacing import replace_folder
from vlar.files.resources import work_folder
from vlar.media.video.frames import blank_clips
from vlar.numeric import unit
from vlar.types import Clip, Float32, JsonDict, Window

LEAST_COSINE = 0.999
_MOST_BYTES = 1_900_000_000  # a serialised graph holds at most 2 GB
_TEXTS = (
    "a dog",
    "a person rides a bicycle along a quiet street",
    "Wäsche waschen, 掃除をする",
    "",
)
_N_CHECKED = 6


def export(encoder: Encoder, target: Path, *, force: bool = False) -> ExportDescription:
    """Write the folder of a model.

    Args:
        encoder: A frame encoder with two towers, in float32 on the CPU.
        target: The folder; it must not exist.
        force: Replace a folder that exists.

    Returns:
        What the folder states, with the cosines of the check.

    Raises:
        UsageError: the encoder is of another kind, or the folder exists.
        ModelError: a tower cannot be written as a graph, the check fails, or the disk is full.
    """
    torch_encoder = exportable(encoder)
    if target.exists() and not (force and (target / DESCRIPTION).is_file()):
        raise UsageError(f"{str(target)!r} exists; choose another folder, or force=True")
    with explained(ModelError, f"cannot write to {str(target.parent)!r}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(target.parent.absolute()) as work:
            fresh = work / "export"
            fresh.mkdir()
            report = _written(torch_encoder, fresh)
            replace_folder(fresh, target)
    return report


def exportable(encoder: Encoder) -> TorchEncoder:
    """The encoder, if its towers can become graphs.

    Raises:
        UsageError: they cannot; the message has the reason.
    """
    why = None
    if not isinstance(encoder, TorchEncoder):
        why = "it has no image and text tower of torch ('lite' runs on ONNX Runtime already)"
    elif isinstance(encoder, OnnxEncoder):
        why = "it is an export already"
    elif isinstance(encoder, ConditionedText):
        why = "its texts depend on the clip"
    elif encoder.per_clip or encoder.two_roles:
        why = "it reads whole clips, not frames"
    elif encoder.towers.pixels.fit == "patches":
        why = "its pictures change their size"
    elif encoder.towers.dtype != torch.float32 or encoder.towers.variant:
        why = "it is not in float32; leave --dtype and the options of its name out"
    if why is not None:
        raise UsageError(f"{encoder.name} cannot be exported: {why}")
    assert isinstance(encoder, TorchEncoder)
    return encoder


def _written(encoder: TorchEncoder, work: Path) -> ExportDescription:
    towers, pixels = encoder.towers, encoder.towers.pixels
    tokens, tokenizer = _tokens(encoder)
    if tokenizer is not None:
        (work / TOKENIZER).write_text(tokenizer, "utf-8")
    frames = torch.zeros(2, 3, pixels.height, pixels.width)
    ids = encoder.token_ids(["a dog", "a cat"])
    features = torch.rand(1, encoder.n_frames, encoder.dim)
    image, text = _Tower(towers.model, towers.image), _Tower(towers.model, _text(towers.model))
    _graph(image, frames, "pixels", 0, work / GRAPHS[0], encoder.name)
    _graph(text, ids, "ids", 0, work / GRAPHS[1], encoder.name)
    _graph(_Mean(), features, "features", 1, work / GRAPHS[2], encoder.name)
    names = [*GRAPHS, *([TOKENIZER] if tokenizer is not None else [])]
    described = ExportDescription(
        version=VERSION,
        source=encoder.name,
        source_fingerprint=encoder.fingerprint,
        licence=encoder.licence,
        dim=encoder.dim,
        n_frames=encoder.n_frames,
        frames_fixed=encoder.frames_fixed,
        templates=encoder.templates,
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        pixels=pixels.to_dict(),
        tokens=tokens,
        check={},
        files={n: hashlib.sha256((work / n).read_bytes()).hexdigest() for n in names},
    )
    described = replace(described, check=_checked(encoder, described, work))
    (work / DESCRIPTION).write_text(json.dumps(described.to_dict(), indent=1), "utf-8")
    return described


class _Tower(nn.Module):
    def __init__(self, model: nn.Module, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model  # its parameters become the graph's
        self.run = run

    def forward(self, batch: Tensor) -> Tensor:
        return self.run(batch)


class _Mean(nn.Module):
    """``TorchEncoder.pool``."""

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean(dim=1)
        return mean / mean.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def tower_graph(encoder: TorchEncoder) -> bytes:
    """The image tower as a graph of frames (T, 3, height, width) to features (T, F)."""
    pixels = encoder.towers.pixels
    frames = torch.zeros(2, 3, pixels.height, pixels.width)
    tower = _Tower(encoder.towers.model, encoder.towers.image)
    return _as_bytes(tower, frames, "pixels", encoder.name)


def module_graph(network: Any, method: str, example: Float32, what: str) -> bytes:
    """A method of a network as a graph of its one argument (1, T, K), with T as in the example."""
    return _as_bytes(
        _Tower(network, getattr(network, method)), torch.from_numpy(example), "x", what
    )


def _as_bytes(module: nn.Module, example: Tensor, name: str, what: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.onnx")
        _graph(module, example, name, None if len(example) == 1 else 0, path, what)
        return path.read_bytes()


def _text(model: Any) -> Callable[[Tensor], Tensor]:
    """The library's own text tower: the block view cuts texts by their length, a graph cannot."""
    if hasattr(model, "encode_text"):
        return model.encode_text

    def features(ids: Tensor) -> Tensor:
        output = model.get_text_features(input_ids=ids)
        return output if isinstance(output, Tensor) else output.pooler_output

    return features


def _tokens(encoder: TorchEncoder) -> tuple[JsonDict, str | None]:
    """Settings of the tokeniser for the description, and the content of its file."""
    tokens = encoder.towers.tokens
    settings: JsonDict = {"kind": "clip", "max_tokens": tokens.max_tokens, "pad": 0, "lower": False}
    if isinstance(tokens, ClipTokens):
        return settings, None
    fast = getattr(getattr(tokens, "tokenizer", None), "backend_tokenizer", None)
    if not isinstance(tokens, HfTokens) or fast is None:
        raise UsageError(
            f"{encoder.name} cannot be exported: its tokeniser is not a fast one of transformers; "
            "export the same model as hf:ORG/NAME"
        )
    settings |= {"kind": "tokenizers", "lower": tokens.lower}
    settings["pad"] = int(tokens.tokenizer.pad_token_id or 0)
    return settings, fast.to_str()


def _graph(
    module: nn.Module, example: Tensor, name: str, axis: int | None, path: Path, what: str
) -> None:
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    if size > _MOST_BYTES:
        raise ModelError(f"{what} has {size / 1e9:.1f} GB of weights; a graph may hold 1.9 GB")
    try:
        with _quiet(), torch.enable_grad():  # without gradients the towers work in place
            torch.onnx.export(
                module.eval(),
                (example,),
                str(path),
                input_names=[name],
                output_names=["out"],
                dynamo=True,
                dynamic_shapes=None if axis is None else ({axis: torch.export.Dim.DYNAMIC},),
                external_data=False,
            )
    except ImportError as error:
        raise ModelError(
            "the export needs the library onnxscript; run: pip install onnxscript"
        ) from error
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ModelError(f"{what} cannot be written as a graph ({name}: {text})") from error


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """The exporter prints its steps and warns of what is done on purpose."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _checked(encoder: TorchEncoder, described: ExportDescription, work: Path) -> dict[str, float]:
    """Least cosines of the graphs to the model over fixed frames and texts.

    Raises:
        ModelError: one is below ``LEAST_COSINE``.
    """
    pixels = encoder.towers.pixels
    try:
        other = OnnxEncoder(described, work, encoder.name)
    except VlarError as error:
        raise ModelError(f"the graphs of {encoder.name} cannot be read back: {error}") from error
    shown = blank_clips(encoder.n_frames, pixels.height, pixels.width)[-_N_CHECKED:]
    times_s = np.arange(encoder.n_frames) / 8
    window = Window(0.0, float(times_s[-1]) + 0.125)
    clips = [Clip(Path("blank"), window, "video", data, times_s) for data in shown]
    mine, theirs = encoder.encode(clips), other.encode(clips)
    cosines = {
        "image": _least([r.features for r in mine], [r.features for r in theirs]),
        "text": _least([encoder.encode_text(_TEXTS)], [other.encode_text(_TEXTS)]),
        "clip": _least([r.vector for r in mine], [r.vector for r in theirs]),
    }
    name, least = min(cosines.items(), key=lambda pair: pair[1])
    if not least >= LEAST_COSINE:
        raise ModelError(
            f"the {name} graph of {encoder.name} differs from the model: cosine {least:.4f} "
            f"({LEAST_COSINE} is needed); nothing was written"
        )
    return cosines


def _least(mine: list[Float32], theirs: list[Float32]) -> float:
    first, second = (
        unit(np.concatenate([np.atleast_2d(r) for r in rows])) for rows in (mine, theirs)
    )
    return float((first * second).sum(axis=-1).min())
