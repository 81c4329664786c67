"""A made library with known truth: moments that show one labelled clip, or two at once.

A moment lasts 4 to 8 seconds. Most show two clips, one above the other, as a scene in which two
things happen; each pair of phrases of ``CONCEPTS`` is shown at once in one of them. The others show
one clip alone. Clips are repeated as long as a moment lasts. Eight moments, in an order drawn by a
seed, are one video. ``CONCEPTS`` lists the labels that show each phrase.

``KeptVectors`` encodes each window once and keeps its vector in a file, so that libraries with
other windows cost no second encoding.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from cached import write_film
from harness import manifest
from PIL import Image

import vlar
from vlar.types import Clip, Encoded, Float32

SETS = ("ucf101", "hmdb51", "kinetics", "jhmdb")
FPS, SIDE = 15, 288
SHORTEST_S, LONGEST_S = 4.0, 8.0
MOMENTS_A_VIDEO = 8

CONCEPTS: dict[str, tuple[str, ...]] = {
    phrase: tuple(label.strip() for label in labels.split(","))
    for phrase, labels in {
        "riding": "riding a bike, riding a jet ski, racing horses, riding a segway",
        "an instrument": "playing the cello, playing the daf, playing the dhol, "
        "playing the flute, playing the guitar, playing the tabla",
        "strength training": "doing bench press, doing push-ups, doing wall push-ups, "
        "doing squats, doing pull-ups, lifting a barbell (clean and jerk)",
        "on the water": "swimming breaststroke, swimming front crawl, diving into a pool, "
        "kayaking, rowing a boat, surfing, riding a jet ski",
        "caring for hair or face": "applying eye makeup, blow-drying hair, brushing teeth, "
        "getting a haircut, shaving a beard, brushing hair",
        "ball sports": "dunking a basketball, shooting a basketball, bowling, "
        "juggling a soccer ball, taking a soccer penalty kick, taking a field hockey penalty, "
        "bowling a cricket ball, hitting a cricket ball, spiking a volleyball, "
        "playing billiards, swinging a tennis racket, catching a ball, kicking a ball, "
        "throwing a ball, swinging a baseball bat, swinging a golf club",
        "kitchen work": "cutting food in the kitchen, tossing pizza dough, flipping a pancake, "
        "pouring a drink",
        "bow and arrow": "shooting a bow",
    }.items()
}


@dataclass(frozen=True)
class Moment:
    """Phrases that hold from one second of a made video to another."""

    phrases: frozenset[str]
    start_s: float
    end_s: float


Truth = dict[str, list[Moment]]  # by the name of a made video


@dataclass(frozen=True)
class _Scene:
    clips: tuple[dict[str, str], ...]
    n_frames: int

    @property
    def phrases(self) -> frozenset[str]:
        labels = {clip["readable_label"] for clip in self.clips}
        return frozenset(phrase for phrase, shown in CONCEPTS.items() if labels & set(shown))


def build(videos: Path, folder: Path, half: int, seed: int) -> Truth:
    """Write the made videos of one half of the clips' groups (0 or 1) and return their content."""
    scenes = _scenes(videos, half, np.random.default_rng(seed))
    folder.mkdir(parents=True, exist_ok=True)
    truth: Truth = {}
    for number, begin in enumerate(range(0, len(scenes), MOMENTS_A_VIDEO)):
        shown = scenes[begin : begin + MOMENTS_A_VIDEO]
        ends = np.cumsum([scene.n_frames for scene in shown]) / FPS
        starts = [0.0, *ends[:-1].tolist()]
        file = folder / f"half{half}-seed{seed}-{number:02}.mp4"
        truth[file.name] = [
            Moment(scene.phrases, start, end)
            for scene, start, end in zip(shown, starts, ends.tolist(), strict=True)
        ]
        if not file.exists():
            _write(videos, shown, file)
    return truth


def _scenes(videos: Path, half: int, draw: np.random.Generator) -> list[_Scene]:
    by_phrase = {phrase: _clips(videos, labels, half) for phrase, labels in CONCEPTS.items()}

    def scene(*phrases: str) -> _Scene:
        clips = tuple(by_phrase[p][draw.integers(len(by_phrase[p]))] for p in phrases)
        return _Scene(clips, int(draw.integers(SHORTEST_S * FPS, LONGEST_S * FPS + 1)))

    scenes = [scene(*draw.permutation(pair)) for pair in itertools.combinations(CONCEPTS, 2)]
    scenes += [scene(phrase) for phrase in CONCEPTS]
    return [scenes[place] for place in draw.permutation(len(scenes))]


def _clips(videos: Path, labels: Sequence[str], half: int) -> list[dict[str, str]]:
    rows = manifest(videos, *SETS)
    rows = [row for row in rows if Path(row["path"]).suffix]  # not folders of pictures
    groups = sorted({(row["dataset"], row["group"]) for row in rows})
    return [
        row
        for row in rows
        if row["readable_label"] in labels
        and groups.index((row["dataset"], row["group"])) % 2 == half
    ]


def _write(videos: Path, scenes: Sequence[_Scene], file: Path) -> None:
    def pictures() -> Iterator[np.ndarray]:
        for scene in scenes:
            shown = [_pictures(videos / clip["path"], len(scene.clips)) for clip in scene.clips]
            for number in range(scene.n_frames):
                yield np.concatenate([clip[number % len(clip)] for clip in shown])

    write_film(file, pictures(), FPS, threads=1, crf="20")


def _pictures(clip: Path, n_shown: int) -> list[np.ndarray]:
    """The pictures of a clip on screen every 1 / FPS seconds, cut to its part of the scene."""
    pictures: list[np.ndarray] = []
    with av.open(str(clip)) as container:
        start_s: float | None = None
        for frame in container.decode(video=0):
            start_s = frame.time if start_s is None else start_s
            while len(pictures) / FPS <= frame.time - start_s and len(pictures) < LONGEST_S * FPS:
                pictures.append(_fitted(frame.to_ndarray(format="rgb24"), n_shown))
    return pictures


def _fitted(pixels: np.ndarray, n_shown: int) -> np.ndarray:
    # Alone: the whole picture on the square. Two: the middle band, twice as wide as high.
    picture = Image.fromarray(pixels)
    if n_shown == 2:
        height = min(picture.height, picture.width // 2)
        top = (picture.height - height) // 2
        picture = picture.crop((0, top, picture.width, top + height))
    return np.asarray(picture.resize((SIDE, SIDE // n_shown)))


class KeptVectors:
    """A model whose windows are encoded once; the rest is the model's own."""

    def __init__(self, model: vlar.Model, file: Path) -> None:
        self._model, self._file = model, file
        self._kept: dict[str, Float32] = {}
        self.encoded = 0
        if file.exists():
            with np.load(file) as stored:
                self._kept = {key: stored[key] for key in stored.files}

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Vectors from the file where the pixels of a clip were seen before; no features."""
        return [Encoded(np.zeros((0, 0), np.float32), self._vector(clip)) for clip in clips]

    def _vector(self, clip: Clip) -> Float32:
        digest = hashlib.sha256(self._model.fingerprint.encode())
        digest.update(clip.times_s.tobytes())
        digest.update(clip.data.tobytes())
        key = digest.hexdigest()[:24]
        if key not in self._kept:
            self._kept[key] = self._model.encode([clip])[0].vector.astype(np.float16)
            self.encoded += 1
        return self._kept[key].astype(np.float32)

    def save(self) -> None:
        """Keep what was encoded."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(self._file, **self._kept)
