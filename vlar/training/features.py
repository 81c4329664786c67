"""Frame features of a training set, kept on disk while its encoder stays the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from vlar.errors import TrainingError
from vlar.fewshot.support import SupportItem
from vlar.model.model import Model
from vlar.types import Float32


class FeatureFolder:
    """One file a clip, named by the video, its time of change, the window and the encoder.

    A damaged file counts as absent.

    Args:
        folder: Made where it is absent.
        model: Whose features are kept.
    """

    def __init__(self, folder: Path, model: Model) -> None:
        self._folder = folder
        self._of = f"{model.fingerprint} {model.n_frames}"
        self._shape = (model.n_frames, model.encoder.frame_dim)

    def get(self, item: SupportItem) -> Float32 | None:
        """(T, F) of an example, or None."""
        try:
            features = np.load(self._file(item), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return features if features.shape == self._shape else None

    def put(self, item: SupportItem, features: Float32) -> None:
        """Keep (T, F) of an example, complete or not at all.

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
                f"cannot keep features in {self._folder}: {error.strerror or error}; make room and "
                "run the same command again, what was kept stays"
            ) from error

    def _file(self, item: SupportItem) -> Path:
        try:
            changed = item.path.stat().st_mtime_ns
        except OSError:
            changed = 0
        window = item.window and (item.window.start_s, item.window.end_s)
        text = f"{self._of} {item.path.absolute()} {changed} {window}"
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"
