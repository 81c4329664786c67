"""Cost of EZ-CLIP on a CPU, against plain open_clip and against the paper read literally.

    python benchmarks/ez_clip.py [--rounds 5] [--classes 101] [--frames 8]
        [--part vision|text|step|memory]

Random ViT-B/16, 8 frames of 224 px, 1 thread. Times are medians of interleaved rounds; process CPU
time is what compares on a shared machine. Memory is the peak of a fresh process, one arm each.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import ez_clip_plain as plain
from tc_clip import Arm, interleaved, labels, table

from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.methods.ez_clip.adapter import EzClip
from vlar.training.trainable import TrainingBatch

_N_FRAMES = 8
_EAGER = "open_clip, frame by frame (eager)"


def build(**settings: object) -> tuple[TorchEncoder, EzClip]:
    """Build adapters that are not at their start: zeros must not be cheaper."""
    encoder = load_encoder("openclip:ViT-B-16-quickgelu?random_init=true")
    assert isinstance(encoder, TorchEncoder)
    adapter = EzClip.attach(encoder, settings)
    for parameter in adapter.module.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return encoder, adapter


def vision(rounds: int, n_frames: int) -> None:
    encoder, adapter = build(n_frames=n_frames)
    _, bare = build(n_frames=n_frames, prompts="none")
    clip = encoder.towers.model
    video = torch.randn(1, n_frames, 3, 224, 224)
    with torch.inference_mode():
        arms: dict[str, Arm] = {
            _EAGER: lambda _: clip.encode_image(video[0]),
            "the paper read literally": lambda _: plain.encode_videos(
                clip, adapter.network.parts, video
            ),
            "vlar EZ-CLIP": lambda _: adapter.network.frames(video),
            "vlar EZ-CLIP, adapters only": lambda _: bare.network.frames(video),
            "vlar openclip encoder": lambda _: encoder.towers.image(video[0]),
        }
        rows = interleaved(arms, rounds)
    table(f"Image tower, one video of {n_frames} frames", rows, _EAGER)


def text(rounds: int, n_classes: int) -> None:
    encoder, adapter = build()
    names = labels(n_classes)
    ids = adapter.training_classes(names)[:, 0]

    def first(_: int) -> None:
        adapter.refresh()
        adapter.encode_text(names)

    literal = "the whole tower (literal)"
    with torch.inference_mode():
        arms: dict[str, Arm] = {
            literal: lambda _: plain.encode_texts(encoder.towers.model, adapter.network.parts, ids),
            "vlar, first use of a class set": first,
            "vlar, every further use": lambda _: adapter.encode_text(names),
        }
        rows = interleaved(arms, rounds)
    table(f"Text tower, {n_classes} classes", rows, literal)


def step(rounds: int, n_frames: int) -> None:
    """Forward and backward of 2 videos and their texts, all of the classes in the batch."""
    encoder, adapter = build(n_frames=n_frames)
    adapter.trainable()
    videos = torch.randn(2, n_frames, 3, 224, 224)
    classes = adapter.training_classes(labels(2))
    batch = TrainingBatch(videos, torch.eye(2))

    def literal(_: int) -> None:
        adapter.module.zero_grad()
        clip, parts = encoder.towers.model, adapter.network.parts
        plain.losses(clip, parts, videos, [0, 1], classes[:, 0])["total"].backward()

    def ours(_: int) -> None:
        adapter.module.zero_grad()
        adapter.training_step(batch, classes).losses["total"].backward()

    rows = interleaved({"the paper read literally": literal, "vlar": ours}, rounds)
    table(f"Training step, 2 videos of {n_frames} frames", rows, "the paper read literally")


def memory(n_frames: int) -> None:
    print(f"\nPeak resident memory of a fresh process, MiB (1, then 4 videos of {n_frames} frames)")
    for batch in (1, 4):
        peaks: dict[str, int] = {}
        for arm in ("open_clip", "vlar"):
            command = [sys.executable, __file__, "--memory-arm", arm, "--batch", str(batch)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks[arm] = int(done.stdout)
        ratio = peaks["vlar"] / peaks["open_clip"]
        print(f"batch {batch}: open_clip {peaks['open_clip']}, vlar EZ-CLIP {peaks['vlar']}, "
              f"ratio {ratio:.3f}")  # fmt: skip


def memory_arm(arm: str, batch: int) -> None:
    encoder, adapter = build()
    videos = torch.randn(batch, _N_FRAMES, 3, 224, 224)
    with torch.inference_mode():
        if arm == "vlar":
            adapter.network.frames(videos)
        else:
            encoder.towers.model.encode_image(videos.flatten(0, 1))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=_N_FRAMES)
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--part", choices=["vision", "text", "step", "memory"])
    parser.add_argument("--memory-arm", choices=["open_clip", "vlar"])
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_arm:
        memory_arm(options.memory_arm, options.batch)
        return
    parts = {
        "vision": lambda: vision(options.rounds, options.frames),
        "text": lambda: text(options.rounds, options.classes),
        "step": lambda: step(options.rounds, options.frames),
        "memory": lambda: memory(options.frames),
    }
    for name, run in parts.items():
        if options.part in (None, name):
            run()


if __name__ == "__main__":
    main()
