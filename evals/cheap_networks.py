"""Labels that change where the networks of ``lite`` run in int8, or read every second frame.

    vlar models get lite-motion
    python evals/cheap_networks.py --videos DIR --cache DIR [--sets jhmdb ...] [--json OUT]

The folder of videos holds ``manifest.csv``; halves are those of ``zero_shot.py``; ``--cache`` keeps
vectors and int8 networks, so that a run that ``--seconds`` ended goes on. Static int8 of ONNX
Runtime (a scale a channel) is calibrated on frames of the half "choose" alone. Compared are

images   both image networks in int8
bodies   the detector and the landmark network in int8
texts    the text network in int8 (dynamic, text by text); the objects' sentences stay in float32
second   the landmark network reads every second frame and the last; joints between are interpolated

For each: by how much less CPU time the networks take alone (interleaved, one thread), the clips
whose first label is another one than in float32, and right first labels before and after. The
control is float32 with the rows of two labels exchanged: it must change labels.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import HALVES, arguments, echo, half_of, manifest, some, store
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

import vlar
from vlar.encoders.lite import towers
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.media.video.decode import read_clip
from vlar.pose import networks as pose_networks
from vlar.pose import track
from vlar.pose.features import POSE_WIDTH, PoseExtractor, PoseStream
from vlar.pose.onnx import make_session
from vlar.types import Clip

SETS = ("weizmann", "jhmdb", "utd-mhad", "gmdcsa24", "hmdb51", "kinetics", "ucf101")
SETS = (*SETS, "something-something-v2")
WHOLE = ("weizmann", "jhmdb")  # both halves; of the others the half "report"
CALIBRATION_CLIPS = 12
ARMS = ("images", "bodies", "second")
# Signed inputs take as long as float32 here, and other forms of the graph longer than this one.
STATIC: dict[str, Any] = {
    "per_channel": True,
    "quant_format": QuantFormat.QOperator,
    "activation_type": QuantType.QUInt8,
    "weight_type": QuantType.QInt8,
}


class Cheap:
    """A network in int8 in place of a ``CachedNetwork``; ``calls`` keeps inputs of the original."""

    def __init__(self, network: Any) -> None:
        self.plain, self.cheap = network, None
        self.calls: list[tuple[list[str], dict[str, Any]]] = []

    def run(self, outputs: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
        if self.cheap is not None:
            return self.run_cheap(outputs, feeds)
        self.calls.append((list(outputs), feeds))
        return self.plain.run(outputs, feeds)

    def run_cheap(self, outputs: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
        """Run int8; texts one by one, because a scale that a batch shares would mix them."""
        if "ids" not in feeds:
            return self.cheap.run(list(outputs), feeds)
        rows = [
            self.cheap.run(list(outputs), {**feeds, "ids": row[None]})[0] for row in feeds["ids"]
        ]
        return [np.concatenate(rows)]

    def quantise(self, model: bytes, target: Path, most: int = 48) -> None:
        """Make the int8 network of a serialised float32 one and of the kept calls, once."""
        with tempfile.TemporaryDirectory() as place:
            source = Path(place) / "float32.onnx"
            source.write_bytes(model)
            if not target.exists() and "ids" in self.calls[0][1]:
                quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)
            elif not target.exists():
                every = max(1, len(self.calls) // most)
                reader = _Reader([feeds for _, feeds in self.calls[::every]])
                quantize_static(source, target, reader, **STATIC)
        self.cheap = make_session(target.read_bytes())

    def gain(self, rounds: int = 30) -> tuple[float, float]:
        """Median CPU ms of float32, and how many times that of int8."""
        spent: list[list[float]] = [[], []]
        for turn in range(-3, rounds):
            outputs, feeds = self.calls[turn % len(self.calls)]
            for taken, run in zip(spent, (self.plain.run, self.run_cheap), strict=True):
                begin = time.process_time()
                run(outputs, feeds)
                if turn >= 0:
                    taken.append(1e3 * (time.process_time() - begin))
        plain, cheap = map(statistics.median, spent)
        return plain, plain / cheap


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: list[dict[str, Any]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


class EverySecond:
    """A tracker that gets frames 0, 2, .. and the last; joints between are interpolated."""

    def __init__(self, inner: track.PoseTracker) -> None:
        self._inner, self._places = inner, [0]

    def restarted(self) -> EverySecond:
        return EverySecond(self._inner.restarted())

    def extend(self, frames: np.ndarray, first: int, picture: Callable[[int], Any]) -> None:
        assert not first, "clips by themselves alone"
        self._places = sorted({*range(0, len(frames), 2), len(frames) - 1})
        pictures = [picture(at) for at in range(len(frames))]  # the camera needs all
        self._inner.extend(frames[self._places], 0, lambda at: pictures[self._places[at]])

    def window(self, first: int, n_frames: int, height: int) -> track.Tracks:
        found = self._inner.window(first, len(self._places), height)
        points = np.zeros((len(found.score), n_frames, *found.points.shape[2:]), np.float32)
        score = np.zeros((len(found.score), n_frames), np.float32)
        points[:, self._places], score[:, self._places] = found.points, found.score
        for before, after in itertools.pairwise(self._places):
            for at in range(before + 1, after):
                both = (score[:, before] > 0) & (score[:, after] > 0)
                points[both, at] = (points[both, before] + points[both, after]) / 2
                score[both, at] = (score[both, before] + score[both, after]) / 2
        return track.Tracks(points, score)


class EverySecondExtractor(PoseExtractor):
    """Bodies from every second frame; searches and gaps last as many seconds as before."""

    HALVED = ("_DETECT_EVERY", "_SQUARES_EVERY", "_SEARCH_EVERY", "_LONGEST_GAP")

    def stream(self) -> PoseStream:
        tracker = EverySecond(track.PoseTracker(*self._networks, self._max_people))
        return PoseStream(tracker)  # type: ignore[arg-type]

    def features(self, frames: np.ndarray, times_s: np.ndarray | None = None) -> np.ndarray:
        kept = {name: getattr(track, name) for name in self.HALVED}
        try:
            for name, value in kept.items():
                setattr(track, name, value // 2)
            return super().features(frames, times_s)
        finally:
            for name, value in kept.items():
                setattr(track, name, value)


def rows_of(videos: Path, name: str) -> list[dict[str, Any]]:
    """Manifest rows of a set with their half, the half "report" first."""
    rows = manifest(videos, name)
    halves = half_of(row["group"] for row in rows).tolist()
    found = [{**row, "half": half} for row, half in zip(rows, halves, strict=True)]
    return sorted(found, key=lambda row: -row["half"])


def read(videos: Path, row: dict[str, Any], encoder: LiteEncoder) -> Clip:
    return read_clip(videos / row["path"], None, encoder.n_frames)


def image_scores(encoder: LiteEncoder, frames: np.ndarray) -> np.ndarray:
    """(T, 1000) class scores as ``LiteEncoder`` samples frames."""
    every = max(1, len(frames) // 16)
    picked = [
        (at + every - 1 if n % 2 else at) for n, at in enumerate(range(0, len(frames), every))
    ]
    scores = np.stack([encoder.image(frames[at])[0] for at in picked])
    return np.repeat(scores, every, axis=0)[: len(frames)]


class Networks:
    """The float32 encoder, and another one whose networks are exchanged."""

    def __init__(self, videos: Path, cache: Path) -> None:
        self.exact, self.rough = vlar.load("lite").encoder, LiteEncoder()
        assert isinstance(self.exact, LiteEncoder)
        assert self.rough.body is not None, "run: vlar models get lite-motion"
        self.bodies, self.second = self.rough.body._reader, EverySecondExtractor()
        self.cheap: dict[str, Cheap] = {}
        for tower, name in zip(self.rough._images, ("image, lite0", "image, lite2"), strict=True):
            self.cheap[name] = tower._network = Cheap(tower._network)
        for part, name in zip(self.bodies._networks, ("detector", "landmarks"), strict=True):
            self.cheap[name] = part._network = Cheap(part._network)
        text = self.rough._text
        self.cheap["texts"] = text._network = Cheap(text._network)
        rows = [row for name in SETS for row in rows_of(videos, name) if row["half"] == 0]
        made = all((cache / f"{name}.onnx").exists() for name in self.cheap)
        for row in rows[:: len(rows) // (1 if made else CALIBRATION_CLIPS)]:
            clip = read(videos, row, self.exact)
            image_scores(self.rough, clip.data)
            self.bodies.features(clip.data, clip.times_s)
        text(sorted({row["readable_label"] for row in rows}))
        text._kept = {}
        for (name, cheap), model in zip(self.cheap.items(), _models(), strict=True):
            cheap.quantise(model, cache / f"{name}.onnx")

    def vectors(self, clip: Clip, arms: Sequence[str]) -> dict[str, np.ndarray]:
        """The vector of a clip by arm."""
        plain = self.exact.encode([clip])[0].features
        found = {"float32": plain, **{arm: plain.copy() for arm in arms}}
        for arm in arms:
            if arm == "images":
                found[arm][:, :1000] = image_scores(self.rough, clip.data)
            else:
                reader = self.bodies if arm == "bodies" else self.second
                found[arm][:, -POSE_WIDTH:] = reader.features(clip.data, clip.times_s)
        return {arm: self.exact.pool(each[None])[0] for arm, each in found.items()}

    def spent(self, videos: Path, clips: int = 6) -> dict[str, float]:
        """Median CPU seconds of the bodies of a clip, turn by turn."""
        readers = {"float32": self.exact.body._reader, "int8": self.bodies, "second": self.second}
        taken: dict[str, list[float]] = {name: [] for name in readers}
        for row in rows_of(videos, "jhmdb")[: 8 * clips : 8]:
            clip = read(videos, row, self.exact)
            for name, reader in readers.items():
                begin = time.process_time()
                reader.features(clip.data, clip.times_s)
                taken[name].append(time.process_time() - begin)
        return {name: round(statistics.median(each), 3) for name, each in taken.items()}


def _models() -> Iterator[bytes]:
    """Serialised float32 networks: both image networks, the detector, landmarks, texts."""
    from safetensors.numpy import load_file

    for network in towers.IMAGE_NETWORKS:
        yield towers.image_tower(network.state(), network.size, network.strided)
    for name in (pose_networks.DETECTOR, pose_networks.LANDMARKS):
        yield pose_networks.lite_motion().read(name)
    yield towers.text_tower(load_file(towers.LITE.verified_path(towers.MINILM.name)))


def compare(
    networks: Networks,
    name: str,
    rows: list[dict[str, Any]],
    found: list[Any],
    arms: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """One line an arm and half: changed first labels, right ones before and after."""
    labels = sorted({row["readable_label"] for row in rows})
    truth = np.array([labels.index(row["readable_label"]) for row in rows])
    half = np.array([row["half"] for row in rows])
    text = networks.exact.encode_text(labels)
    best = (np.stack([each["float32"] for each in found]) @ text.T).argmax(axis=1)
    for arm in (*arms, "texts", "control"):
        vectors = np.stack([each[arm if arm in arms else "float32"] for each in found])
        words = networks.rough.encode_text(labels) if arm == "texts" else text
        words = np.roll(words, 1, axis=0) if arm == "control" else words
        other = (vectors @ words.T).argmax(axis=1)
        for part in sorted(set(half.tolist())):
            here = half == part
            yield {
                "set": name,
                "arm": arm,
                "half": HALVES[part],
                "clips": int(here.sum()),
                "changed": int((best != other)[here].sum()),
                "right": int((best == truth)[here].sum()),
                "right_after": int((other == truth)[here].sum()),
            }


def main() -> None:
    options = arguments(
        __doc__,
        "videos",
        "cache!",
        "json",
        sets=some(SETS),
        arms=some(ARMS, choices=ARMS),
        seconds=(400.0, "of making vectors"),
    )
    options.cache.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + options.seconds
    networks = Networks(options.videos, options.cache)
    gains = {name: cheap.gain() for name, cheap in networks.cheap.items()}
    for name, (plain_ms, gain) in gains.items():
        echo(f"{name:14} float32 {plain_ms:6.2f} ms, int8 {gain:.2f} times less")
    echo("CPU s of the bodies of a clip:", spent := networks.spent(options.videos))
    lines = []
    for name in options.sets:
        rows, found = [], []
        for row in rows_of(options.videos, name):
            file = options.cache / (row["path"].replace("/", "_") + ".npz")
            if name not in WHOLE and row["half"] == 0:
                continue
            if not file.exists() and time.monotonic() < end_s:
                clip = read(options.videos, row, networks.exact)
                np.savez(file, **networks.vectors(clip, options.arms))
            if file.exists():
                found.append(np.load(file))
                rows.append(row)
        if rows:
            lines += [
                echo(line) or line for line in compare(networks, name, rows, found, options.arms)
            ]
    store(options.json, {"gains": gains, "bodies_s": spent, "lines": lines})


if __name__ == "__main__":
    main()
