"""A model on disk: a manifest, and the arrays that it learned.

``vlar.json`` describes the model, ``adaptation.safetensors`` holds the arrays of its head, and
``adapter.safetensors`` the adapter that was trained around its encoder, if one was. Adapters
between the two, of models that were adapted several times, have numbered files.

The encoder's weights are never copied: the manifest names the encoder and its fingerprint, and a
model is refused where the installed encoder is another one. Nothing is unpickled. Whatever a folder
holds is checked before it is used (docs/security.md): the manifest, then the path it names, then
the header, the checksum and the numbers of its arrays.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar import __version__, registry, resources
from vlar.adapters.base import Adapter, attached_name, load_any
from vlar.encoders import named
from vlar.encoders.base import Encoder
from vlar.errors import EncoderMismatchError, ModelError
from vlar.fewshot.adapted import AdaptedHead
from vlar.fewshot.report import AdaptReport
from vlar.fewshot.temporal_features import BlockLike
from vlar.model.manifest import (
    ARRAYS,
    MANIFEST,
    AdapterEntry,
    EncoderEntry,
    Manifest,
    malformed,
    read_manifest,
)
from vlar.model.migrate import Arrays, migrate_arrays
from vlar.safety.arrays import Header, not_finite, read_header, sha256
from vlar.safety.files import MB
from vlar.scoring.calibration import Calibration

_MOST_ARRAYS, _MOST_ADAPTER = 4096 * MB, 16384 * MB


@dataclass(frozen=True)
class SavedModel:
    """What a model folder holds.

    Attributes:
        encoder: The encoder, or the adapter around it.
        adapted: The head of an adapted model; None for a zero-shot model.
        templates: Name of the prompt set.
        calibration: Curves over the probabilities; None for none.
        report: How it was adapted; None where the folder has no report that can be read.
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
    named.remember(target, model.encoder.fingerprint)
    base, _ = _chain(model.encoder)
    named.remember(base.name, base.fingerprint)  # the manifest states it, and the user runs it
    return target


def _chain(encoder: Encoder) -> tuple[Encoder, list[Adapter]]:
    """The encoder that a manifest states, and the adapters around it, innermost first."""
    around: list[Adapter] = []
    while isinstance(encoder, Adapter) and attached_name(encoder) is not None:
        around.insert(0, encoder)
        encoder = encoder.encoder
    return encoder, around


