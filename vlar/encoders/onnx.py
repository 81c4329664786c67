"""The folder of an exported model: three graphs, the tokeniser, and a description with hashes.

``vlar-export.json`` states what the graphs are, how pixels and texts are prepared, and the SHA-256
of every file. A folder may come from a stranger: its description is strict JSON with known keys,
its files are regular and of bounded size, and a graph may hold neither paths to other files nor
loops (``read_graph``).
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor

from vlar.encoders.base import refused_place
from vlar.encoders.clip.towers import ClipTokens, Tokens
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError, explained
from vlar.files.reading import MB, check_file, parse_json, read_file
from vlar.registry import register
from vlar.types import Float32, JsonDict

DESCRIPTION = "vlar-export.json"
GRAPHS = ("image.onnx", "text.onnx", "pool.onnx")
TOKENIZER = "tokenizer.json"
VERSION = 1
_MOST_DESCRIPTION = MB
_MOST_GRAPH = 2_000 * MB  # of a serialised graph with its weights
_MOST_SIDE, _MOST_FRAMES, _MOST_DIM, _MOST_TOKENS = 4096, 1024, 65_536, 65_536
#: They run other graphs, some without end, or give other results each time.
_REFUSED = {
    *("Loop", "If", "Scan", "SequenceMap", "RandomNormal", "RandomUniform", "Bernoulli"),
    *("RandomNormalLike", "RandomUniformLike", "Multinomial"),
}


@dataclass(frozen=True)
class ExportDescription:
    """Contents of ``vlar-export.json``.

    Attributes:
        version: Version of this format.
        source: Spec of the model that was exported.
        source_fingerprint: Its fingerprint.
        licence: Licence of the weights.
        dim: D.
        n_frames: Default T.
        frames_fixed: Whether no other T works.
        templates: Name of a prompt set.
        logit_scale: Factor from cosine to logit.
        logit_bias: Logit bias of sigmoid models, else None.
        pixels: Pixel settings, in the form of ``Pixels``.
        tokens: ``kind`` (``clip`` or ``tokenizers``), ``max_tokens``, ``pad``, ``lower``.
        check: Least cosines to the source: ``image``, ``text``, ``clip``.
        files: SHA-256 by name.
    """

    version: int
    source: str
    source_fingerprint: str
    licence: str
    dim: int
    n_frames: int
    frames_fixed: bool
    templates: str
    logit_scale: float
    logit_bias: float | None
    pixels: JsonDict
    tokens: JsonDict
    check: dict[str, float]
    files: dict[str, str]

    def to_dict(self) -> JsonDict:
        """Content of the file."""
        return asdict(self)


_TYPES: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "source": (str,),
    "source_fingerprint": (str,),
    "licence": (str,),
    "dim": (int,),
    "n_frames": (int,),
    "frames_fixed": (bool,),
    "templates": (str,),
    "logit_scale": (int, float),
    "logit_bias": (int, float, type(None)),
    "pixels": (dict,),
    "tokens": (dict,),
    "check": (dict,),
    "files": (dict,),
}


def read_description(folder: Path) -> ExportDescription:
    """The description of a folder, with every value in its range.

    Raises:
        ModelError: it is absent, malformed, or of a later version.
    """
    what = f"onnx:{folder}"
    try:
        data = parse_json(read_file(folder / DESCRIPTION, _MOST_DESCRIPTION, links=False))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ModelError(
            f"{what} has no readable {DESCRIPTION} ({why}); give a folder that 'vlar export' wrote"
        ) from error
    try:
        description = _checked(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{what}: {DESCRIPTION} is malformed ({error}); export the model again"
        ) from error
    return description


def _checked(data: Any) -> ExportDescription:
    names = {field.name for field in fields(ExportDescription)}
    if not isinstance(data, dict) or set(data) != names:
        raise ValueError(f"it must have exactly the keys {', '.join(sorted(names))}")
    for name, kinds in _TYPES.items():
        wrong = isinstance(data[name], bool) and bool not in kinds
        if wrong or not isinstance(data[name], kinds):
            raise ValueError(f"{name} is {data[name]!r}")
    description = ExportDescription(**data)
    if description.version != VERSION:
        raise ValueError(f"version {description.version} is not {VERSION}")
    pixels, tokens = description.pixels, description.tokens
    bounds = (
        ("dim", description.dim, _MOST_DIM),
        ("n_frames", description.n_frames, _MOST_FRAMES),
        ("height", pixels["height"], _MOST_SIDE),
        ("width", pixels["width"], _MOST_SIDE),
        ("max_tokens", tokens["max_tokens"], _MOST_TOKENS),
        ("shorter", pixels["shorter"] or 1, 2 * _MOST_SIDE),
    )
    for name, value, most in bounds:
        if type(value) is not int or not 0 < value <= most:
            raise ValueError(f"{name} is {value!r}, not a whole number from 1 to {most}")
    for name in ("mean", "std"):
        numbers = [float(number) for number in pixels[name]]
        if len(numbers) != 3 or not all(abs(number) < 1000 for number in numbers):
            raise ValueError(f"{name} is {pixels[name]!r}")
    if min(pixels["std"]) <= 0 or not 0 < float(description.logit_scale) < math.inf:
        raise ValueError("std and logit_scale must be above 0")
    if pixels["fit"] not in ("crop", "squash") or tokens["kind"] not in ("clip", "tokenizers"):
        raise ValueError(f"fit is {pixels['fit']!r}, tokens are {description.tokens['kind']!r}")
    if set(description.files) != {
        *GRAPHS,
        *([TOKENIZER] if tokens["kind"] == "tokenizers" else []),
    }:
        raise ValueError(f"files are {', '.join(sorted(description.files))}")
    return description


def read_part(folder: Path, name: str, description: ExportDescription) -> bytes:
    """The content of a file of the folder, compared with its hash.

    Raises:
        ModelError: it is absent, not a regular file, too large, or has another hash.
    """
    with explained(ModelError, f"onnx:{folder}: {name} cannot be read", "export the model again"):
        # Memory is taken for as much as may be read: the file's own size, not the limit.
        size = check_file(folder / name, _MOST_GRAPH, links=False)
        data = read_file(folder / name, size, links=False)
    if hashlib.sha256(data).hexdigest() != description.files[name]:
        raise ModelError(
            f"onnx:{folder}: {name} has another hash than {DESCRIPTION} states; export it again"
        )
    return data


def read_graph(folder: Path, name: str, description: ExportDescription) -> bytes:
    """A graph of the folder that names no other file and ends.

    Raises:
        ModelError: as ``read_part``; or it is not a graph, keeps weights in other files, or has an
            operator that runs other graphs or is not one of ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    data = read_part(folder, name, description)
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise ModelError(f"onnx:{folder}: {name} is not an ONNX graph ({error})") from error
    problem = next(_problems(model), None)
    if problem is not None:
        raise ModelError(
            f"onnx:{folder}: {name} {problem}; vlar does not run it: export the model again"
        )
    return data


