"""Frame features of a training set, cached on disk while its encoder stays the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from vlar.errors import TrainingError
from vlar.fewshot.support import SupportItem
from vlar.model.core import ModelCore
from vlar.types import Float32


class FeatureFolder:
    """One file a clip, named by the hash of the video, its time of change, window and encoder.

    A damaged file counts as absent.

    Args:
        folder: The cache directory; made where it is absent.
        core: The core that computes the features.
    """

    def __init__(self, folder: Path, core: ModelCore) -> None:
        self._folder = folder
        self._of = f"{core.fingerprint} {core.n_frames}"
        self._shape = (core.encoder.feature_rows, core.encoder.frame_dim)

    def get(self, item: SupportItem) -> Float32 | None:
        """(T, F) of an example, or None."""
        try:
            features = np.load(self._file(item), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return features if features.shape == self._shape else None

    def put(self, item: SupportItem, features: Float32) -> None:
        """Store (T, F) of an example, complete or not at all.

        Raises:
            TrainingError: the folder cannot be written.
        """
        file = self._file(item)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".features-")
            try:
                with os.fdopen(handle, "wb") as stream:
                    np.save(stream, features)
                Path(temporary).replace(file)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
                raise
        except OSError as error:
            raise TrainingError(
                f"cannot cache features in {self._folder}: {error.strerror or error}; make room "
                "and run the same command again, cached features stay"
            ) from error

    def _file(self, item: SupportItem) -> Path:
        try:
            changed = item.path.stat().st_mtime_ns
        except OSError:
            changed = 0
        window = item.window and (item.window.start_s, item.window.end_s)
        text = f"{self._of} {item.path.absolute()} {changed} {window}"
        text += f" {item.who}" if item.who else ""
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"
