"""Frame features of clips, encoded once a model: what several scripts share."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

import vlar
from vlar.media.video.decode import read_clip


def features_of(videos: Path, path: str, model: vlar.Model, cache: Path | None) -> np.ndarray:
    """(T, F) frame features of a clip, from the folder ``cache`` where they were made before."""
    key = hashlib.sha256(f"{path} {model.fingerprint}".encode()).hexdigest()[:24]
    file = cache / f"{key}.npy" if cache else None
    if file and file.exists():
        return np.load(file)
    clip = read_clip(videos / path, None, model.sampling, shorter_side=model.shorter_side)
    features = model.encode([clip])[0].features
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, features)
    return features
