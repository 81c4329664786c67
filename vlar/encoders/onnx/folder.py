"""The folder of an exported model: three graphs, the tokeniser, and a description with hashes.

``vlar-export.json`` states what the graphs are, how pixels and texts are prepared, and the SHA-256
of every file. A folder may come from a stranger: its description is strict JSON with known keys,
its files are regular and of bounded size, and a graph may hold neither paths to other files nor
loops (``read_graph``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vlar.errors import ModelError
from vlar.safety.files import MB, check_file, read_file
from vlar.safety.strict_json import parse_json
from vlar.types import JsonDict

DESCRIPTION = "vlar-export.json"
GRAPHS = ("image.onnx", "text.onnx", "pool.onnx")
TOKENIZER = "tokenizer.json"
VERSION = 1
_MOST_DESCRIPTION = MB
_MOST_GRAPH = 2_000 * MB  # of a serialised graph with its weights
_MOST_SIDE, _MOST_FRAMES, _MOST_DIM, _MOST_TOKENS = 4096, 1024, 65_536, 65_536
#: They run other graphs, some without end, or give other results each time.
_REFUSED = {"Loop", "If", "Scan", "SequenceMap", "RandomNormal", "RandomUniform", "Bernoulli",
            "RandomNormalLike", "RandomUniformLike", "Multinomial"}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What ``vlar-export.json`` states.

    Attributes:
        version: Of this format.
        source: Spec of the model that was exported.
        source_fingerprint: Its fingerprint.
        licence: Of the weights.
        dim: D.
        n_frames: Default T.
        frames_fixed: Whether no other T works.
        templates: Name of a prompt set.
        logit_scale: Factor from cosine to logit.
        logit_bias: Of sigmoid models, else None.
        pixels: How frames become pixels, as ``Pixels``.
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
        """As it is written."""
        return asdict(self)


_TYPES: dict[str, tuple[type, ...]] = {
    "version": (int,), "source": (str,), "source_fingerprint": (str,), "licence": (str,),
    "dim": (int,), "n_frames": (int,), "frames_fixed": (bool,), "templates": (str,),
    "logit_scale": (int, float), "logit_bias": (int, float, type(None)), "pixels": (dict,),
    "tokens": (dict,), "check": (dict,), "files": (dict,),
}  # fmt: skip


def read_description(folder: Path) -> Description:
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
        found = _checked(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{what}: {DESCRIPTION} is malformed ({error}); export the model again"
        ) from error
    return found


def _checked(data: Any) -> Description:
    names = {field.name for field in fields(Description)}
    if not isinstance(data, dict) or set(data) != names:
        raise ValueError(f"it must have exactly the keys {', '.join(sorted(names))}")
    for name, kinds in _TYPES.items():
        wrong = isinstance(data[name], bool) and bool not in kinds
        if wrong or not isinstance(data[name], kinds):
            raise ValueError(f"{name} is {data[name]!r}")
    found = Description(**data)
    if found.version != VERSION:
        raise ValueError(f"version {found.version} is not {VERSION}")
    pixels, tokens = found.pixels, found.tokens
    bounds = (
        ("dim", found.dim, _MOST_DIM), ("n_frames", found.n_frames, _MOST_FRAMES),
        ("height", pixels["height"], _MOST_SIDE), ("width", pixels["width"], _MOST_SIDE),
        ("max_tokens", tokens["max_tokens"], _MOST_TOKENS),
        ("shorter", pixels["shorter"] or 1, 2 * _MOST_SIDE),
    )  # fmt: skip
    for name, value, most in bounds:
        if type(value) is not int or not 0 < value <= most:
            raise ValueError(f"{name} is {value!r}, not a whole number from 1 to {most}")
    for name in ("mean", "std"):
        numbers = [float(number) for number in pixels[name]]
        if len(numbers) != 3 or not all(abs(number) < 1000 for number in numbers):
            raise ValueError(f"{name} is {pixels[name]!r}")
    if min(pixels["std"]) <= 0 or not 0 < float(found.logit_scale) < math.inf:
        raise ValueError("std and logit_scale must be above 0")
    if pixels["fit"] not in ("crop", "squash") or found.tokens["kind"] not in (
        "clip",
        "tokenizers",
    ):
        raise ValueError(f"fit is {pixels['fit']!r}, tokens are {found.tokens['kind']!r}")
    if set(found.files) != {*GRAPHS, *([TOKENIZER] if tokens["kind"] == "tokenizers" else [])}:
        raise ValueError(f"files are {', '.join(sorted(found.files))}")
    return found


def read_part(folder: Path, name: str, description: Description) -> bytes:
    """The content of a file of the folder, compared with its hash.

    Raises:
        ModelError: it is absent, not a regular file, too large, or has another hash.
    """
    try:
        # Memory is taken for as much as may be read: the file's own size, not the limit.
        size = check_file(folder / name, _MOST_GRAPH, links=False)
        data = read_file(folder / name, size, links=False)
    except OSError as error:
        raise ModelError(
            f"onnx:{folder}: {name} cannot be read ({error.strerror}); export the model again"
        ) from error
    if hashlib.sha256(data).hexdigest() != description.files[name]:
        raise ModelError(
            f"onnx:{folder}: {name} has another hash than {DESCRIPTION} states; export it again"
        )
    return data


def read_graph(folder: Path, name: str, description: Description) -> bytes:
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
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"has an operator of {node.domain[:60]!r}"
        if node.op_type in _REFUSED or any(
            row.HasField("g") or row.graphs for row in node.attribute
        ):
            yield f"has the operator {node.op_type[:60]!r}"


def _attribute_tensors(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for row in node.attribute:
            if row.HasField("t"):
                yield row.t
            yield from row.tensors
