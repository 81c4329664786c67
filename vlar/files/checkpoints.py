"""Weights that others saved with torch: what a file may be before anything of it is unpickled.

``torch.load(weights_only=True)`` runs nothing, but it believes the sizes that a file states. torch
stores archives uncompressed, so a compressed entry is a bomb; a tensor may state a shape that its
data does not fill; and a small tree of dicts that share their children has no end when it is read.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar.files.arrays import require_small_directory
from vlar.files.opening import open_input
from vlar.files.reading import MB, check_file

if TYPE_CHECKING:
    from torch import Tensor

MOST = 256 * 1024 * MB
_MOST_PICKLE = 256 * MB
_MOST_DIRECTORY = 64 * MB
_MOST_ENTRIES = 200_000
_SUFFIX = ".pkl"
_SHARED = 4  # tensors may share their data, as tied weights do; not without end


def data_only() -> dict[str, Any]:
    """Options of ``from_pretrained`` with which nothing but data is loaded.

    transformers 5.25 and later fetch kernels of the hub and run them, unless the environment
    forbids it. That lasts to the end of the process: some are fetched with the first answer.
    """
    os.environ["USE_HUB_KERNELS"] = "NO"
    return {"trust_remote_code": False}


def check_archive(path: Path) -> bool:
    """Return whether a file of weights is an archive of torch's; no tensor or pickle is read.

    Raises:
        OSError: it is absent, or not a regular file.
        ValueError: an entry is compressed, its pickle is too large, or the archive is damaged.
    """
    size = check_file(path, MOST)
    try:
        with open_input(path, MOST) as stream:
            if not zipfile.is_zipfile(stream):
                if size > _MOST_PICKLE and _starts_empty(path):
                    raise ValueError("it starts with zeros, so it holds no tensors")
                return False
            require_small_directory(stream, _MOST_DIRECTORY)
            with zipfile.ZipFile(stream) as archive:
                entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ValueError(f"its archive is damaged ({error})") from None
    if len(entries) > _MOST_ENTRIES:
        raise ValueError(f"its archive has {len(entries):,} entries")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
            raise ValueError(
                f"its entry {entry.filename[:80]!r} is compressed, to {entry.compress_size:,} of "
                f"{entry.file_size:,} bytes, which torch never does"
            )
        if entry.filename.endswith(_SUFFIX) and entry.file_size > _MOST_PICKLE:
            raise ValueError(f"its pickle has {entry.file_size / MB:,.0f} MB")
    return True


def check_tensors(stored: Any, size: int) -> None:
    """Refuse tensors that state more than they hold, in whatever is nested in dicts and lists.

    Args:
        stored: What a file held.
        size: Bytes of the file.

    Raises:
        ValueError: a tensor is larger than its data, or the tree has too many entries.
    """
    stated = 0
    for name, tensor in tensors_in(stored):
        dense = str(tensor.layout) == "torch.strided" and tensor.device.type == "cpu"
        if not dense or tensor.is_quantized:
            raise ValueError(f"its tensor {name[:80]!r} is not a dense one")
        n_bytes = tensor.untyped_storage().nbytes()
        stated += tensor.numel() * tensor.element_size()
        if stated > _SHARED * size + MB:
            raise ValueError(f"its tensors state more than {_SHARED} times the bytes of the file")
        if tensor.numel() * tensor.element_size() > n_bytes:
            raise ValueError(
                f"its tensor {name[:80]!r} of shape {tuple(tensor.shape)} is larger than the "
                f"{n_bytes:,} bytes that it holds"
            )


def tensors_in(stored: Any) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name in nested dicts and lists; each shared part is visited once.

    Raises:
        ValueError: there are more entries than a checkpoint has.
    """
    import torch

    waiting: list[tuple[str, Any]] = [("", stored)]
    storages: set[int] = set()
    count = 0
    while waiting:
        name, value = waiting.pop()
        count += 1
        if count > _MOST_ENTRIES:
            raise ValueError(f"it has more than {_MOST_ENTRIES:,} entries")
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, dict | list | tuple) and id(value) not in storages:
            storages.add(id(value))
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{name}.{key}" if name else str(key), inner) for key, inner in pairs]


def _starts_empty(path: Path) -> bool:
    with open_input(path, MOST) as stream:
        return not any(stream.read(4096))
