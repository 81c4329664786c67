"""Cost of FROSTER's student and LoRA on a CPU, against plain open_clip.

    python benchmarks/froster.py [--rounds 5] [--frames 8] [--part vision|parameters|lora]

Random ViT-B/16, 224 px, 1 thread. Times are medians of interleaved rounds; process CPU time is what
compares on a shared machine.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

sys.path.insert(0, str(Path(__file__).parent))
from tc_clip import Arm, clips_of, interleaved, table

from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.methods.froster.adapter import Froster
from vlar.methods.full_finetune.adapter import Tuned
from vlar.methods.full_finetune.blocks import TEMPORAL
from vlar.methods.lora.adapter import Lora

_EAGER = "open_clip, frame by frame (eager)"


def build() -> TorchEncoder:
    encoder = load_encoder("openclip:ViT-B-16-quickgelu?random_init=true")
    assert isinstance(encoder, TorchEncoder)
    return encoder


def literal(clip: Any, frames: Tensor, radius: int = 1) -> Tensor:
    """The formulas as they are written, on open_clip's modules: (T, 3, 224, 224) to (T, E)."""
    tower = clip.visual
    x = tower.conv1(frames).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.expand(len(x), 1, -1), x], dim=1)
    x = tower.ln_pre(x + tower.positional_embedding)
    for block in tower.transformer.resblocks:
        x = x + _attention(block.attn, block.ln_1(x), radius)
        x = x + block.mlp(block.ln_2(x))
    return tower.ln_post(x[:, 0]) @ tower.proj


def _attention(attention: Any, x: Tensor, radius: int) -> Tensor:
    parts = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    query, key, value = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in parts
    )
    keys, values = (
        torch.cat([_shifted(part, by) for by in range(-radius, radius + 1)], dim=2)
        for part in (key, value)
    )
    share = (query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(dim=-1)
    return attention.out_proj((share @ values).transpose(1, 2).flatten(2))


def _shifted(frames: Tensor, by: int) -> Tensor:
    """Each frame's neighbour; zero where there is none."""
    moved = torch.zeros_like(frames)
    for t in range(len(frames)):
        if 0 <= t + by < len(frames):
            moved[t] = frames[t + by]
    return moved


def vision(rounds: int, n_frames: int) -> None:
    encoder = build()
    clip: Any = encoder.towers.model
    video = torch.randn(1, n_frames, 3, 224, 224)
    students = {
        kind: Tuned.attach(encoder, {"temporal": kind, "tune_towers": False}).network
        for kind in TEMPORAL
    }
    with torch.inference_mode():
        arms: dict[str, Arm] = {
            _EAGER: lambda _: clip.encode_image(video[0]),
            "FROSTER's student read literally": lambda _: literal(clip, video[0]),
            "vlar openclip encoder": lambda _: encoder.towers.image(video[0]),
        }
        for kind, network in students.items():
            arms[f"vlar student, {kind}"] = lambda _, network=network: network.frames(video)
        rows = interleaved(arms, rounds)
    table(f"Image tower, one video of {n_frames} frames", rows, _EAGER)


def parameters() -> None:
    adapter = Froster.attach(build())
    trained = sum(p.numel() for _, p in adapter.trainable())
    student = sum(p.numel() for p in adapter.student.module.parameters())
    print(f"\nTrained: {trained:,} (student {student:,}, projectors {trained - student:,})")


def lora(rounds: int, n_frames: int) -> None:
    encoder = build()
    adapter = Lora.attach(encoder, {"towers": "both"})
    clip: Any = encoder.towers.model
    frames = torch.randint(0, 256, (1, n_frames, 224, 224, 3), dtype=torch.uint8).numpy()
    video = torch.randn(1, n_frames, 3, 224, 224)
    with torch.inference_mode():
        adapter.encode(clips_of(frames))  # merges
        arms: dict[str, Arm] = {
            _EAGER: lambda _: clip.encode_image(video[0]),
            "vlar openclip encoder, frames to features": lambda _: encoder.encode(clips_of(frames)),
            "the same with LoRA, merged": lambda _: adapter.encode(clips_of(frames)),
        }
        rows = interleaved(arms, rounds)
    table(
        f"LoRA, one video of {n_frames} frames", rows, "vlar openclip encoder, frames to features"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--part", choices=["vision", "parameters", "lora"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = {
        "vision": lambda: vision(options.rounds, options.frames),
        "parameters": parameters,
        "lora": lambda: lora(options.rounds, options.frames),
    }
    for name, run in parts.items():
        if options.part in (None, name):
            run()


if __name__ == "__main__":
    main()
