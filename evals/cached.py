"""Frame features of clips, encoded once a model, and films: what several scripts share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import vlar
from vlar.media.video.decode import read_clip


def features_of(videos: Path, path: str, model: vlar.Model, cache: Path | None) -> np.ndarray:
    """(T, F) frame features of a clip, from the folder ``cache`` where they were made before."""

    def make() -> np.ndarray:
        clip = read_clip(
            videos / path, None, model.words.sampling, shorter_side=model.words.shorter_side
        )
        return model.words.encode([clip])[0].features

    return array_of(cache and file_of(cache, f"{path} {model.fingerprint}"), make)


def vectors_of(model: vlar.Model, videos: Path, paths: list[str], cache: Path | None) -> np.ndarray:
    """(N, D) vectors of clips as a library stores them; kept in a file of ``cache``."""
    file = cache / f"ranking-{model.fingerprint[:16]}.npz" if cache else None
    vectors = dict(np.load(file)) if file and file.exists() else {}
    for path in paths:
        if path not in vectors:
            clip = read_clip(
                videos / path,
                None,
                model.words.n_frames,
                shorter_side=model.words.shorter_side or None,
            )
            vectors[path] = model.words.encode([clip])[0].vector
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **vectors)
    return np.stack([vectors[path] for path in paths]).astype(np.float16).astype(np.float32)


def file_of(cache: Path, what: str) -> Path:
    """The file of an array in a folder, by all that moves it."""
    return cache / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.npy"


def array_of(file: Path | None, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from its file, where it was made before."""
    if file and file.exists():
        return np.load(file)
    found = make()
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, found)
    return found


def write_film(
    file: Path, pictures: Iterable[np.ndarray], rate: int | Fraction, threads: int = 0, **how: str
) -> Path:
    """Write pictures (height, width, 3) uint8 as H.264, cut to even sides."""
    partial = file.with_name(f"part-{file.name}")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=how)
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", threads
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = (side // 2 * 2 for side in picture.shape[:2])
            pixels = np.ascontiguousarray(picture[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return partial.rename(file)
