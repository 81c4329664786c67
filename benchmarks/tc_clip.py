"""Cost of TC-CLIP on a CPU, against plain open_clip and against the paper read literally.

    python benchmarks/tc_clip.py [--rounds 5] [--classes 101] [--frames 8]
        [--part vision|text|classify|memory]

Random ViT-B/16, 8 frames of 224 px, 1 thread. Times are medians of interleaved rounds; process CPU
time is what compares on a shared machine. Memory is the peak of a fresh process, one arm each.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import tc_clip_plain as plain

from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.methods.tc_clip.adapter import TcClip
from vlar.types import Clip, Window

Arm = Callable[[int], object]
_N_FRAMES = 8


def clips_of(frames: np.ndarray) -> list[Clip]:
    """(N, T, H, W, 3) uint8 as N clips of a second."""
    times_s = np.arange(frames.shape[1]) / frames.shape[1]
    return [Clip(Path("clip"), Window(0.0, 1.0), "video", each, times_s) for each in frames]


def build() -> tuple[TorchEncoder, TcClip]:
    encoder = load_encoder("openclip:ViT-B-16-quickgelu?random_init=true")
    assert isinstance(encoder, TorchEncoder)
    adapter = TcClip.attach(encoder, {"max_tokens": 30})
    return encoder, adapter


def labels(count: int) -> list[str]:
    verbs = ["opening", "closing", "holding", "throwing", "washing", "cutting", "lifting"]
    things = ["door", "bottle", "ball", "plate", "apple", "book", "rope", "chair", "phone", "shoe"]
    things += ["lamp", "bag", "drum", "kite", "tyre"]
    names = [f"{verb} the {thing}" for verb in verbs for thing in things]
    return [names[i % len(names)] + ("" if i < len(names) else f" {i}") for i in range(count)]


def interleaved(arms: dict[str, Arm], rounds: int) -> dict[str, tuple[float, float]]:
    """Median CPU and wall milliseconds of each arm, after one untimed round."""
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    wall: dict[str, list[float]] = {name: [] for name in arms}
    for i in range(-1, rounds):
        for name, run in arms.items():
            start = time.process_time(), time.perf_counter()
            run(i)
            if i >= 0:
                cpu[name].append(1e3 * (time.process_time() - start[0]))
                wall[name].append(1e3 * (time.perf_counter() - start[1]))
    return {n: (statistics.median(cpu[n]), statistics.median(wall[n])) for n in arms}


def table(title: str, rows: dict[str, tuple[float, float]], base: str) -> None:
    print(f"\n{title}\n{'':44}{'CPU ms':>9}{'ratio':>8}{'wall ms':>9}{'ratio':>8}")
    for name, (cpu, wall) in rows.items():
        ratios = cpu / rows[base][0], wall / rows[base][1]
        print(f"{name:44}{cpu:9.1f}{ratios[0]:8.4f}{wall:9.1f}{ratios[1]:8.4f}")


def vision(rounds: int, n_frames: int) -> None:
    encoder, adapter = build()
    clip = encoder.towers.model
    video = torch.randn(1, n_frames, 3, 224, 224)
    network = adapter.network
    with torch.inference_mode():
        arms: dict[str, Arm] = {
            "open_clip, frame by frame (eager)": lambda _: clip.encode_image(video[0]),
            "the paper read literally": lambda _: plain.encode_videos(
                clip, network.parts, network.config, video
            ),
            "vlar TC-CLIP with context tokens": lambda _: network.encode(video),
            "vlar TC-CLIP without them (an index)": lambda _: network.encode(video, context=False),
            "vlar openclip encoder": lambda _: encoder.towers.image(video[0]),
        }
        rows = interleaved(arms, rounds)
    table(f"Image tower, one video of {n_frames} frames", rows, "open_clip, frame by frame (eager)")


def text(rounds: int, n_classes: int) -> None:
    encoder, adapter = build()
    clip = encoder.towers.model
    names = labels(n_classes)
    ids = adapter.token_ids(names)[:, :30]
    contexts = [torch.randn(1, 96, 512) * 0.1 for _ in range(rounds + 1)]
    stored = [context.numpy() for context in contexts]
    parts = adapter.network.parts
    level = parts.levels()[0]

    def first(_: int) -> None:
        adapter.refresh()
        adapter.conditioned_text(names, stored[0])

    with torch.inference_mode():
        arms: dict[str, Arm] = {
            "the whole tower for each video (literal)": lambda i: plain.encode_classes(
                clip, parts, ids, {level: contexts[i][0]}
            ),
            "vlar, first video of a class set": first,
            "vlar, every further video": lambda i: adapter.conditioned_text(names, stored[i]),
        }
        rows = interleaved(arms, rounds)
    base = "the whole tower for each video (literal)"
    table(f"Text tower, {n_classes} classes, per video", rows, base)
    print(f"literal / further = {rows[base][0] / rows['vlar, every further video'][0]:.0f} x CPU")


def classify(rounds: int, n_classes: int) -> None:
    encoder, adapter = build()
    clip = encoder.towers.model
    names = labels(n_classes)
    ids = adapter.token_ids(names)[:, :30]
    random = np.random.default_rng(0)
    clips = [
        random.integers(0, 256, (1, _N_FRAMES, 256, 340, 3), dtype=np.uint8)
        for _ in range(rounds + 1)
    ]
    network = adapter.network

    def literal(i: int) -> None:
        pixels = next(iter(encoder.pixel_batches(clips_of(clips[i]))))
        plain.logits(clip, network.parts, network.config, pixels, ids).softmax(dim=-1)

    def ours(i: int) -> None:
        (seen,) = adapter.encode(clips_of(clips[i]))
        assert seen.context is not None
        words = adapter.conditioned_text(names, seen.context[None])
        similarity = np.einsum("ne,nce->nc", seen.vector[None], words)
        torch.from_numpy(similarity * adapter.logit_scale).softmax(dim=-1)

    with torch.inference_mode():
        rows = interleaved({"the paper read literally": literal, "vlar": ours}, rounds)
    title = f"Classify, {n_classes} classes, per video (frames to probabilities)"
    table(title, rows, "the paper read literally")
    print(f"literal / vlar = {rows['the paper read literally'][0] / rows['vlar'][0]:.2f} x CPU")


def memory() -> None:
    print(
        "\nPeak resident memory of a fresh process, MiB (1, then 4 videos of 8 frames in a batch)"
    )
    for batch in (1, 4):
        peaks = {
            arm: int(
                subprocess.run(
                    [sys.executable, __file__, "--memory-arm", arm, "--batch", str(batch)],
                    check=True, capture_output=True, text=True,
                ).stdout
            )
            for arm in ("open_clip", "vlar")
        }  # fmt: skip
        ratio = peaks["vlar"] / peaks["open_clip"]
        print(f"batch {batch}: open_clip {peaks['open_clip']}, vlar TC-CLIP {peaks['vlar']}, "
              f"ratio {ratio:.3f}")  # fmt: skip


def memory_arm(arm: str, batch: int) -> None:
    encoder, adapter = build()
    videos = torch.randn(batch, _N_FRAMES, 3, 224, 224)
    with torch.inference_mode():
        if arm == "vlar":
            adapter.network.encode(videos)
        else:
            encoder.towers.model.encode_image(videos.flatten(0, 1))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=_N_FRAMES)
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--part", choices=["vision", "text", "classify", "memory"])
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
        "classify": lambda: classify(options.rounds, options.classes),
        "memory": memory,
    }
    for name, run in parts.items():
        if options.part in (None, name):
            run()


if __name__ == "__main__":
    main()
