"""Effect of bf16 and int8: features, answers and time, on real clips.

    python benchmarks/precision.py [--model openclip:ViT-B-16/openai] [--clips 40] [--labels BANK]

Each clip is read once, and every precision encodes the same frames, turn by turn. A label is one
text, ``a video of LABEL``: a set of templates would cost many times the clips. ``centred`` is
the cosine after the mean of all clips is taken off, which is the stricter one: features of CLIP
have a large part in common. ``changed`` counts the clips whose best label is another one than in
float32, and ``margin`` is how far apart the two best labels of these clips were in float32.

Without weights of its own the model is random. Then the cosines prove that the arithmetic is right,
and the labels prove nothing: random features put all labels within rounding of each other, so that
they change more often than those of a trained model.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from vlar.encoders.base import load_encoder
from vlar.errors import VlarError
from vlar.language.bank import load_bank
from vlar.media.video.decode import read_clip
from vlar.media.video.files import find_videos
from vlar.numeric import unit

RANDOM = "openclip:ViT-B-32?random_init=true"
DTYPES = ("float32", "bf16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=RANDOM)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--labels", default="ucf101", help="a bank")
    shared = Path(__file__).parents[2] / "shared" / "videos"
    parser.add_argument("--videos", type=Path, default=shared)
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoders = {name: load_encoder(options.model, "cpu", name) for name in DTYPES}
    found = find_videos([options.videos])
    vectors: dict[str, list[np.ndarray]] = {name: [] for name in DTYPES}
    spent = dict.fromkeys(DTYPES, 0.0)
    for path in found[:: max(1, len(found) // options.clips)][: options.clips]:
        try:
            clip = read_clip(path, None, 8, shorter_side=448)
        except VlarError:
            continue
        for name, encoder in encoders.items():
            begin = time.process_time()
            vectors[name].append(encoder.encode([clip])[0].vector)
            spent[name] += time.process_time() - begin
    texts = [f"a video of {label}" for label in load_bank(options.labels).texts]
    rows = {name: np.stack(vectors[name]) for name in DTYPES}
    words = {name: encoders[name].encode_text(texts) for name in ("float32", "bf16")}
    words["int8"] = words["float32"]  # its text tower is that of float32
    scores = {name: rows[name] @ words[name].T for name in DTYPES}
    mean = rows["float32"].mean(axis=0)
    exact, best = unit(rows["float32"] - mean), scores["float32"].argmax(axis=1)
    print(f"{options.model}, {len(exact)} clips, {len(texts)} labels")
    print(f"{'':10}{'CPU':>7}{'least cosine':>14}{'centred':>9}{'changed':>9}{'margin':>9}")
    for name in DTYPES:
        cosine = (rows["float32"] * rows[name]).sum(axis=1).min()
        centred = (exact * unit(rows[name] - mean)).sum(axis=1).min()
        changed = scores[name].argmax(axis=1) != best
        top = np.sort(scores["float32"][changed], axis=1)[:, -2:]
        margin = f"{(top[:, 1] - top[:, 0]).max():9.5f}" if changed.any() else ""
        ratio = spent[name] / spent["float32"]
        print(f"{name:10}{ratio:7.2f}{cosine:14.5f}{centred:9.4f}{changed.sum():9d}{margin}")


if __name__ == "__main__":
    main()
