"""A model on disk: a manifest, and the arrays that it learned.

``vlar.json`` describes the model, ``adaptation.safetensors`` holds the arrays of its head, and
``adapter.safetensors`` the adapter that was trained around its encoder, if one was.

The encoder's weights are never copied: the manifest names the encoder and its fingerprint, and a
model is refused where the installed encoder is another one. Nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from vlar import __version__, registry
from vlar.adapters.base import Adapter, attached_name, load_any
from vlar.encoders.base import Encoder
from vlar.errors import EncoderMismatchError, ModelError
from vlar.fewshot.adapted import AdaptedHead
from vlar.fewshot.report import AdaptReport
from vlar.model.migrate import migrate
from vlar.scoring.calibration import Calibration

MANIFEST = "vlar.json"
ARRAYS = "adaptation.safetensors"
ADAPTER = "adapter.safetensors"
FORMAT = 2


class _Encoder(BaseModel):
    model_config = ConfigDict(extra="forbid")
    spec: str
    fingerprint: str
    dim: int
    frames: int
    licence: str


class _Adapter(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    settings: dict[str, Any]
    fingerprint: str


class Manifest(BaseModel):
    """The content of ``vlar.json``; unknown keys are refused, so that none is silently ignored."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[2] = FORMAT
    vlar: str
    created: str
    encoder: _Encoder
    adapter: _Adapter | None = None
    templates: str
    labels: list[str] | None = None
    labels_sha256: str | None = None
    head: dict[str, Any] | None = None
    rejector: dict[str, Any] | None = None
    familiarity: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    calibration: dict[str, float] | None = None


@dataclass(frozen=True)
class SavedModel:
    """What a model folder holds.

    Attributes:
        encoder: The encoder, or the adapter around it.
        adapted: The head of an adapted model; None for a zero-shot model.
        templates: Name of the prompt set.
        calibration: Curves over the probabilities; None for none.
        report: How it was adapted; written, and not read back.
    """

    encoder: Encoder
    adapted: AdaptedHead | None
    templates: str
    calibration: Calibration | None = None
    report: AdaptReport | None = None


def is_model_folder(spec: str | Path) -> bool:
    """Whether a name is the path of a model folder rather than the name of an encoder."""
    if isinstance(spec, Path) or Path(spec).expanduser().is_dir():
        return True
    prefix, colon, _ = spec.partition(":")  # openclip:/a/file is not a folder, ./a/model is
    return os.sep in (prefix if colon else spec)


def check_target(path: str | Path, *, replace: bool) -> None:
    """Refuse a place where a model cannot or must not be saved, before any work is done.

    Raises:
        ModelError: the path is a file, a folder without a model, an existing model without
            ``replace``, or the folder around it cannot be written.
    """
    target = Path(path).expanduser()
    if target.exists() and not target.is_dir():
        raise ModelError(f"{target} is a file; choose a folder for the model")
    if target.is_dir() and any(target.iterdir()):
        if not (target / MANIFEST).is_file():
            raise ModelError(f"{target} holds other files; choose a new folder for the model")
        if not replace:
            raise ModelError(f"{target} already holds a model; add --force to replace it")
    parent = next(p for p in target.absolute().parents if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ModelError(f"{parent} cannot be written; choose another place for {target.name}")


def write_model(model: SavedModel, path: Path, *, replace: bool) -> Path:
    """Save a model as a folder, all of it or nothing.

    Raises:
        ModelError: see ``check_target``, or the disk refuses.
    """
    target = path.expanduser()
    check_target(target, replace=replace)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".vlar-") as place:
            fresh = Path(place) / "model"
            fresh.mkdir()
            _write_files(model, fresh)
            if target.exists():
                shutil.move(target, Path(place) / "old")
            fresh.replace(target)
    except OSError as error:
        raise ModelError(
            f"cannot save the model to {target}: {error.strerror or error}; nothing was changed"
        ) from error
    return target


