"""Frames to pixels on a CPU: the earlier expression and vlar's, next to decoding the same frames.

An encoder of 224 pixels on any device gets its frames from this, one thread a clip.

    python benchmarks/pixels.py --json benchmarks/results/pixels.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transform

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from decode import PLANS, cpu_ms, made

from vlar.encoders.clip.pixels import Pixels, to_pixels
from vlar.media.video.decode import read_clip

WANTED = Pixels(224, 224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
CPU = torch.device("cpu")


def earlier(frames: np.ndarray) -> torch.Tensor:
    """Resize on the device, with factor and offset made for each clip."""
    images = torch.from_numpy(frames).to(CPU).permute(0, 3, 1, 2)
    height, width = images.shape[-2:]
    size = [224, max(224, int(width * 224 / height))]
    kind = InterpolationMode.BICUBIC
    images = transform.resize(images, size, interpolation=kind, antialias=True)
    images = transform.center_crop(images, [224, 224])
    scale = torch.tensor([1 / (255 * s) for s in WANTED.std], device=CPU)
    shift = torch.tensor([-m / s for m, s in zip(WANTED.mean, WANTED.std, strict=True)])
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
    pixels.mul_(scale.view(3, 1, 1)).add_(shift.to(CPU).view(3, 1, 1))
    return pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--commit", default="", help="commit that has this script")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, float | bool]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, path in made(Path(folder), [t for t in PLANS if "h264" in t]).items():
            frames = read_clip(path, None, 8).data
            same = torch.equal(earlier(frames), to_pixels(frames, WANTED, CPU))
            spent: dict[str, list[float]] = {"earlier": [], "vlar": [], "decode": []}
            arms = {
                "earlier": partial(earlier, frames),
                "vlar": partial(to_pixels, frames, WANTED, CPU),
                "decode": partial(read_clip, path, None, 8),
            }
            for _ in range(options.rounds):
                for name, work in arms.items():
                    spent[name].append(cpu_ms(work)[0])
            ratio = median(a / b for a, b in zip(spent["vlar"], spent["earlier"], strict=True))
            rows[title] = {
                "equal": same,
                "ms_a_frame": round(median(spent["vlar"]) / 8, 3),
                "to_earlier": round(ratio, 3),
                "to_decoding": round(median(spent["vlar"]) / median(spent["decode"]), 3),
            }
    report = {
        "question": "CPU time of frames to pixels, to the earlier form and to decoding.",
        "command": f"python benchmarks/pixels.py --rounds {options.rounds}",
        "commit": options.commit,
        "figures": "docs/encoders.md",
        "rows": rows,
    }
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
