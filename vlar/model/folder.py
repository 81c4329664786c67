"""A model on disk: a manifest, and the arrays that it learned.

``vlar.json`` describes the model, ``adaptation.safetensors`` holds the arrays of its head, and
``adapter.safetensors`` the adapter that was trained around its encoder, if one was. Adapters
between the two, of models that were adapted several times, have numbered files.
``statistics.safetensors`` holds the moments of what an adapted model learned from.

The encoder's weights are never copied: the manifest names the encoder and its fingerprint, and a
model is refused where the installed encoder is another one. Nothing is unpickled. Whatever a folder
holds is checked before it is used (docs/security.md): the manifest, then the path it names, then
the header, the checksum and the numbers of its arrays.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlar import registry
from vlar.adapters.base import Adapter, attached_name
from vlar.adapters.statistics import MOST_BYTES, Statistics
from vlar.encoders import trusted_paths
from vlar.encoders.base import Encoder, FrameBlock, load_encoder
from vlar.encoders.model_spec import MODEL_MANIFEST, model_folder
from vlar.errors import EncoderMismatchError, ModelError
from vlar.files import resources
from vlar.files.arrays import Header, not_finite, read_header, sha256
from vlar.files.reading import MB, parse_json, read_file, walk
from vlar.files.replacing import replace_folder
from vlar.formatting import fault
from vlar.heads.adapted_head import AdaptedHead
from vlar.heads.base import ModelHead
from vlar.heads.calibration import Calibration
from vlar.language.clean import MOST_CHARACTERS, MOST_LABELS
from vlar.model import card
from vlar.model.adapt_report import AdaptReport
from vlar.model.earlier_formats import migrate, migrate_arrays
from vlar.version import __version__, least_versions, too_old

Arrays = dict[str, npt.NDArray[Any]]


MANIFEST = MODEL_MANIFEST
ARRAYS = "adaptation.safetensors"
ADAPTER = "adapter.safetensors"
PEFT = "adapter_model.safetensors"  # of an adapter that peft reads too
STATISTICS = "statistics.safetensors"  # earlier folders have none
FORMAT = 3
LEAST = "0.1.0"  # the first version that reads the format with all its keys
_MOST = 64 * MB
_LEAST_FREE = 4 * MB  # so that a full disk is found before the work, not after it
_FREE = "report"  # how it was adapted: left out where it cannot be read
_WIDEST, _MOST_FRAMES, _MOST_INNER = 1 << 20, 1 << 16, 16

_Text = Annotated[str, Field(min_length=1, max_length=4096)]
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class EncoderEntry(_Part):
    """The encoder, which is not part of the folder."""

    spec: _Text
    fingerprint: _Text
    dim: int = Field(ge=1, le=_WIDEST)
    frames: int = Field(ge=1, le=_MOST_FRAMES)
    licence: str = Field(max_length=4096)


class AdapterEntry(_Part):
    """The adapter around the encoder."""

    name: _Text
    settings: dict[str, Any]
    fingerprint: _Text


class Manifest(_Part):
    """The content of ``vlar.json``; unknown keys are refused, so that none is silently ignored."""

    format: Literal[3] = FORMAT
    vlar: str
    created: str
    encoder: EncoderEntry
    adapter: AdapterEntry | None = None
    #: Adapters between the encoder and ``adapter``, innermost first.
    inner: list[AdapterEntry] = Field(default_factory=list[AdapterEntry], max_length=_MOST_INNER)
    templates: _Text
    labels: list[str] | None = None
    labels_sha256: str | None = None
    head: dict[str, Any] | None = None
    rejector: dict[str, Any] | None = None
    familiarity: dict[str, Any] | None = None
    #: Label to coarse label, where answers have those.
    tree: dict[str, str] | None = None
    report: dict[str, Any] | None = None
    calibration: dict[str, float] | None = None
    #: Configuration of each further head, by its registered name (``ModelHead``).
    heads: dict[_Name, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    #: Least versions of vlar and of the packages that read the model; earlier folders have none.
    needs: dict[_Name, str] = Field(default_factory=dict[str, str])
    #: SHA-256 of each file of arrays; None in a folder of an earlier format.
    files_sha256: dict[str, str] | None = None

    @property
    def files(self) -> list[str]:
        """Names of the files of arrays that belong to the folder."""
        has_statistics = STATISTICS in (self.files_sha256 or {})
        arrays = [] if self.head is None else [ARRAYS, STATISTICS][: 1 + has_statistics]
        arrays += [_arrays_of(name) for name in self.heads]
        return arrays + [name for name, _ in self.adapters]

    @property
    def adapters(self) -> list[tuple[str, AdapterEntry]]:
        """File of arrays and entry of each adapter around the encoder, innermost first."""
        inner = [(f"adapter-{n}.safetensors", entry) for n, entry in enumerate(self.inner, 1)]
        outer = PEFT if PEFT in (self.files_sha256 or {}) else ADAPTER
        return inner + ([] if self.adapter is None else [(outer, self.adapter)])


def _arrays_of(head: str) -> str:
    return f"{head}.safetensors"


def read_manifest(folder: Path) -> tuple[Manifest, int]:
    """The checked manifest of a model folder, and the format that it was written in.

    Raises:
        ModelError: the folder holds no model, or its manifest is damaged or of a newer format.
    """
    file = folder / MANIFEST
    data = _read(folder)
    written = data.get("format")
    if type(written) is int and written > FORMAT:
        raise ModelError(f"{file} has format {written}; this vlar reads {FORMAT}: update vlar")
    if type(written) is not int:
        raise malformed(file, f"format: {str(written)[:40]!r} is not a number")
    _check_texts(file, data)
    if isinstance(needs := data.get("needs"), dict) and (old := too_old(needs)):
        raise ModelError(f"{file} cannot be read: {old}")
    try:
        manifest = Manifest.model_validate(migrate(data, file))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise malformed(file, f"{field[:200]}: {first['msg'][:200]}") from error
    if manifest.templates not in (names := resources.names("prompts", ".txt")):
        raise malformed(
            file,
            f"templates: {manifest.templates[:80]!r} is not a template set; known: "
            f"{', '.join(names)}",
        )
    _check_labels(file, manifest)
    if manifest.inner and manifest.adapter is None:
        raise malformed(file, "inner: adapters lie under one that is missing")
    missing = sorted(set(manifest.files) ^ set(manifest.files_sha256 or manifest.files))
    if missing or (written == FORMAT and manifest.files and not manifest.files_sha256):
        raise malformed(file, "files_sha256: it does not name the files of the folder")
    return manifest, written


def malformed(file: Path, what: str) -> ModelError:
    """The error for a file of a model folder whose content is not what vlar writes."""
    return ModelError(f"{file} is malformed at {what}; adapt again, or ask its sender for a copy")


def labels_sha256(labels: list[str]) -> str:
    """Hash of the labels in order."""
    return hashlib.sha256(json.dumps(labels).encode()).hexdigest()


def _read(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    try:
        data = parse_json(read_file(file, _MOST, links=False))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no model ({MANIFEST} is missing); make one with 'vlar adapt', or see "
            "'vlar models' for names"
        ) from None
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ModelError(f"{file} cannot be read ({why}); adapt again") from error
    if not isinstance(data, dict):
        raise malformed(file, "the file: it is not an object")
    return data


def _check_texts(file: Path, data: dict[str, Any]) -> None:
    """Refuse texts that would act on a terminal; a report that holds one is left out."""
    for _, names, value in walk({k: v for k, v in data.items() if k != _FREE}):
        for text in (value, *(names[-1:] if isinstance(value, dict) else ())):
            wrong = fault(text) if isinstance(text, str) else None
            if wrong is not None:
                raise malformed(file, f"{'.'.join(map(str, names))}: it holds {wrong}")


def _check_labels(file: Path, manifest: Manifest) -> None:
    """Hold the labels of an adapted model to their hash and to those of its head."""
    labels, head = manifest.labels, manifest.head
    if head is None and labels is None:
        return
    if head is None or labels is None:
        raise malformed(file, "labels: a head and its labels belong together")
    if len(labels) > MOST_LABELS:
        raise malformed(file, f"labels: {len(labels):,} of them; at most {MOST_LABELS:,} are read")
    longest = max(map(len, labels), default=0)
    if longest > MOST_CHARACTERS:
        raise malformed(file, f"labels: one of {longest:,} characters, above {MOST_CHARACTERS:,}")
    if not all(label.strip() for label in labels):
        raise malformed(file, "labels: one is empty")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise malformed(file, f"labels: {twice[:80]!r} comes twice")
    if manifest.labels_sha256 != labels_sha256(labels):
        raise malformed(
            file, "labels_sha256: it is not the hash of the labels, which were changed since"
        )
    if head.get("labels") != labels:
        raise malformed(file, "head.labels: they are not the labels of the model")


_MOST_ARRAYS, _MOST_ADAPTER = 4096 * MB, 16384 * MB


@dataclass(frozen=True)
class SavedModel:
    """Contents of a model folder.

    Attributes:
        encoder: The encoder, or the adapter around it.
        adapted: The head of an adapted model; None for a zero-shot model.
        templates: Name of the prompt set.
        calibration: Curves over the probabilities; None for none.
        report: How it was adapted; None where the folder has no report that can be read.
        heads: Further heads, by their registered names.
    """

    encoder: Encoder
    adapted: AdaptedHead | None
    templates: str
    calibration: Calibration | None = None
    report: AdaptReport | None = None
    heads: Mapping[str, ModelHead] = field(default_factory=dict[str, ModelHead])


def holds_head(spec: str | Path, name: str) -> bool:
    """Return whether a name is the folder of a model with a further head of this name."""
    folder = model_folder(spec)
    if folder is None or not (folder / MANIFEST).is_file():
        return False
    return name in (migrate(_read(folder), folder / MANIFEST).get("heads") or ())


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
            raise ModelError(f"{target} already holds a model; force=True replaces it")
    parent = next(p for p in target.absolute().parents if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ModelError(f"{parent} cannot be written; choose another place for {target.name}")
    resources.require_space(parent, _LEAST_FREE, "a model")


def write_model(model: SavedModel, path: Path, *, replace: bool) -> Path:
    """Save a model as a folder, all of it or nothing.

    Raises:
        ModelError: see ``check_target``, or the disk refuses.
    """
    from safetensors import SafetensorError

    target = path.expanduser()
    check_target(target, replace=replace)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with resources.work_folder(target.parent) as work:
            fresh = work / "model"
            fresh.mkdir()
            _write_files(model, fresh, target.name)
            replace_folder(fresh, target)
    except (OSError, SafetensorError) as error:  # the second one for a full disk, too
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"cannot save the model to {target}: {reason}; nothing was changed"
        ) from error
    trusted_paths.remember(target, model.encoder.fingerprint)
    base, _ = _chain(model.encoder)
    trusted_paths.remember(
        base.name, base.fingerprint
    )  # the manifest states it, and the user runs it
    return target


def _chain(encoder: Encoder) -> tuple[Encoder, list[Adapter]]:
    """The encoder that a manifest states, and the adapters around it, innermost first."""
    around: list[Adapter] = []
    while isinstance(encoder, Adapter) and attached_name(encoder) is not None:
        around.insert(0, encoder)
        encoder = encoder.encoder
    return encoder, around


def _write_files(model: SavedModel, folder: Path, title: str) -> None:
    from safetensors.numpy import save_file

    base, around = _chain(model.encoder)
    manifest = _describe(model, base, around)
    arrays = {} if model.adapted is None else {ARRAYS: _contiguous(model.adapted.state())}
    if model.adapted is not None and model.adapted.statistics is not None:
        arrays[STATISTICS] = _contiguous(model.adapted.statistics.arrays())
    for name, head in model.heads.items():
        arrays[_arrays_of(name)] = _contiguous(head.state())
    for (name, _), adapter in zip(manifest.adapters, around, strict=True):
        arrays[adapter.file if adapter is around[-1] else name] = _contiguous(adapter.saved_state())
    n_bytes = sum(array.nbytes for file in arrays.values() for array in file.values())
    resources.require_space(folder, n_bytes, "the model")
    for name, file in arrays.items():
        save_file(file, folder / name)
    if around:
        around[-1].write_settings(folder)
    if arrays:
        sums = {name: sha256(folder / name, _MOST_ADAPTER) for name in arrays}
        manifest = manifest.model_copy(update={"files_sha256": sums})
    # An earlier vlar reads folders without adapters in between, and without further heads.
    without = {name for name in ("inner", "heads") if not getattr(manifest, name)}
    text = manifest.model_dump_json(indent=1, exclude=without)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    words = card.model_card(manifest.model_dump(), title)
    (folder / card.FILE).write_text(words, encoding="utf-8", newline="\n")


def _contiguous(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    # safetensors stores the memory of an array as it lies, whatever its strides are.
    # (``np.ascontiguousarray`` would give a number an axis.)
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def _describe(model: SavedModel, encoder: Encoder, around: Sequence[Adapter]) -> Manifest:
    adapted = model.adapted
    if model.templates not in (names := resources.names("prompts", ".txt")):
        raise ModelError(
            f"the templates {model.templates!r} are a file of this machine, which a saved model "
            f"cannot name; use a set of prompts/: {', '.join(names)}"
        )
    entries = [
        AdapterEntry(name=adapter.name, settings=adapter.settings, fingerprint=adapter.fingerprint)
        for adapter in around
    ]
    with_adapters = ("torch",) if around else ()
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
        needs={"vlar": LEAST, **least_versions((*encoder.libraries, *with_adapters))},
        heads={name: head.config() for name, head in model.heads.items()},
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
    trusted_paths.require(entry.spec, entry.fingerprint, str(folder / MANIFEST))
    encoder = load_encoder(entry.spec, device, dtype)
    earlier = encoder
    while earlier is not None and earlier.fingerprint != entry.fingerprint:
        earlier = earlier.before()
    encoder = earlier or encoder
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
        if STATISTICS in manifest.files:
            statistics = Statistics.of_arrays(_read_arrays(folder / STATISTICS, manifest))
            adapted = dataclasses.replace(adapted, statistics=statistics)
    calibration = Calibration.restore(manifest.calibration) if manifest.calibration else None
    report = AdaptReport.restored(manifest.report) if manifest.report else None
    heads = _heads(folder, manifest)
    return SavedModel(encoder, adapted, manifest.templates, calibration, report, heads)


def _heads(folder: Path, manifest: Manifest) -> dict[str, ModelHead]:
    """The further heads of a folder, by name."""
    return {
        name: registry.get("head", name).restore(
            config, _read_arrays(folder / _arrays_of(name), manifest)
        )
        for name, config in manifest.heads.items()
    }


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
    _heads(folder, manifest)
    for name in manifest.files:
        if name != ARRAYS:
            _read_arrays(folder / name, manifest)


def _header(file: Path) -> Header:
    try:
        most = {ARRAYS: _MOST_ARRAYS, STATISTICS: MOST_BYTES}.get(file.name, _MOST_ADAPTER)
        return read_header(file, most, links=False)
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def _restored(
    folder: Path,
    manifest: Manifest,
    arrays: Arrays,
    blocks: Sequence[FrameBlock],
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
    arrays = _read_arrays(file, manifest)
    adapter.load_state_dict(arrays)
    fingerprint = adapter.fingerprint
    if adapter.settings.keys() != saved.settings.keys():  # an earlier version named them otherwise
        source = getattr(adapter, "source", encoder)
        fingerprint = adapter.content_hash(source, saved.settings, arrays=arrays)
    if fingerprint != saved.fingerprint:
        raise ModelError(f"{file} is not what was saved there; adapt again")
    return adapter


def _read_arrays(file: Path, manifest: Manifest) -> Arrays:
    """Arrays whose header was checked."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        # Folders of earlier formats have no checksum.
        digest = (manifest.files_sha256 or {}).get(file.name)
        if digest is not None and sha256(file, _MOST_ADAPTER, links=False) != digest:
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
