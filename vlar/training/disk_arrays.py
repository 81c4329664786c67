"""Arrays that are made row by row and stay on disk, for more clips than memory should hold."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

import numpy as np

from vlar.errors import TrainingError
from vlar.types import Float32


def on_disk(rows: Iterable[Float32]) -> Float32 | None:
    """Rows of one shape as an array in a temporary file, which goes when the array does.

    Args:
        rows: Arrays of the same shape, float32; one is in memory at a time.

    Returns:
        (n, ...) float32 memory map; None without rows.

    Raises:
        TrainingError: the file cannot be written.
    """
    shape: tuple[int, ...] = ()
    count = 0
    try:
        with tempfile.TemporaryFile(prefix="vlar-") as file:
            for row in rows:
                shape, count = row.shape, count + 1
                file.write(np.ascontiguousarray(row, np.float32).data)
            file.flush()
            if not count:
                return None
            return np.memmap(file, np.float32, mode="r+", shape=(count, *shape))
    except OSError as error:
        raise TrainingError(
            f"cannot keep features in {tempfile.gettempdir()}: {error.strerror or error}; make "
            "room, or set TMPDIR to a folder that has some"
        ) from error
