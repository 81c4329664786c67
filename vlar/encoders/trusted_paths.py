"""Paths of models that the user has named; a manifest or a library may name only these.

A model folder or a library states the model that it needs. Its sender could state a path of
the reader's machine, or one that comes in the same archive. Such a path is opened only where the
user has named it before, with the same files and the same fingerprint, all of which is compared
before anything of it is read. Names without a path (``lite``, ``openclip:ARCH/TAG``) need nothing.

What was named is kept in ``named-models.json`` in the cache folder, with a hash of its files: small
ones (configurations, tokenisers, code) in full, weights by their size, since the fingerprint of the
loaded model covers them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vlar.encoders.model_spec import path_like
from vlar.errors import EncoderMismatchError, ModelError
from vlar.files.opening import open_input
from vlar.files.reading import MB, parse_json, read_file
from vlar.files.replacing import replacing
from vlar.files.resources import cache_dir

_FILE = "named-models.json"
_MOST = 16 * MB
_SMALL = MB
_MOST_FILES = 10_000
_KEPT = 1_000
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".onnx")
_in_this_process: dict[str, dict[str, str]] = {}


def local_paths(spec: str) -> list[Path]:
    """The paths that a model name holds: those that exist, and what can be nothing else.

    >>> local_paths("lite"), local_paths("openclip:ViT-B-32/openai"), local_paths("hf:/a/b")
    ([], [], [PosixPath('/a/b')])
    """
    paths: dict[Path, None] = {}
    for piece in path_like(unquote(spec)):
        if piece.startswith(("/", ".", "~")) or piece.endswith(_WEIGHTS) or _exists(piece):
            paths[Path(os.path.abspath(os.path.expanduser(piece)))] = None  # noqa: PTH100, PTH111
    return list(paths)


def remember(spec: str | Path, fingerprint: str) -> None:
    """Keep that the user named a model; a name without a path needs none of it."""
    paths = local_paths(str(spec))
    if not paths:
        return
    entry = {"files": _digest(paths), "fingerprint": fingerprint}
    _in_this_process[_key(str(spec))] = entry
    # A cache that cannot be written costs a question, never the answer.
    with contextlib.suppress(OSError):
        _write({**_read(), _key(str(spec)): entry})


def require(spec: str, fingerprint: str | None, source: str, how: str = "adapt again") -> None:
    """Refuse a path that the user has not named, or whose files are others by now.

    Args:
        spec: The model that ``source`` names.
        fingerprint: Fingerprint of the model that ``source`` was made with; None for any.
        source: The manifest or the library, for messages.
        how: What to do where the fingerprint differs, for messages.

    Raises:
        ModelError: it holds a path that was not named, or whose files have changed since.
        EncoderMismatchError: the path was named with another fingerprint.
    """
    paths = local_paths(spec)
    if not paths:
        return
    entry = _in_this_process.get(_key(spec)) or _read().get(_key(spec))
    advice = f"if you trust these files, name it yourself: vlar models trust {spec}"
    if entry is None:
        raise ModelError(
            f"{source} names the model {spec!r}, a path of this machine that you have not named; "
            f"nothing of it was opened; {advice}"
        )
    if entry.get("files") != _digest(paths):
        raise ModelError(
            f"{source} names the model {spec!r}, whose files have changed since you named it; "
            f"nothing of it was opened; {advice}"
        )
    if fingerprint is not None and entry.get("fingerprint") != fingerprint:
        raise EncoderMismatchError(
            f"{source} was made with another version of model {spec!r} ({fingerprint[:12]}, here "
            f"{str(entry.get('fingerprint'))[:12]}); {how}"
        )


def _exists(piece: str) -> bool:
    try:
        return bool(piece) and os.path.lexists(os.path.expanduser(piece))  # noqa: PTH111
    except (OSError, ValueError):  # too long, or with a NUL: not a path
        return False


def _key(spec: str) -> str:
    """The spec with the folder that its relative paths count from."""
    whole = unquote(spec)
    absolute = "/" in whole.partition(":")[2][:1] or whole.startswith("/")
    return whole if absolute else f"{Path.cwd()} {whole}"


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        for file, status in files_of(path):
            digest.update(
                f"{file.relative_to(path.parent)} {status.st_size} ".encode(errors="replace")
            )
            if stat.S_ISREG(status.st_mode) and status.st_size <= _SMALL:
                with contextlib.suppress(OSError), open_input(file, _SMALL) as stream:
                    digest.update(stream.read())
    return digest.hexdigest()


def files_of(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """A file, or the files of a folder and of those in it, in order; links to folders stay out."""
    listed = [path]
    if path.is_dir():
        files = (Path(top) / name for top, _, names in os.walk(path) for name in names)
        listed = sorted(file for _, file in zip(range(_MOST_FILES), files, strict=False))
    for file in listed:
        with contextlib.suppress(OSError):
            yield file, file.stat()


def _read() -> dict[str, Any]:
    try:
        entries = parse_json(read_file(cache_dir() / _FILE, _MOST))
    except (OSError, ValueError):
        return {}
    return (
        {k: v for k, v in entries.items() if isinstance(v, dict)}
        if isinstance(entries, dict)
        else {}
    )


def _write(entries: dict[str, Any]) -> None:
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    latest = dict(list(entries.items())[-_KEPT:])
    with replacing(folder / _FILE, durable=False) as part:
        part.write_text(json.dumps(latest, indent=1), "utf-8")
