"""CPU time of a ViT that reuses patches, next to the full tower.

    python benchmarks/token_reuse.py [--frames 16] [--rounds 3] [--keep 0.25 0.5 0.75]
        [--json FILE]

One thread, process CPU time of one clip of noise, pixels included; medians of rounds in which every
form has its turn. Weights are random: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.types import Clip, Window

BAR = 0.65  # at keep = 0.25, 16 frames


def main(model: str, frames: int, rounds: int, keeps: list[float], file: Path | None) -> None:
    torch.set_num_threads(1)
    encoder = load_encoder(model)
    data = np.random.default_rng(0).integers(0, 256, (frames, 224, 224, 3), dtype=np.uint8)
    clip = Clip(Path("noise"), Window(0.0, 1.0), "video", data, np.linspace(0, 1, frames))
    attach = registry.get("adapter", "token-reuse").attach
    forms = {1.0: encoder, **{keep: attach(encoder, {"keep": keep}) for keep in keeps}}
    seconds: dict[float, list[float]] = {keep: [] for keep in forms}
    for number in range(rounds + 1):
        for keep, form in forms.items():
            begin = time.process_time()
            form.encode([clip])
            if number:
                seconds[keep].append(time.process_time() - begin)
    full, cost = median(seconds[1.0]), encoder.cost(data.shape)
    rows = []
    for keep, form in forms.items():
        share = median(seconds[keep]) / full
        counted = form.cost(data.shape) / cost
        print(
            f"keep {keep:g}: {1000 * median(seconds[keep]):.0f} ms CPU, {share:.3f} of the tower's "
            f"time, {counted:.3f} of its operations",
            flush=True,
        )
        rows.append({
            "keep": keep, "frames": frames, "cpu_s": round(median(seconds[keep]), 2),
            "time": round(share, 3), "operations": round(counted, 3),
        })  # fmt: skip
        if keep == 0.25 and frames == 16:
            print(f"bar {BAR}: {'kept' if share <= BAR else 'missed'}")
    if file:
        file.write_text(json.dumps({"rounds": rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="openclip:ViT-B-16-quickgelu?random_init=true")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.25])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    main(given.model, given.frames, given.rounds, given.keep, given.json)
