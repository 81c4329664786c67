"""Distance of the vectors of ``lite`` from those of networks that are computed elsewhere.

``--device openvino`` compares an execution provider that is installed with the CPU; without it the
outputs of every network get noise of a relative size, as another kernel would give them.

    python benchmarks/providers.py --json benchmarks/results/providers.json [--device openvino]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from all import SHARED

from vlar.encoders.base import load_encoder
from vlar.media.video.decode import read_clip
from vlar.pose.onnx import CachedNetwork

NOISE = (1e-7, 1e-6, 1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--device", help="an execution provider instead of noise")
    parser.add_argument("--commit", default="", help="commit that has this script")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    encoder = load_encoder("lite")
    paths = sorted(SHARED.rglob("*.mp4"))[::12][: options.clips]
    clips = [read_clip(path, None, encoder.sampling) for path in paths]
    begin = time.process_time()
    rows = [encoder.encode([clip])[0] for clip in clips]
    cpu_s = time.process_time() - begin
    plain = CachedNetwork.run
    report: dict[str, Any] = {}
    if options.device:
        other = load_encoder("lite", device=options.device)
        begin = time.process_time()
        moved = [other.encode([clip])[0] for clip in clips]
        report[options.device] = compared(rows, moved, encoder.frame_blocks)
        report[options.device]["cpu_time"] = round((time.process_time() - begin) / cpu_s, 2)
    for size in () if options.device else NOISE:
        rng = np.random.default_rng(0)

        def noisy(self: Any, outputs: Any, feeds: Any, s: float = size, r: Any = rng) -> list[Any]:
            arrays = plain(self, outputs, feeds)
            return [x * (1 + s * r.standard_normal(x.shape).astype(np.float32)) for x in arrays]

        CachedNetwork.run = noisy
        moved = [encoder.encode([clip])[0] for clip in clips]
        CachedNetwork.run = plain
        report[f"noise {size:g}"] = compared(rows, moved, encoder.frame_blocks)
    print(json.dumps(report, indent=1))
    if options.json:
        stored = json.loads(options.json.read_text("utf-8")) if options.json.exists() else {}
        stored |= {
            "question": "Distance of vectors of lite from those of networks computed elsewhere.",
            "command": f"python benchmarks/providers.py --clips {options.clips}",
            "commit": options.commit or stored["commit"],
            "figures": "docs/encoders.md",
        }
        stored["rows"] = stored.get("rows", {}) | report
        options.json.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")


def compared(rows: list[Any], moved: list[Any], blocks: Any) -> dict[str, Any]:
    """Cosines of whole vectors, and the largest difference in each block of frame features."""
    cosines = sorted(float(a.vector @ b.vector) for a, b in zip(rows, moved, strict=True))
    ends = np.cumsum([block.width for block in blocks])[:-1]
    apart = np.concatenate([abs(a.features - b.features) for a, b in zip(rows, moved, strict=True)])
    largest = [float(f"{part.max():.2g}") for part in np.split(apart, ends, axis=1)]
    return {
        "clips": len(cosines),
        "least_cosine": round(cosines[0], 4),
        "median_cosine": round(float(np.median(cosines)), 4),
        "equal_to_1e-4": sum(cosine > 1 - 1e-4 for cosine in cosines),
        "largest_difference": {b.name: x for b, x in zip(blocks, largest, strict=True)},
    }


if __name__ == "__main__":
    main()
