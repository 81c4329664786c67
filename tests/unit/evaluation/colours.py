"""An encoder that recognises colours and directions, and data sets in which they are the labels.

It answers "a red square that moves left" rightly, and depends on the order of frames for "left" and
"right" alone: what a protocol must find is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests import videos
from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess
from vlar.model.model import Model
from vlar.numeric import unit
from vlar.types import Clip, Encoded

COLOURS = {
    "red": (200, 30, 30), "green": (30, 190, 40), "blue": (40, 50, 210), "yellow": (210, 200, 40),
}  # fmt: skip
WAYS = ("left", "right")
WORDS = (*COLOURS, *WAYS)
SIZE = (48, 32)
T = 8


class ColourEncoder(Encoder):
    """One number a colour and a way; texts name them."""

    name = "colours"
    dim, frame_dim, n_frames = len(WORDS) + 2, len(WORDS) + 2, T
    logit_scale, max_tokens = 20.0, 77
    preprocess = Preprocess(32, 32, (0.5,) * 3, (0.5,) * 3)
    frame_blocks = (FrameBlock("all", dim, "appearance"),)
    blocks = (Block("joint", dim, 1.0, True),)
    fingerprint = "colours-1"
    encoded = 0

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        self.encoded += len(clips)
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Clip) -> Encoded:
        frames = clip.data.astype(np.float32)
        palette = np.array(list(COLOURS.values()), np.float32)
        far = np.linalg.norm(frames[:, :, :, None] - palette, axis=-1)  # (T, H, W, colours)
        near = (far < 90) & (far == far.min(axis=-1, keepdims=True))
        share = near.mean(axis=(1, 2))
        bright = frames.max(axis=-1) - frames.min(axis=-1) > 60
        columns = np.arange(frames.shape[2])
        centre = np.array([columns[row.any(axis=0)].mean() if row.any() else -1 for row in bright])
        step = np.diff(centre, append=centre[-1])
        way = np.stack([step < -0.5, step > 0.5], axis=1).astype(np.float32)
        row = np.concatenate([np.minimum(share * 12, 1), way, np.full((len(frames), 2), 0.05)], 1)
        features = row.astype(np.float32)
        return Encoded(features, self.pool(features[None])[0])

    def pool(self, features: Any) -> Any:
        return unit(features.mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str]) -> Any:
        rows = np.full((len(texts), self.dim), 0.02, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for number, word in enumerate(WORDS):
                row[number] += word in text.lower().split()
        return unit(rows)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def model() -> Model:
    return Model(ColourEncoder())


def make_clip(path: Path, label: str, seed: int = 0, n_frames: int = T) -> Path:
    """A square in the label's colour that goes the label's way, right where it has none."""
    colour = next((c for c in COLOURS if c in label.split()), "red")
    left = "left" in label.split()
    random = np.random.default_rng(seed)
    top, grey = int(random.integers(0, 12)), int(random.integers(90, 140))

    def picture(number: int) -> np.ndarray:
        frame = np.full((SIZE[1], SIZE[0], 3), grey, np.uint8)
        at = 4 * number
        x = SIZE[0] - 16 - at if left else at
        frame[top : top + 14, x : x + 14] = COLOURS[colour]
        return frame

    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"qscale": "2"}
    return videos.make_video(
        path, n_frames, fps=8, size=SIZE, codec="mpeg4", options=options, picture=picture
    )


def folder(root: Path, labels: Sequence[str], n: int = 3) -> Path:
    """``train`` and ``test`` with n clips a label each."""
    for subset in ("train", "test"):
        for at, label in enumerate(labels):
            for number in range(n):
                seed = 700 * (subset == "test") + 30 * at + number
                make_clip(root / subset / label / f"{subset}{at}_{number}.mp4", label, seed)
    return root


def pairs(root: Path) -> Path:
    """Clips with a verb (the way) and an object (the colour); (right, blue) is in test alone."""
    lines = ["path,label,verb,object,split"]
    every = [(way, colour) for way in WAYS for colour in ("red", "blue", "green")]
    for at, (way, colour) in enumerate(every):
        for subset in ("train", "test"):
            if subset == "train" and (way, colour) == ("right", "blue"):
                continue
            for number in range(2):
                name, label = f"{subset}{at}_{number}.mp4", f"{colour} {way}"
                make_clip(root / name, label, 300 * (subset == "test") + 20 * at + number)
                lines.append(f"{name},{label},{way},{colour},{subset}")
    (root / "clips.csv").write_text("\n".join(lines))
    return root


def long(root: Path) -> Path:
    """Three recordings of 6 s: red for 2 s, blue for 2 s, green for 2 s, in another order each."""
    lines = ["path,label,start_s,end_s"]
    for number, order in enumerate((("red", "blue", "green"), ("blue", "green", "red"),
                                    ("green", "red", "blue"))):  # fmt: skip
        name = f"long{number}.mp4"

        def picture(frame: int, order: Sequence[str] = order) -> np.ndarray:
            drawn = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
            drawn[8:22, 10:24] = COLOURS[order[frame // 16]]
            return drawn

        root.mkdir(parents=True, exist_ok=True)
        options = {"qscale": "2"}
        videos.make_video(
            root / name, 48, fps=8, size=SIZE, codec="mpeg4", options=options, picture=picture
        )
        lines += [f"{name},{colour},{2 * at},{2 * at + 2}" for at, colour in enumerate(order)]
    (root / "clips.csv").write_text("\n".join(lines))
    return root


def sliced(root: Path, clips: Path) -> Path:
    """A table of the test clips of ``folder``: in the dark each has the label of another one."""
    rows = ["path,label,light,note"]
    files = sorted((clips / "test").glob("*/*.mp4"))
    labels = sorted({file.parent.name for file in files})
    for number, file in enumerate(files):
        light = ("bright", "dark")[number % 2]
        at = labels.index(file.parent.name) + (light == "dark")
        rows.append(f"{file},{labels[at % len(labels)]},{light},{number}")
    root.mkdir(parents=True)
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    return root


def people(root: Path, clips: Path) -> Path:
    """A table of all clips of ``folder`` with two clips a label: four people did each once."""
    rows = ["path,label,group,subject"]
    for file in sorted(clips.glob("*/*/*.mp4")):
        name = f"{file.stem[:4]}{file.stem[-1]}"
        rows.append(f"{file},{file.parent.name},{name},{name}")
    root.mkdir(parents=True)
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    return root