def _problems(model: Any) -> Iterator[str]:
    if len(model.functions):
        yield "defines functions of its own"
    for tensor in (*model.graph.initializer, *_attribute_tensors(model.graph)):
        if tensor.data_location or len(tensor.external_data):
            yield "keeps weights in another file"
    if len(model.graph.sparse_initializer):
        yield "has sparse weights"
    graph = model.graph
    weights, inputs = ({row.name for row in rows} for rows in (graph.initializer, graph.input))
    read = {name for node in graph.node for name in node.input if name}
    made = {name for node in graph.node for name in node.output} | inputs
    for name in sorted(weights - read - {row.name for row in graph.output}):
        yield f"holds weights that no operator reads ({name[:60]!r})"
    for name in sorted(read - made - weights):
        yield f"lacks the weights {name[:60]!r}"
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"has an operator of {node.domain[:60]!r}"
        nested = any(row.HasField("g") or row.graphs for row in node.attribute)
        if node.op_type in _REFUSED or nested:
            yield f"has the operator {node.op_type[:60]!r}"


def _attribute_tensors(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for row in node.attribute:
            if row.HasField("t"):
                yield row.t
            yield from row.tensors


class StoredTokens:
    """A fast tokeniser of transformers, run by the library ``tokenizers`` alone."""

    def __init__(self, tokenizer: Any, max_tokens: int, pad: int, *, lower: bool) -> None:
        """Wrap it.

        Args:
            tokenizer: A ``tokenizers.Tokenizer``.
            max_tokens: Most tokens of the text tower.
            pad: Id that fills up.
            lower: Whether texts are lower-cased first.
        """
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.max_tokens = max_tokens
        self._pad, self._lower = pad, lower

    def ids(self, texts: list[str], limit: int) -> Tensor:
        """(C, limit) int64, padded, cut to the limit."""
        self.tokenizer.enable_truncation(limit)
        rows = [row.ids for row in self.tokenizer.encode_batch([self._text(t) for t in texts])]
        self.tokenizer.no_truncation()
        return torch.tensor([row + [self._pad] * (limit - len(row)) for row in rows])

    def _text(self, text: str) -> str:
        return text.lower() if self._lower else text

    def count(self, text: str) -> int:
        """Tokens with the special ones."""
        return len(self._encoded(text))

    def _encoded(self, text: str) -> list[int]:
        self.tokenizer.no_truncation()
        return list(self.tokenizer.encode(self._text(text)).ids)

    def dropped(self, text: str, limit: int) -> str:
        """Text behind the last token that is kept."""
        tail = self._encoded(text)[limit - 1 :]
        return str(self.tokenizer.decode(tail, skip_special_tokens=True)).strip()


def stored_tokens(settings: JsonDict, data: bytes | None, what: str) -> Tokens:
    """The tokeniser of a folder.

    Args:
        settings: ``tokens`` of the description.
        data: Content of ``tokenizer.json``, where there is one.
        what: Names the model in errors.

    Raises:
        ModelError: the file is not a tokeniser.
    """
    length = int(settings["max_tokens"])
    if data is None:
        import open_clip

        return ClipTokens(open_clip.SimpleTokenizer(context_length=length), length)
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises plain exceptions
        text = " ".join(str(error).split())[:160]
        raise ModelError(f"{what}: its tokenizer.json cannot be read ({text})") from error
    return StoredTokens(tokenizer, length, int(settings["pad"]), lower=bool(settings["lower"]))


_LEAST_COSINE = 0.999
_log = logging.getLogger("vlar")


@register("encoder", "onnx")
class OnnxEncoder(TorchEncoder):
    """The graphs of ``vlar export`` through ONNX Runtime; on the CPU one thread."""

    libraries = ("onnxruntime",)
    types: ClassVar[bool] = False
    contract_argument: ClassVar[str | None] = None  # a folder; tests/unit/encoders/onnx makes one

    @classmethod
    def from_spec(
        cls, argument: str, *, device: str | None = None, dtype: str | None = None
    ) -> OnnxEncoder:
        """Load a folder.

        Args:
            argument: A folder that ``vlar export`` wrote.
            device: None or ``cpu``, or a device of ONNX Runtime (``vlar.pose.onnx``).
            dtype: None or ``float32``.

        Raises:
            UsageError: another type is given, or the runtime lacks the device.
            ModelError: a file is missing, changed, malformed or not safe to run.
        """
        if dtype not in (None, "float32"):
            raise UsageError(f"onnx:{argument} runs in float32, got {refused_place(None, dtype)}")
        folder = Path(argument).expanduser()
        if not folder.is_dir():
            raise ModelError(f"{argument!r} is not a folder; write one: vlar export MODEL FOLDER")
        return cls.open(folder, f"onnx:{argument}", device)

    @classmethod
    def open(cls, folder: Path, name: str, device: str | None = None) -> OnnxEncoder:
        """Load a folder under a name; errors as in ``from_spec``."""
        described = read_description(folder)
        least = min((float(value) for value in described.check.values()), default=0.0)
        if not least >= _LEAST_COSINE:
            raise ModelError(
                f"{name} differs from the model it was made from (cosine {least:.4f} in its own "
                "check); export it again"
            )
        return cls(described, folder, name, device or "cpu")

    def __init__(
        self, described: ExportDescription, folder: Path, name: str, device: str = "cpu"
    ) -> None:
        """Take over a folder whose description was read.

        Raises:
            ModelError: a file is missing, changed, malformed or not safe to run.
            UsageError: the runtime lacks the device.
        """
        from vlar.pose.onnx import make_session

        graphs = (read_graph(folder, graph, described) for graph in GRAPHS)
        image, text, self._pool = (make_session(graph, name, device=device) for graph in graphs)
        self.runs_on = "" if device == "cpu" else device
        towers = _towers(described, folder, image, text, device)
        super().__init__(towers, name, n_frames=described.n_frames)
        self.frames_fixed = described.frames_fixed
        self.templates = described.templates

    def pool(self, features: Float32) -> Float32:
        rows = [_run(self._pool, "features", window[None]) for window in features]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *rows])


