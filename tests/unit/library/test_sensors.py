"""A library of another sensor: a sine signal in a ``.npy`` file, with a reader made here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel, tiny_video
from vlar import registry
from vlar.errors import DecodeError
from vlar.library.library import Library
from vlar.media.base import Reader
from vlar.types import Clip, Sampling, Window

RATE = 50  # samples a second


@dataclass(frozen=True)
class SignalInfo:
    path: Path
    duration_s: float


class SineReader(Reader):
    modality = "test-sine"
    endings = frozenset({".npy"})

    def probe(self, path: Path) -> SignalInfo:
        return SignalInfo(path, len(self._load(path)) / RATE)

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        signal = self._load(path)
        window = window or Window(0.0, len(signal) / RATE)
        places = np.linspace(window.start_s, window.end_s, sampling.n_frames, endpoint=False)
        return Clip(path, window, self.modality, signal[(places * RATE).astype(int), None], places)

    def _load(self, path: Path) -> np.ndarray:
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DecodeError(f"{path}: not a signal ({error})") from None


class SineModel(FakeModel):
    """Its vector is a coarse spectrum; ``beat N`` asks for N periods a second."""

    modality = "test-sine"
    n_frames = 200
    shorter_side = 0

    def __init__(self) -> None:
        super().__init__("sine")

    def _vector(self, clip: Clip) -> np.ndarray:
        assert clip.modality == self.modality
        signal = clip.data[:, 0] * np.hanning(len(clip.data))
        return self._spectrum(signal, clip.window.duration_s)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        times_s = np.linspace(0, 4, self.n_frames, endpoint=False)
        waves = [np.sin(2 * np.pi * float(text.split()[-1]) * times_s) for text in texts]
        return np.stack([self._spectrum(wave * np.hanning(len(wave)), 4.0) for wave in waves])

    def match_probability(self, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-30 * (vectors @ query - 0.8)))  # all spectra are somewhat alike

    def _spectrum(self, signal: np.ndarray, seconds: float) -> np.ndarray:
        size = np.abs(np.fft.rfft(signal))[: int(DIM * seconds)]
        bands = np.array([part.sum() for part in np.array_split(size, DIM)])
        return (bands / np.linalg.norm(bands)).astype(np.float32)


@pytest.fixture
def sine_reader() -> Iterator[None]:
    """Known for one test only: other tests list the readers."""
    registry.register("reader", SineReader.modality)(SineReader)
    yield
    del registry._parts["reader"][SineReader.modality]


def signal(path: Path, *beats: float, seconds: int = 8) -> Path:
    """Some seconds of each beat, one after the other."""
    times_s = np.arange(seconds * RATE) / RATE
    np.save(path, np.concatenate([np.sin(2 * np.pi * beat * times_s) for beat in beats]))
    return path


@pytest.mark.usefixtures("sine_reader")
def test_a_library_of_signals(tmp_path: Path):
    folder = tmp_path / "signals"
    folder.mkdir()
    for name, beats in (("slow", (2,)), ("fast", (9,)), ("both", (2, 9))):
        signal(folder / f"{name}.npy", *beats)
    (folder / "broken.npy").write_bytes(b"no signal")
    tiny_video(folder / "video.mp4", 1)  # another sensor's: not found
    path = tmp_path / "l.vlar"
    with Library(path, SineModel()) as library:
        report = library.add(folder)
        assert (report.added, [f.path.name for f in report.failed]) == (3, ["broken.npy"])
        assert library.info().modality == "test-sine"
        assert library.add(folder).unchanged == 3
        hits = library.query("beat 9", 10, min_probability=0.9)
        assert {Path(hit.path).stem for hit in hits} == {"fast", "both"}
        both = next(hit for hit in hits if Path(hit.path).stem == "both")
        assert both.start_s >= 6.0
        hits = library.query('"beat 2" THEN "beat 9"', 1)
        assert Path(hits[0].path).stem == "both"
        hits = library.query(f'LIKE "{folder / "slow.npy"}"@2s-6s', 1, min_probability=0)
        assert Path(hits[0].path).stem in {"slow", "both"}
        assert library.verify(files=False) == []
    with Library(path, SineModel()) as library:  # the manifest names the reader
        signal(folder / "fast.npy", 5)
        assert library.add(folder).updated == 1
        assert Path(library.query("beat 5", 1)[0].path).stem == "fast"
