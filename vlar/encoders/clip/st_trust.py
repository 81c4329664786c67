"""Keeps a folder of sentence-transformers from running code: which classes and files it may name.

``modules.json`` names a class for each step of a model, and the library imports what it names. The
names are held to a list before the library sees them, and weights must be safetensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vlar.encoders.clip import trust
from vlar.encoders.other_kinds import other_kind
from vlar.errors import ModelError
from vlar.safety.files import MB, read_file
from vlar.safety.strict_json import parse_json

MODULES, CONFIG = "modules.json", "config.json"
_CLASS = re.compile(
    r"sentence_transformers\.(?:models|base\.modules|sentence_transformer\.modules)(?:\.\w+)?\."
    r"(?:Transformer|Pooling|Normalize|Dense|CLIPModel|Router|LayerNorm|Dropout|StaticEmbedding|"
    r"WeightedLayerPooling|WordEmbeddings|WordWeights|BoW|CNN|LSTM)"
)
_ACTIVATION = re.compile(r"torch\.nn\.modules\.(?:activation|linear)\.[A-Za-z0-9]+")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def check_folder(folder: Path, name: str) -> None:
    """Refuse a folder of a model that would run code, or whose weights are pickles.

    Args:
        folder: With ``modules.json``, or a model of transformers.
        name: Of the model, for messages.

    Raises:
        ModelError: the message names the file and what is wrong.
    """
    places = [folder]
    if (folder / MODULES).exists():
        rows = _read(folder / MODULES, name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ModelError(f"{name}: {folder / MODULES} must hold a list of objects")
        for row in rows:
            _check_class(str(row.get("type")), MODULES, name)
            places.append(_inside(folder, str(row.get("path", "")), name))
    elif (folder / CONFIG).exists():
        classes = [str(each) for each in _read(folder / CONFIG, name).get("architectures") or ()]
        if (kind := other_kind(classes)) is not None:
            raise ModelError(
                f"{name} is {kind} ({classes[0]}) and not an embedder: it has no {MODULES}; "
                "choose an encoder (vlar models)"
            )
    else:
        raise ModelError(
            f"{name}: folder {folder} has neither {MODULES} nor {CONFIG}; save the model with "
            "SentenceTransformer.save"
        )
    for place in dict.fromkeys(places):
        _check_place(place, name)


def _check_place(place: Path, name: str) -> None:
    if not place.is_dir():
        raise ModelError(f"{name}: {place} is not a folder; save the model again")
    trust.check_files(place, name)
    files = [file for file in place.iterdir() if file.is_file()]
    if not any(file.suffix == ".safetensors" for file in files):
        pickled = next((file for file in files if file.suffix in _PICKLES), None)
        if pickled is not None:
            raise ModelError(
                f"{name}: {pickled} is a pickle, which is not opened; save the model as safetensors"
            )
    config = place / CONFIG
    if config.exists():
        trust.check_hf_config(config, name)
        activation = _read(config, name)
        activation = activation.get("activation_function") if isinstance(activation, dict) else None
        if (
            isinstance(activation, str)
            and "." in activation
            and not _ACTIVATION.fullmatch(activation)
        ):
            raise trust.refusal(name, f"activation_function {activation[:80]!r} in {config}")
    router = place / "router_config.json"
    if router.exists():
        types = _read(router, name).get("types", {})
        for value in types.values() if isinstance(types, Mapping) else ():
            _check_class(str(value), router.name, name)


def _check_class(value: str, file: str, name: str) -> None:
    if not _CLASS.fullmatch(value):
        raise trust.refusal(name, f"{file} names the class {value[:80]!r}")


def _inside(folder: Path, path: str, name: str) -> Path:
    """A folder that ``modules.json`` names, which must lie in the folder of the model."""
    parts = PurePosixPath(path).parts
    if path.startswith(("/", "\\")) or ".." in parts or ":" in path or "\\" in path:
        raise ModelError(
            f"{name}: {MODULES} names the path {path[:80]!r}; a folder may name only its own files"
        )
    return folder.joinpath(*parts)


def _read(file: Path, name: str) -> Any:
    try:
        return parse_json(read_file(file, 16 * MB))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ModelError(f"{name}: {file} cannot be read: {why}") from error