def _towers(described: ExportDescription, folder: Path, image: Any, text: Any, device: str) -> Any:
    import torch

    from vlar.encoders.clip.pixels import Pixels
    from vlar.encoders.clip.towers import Towers

    what = f"onnx:{folder}"
    data = read_part(folder, TOKENIZER, described) if TOKENIZER in described.files else None
    scale = torch.nn.ParameterDict({"log_scale": torch.tensor(float(described.logit_scale)).log()})
    settings: JsonDict = {**described.pixels, "mean": tuple(described.pixels["mean"])}
    settings["std"] = tuple(described.pixels["std"])

    def refused(*_: object) -> NoReturn:
        raise ModelError(
            f"{what} shows no transformer blocks and cannot be trained or adapted inside; use the "
            f"model that it was made from ({described.source})"
        )

    def run(session: Any, name: str) -> Any:
        # On a CPU one row at a time: products round by their shape, and a row must not depend on
        # others.
        def features(batch: torch.Tensor) -> torch.Tensor:
            parts = batch.numpy()[:, None] if device == "cpu" else [batch.numpy()]
            return torch.from_numpy(np.concatenate([_run(session, name, part) for part in parts]))

        return features

    digest = hashlib.sha256("".join(sorted(described.files.values())).encode()).hexdigest()
    return Towers(
        model=scale.requires_grad_(False),
        image=run(image, "pixels"),
        text=run(text, "ids"),
        tokens=stored_tokens(described.tokens, data, what),
        pixels=Pixels(**settings),
        dim=described.dim,
        log_scale=lambda: scale["log_scale"],
        vision_view=refused,
        text_view=refused,
        rebuild=refused,
        logit_bias=described.logit_bias,
        licence=described.licence,
        variant=f"onnx {digest}",
    )


def _run(session: Any, name: str, value: Any) -> Float32:
    try:
        return session.run(None, {name: value})[0]
    except Exception as error:  # the runtime raises its own kinds, which are not public
        text = " ".join(str(error).split())[:160]
        raise ModelError(f"ONNX Runtime cannot run the graph that takes {name}: {text}") from error