def _write_files(model: SavedModel, folder: Path) -> None:
    from safetensors.numpy import save_file

    manifest = _describe(model)
    text = manifest.model_dump_json(indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    if model.adapted is not None:
        save_file(_contiguous(model.adapted.state()), folder / ARRAYS)
    if isinstance(model.encoder, Adapter) and attached_name(model.encoder):
        save_file(_contiguous(model.encoder.state_dict()), folder / ADAPTER)


def _contiguous(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    # safetensors stores the memory of an array as it lies, whatever its strides are.
    # (``np.ascontiguousarray`` would give a number an axis.)
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def _describe(model: SavedModel) -> Manifest:
    encoder, adapted = model.encoder, model.adapted
    name, adapter = attached_name(encoder), None
    if name is not None and isinstance(encoder, Adapter):
        adapter = _Adapter(name=name, settings=encoder.settings, fingerprint=encoder.fingerprint)
        encoder = encoder.encoder
    return Manifest(
        vlar=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        encoder=_Encoder(
            spec=encoder.name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            frames=encoder.n_frames,
            licence=encoder.licence,
        ),
        adapter=adapter,
        templates=model.templates,
        labels=list(adapted.labels) if adapted else None,
        labels_sha256=adapted.labels_sha256 if adapted else None,
        report=model.report.to_dict() if model.report else None,
        calibration=model.calibration.to_dict() if model.calibration else None,
        **(adapted.config() if adapted else {}),
    )


def read_model(
    path: str | Path, *, device: str | None = None, dtype: str | None = None
) -> SavedModel:
    """Read a model folder, of this format or an earlier one.

    Args:
        path: The folder.
        device: Where its encoder runs; None for the default.
        dtype: Number type of its encoder; None for the default.

    Raises:
        ModelError: the folder holds no model, or a file is damaged or of a newer format.
        EncoderMismatchError: its encoder has changed since.
    """
    folder = Path(path).expanduser()
    data, arrays = _read_json(folder), {}
    if isinstance(data, dict) and data.get("head") is not None:
        arrays = _read_arrays(folder / ARRAYS)
    if isinstance(data, dict):
        data, arrays = migrate(data, arrays, folder / MANIFEST)
    manifest = _validated(data, folder / MANIFEST)
    encoder = load_any(manifest.encoder.spec, device, dtype)
    if encoder.fingerprint != manifest.encoder.fingerprint:
        raise EncoderMismatchError(
            f"{folder} was made with another version of encoder {manifest.encoder.spec!r} "
            f"({manifest.encoder.fingerprint[:12]}, here {encoder.fingerprint[:12]}); adapt again"
        )
    if manifest.adapter is not None:
        encoder = _attach(folder, manifest.adapter, encoder)
    adapted = None
    if manifest.head is not None:
        config = {
            "head": manifest.head,
            "rejector": manifest.rejector,
            "familiarity": manifest.familiarity,
        }
        adapted = AdaptedHead.restore(config, arrays, encoder.frame_blocks)
    calibration = Calibration.restore(manifest.calibration) if manifest.calibration else None
    return SavedModel(encoder, adapted, manifest.templates, calibration)


def _read_json(folder: Path) -> Any:
    file = folder / MANIFEST
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no model ({MANIFEST} is missing); make one with 'vlar adapt', or see "
            "'vlar models' for names"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read ({error}); adapt again") from error
    version = data.get("format") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise ModelError(f"{file} has format {version}; this vlar reads {FORMAT}: update vlar")
    return data


def _validated(data: Any, file: Path) -> Manifest:
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(f"{file} is malformed at {place}: {first['msg']}; adapt again") from error


def _attach(folder: Path, saved: _Adapter, encoder: Encoder) -> Adapter:
    adapter: Adapter = registry.get("adapter", saved.name).attach(encoder, saved.settings)
    adapter.load_state_dict(_read_arrays(folder / ADAPTER))
    if adapter.fingerprint != saved.fingerprint:
        raise ModelError(f"{folder / ADAPTER} is not what was saved there; adapt again")
    return adapter


def _read_arrays(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read ({error}); adapt again") from error