def _write_files(model: SavedModel, folder: Path) -> None:
    from safetensors.numpy import save_file

    base, around = _chain(model.encoder)
    manifest = _describe(model, base, around)
    if model.adapted is not None:
        save_file(_contiguous(model.adapted.state()), folder / ARRAYS)
    for (name, _), adapter in zip(manifest.adapters, around, strict=True):
        save_file(_contiguous(adapter.state_dict()), folder / name)
    if manifest.files:
        sums = {name: sha256(folder / name, _MOST_ADAPTER) for name in manifest.files}
        manifest = manifest.model_copy(update={"files_sha256": sums})
    # An earlier vlar reads folders without adapters in between.
    text = manifest.model_dump_json(indent=1, exclude=None if manifest.inner else {"inner"})
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _contiguous(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    # safetensors stores the memory of an array as it lies, whatever its strides are.
    # (``np.ascontiguousarray`` would give a number an axis.)
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def _describe(model: SavedModel, encoder: Encoder, around: Sequence[Adapter]) -> Manifest:
    adapted = model.adapted
    if model.templates not in (known := resources.names("prompts", ".txt")):
        raise ModelError(
            f"the templates {model.templates!r} are a file of this machine, which a saved model "
            f"cannot name; use a set of prompts/: {', '.join(known)}"
        )
    entries = [
        AdapterEntry(name=each.name, settings=each.settings, fingerprint=each.fingerprint)
        for each in around
    ]
    return Manifest(
        vlar=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        encoder=EncoderEntry(
            spec=encoder.name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            frames=encoder.n_frames,
            licence=encoder.licence,
        ),
        adapter=entries[-1] if entries else None,
        inner=entries[:-1],
        templates=model.templates,
        labels=list(adapted.labels) if adapted else None,
        labels_sha256=adapted.labels_sha256 if adapted else None,
        report=model.report.stored() if model.report else None,
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
    manifest, written = read_manifest(folder)
    headers = {name: _header(folder / name) for name in manifest.files}
    entry = manifest.encoder
    for _, saved in manifest.adapters:
        registry.get("adapter", saved.name).check_settings(saved.settings)
    named.require(entry.spec, entry.fingerprint, str(folder / MANIFEST))
    encoder = load_any(entry.spec, device, dtype)
    if encoder.fingerprint != entry.fingerprint:
        if dtype is not None:
            raise EncoderMismatchError(
                f"{folder} was made with {entry.spec!r}, whose vectors are not those of dtype "
                f"{dtype!r}; leave the dtype out, or adapt again with it"
            )
        raise EncoderMismatchError(
            f"{folder} was made with another version of encoder {entry.spec!r} "
            f"({entry.fingerprint[:12]}, here {encoder.fingerprint[:12]}); adapt again"
        )
    if encoder.dim != entry.dim:
        raise malformed(folder / MANIFEST, f"encoder.dim: {entry.dim}, not {encoder.dim}")
    for name, saved in manifest.adapters:
        encoder = _attach(folder / name, manifest, saved, encoder, headers[name])
    adapted = None
    if manifest.head is not None:
        arrays = migrate_arrays(_read_arrays(folder / ARRAYS, manifest), written)
        adapted = _restored(folder, manifest, arrays, encoder.frame_blocks, encoder.dim)
        adapted.check_answer(encoder.dim, encoder.feature_rows)
    calibration = Calibration.restore(manifest.calibration) if manifest.calibration else None
    report = AdaptReport.restored(manifest.report) if manifest.report else None
    return SavedModel(encoder, adapted, manifest.templates, calibration, report)


def check_contents(folder: Path, manifest: Manifest, written: int) -> None:
    """Check what a manifest describes as far as that needs no encoder.

    Args:
        folder: The model folder.
        manifest: Its manifest.
        written: The format that it was written in.

    Raises:
        ModelError: a file of arrays is absent, not a file, damaged, or holds a number that is not
            finite; a head, a rejector or a calibration is malformed.
        UnknownNameError: a head or a rejector does not exist.
    """
    for name in manifest.files:
        _header(folder / name)
    if manifest.calibration:
        Calibration.restore(manifest.calibration)
    if manifest.head is not None:
        arrays = migrate_arrays(_read_arrays(folder / ARRAYS, manifest), written)
        # An adapter may have a space of its own, whose width only the adapter states.
        dim = manifest.encoder.dim if manifest.adapter is None else None
        _restored(folder, manifest, arrays, (), dim)
    for name, _ in manifest.adapters:
        _read_arrays(folder / name, manifest)


def _header(file: Path) -> Header:
    try:
        return read_header(
            file, _MOST_ARRAYS if file.name == ARRAYS else _MOST_ADAPTER, links=False
        )
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def _restored(
    folder: Path,
    manifest: Manifest,
    arrays: Arrays,
    blocks: Sequence[BlockLike],
    dim: int | None,
) -> AdaptedHead:
    config = {
        "head": manifest.head,
        "rejector": manifest.rejector,
        "familiarity": manifest.familiarity,
        "tree": manifest.tree,
    }
    adapted = AdaptedHead.restore(config, arrays, blocks)
    unknown = sorted(arrays.keys() - adapted.state().keys())
    if unknown:
        raise malformed(folder / ARRAYS, f"{unknown[0][:80]!r}: an unknown array")
    adapted.check_sizes(dim)
    return adapted


def _attach(
    file: Path, manifest: Manifest, saved: AdapterEntry, encoder: Encoder, header: Header
) -> Adapter:
    adapter: Adapter = registry.get("adapter", saved.name).attach(encoder, saved.settings)
    adapter.check_state(header.shapes)
    adapter.load_state_dict(_read_arrays(file, manifest))
    if adapter.fingerprint != saved.fingerprint:
        raise ModelError(f"{file} is not what was saved there; adapt again")
    return adapter


def _read_arrays(file: Path, manifest: Manifest) -> Arrays:
    """Arrays whose header was checked."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        # Folders of earlier formats have no checksum.
        wanted = (manifest.files_sha256 or {}).get(file.name)
        if wanted is not None and sha256(file, _MOST_ADAPTER, links=False) != wanted:
            raise ModelError(
                f"{file} is not what was saved there (its checksum differs); adapt again, or ask "
                "its sender for a copy"
            )
        arrays = load_file(file)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise _unreadable(file, error) from error
    name = not_finite(arrays)
    if name is not None:
        raise malformed(file, f"{name[:80]!r}: a number that is not finite")
    return arrays


def _unreadable(file: Path, error: Exception) -> ModelError:
    why = (error.strerror if isinstance(error, OSError) else None) or error or type(error).__name__
    return ModelError(f"{file} cannot be read ({why}); adapt again")
