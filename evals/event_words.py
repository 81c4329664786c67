"""Do words tell busy parts of recordings of an event camera from quiet ones?

    python evals/event_words.py --data ../shared/modalities

Each recording is cut into six parts of time; its busiest and its quietest part are ranked by
"shaking quickly" against "still". The control shuffles which part is which. Nothing is learned.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from harness import arguments

from vlar.encoders.base import load_encoder
from vlar.media.readers.events import EventReader
from vlar.types import Sampling, Window

SETS = ("n_mnist", "dvs_objects", "dvs_gesture")
PARTS = 6


def area(scores: np.ndarray, busy: np.ndarray) -> float:
    """Area under ROC."""
    a, b = scores[busy][:, None], scores[~busy][None]
    return float(((a > b) + 0.5 * (a == b)).mean())


def main(data: Path) -> None:
    encoder, reader, every = load_encoder("events"), EventReader(), Sampling(1, all_samples=True)
    quick, still = encoder.encode_text(["shaking quickly", "still"])
    for name in SETS:
        rows: list[list[float]] = []
        for path in sorted((data / name).iterdir()):
            edges = np.linspace(0, reader.probe(path).duration_s, PARTS + 1)
            parts = [
                reader.read_clip(path, Window(float(a), float(b)), every)
                for a, b in pairwise(edges)
            ]
            parts.sort(key=lambda part: len(part.data))
            vectors = [row.vector for row in encoder.encode([parts[-1], parts[0]])]
            rows.append([float(vector @ (quick - still)) for vector in vectors])
        scores = np.array(rows)
        busy = np.tile([True, False], len(scores))
        shuffled = np.random.default_rng(0).permutation(busy)
        right = (scores[:, 0] > scores[:, 1]).mean()
        print(
            f"{name}: {len(scores)} recordings, busier part first {right:.1%}, "
            f"area {area(scores.ravel(), busy):.3f}, shuffled {area(scores.ravel(), shuffled):.3f}"
        )


if __name__ == "__main__":
    main(arguments(__doc__, "data").data)
