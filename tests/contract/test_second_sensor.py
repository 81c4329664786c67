"""A second sensor, all of it in this file: a sine signal in a ``.npy``, its reader and its encoder.

Nothing in vlar names it. Python finds the parts through ``vlar.register``, the command line through
entry points, as a package of somebody else would offer them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlar
from tests.known_parts import known
from vlar.encoders.base import Block, Encoder, FrameBlock
from vlar.errors import DecodeError, UsageError
from vlar.files.arrays import NUMPY_HEADERS
from vlar.media.base import Reader
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Sampling, Window

RATE = 64  # samples a second
BANDS = 16
HERTZ = {"slow": 2.0, "fast": 9.0}
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SignalInfo:
    path: Path
    duration_s: float


class SineReader(Reader):
    """(T,) float32 samples of a signal."""

    modality = "sine"
    endings = frozenset({".npy"})

    def probe(self, path: Path) -> SignalInfo:
        return SignalInfo(path, len(self._signal(path)) / RATE)

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        signal = self._signal(path)
        window = window or Window(0.0, len(signal) / RATE)
        times_s = np.linspace(window.start_s, window.end_s, sampling.n_frames, endpoint=False)
        rows = (times_s * RATE).astype(int)
        if rows[-1] >= len(signal):
            raise DecodeError(f"{path}: the window lies past the end ({len(signal) / RATE:g} s)")
        return Clip(path, window, self.modality, signal[rows], times_s, meta={"rate_hz": RATE})

    def blank(self, sampling: Sampling) -> list[Clip]:
        times_s = np.arange(sampling.n_frames) / RATE
        window = Window(0.0, sampling.n_frames / RATE)
        noise = np.random.default_rng(0).normal(size=(3, sampling.n_frames)).astype(np.float32)
        return [Clip(Path("blank"), window, self.modality, each, times_s) for each in noise]

    def example(self, folder: Path) -> Path:
        return wave(folder / "example.npy", 3.0)

    def _signal(self, path: Path) -> np.ndarray:
        try:
            with NUMPY_HEADERS:  # recordings are read in threads
                return np.load(path, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError) as error:
            raise DecodeError(f"{path}: not a signal ({error})") from error


class SineEncoder(Encoder):
    """The spectrum of a signal; ``slow`` and ``fast`` in a text are two beats."""

    name, modality, licence = "sine", "sine", "CC0-1.0"
    dim, frame_dim, n_frames = BANDS + 8, BANDS, 256
    logit_scale, max_tokens = 20.0, 32
    blocks = (Block("joint", BANDS + 8, 1.0, has_text=True),)
    frame_blocks = (FrameBlock("bands", BANDS, "appearance"),)
    fingerprint = "sine-encoder-0001"

    @classmethod
    def from_spec(cls, argument: str = "") -> SineEncoder:
        if argument:
            raise UsageError(f"'sine' takes no argument, got {argument!r}")
        return cls()

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        rows = [np.tile(_bands(c.data, c.window.duration_s), (len(c.data), 1)) for c in clips]
        return [Encoded(row, self.pool(row[None])[0]) for row in rows]

    def pool(self, features: np.ndarray) -> np.ndarray:
        return unit(np.pad(features.mean(axis=1), ((0, 0), (0, 8))))

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return unit(np.stack([self._text(text) for text in texts or [""]])[: len(texts)])

    def _text(self, text: str) -> np.ndarray:
        vector = np.zeros(self.dim, np.float32)
        for word, hertz in HERTZ.items():
            if word in text.split():
                times_s = np.arange(4 * RATE) / RATE
                vector[:BANDS] += _bands(np.sin(2 * np.pi * hertz * times_s), 4.0)
        if not vector.any():
            seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
            vector[BANDS:] = np.random.default_rng(seed).normal(size=8)
        return vector

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def _bands(signal: np.ndarray, seconds: float) -> np.ndarray:
    size = np.abs(np.fft.rfft(signal * np.hanning(len(signal))))[: int(BANDS * seconds)]
    bands = np.array([part.sum() for part in np.array_split(size, BANDS)])
    return (bands / max(np.linalg.norm(bands), 1e-9)).astype(np.float32)


def wave(path: Path, hertz: float, *, seconds: float = 4.0, phase: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times_s = np.arange(int(seconds * RATE)) / RATE
    np.save(path, np.sin(2 * np.pi * hertz * times_s + phase).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three signals a label, one folder a label."""
    folder = tmp_path_factory.mktemp("signals")
    for label, hertz in HERTZ.items():
        for i in range(3):
            wave(folder / f"{label} beat" / f"{i}.npy", hertz + 0.2 * i, phase=i)
    return folder


@pytest.fixture
def registered() -> Iterator[None]:
    """The parts, known for one test only: other tests list what there is."""
    with known(("reader", "sine", SineReader), ("encoder", "sine", SineEncoder)):
        yield


@pytest.mark.usefixtures("registered")
def test_python_takes_the_sensor(signals: Path, tmp_path: Path) -> None:
    labels = ["slow beat", "fast beat"]
    model = vlar.load("sine")
    assert vlar.read_clip(signals / "fast beat" / "1.npy").modality == "sine"
    for label in labels:
        answer = model.classify(signals / label / "1.npy", labels)
        assert (answer.label, answer.unknown) == (label, False)
        assert answer.end_s == 4.0

    mine = model.adapt(signals)
    assert mine.labels == ("fast beat", "slow beat")
    other = wave(tmp_path / "other.npy", 9.3)
    assert mine.classify(other).label == "fast beat"
    again = vlar.load(mine.save(tmp_path / "mine"))
    assert (
        again.classify(other).to_dict()["predictions"]
        == (mine.classify(other).to_dict()["predictions"])
    )

    with vlar.Library(tmp_path / "signals.vlar", model) as library:
        assert library.add(signals, window_s=2.0, stride_s=1.0).added == 6
        hits = library.query("fast", k=3)
        assert {Path(hit.path).parent.name for hit in hits} == {"fast beat"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``pip install`` of a package with this file would leave: its entry points."""
    place = tmp_path_factory.mktemp("site")
    facts = place / "vlar_sine-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: vlar-sine\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        f"[vlar.reader]\nsine = {__name__}:SineReader\n\n"
        f"[vlar.encoder]\nsine = {__name__}:SineEncoder\n"
    )
    return place


@pytest.mark.slow
def test_the_command_line_takes_the_sensor(signals: Path, tmp_path: Path, package: Path) -> None:
    def run(*arguments: object) -> list[dict[str, Any]]:
        found = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        places = os.pathsep.join([str(package), str(CHECKOUT), *filter(None, found)])
        command = [
            sys.executable,
            "-c",
            "from vlar.apps.cli import main; main()",
            *map(str, arguments),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "PYTHONPATH": places},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    fast = signals / "fast beat" / "1.npy"
    labels = ("--labels", "slow beat, fast beat")
    (row,) = run("classify", fast, *labels, "--model", "sine", "--json")
    assert row["predictions"][0]["label"] == "fast beat"
    run("adapt", signals, "--model", "sine", "--out", tmp_path / "mine")
    rows = run("classify", signals / "slow beat", "--model", tmp_path / "mine", "--json")
    assert [row["predictions"][0]["label"] for row in rows] == ["slow beat"] * 3
    run("index", "add", tmp_path / "l.vlar", signals, "--model", "sine")
    hits = run("query", tmp_path / "l.vlar", "slow", "-k", 1, "--json")
    assert [Path(hit["path"]).parent.name for hit in hits] == ["slow beat"]
