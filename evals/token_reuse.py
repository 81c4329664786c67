"""Do reused patches change the vector of a clip, and less than random ones do?

    python evals/token_reuse.py --data ../shared/clips/wave ../shared/clips/clap [--clips 2]

For each share of patches that are computed: the mean cosine of a clip's vector with that of the
full tower, over the clips of each folder, and its deviation. The control chooses as many patches at
random. Nothing is learned. Weights are random unless ``--model`` names some.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from harness import arguments

import vlar
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.methods.token_reuse.reuse import reused_features, turned

SHARES = (0.75, 0.5, 0.25, 0.1)
EVERY = 8


def main(model: str, folders: list[Path], most: int, frames: int) -> None:
    loaded = vlar.load(model)
    encoder = loaded.encoder
    assert isinstance(encoder, TorchEncoder)
    vision, draw = encoder.towers.vision_view(), torch.Generator().manual_seed(0)
    layer = len(vision.blocks) // 3

    def random(now: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.rand(now.shape[:2], generator=draw)

    rules = {"changed": turned, "random": random}
    found: dict[tuple[str, float], list[float]] = {}
    files = [file for folder in folders for file in sorted(folder.glob("*.*"))[:most]]
    for number, file in enumerate(files, 1):
        data = frames_of(file, frames)
        with torch.no_grad():
            pixels = encoder.pixels_of(data)[None]
            full = encoder.towers.image(pixels[0]).mean(dim=0)
            for share in SHARES:
                for name, rule in rules.items():
                    kept = int(np.ceil(share * vision.n_patches))
                    some = reused_features(vision, pixels, layer, kept, EVERY, change=rule)
                    cosine = torch.cosine_similarity(some[0].mean(dim=0), full, dim=0)
                    found.setdefault((name, share), []).append(float(cosine))
        print(f"{number} of {len(files)}: {file}", flush=True)
    for (name, share), cosines in found.items():
        miss = 1 - np.array(cosines)
        print(f"{name} {share:.0%}: 1 - cosine {miss.mean():.2e} ± {miss.std():.1e}", flush=True)


def frames_of(file: Path, count: int) -> np.ndarray:
    """(T, H, W, 3) frames of a whole recording."""
    from vlar.media.readers.video import VideoReader
    from vlar.types import Sampling

    return VideoReader().read_clip(file, None, Sampling(count)).data


if __name__ == "__main__":
    given = arguments(
        __doc__, "data+", model="openclip:ViT-B-16-quickgelu?random_init=true", clips=2, frames=16
    )
    main(given.model, given.data, given.clips, given.frames)
