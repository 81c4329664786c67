"""``vlar.json``: what it may hold, and the checks that need neither encoder nor arrays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlar import resources
from vlar.characters import fault
from vlar.errors import ModelError
from vlar.model.migrate import migrate
from vlar.safety.files import MB, read_file
from vlar.safety.strict_json import parse_json, walk
from vlar.text.limits import MOST_CHARACTERS, MOST_LABELS

MANIFEST = "vlar.json"
ARRAYS = "adaptation.safetensors"
ADAPTER = "adapter.safetensors"
FORMAT = 3
_MOST = 64 * MB
_FREE = "report"  # how it was adapted: left out where it cannot be read
_WIDEST, _MOST_FRAMES, _MOST_INNER = 1 << 20, 1 << 16, 16

_Text = Annotated[str, Field(min_length=1, max_length=4096)]


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
    #: SHA-256 of each file of arrays; None in a folder of an earlier format.
    files_sha256: dict[str, str] | None = None

    @property
    def files(self) -> list[str]:
        """Names of the files of arrays that belong to the folder."""
        arrays = [] if self.head is None else [ARRAYS]
        return arrays + [name for name, _ in self.adapters]

    @property
    def adapters(self) -> list[tuple[str, AdapterEntry]]:
        """File of arrays and entry of each adapter around the encoder, innermost first."""
        inner = [(f"adapter-{n}.safetensors", entry) for n, entry in enumerate(self.inner, 1)]
        return inner + ([] if self.adapter is None else [(ADAPTER, self.adapter)])


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
    try:
        manifest = Manifest.model_validate(migrate(data, file))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise malformed(file, f"{place[:200]}: {first['msg'][:200]}") from error
    if manifest.templates not in (known := resources.names("prompts", ".txt")):
        raise malformed(
            file,
            f"templates: {manifest.templates[:80]!r} is not a template set; known: "
            f"{', '.join(known)}",
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
    for _, place, value in walk({k: v for k, v in data.items() if k != _FREE}):
        for text in (value, *(place[-1:] if isinstance(value, dict) else ())):
            wrong = fault(text) if isinstance(text, str) else None
            if wrong is not None:
                raise malformed(file, f"{'.'.join(map(str, place))}: it holds {wrong}")


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
