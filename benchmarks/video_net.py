"""Cost of training a network by pixels in vlar, against the same network in a bare loop of torch.

    python benchmarks/video_net.py [--methods NAME ...] [--rounds 3] [--frames 8] [--size 64]
        [--width 16]

Process CPU time on one thread, medians of interleaved rounds of one epoch of 16 clips in batches of
8. The bare loop has the pixels in memory, without changes; vlar draws crops and mirror images for
every clip, so ``drawn`` is the bare loop with them. Networks start from random weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the usual name

sys.path.insert(0, str(Path(__file__).parent))
from tc_clip import Arm, interleaved

import vlar
from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.training.batches import Dataset
from vlar.training.data import RecordingLoader, clip_pixels, random_for
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.types import Clip

CLIPS, BATCH, LABELS = 16, 8, ["one", "two"]


class InMemory(RecordingLoader):
    """Clips that were read before."""

    def __init__(self, clips: list[Clip], encoder: Any) -> None:
        self.clips, self.encoder, self.failed = clips, encoder, {}
        self.paths = [clip.path for clip in clips]

    def read(self, rows: Any, numbers: Any, randoms: Any) -> list[Clip]:
        del numbers, randoms
        return [self.clips[row] for row in rows]


def arms(method: str, frames: int, size: int, width: int) -> dict[str, Arm]:
    """An epoch by vlar's loop, and the same steps without it."""
    encoder, random = load_encoder("lite-objects"), np.random.default_rng(0)
    data = random.integers(0, 256, (CLIPS, frames, size + 16, size + 16, 3), dtype=np.uint8)
    times_s = np.linspace(0, 1, frames)
    clips = [
        Clip(Path(str(row)), vlar.Window(0.0, 1.0), "video", each, times_s)
        for row, each in enumerate(data)
    ]
    y = [LABELS[row % 2] for row in range(CLIPS)]
    dataset = Dataset.single(LABELS, y, [str(row) for row in range(CLIPS)], [c.path for c in clips])
    numbers = load_recipe("video-net/adapt").replaced(epochs=1000, batch=BATCH)

    def made() -> Any:
        settings = {"size": size, "frames": frames, "width": width}
        found = registry.get("adapter", method).attach(encoder, settings)
        vector = np.zeros(encoder.dim, np.float32)
        found._seen = {(clip.path, clip.window): (vector, None) for clip in clips}
        return found

    ours = made()
    training = Training(ours, InMemory(clips, ours), dataset, numbers)
    bare = made()
    words = bare.training_classes(LABELS)
    parameters = [p for _, p in bare.trainable()]
    optimiser = torch.optim.AdamW(numbers.groups(bare.trainable(), 2e-3, 0.05))
    bare.network.train()
    fixed = torch.stack([clip_pixels(each, bare.watched.pixels, numbers, None) for each in data])
    target = torch.arange(CLIPS) % 2

    def step(pixels: torch.Tensor, rows: slice) -> None:
        optimiser.zero_grad()
        vectors = F.normalize(bare.network.residual(pixels.flatten(2)) + 1e-6, dim=-1)
        logits = bare.logit_scale * vectors @ bare.network.concepts(words).T
        F.cross_entropy(logits, target[rows], label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(parameters, numbers.clip_norm)
        optimiser.step()

    def plain(_: int) -> None:
        for rows in (slice(at, at + BATCH) for at in range(0, CLIPS, BATCH)):
            step(fixed[rows], rows)

    def drawn(turn: int) -> None:
        for rows in (slice(at, at + BATCH) for at in range(0, CLIPS, BATCH)):
            pixels = [
                clip_pixels(each, bare.watched.pixels, numbers, random_for(abs(turn), row))
                for row, each in enumerate(data[rows])
            ]
            step(torch.stack(pixels), rows)

    return {
        "bare loop": plain,
        "drawn": drawn,
        "vlar's loop": lambda _: training.advance(training.steps_per_epoch),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["r2plus1d", "i3d", "ada-fuse"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{given.frames} frames of {given.size} pixels, width 8; CPU ms an epoch of {CLIPS} clips"
    )
    print(f"{'':16}{'bare':>10}{'drawn':>10}{'vlar':>10}{'/ bare':>10}{'/ drawn':>10}")
    rows = []
    for method in given.methods:
        row = interleaved(arms(method, given.frames, given.size, given.width), given.rounds)
        bare, drawn, ours = (cpu for cpu, _ in row.values())
        found = bare, drawn, ours, ours / bare, ours / drawn
        print(f"{method:16}" + "".join(f"{number:10.2f}" for number in found), flush=True)
        names = ("bare ms", "drawn ms", "ms", "against bare", "against drawn")
        rows.append(
            {"method": method, **{n: round(x, 2) for n, x in zip(names, found, strict=True)}}
        )
    if given.json:
        given.json.write_text(json.dumps({"rounds": given.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
