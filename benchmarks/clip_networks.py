"""CPU time of encoders of whole clips against their library's own forward on the same tensor.

    python benchmarks/clip_networks.py [--rounds 5] [--networks NAME ...]

One thread, process CPU time, medians of rounds in which both have their turn; one clip from pixels
to the pooled vector. Weights are random, as the time does not depend on them: networks of
torchvision in full, of VideoMAE a ViT of width 192 and 6 layers, 16 frames of 224 pixels.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from tc_clip import interleaved

from vlar.encoders.base import load_encoder

BAR = 1.05
NETWORKS = ("r3d_18", "r2plus1d_18", "mc3_18", "videomae")


def made(network: str, folder: Path) -> tuple[Any, Any]:
    """An encoder, and the forward of its library on pixels (1, T, 3, H, W)."""
    if network != "videomae":
        encoder: Any = load_encoder(f"torchvision:{network}?random_init=true")
        model = encoder.towers.model
        return encoder, lambda pixels: model(pixels.transpose(1, 2))
    from transformers import VideoMAEConfig, VideoMAEImageProcessor, VideoMAEModel

    config = VideoMAEConfig(
        hidden_size=192, num_hidden_layers=6, num_attention_heads=3, intermediate_size=768
    )
    VideoMAEModel(config).save_pretrained(folder)
    VideoMAEImageProcessor().save_pretrained(folder)
    encoder, own = load_encoder(f"videomae:{folder}"), VideoMAEModel.from_pretrained(folder).eval()
    return encoder, lambda pixels: own(pixel_values=pixels).last_hidden_state


def main(networks: list[str], rounds: int) -> None:
    torch.set_num_threads(1)
    for network in networks:
        with tempfile.TemporaryDirectory() as folder:
            encoder, own = made(network, Path(folder))
            size = encoder.preprocess
            pixels = torch.randn(1, encoder.n_frames, 3, size.height, size.width)
            with torch.inference_mode():
                times = interleaved(
                    {
                        "own": lambda _, own=own, pixels=pixels: own(pixels),
                        "vlar": lambda _, encoder=encoder, pixels=pixels: encoder.pool(
                            encoder.towers.image(pixels).numpy()
                        ),
                    },
                    rounds,
                )
        ours, theirs = times["vlar"][0], times["own"][0]
        told = "kept" if ours / theirs <= BAR else "missed"
        print(
            f"{network}: {ours:.0f} ms CPU, its library {theirs:.0f} ms, {ours / theirs:.3f}; "
            f"bar {BAR}: {told}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    given = parser.parse_args()
    main(given.networks, given.rounds)
