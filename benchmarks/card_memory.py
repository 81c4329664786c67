"""Memory that a model takes on a card in bf16, computed and not measured: for docs/choosing.md.

Weights are the parameters of the catalogue times two bytes. A batch of frames in a ViT holds,
where a block is fullest, the stream, its norm, and the hidden layer before and after its
activation: ``2 width + 2 hidden`` numbers a token. Attention is fused, so its matrix is never
whole. Half a gigabyte of CUDA itself, and the pixels, come on top.

    python benchmarks/card_memory.py --out benchmarks/results/card_memory.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from vlar.encoders.catalogue import entries

BYTES = 2
FRAMES = 256  # that vlar sends to a card at a time
#: Tokens of a frame, width, hidden width of a block, of the towers that read frames one by one.
TOWERS = {
    "clip": (197, 768, 3072),
    "clip-large": (257, 1024, 4096),
    "siglip2": (196, 768, 3072),
    "siglip2-large": (729, 1152, 4304),
    "pe-core": (197, 768, 3072),
    "pe-core-large": (577, 1024, 4096),
}
WHOLE = ("videoprism", "pe-av", "qwen3-vl-embedding", "qwen3-vl-embedding-8b")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="file for the figures")
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    for alias in (*TOWERS, *WHOLE):
        rows[alias] = {"weights_gb": round(entries()[alias].parameters_m * BYTES / 1e3, 1)}
        if alias in TOWERS:
            tokens, width, hidden = TOWERS[alias]
            batch = FRAMES * tokens * (2 * width + 2 * hidden) * BYTES
            rows[alias]["batch_gb"] = round(batch / 1e9, 1)
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    facts = {
        "question": "Memory of a model on a card in bf16: weights, and a batch of 256 frames.",
        "command": "python benchmarks/card_memory.py --out benchmarks/results/card_memory.json",
        "commit": commit,
        "figures": "docs/choosing.md",
        "measured": False,
        "models": rows,
    }
    text = json.dumps(facts, indent=1)
    print(text)
    if options.out:
        options.out.write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
