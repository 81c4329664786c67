"""Builds what a stranger might send. Everything is made in a temporary folder; nothing is stored.

An attacker knows the formats: after an edit the checksums of a folder are written again, unless a
case is about the checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SECRET = "hunter2-the-first-line-of-a-private-file"
ARRAYS, ADAPTER, MANIFEST = "adaptation.safetensors", "adapter.safetensors", "vlar.json"


@dataclass
class Kit:
    """What a case works with.

    Attributes:
        place: A folder of its own.
        models: Sound model folders by name.
        clip: A sound recording.
        canary: A file that appears if code of a stranger runs.
    """

    place: Path
    models: Path
    clip: Path

    @property
    def canary(self) -> Path:
        return self.place / "canary"

    @property
    def secret(self) -> Path:
        """A private file of the user."""
        file = self.place / "secret.txt"
        file.write_text(f"{SECRET}\nmore\n")
        return file

    # Model folders

    def model(self, name: str = "ridge") -> Path:
        return Path(shutil.copytree(self.models / name, self.place / "model", dirs_exist_ok=True))

    def classify(self, folder: Path) -> list[str]:
        return ["classify", str(self.clip), "--model", str(folder)]

    def edited(self, name: str, changes: dict[str, Any]) -> list[str]:
        """A model whose manifest has other values; a key is a path such as ``encoder.dim``."""
        folder = self.model(name)
        manifest = json.loads((folder / MANIFEST).read_text())
        for path, value in changes.items():
            put(manifest, path, value)
        write_manifest(folder, manifest)
        return self.classify(folder)

    def raw(self, content: bytes) -> list[str]:
        """A model with this manifest."""
        folder = self.model()
        (folder / MANIFEST).write_bytes(content)
        return self.classify(folder)

    def replaced(self, file: str, make: Callable[[Path], None], name: str = "ridge") -> list[str]:
        """A model with something else in the place of a file."""
        folder = self.model(name)
        (folder / file).unlink()
        make(folder / file)
        return self.classify(folder)

    def arrays(
        self,
        change: Callable[[dict[str, Any]], None],
        name: str = "ridge",
        file: str = ARRAYS,
        *,
        rehash: bool = True,
    ) -> list[str]:
        """A model with changed arrays."""
        from safetensors.numpy import load_file, save_file

        folder = self.model(name)
        arrays = load_file(folder / file)
        change(arrays)
        save_file({k: np.ascontiguousarray(a) for k, a in arrays.items()}, folder / file)
        if rehash:
            write_manifest(folder, json.loads((folder / MANIFEST).read_text()))
        return self.classify(folder)

    # Files

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def labels(self, name: str, content: bytes | str) -> list[str]:
        """``classify`` with a label file."""
        return self.with_labels(self.file(name, content))

    def with_labels(self, labels: object) -> list[str]:
        return [
            "classify", str(self.clip), "--model", "tiny-for-fixtures", "--labels", str(labels)
        ]  # fmt: skip

    def code(self) -> bytes:
        """A pickle that writes the canary when it is loaded."""
        import pickle

        class Run:
            def __init__(self, target: Path) -> None:
                self.target = target

            def __reduce__(self) -> Any:
                return os.system, (f"touch {self.target}",)

        return pickle.dumps({"state_dict": Run(self.canary)}, protocol=2)


def put(data: Any, path: str, value: Any) -> None:
    """Set a value in nested dicts and lists; ``...`` as the value removes the key."""
    *parts, last = path.split(".")
    for part in parts:
        data = data[int(part)] if isinstance(data, list) else data[part]
    key: Any = int(last) if isinstance(data, list) else last
    if value is ...:
        del data[key]
    else:
        data[key] = value


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    sums = manifest.get("files_sha256")
    if isinstance(sums, dict):
        for name in sums:
            sums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


def sha256_of(labels: Any) -> str:
    return hashlib.sha256(json.dumps(labels).encode()).hexdigest()


def relabelled(labels: list[Any]) -> dict[str, Any]:
    """The same labels everywhere in the manifest of a ridge model, with a right hash."""
    return {"labels": labels, "head.labels": labels, "labels_sha256": sha256_of(labels)}


# What may lie in the place of a file


def fifo(path: Path) -> None:
    os.mkfifo(path)


def sock(path: Path) -> None:
    short = Path("/tmp") / f"vlar-{os.getpid()}.sock"
    short.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(short))
        shutil.move(short, path) if short.stat().st_dev == path.parent.stat().st_dev else None
    if not path.exists():
        os.mkfifo(path)
        short.unlink(missing_ok=True)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def nothing(path: Path) -> None:
    del path


def empty(path: Path) -> None:
    path.write_bytes(b"")


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def huge_header(path: Path) -> None:
    """A safetensors file that announces a header of 2**60 bytes."""
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")


def huge_shape(path: Path) -> None:
    """A safetensors file whose header promises more than the file has."""
    header = {"head.matrix": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def black_png(width: int, height: int) -> bytes:
    """1 bit a pixel: millions of pixels in some kilobytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        )

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    lines = zlib.compress(bytes(1 + (width + 7) // 8) * height, 9)
    header = chunk(b"IHDR", size + bytes([1, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
