"""A made library with known truth: labelled clips joined into longer videos, and what they show.

``build`` joins clips, eight a video in an order drawn by a seed, and tells from which second to
which each label is shown. ``CONCEPTS`` says which labels show what a phrase asks for; it was
written from the labels alone, before any clip was scored. ``KeptVectors`` encodes each window once
and keeps its vector in a file, so that libraries with other windows cost no second encoding.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

import vlar
from vlar.types import Clip, Float32

SETS = ("ucf101", "hmdb51", "kinetics", "jhmdb", "gmdcsa24")
FEWEST_S, MOST_S = 3.0, 5.0  # of one clip: shorter ones are repeated, longer ones cut
FPS, SIZE = 15, (320, 240)
CLIPS_A_VIDEO = 8
MOST_OF_A_LABEL = 2  # of one half and set: jhmdb has five clips a label, ucf101 one or two

CONCEPTS: dict[str, frozenset[str]] = {
    phrase: frozenset(label.strip() for label in labels.split(","))
    for phrase, labels in {
        "playing a musical instrument": "playing the cello, playing the daf, playing the dhol, "
        "playing the flute, playing the guitar, playing the tabla",
        "drumming": "playing the daf, playing the dhol, playing the tabla",
        "water": "swimming breaststroke, swimming front crawl, diving into a pool, cliff diving, "
        "kayaking, rowing a boat, surfing, riding a jet ski",
        "a boat": "kayaking, rowing a boat",
        "swimming": "swimming breaststroke, swimming front crawl",
        "playing with a ball": "dunking a basketball, shooting a basketball, bowling, "
        "juggling a soccer ball, taking a soccer penalty kick, taking a field hockey penalty, "
        "bowling a cricket ball, hitting a cricket ball, spiking a volleyball, playing billiards, "
        "swinging a tennis racket, catching a ball, kicking a ball, throwing a ball, "
        "swinging a baseball bat, swinging a golf club",
        "basketball": "dunking a basketball, shooting a basketball",
        "soccer": "juggling a soccer ball, taking a soccer penalty kick, kicking a ball",
        "hitting a ball with a bat, a club or a racket": "hitting a cricket ball, "
        "taking a field hockey penalty, swinging a tennis racket, swinging a baseball bat, "
        "swinging a golf club",
        "throwing something": "throwing a shot put, throwing a discus, doing a hammer throw, "
        "throwing a javelin, throwing a ball, tossing pizza dough, bowling, "
        "bowling a cricket ball",
        "track and field athletics": "throwing a shot put, throwing a discus, "
        "doing a hammer throw, throwing a javelin, doing a high jump, doing a long jump, "
        "pole vaulting",
        "jumping": "doing a high jump, doing a long jump, pole vaulting, jumping, cliff diving, "
        "diving into a pool, dunking a basketball, spiking a volleyball",
        "gymnastics": "performing on a balance beam, performing on a pommel horse, "
        "performing on still rings, doing a cartwheel",
        "a fitness exercise": "doing bench press, doing push-ups, doing wall push-ups, "
        "doing squats, doing pull-ups, lifting a barbell (clean and jerk)",
        "push-ups": "doing push-ups, doing wall push-ups",
        "lifting a barbell": "doing bench press, lifting a barbell (clean and jerk)",
        "riding": "riding a bike, riding a jet ski, racing horses, riding a segway",
        "riding a bicycle": "riding a bike",
        "caring for hair or face": "applying eye makeup, blow-drying hair, brushing teeth, "
        "getting a haircut, shaving a beard, brushing hair",
        "hair": "blow-drying hair, getting a haircut, brushing hair",
        "brushing": "brushing teeth, brushing hair",
        "fighting": "boxing, fencing, hitting a punching bag, hitting a boxing speed bag",
        "punching a bag": "hitting a punching bag, hitting a boxing speed bag",
        "climbing": "rock climbing, climbing a rope, climbing a rock face, climbing stairs",
        "a rock wall": "rock climbing, climbing a rock face",
        "shooting a weapon": "shooting a bow, shooting a gun",
        "bow and arrow": "shooting a bow",
        "kitchen work": "cutting food in the kitchen, tossing pizza dough, flipping a pancake, "
        "pouring a drink",
        "dough": "tossing pizza dough, flipping a pancake",
        "housework": "mopping the floor, cutting food in the kitchen, knitting, hammering",
        "writing": "writing on a board, typing on a keyboard",
        "sitting down or standing up": "sitting down, standing up",
        "walking": "walking, walking with a dog, reading a book while walking",
    }.items()
}


@dataclass(frozen=True)
class Shown:
    """A label from one second of a made video to another."""

    label: str
    start_s: float
    end_s: float


Truth = dict[str, list[Shown]]  # by the name of a made video


def build(videos: Path, folder: Path, half: int, seed: int) -> Truth:
    """Write the made videos of one half of the groups (0 or 1) and say what they show."""
    chosen = _chosen(videos, half)
    order = np.random.default_rng(seed).permutation(len(chosen))
    folder.mkdir(parents=True, exist_ok=True)
    truth: Truth = {}
    for number, begin in enumerate(range(0, len(order), CLIPS_A_VIDEO)):
        rows = [chosen[i] for i in order[begin : begin + CLIPS_A_VIDEO]]
        name = f"half{half}-seed{seed}-{number:02}.mp4"
        lengths = [
            _frame_count(float(row["duration_s"])) for row in rows
        ]  # known without decoding, so that a kept file needs none
        ends = np.cumsum(lengths) / FPS
        truth[name] = [
            Shown(row["readable_label"], float(end - length / FPS), float(end))
            for row, length, end in zip(rows, lengths, ends, strict=True)
        ]
        if not (folder / name).exists():
            _join([videos / row["path"] for row in rows], lengths, folder / name)
    return truth


def _chosen(videos: Path, half: int) -> list[dict[str, str]]:
    with (videos / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["dataset"] in SETS]
    taken: dict[tuple[str, str], int] = {}
    chosen: list[dict[str, str]] = []
    for dataset in SETS:
        groups = sorted({row["group"] for row in rows if row["dataset"] == dataset})
        for row in rows:
            key = (dataset, row["readable_label"])
            if row["dataset"] != dataset or groups.index(row["group"]) % 2 != half:
                continue
            if taken.get(key, 0) < MOST_OF_A_LABEL and Path(row["path"]).suffix:
                taken[key] = taken.get(key, 0) + 1
                chosen.append(row)
    return chosen


def _frame_count(duration_s: float) -> int:
    repeats = int(np.ceil(FEWEST_S / max(duration_s, 0.1) - 1e-6)) if duration_s < FEWEST_S else 1
    return round(min(repeats * duration_s, MOST_S) * FPS)


def _join(clips: Sequence[Path], lengths: Sequence[int], file: Path) -> None:
    partial = file.with_name(f"part-{file.name}")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for clip, length in zip(clips, lengths, strict=True):
            frames = _frames(clip)
            for number in range(length):
                container.mux(stream.encode(frames[number % len(frames)]))
        container.mux(stream.encode())
    partial.rename(file)


def _frames(clip: Path) -> list[av.VideoFrame]:
    """The pictures of a clip on screen every 1 / FPS seconds, at the made size."""
    frames: list[av.VideoFrame] = []
    with av.open(str(clip)) as container:
        start_s: float | None = None
        for frame in container.decode(video=0):
            start_s = frame.time if start_s is None else start_s
            while len(frames) / FPS <= frame.time - start_s and len(frames) <= MOST_S * FPS:
                pixels = _boxed(frame.to_ndarray(format="rgb24"))
                frames.append(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
    return frames


def _boxed(pixels: np.ndarray) -> np.ndarray:
    # The whole picture inside the made size, on black: a stretched body is not a body.
    from PIL import Image

    width, height = SIZE
    picture = Image.fromarray(pixels)
    scale = min(width / picture.width, height / picture.height)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    canvas = Image.new("RGB", SIZE)
    canvas.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    return np.asarray(canvas)


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

    def encode_clips(self, clips: Sequence[Clip]) -> Float32:
        """(N, D), from the file where the pixels of a clip were seen before."""
        return np.stack([self._vector(clip) for clip in clips])

    def _vector(self, clip: Clip) -> Float32:
        digest = hashlib.sha256(self._model.fingerprint.encode())
        digest.update(clip.times_s.tobytes())
        digest.update(clip.frames.tobytes())
        key = digest.hexdigest()[:24]
        if key not in self._kept:
            self._kept[key] = self._model.encode_clips([clip])[0].astype(np.float16)
            self.encoded += 1
        return self._kept[key].astype(np.float32)

    def save(self) -> None:
        """Keep what was encoded."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(self._file, **self._kept)
