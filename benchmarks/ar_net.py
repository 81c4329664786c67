"""CPU time of ``ar-net`` at a share of the operations, next to its encoder in full.

    python benchmarks/ar_net.py [--share 0.5] [--rounds 5] [--frames 12]

One thread, process CPU time of one clip of noise, 260 pixels high, the policy included; medians of
rounds in which both have their turn. The policy is not trained: what it chooses is set, frames of
the second size, and of the third until the operations are those asked (or a skip of every
second frame with ``--skip``).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tc_clip import interleaved

from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.types import Clip, Window

BAR = 0.7  # at half the operations


def main(share: float, rounds: int, frames: int, skip: bool) -> None:
    torch.set_num_threads(1)
    encoder = load_encoder("lite-objects")
    adapter = registry.get("adapter", "ar-net").attach(encoder)
    chosen, table = adapter.chosen, np.array(adapter.network.table)
    data = np.random.default_rng(0).integers(0, 256, (frames, 260, 346, 3), dtype=np.uint8)
    clip = Clip(Path("noise"), Window(0.0, 1.0), "video", data, np.linspace(0, 1, frames))
    wide = chosen.decisions(clip).shape[1]
    if skip:
        number = np.where(np.arange(frames) % 2, -1, 0)
    else:
        small = round((table[1] - share) / (table[1] - table[2]) * frames)
        number = np.where(np.arange(frames) < min(max(small, 0), frames), 2, 1)
    decisions = np.zeros((frames, wide), np.float32)
    decisions[number >= 0, number[number >= 0]] = 1

    def ours(_: int) -> None:
        chosen.decisions(clip)
        chosen.encoded(clip, decisions)

    times = interleaved({"full": lambda _: encoder.encode([clip]), "ours": ours}, rounds)
    counted = table[number[number >= 0]].sum() / frames
    ratio = times["ours"][0] / times["full"][0]
    print(
        f"{counted:.3f} of the operations: {times['ours'][0]:.0f} of {times['full'][0]:.0f} ms "
        f"CPU, {ratio:.3f}; bar {BAR} at .5: {'kept' if ratio <= BAR else 'missed'}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--skip", action="store_true")
    given = parser.parse_args()
    main(given.share, given.rounds, given.frames, given.skip)
