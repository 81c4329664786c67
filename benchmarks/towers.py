"""Cost of every image tower on a CPU, in one interleaved run: the same base for all rows.

    python benchmarks/towers.py [--rounds 3] [--frames 8] [--arch ViT-B-16-quickgelu]

Random weights, 1 thread, process CPU time, medians of rounds in which every tower has its turn. The
base is open_clip's own forward, frame by frame in one batch (eager). The last column compares with
vlar's float32 tower, which the adapters and the precisions run on. The cosine is the least one of
a frame's features to those of float32, of random weights: it proves the arithmetic, not what a
trained model keeps.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tc_clip import Arm, clips_of, interleaved

from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.methods.ez_clip.adapter import EzClip
from vlar.methods.froster.adapter import Froster
from vlar.methods.full_finetune.adapter import Tuned
from vlar.methods.lora.adapter import Lora
from vlar.methods.tc_clip.adapter import TcClip
from vlar.numeric import unit

BASE, OWN = "open_clip, eager", "vlar openclip, float32"
METHODS = ("TC-CLIP", "EZ-CLIP", "FROSTER", "LoRA, merged")
PRECISIONS = {"vlar openclip, bf16": "bf16", "vlar openclip, int8": "int8"}


def loaded(arch: str, dtype: str | None = None) -> TorchEncoder:
    encoder = load_encoder(f"openclip:{arch}?random_init=true", device="cpu", dtype=dtype)
    assert isinstance(encoder, TorchEncoder)
    return encoder


def towers(arch: str, n_frames: int, seed: int = 0) -> tuple[dict[str, Arm], dict[str, float]]:
    """The arms by name, and the least cosine of each precision to float32."""
    torch.manual_seed(seed)
    encoder = loaded(arch)
    pixels = encoder.towers.pixels
    shape = (1, n_frames, pixels.height, pixels.width, 3)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8).numpy()
    clips = clips_of(frames)
    video = next(iter(encoder.pixel_batches(clips)))
    ez_clip = EzClip.attach(encoder, {"n_frames": n_frames})
    tc_clip = TcClip.attach(encoder, {"max_tokens": 30})
    froster = Froster.attach(encoder)
    lora = Lora.attach(encoder, {"towers": "both"})
    assert isinstance(froster.student, Tuned)
    student = froster.student.network
    arms: dict[str, Arm] = {
        BASE: lambda _: encoder.towers.model.encode_image(video[0]),
        OWN: lambda _: encoder.towers.image(video[0]),
        "TC-CLIP": lambda _: tc_clip.network.encode(video),
        "EZ-CLIP": lambda _: ez_clip.network.frames(video),
        "FROSTER": lambda _: student.frames(video),
        "LoRA, merged": lambda _: lora.encode(clips),
    }
    cosines: dict[str, float] = {}
    exact = unit(encoder.towers.image(video[0]).numpy())
    for name, dtype in PRECISIONS.items():
        rough = loaded(arch, dtype)
        given = video[0].to(rough.towers.dtype)
        arms[name] = lambda _, rough=rough, given=given: rough.towers.image(given)
        found = unit(rough.towers.image(given).float().numpy())
        cosines[name] = float(np.sum(exact * found, axis=1).min())
    return arms, cosines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--arch", default="ViT-B-16-quickgelu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        arms, cosines = towers(options.arch, options.frames)
        rows = interleaved(arms, options.rounds)
    print(f"{options.arch}, one video of {options.frames} frames, {options.rounds} rounds")
    print(f"{'':26}{'CPU ms':>9}{'/ open_clip':>13}{'/ vlar fp32':>13}{'least cosine':>14}")
    for name, (cpu, _) in rows.items():
        ratios = cpu / rows[BASE][0], cpu / rows[OWN][0]
        near = f"{cosines[name]:14.5f}" if name in cosines else ""
        print(f"{name:26}{cpu:9.0f}{ratios[0]:13.3f}{ratios[1]:13.3f}{near}")


if __name__ == "__main__":
    main()
