"""Distance of each loader's vectors from those of its library, on tiny random weights.

Widths are 16 to 32 and weights are random, so that only the arithmetic is compared: pixels into the
tower, tokens, masks, pooling, projections. It does not measure the answers of trained weights.

    python benchmarks/loader_equality.py
"""

# pyright: basic
from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import library_forward as library
from tests import tiny_models, tiny_st
from tests.clips import clips_of, vectors_of
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.towers import quiet_libraries
from vlar.numeric import unit

SEES = {"frames": "frames", "order": "frames, ordered", "whole": "clips", "classes": "clips"}
TEXTS = tuple(text for text in library.TEXTS if text)


def hf_row(family: str, folder: Path) -> tuple[str, ...]:
    """One family of transformers: picture or clip, text, and reversed frames."""
    encoder: Any = load_encoder(f"hf:{folder}")
    model, kind = library.load_model(folder), tiny_models.KINDS[family]
    frames = tiny_models.frames()
    pixels = encoder.pixels_of(frames.reshape(-1, *frames.shape[2:]))
    pixels = pixels.unflatten(0, frames.shape[:2])
    rows = encoder.encode(clips_of(frames))
    backwards = vectors_of(encoder, frames[:, ::-1])
    moved = np.abs(np.stack([row.vector for row in rows]) - backwards).max()
    name = f"`{family}` (`{type(model).__name__}`)"
    if kind == "classes":
        scores = np.stack([row.features[0, : encoder.dim] for row in rows])
        return (
            name,
            SEES[kind],
            distance(scores, library.scores(model, pixels)),
            "-",
            f"{moved:.0e}",
        )
    shown = pixels if kind != "frames" else pixels.flatten(0, 1)
    tokens = library.token_inputs(folder, family, TEXTS, encoder.max_tokens)
    found = np.stack([row.vector for row in rows])
    if kind == "frames":
        found = unit(np.concatenate([row.features for row in rows]))
    image = distance(found, library.image_vectors(model, family, shown, tokens))
    text = distance(encoder.encode_text(TEXTS), library.text_vectors(model, family, shown, tokens))
    return name, SEES[kind], image, text, f"{moved:.0e}"


def st_row(kind: str, folder: Path) -> tuple[str, ...]:
    """One kind of sentence-transformers model."""
    import torch
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    encoder: Any = load_encoder(f"st:{folder}")
    model = SentenceTransformer(str(folder), device="cpu")
    name = f"`st:` {tiny_st.MAKERS[kind].__doc__}".rstrip(".")
    text = distance(encoder.encode_text(TEXTS), unit(model.encode(list(TEXTS))))
    if encoder.sees == "text":
        return name, "texts alone", "-", text, "-"
    frames = tiny_models.frames(1)
    (row,) = encoder.encode(clips_of(frames))
    moved = np.abs(row.vector - vectors_of(encoder, frames[:, ::-1])).max()
    if encoder.sees == "image":
        expected = model.encode([Image.fromarray(frame) for frame in frames[0]])
        image = distance(row.features, expected)
        return name, "frames", image, text, f"{moved:.0e}"
    metadata = {"fps": 10.0, "frames_indices": [0, 1, 2, 3], "total_num_frames": 4}
    clip = {"array": torch.from_numpy(frames[0]).permute(0, 3, 1, 2), "video_metadata": metadata}
    expected = model.encode([clip], processing_kwargs={"video": {"do_sample_frames": False}})
    return name, "clips", distance(row.vector, unit(expected)[0]), text, f"{moved:.0e}"


def distance(a: np.ndarray, b: np.ndarray) -> str:
    """The largest difference of two arrays of one shape."""
    assert a.shape == b.shape
    return f"{np.abs(a - b).max():.0e}"


def main() -> None:
    """Print the table of docs/encoders.md."""
    print("| model | sees | picture or clip | text | frames reversed |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for family in tiny_models.KINDS:
            with quiet_libraries():
                row = hf_row(family, tiny_models.save(family, Path(place) / family))
            print(f"| {' | '.join(row)} |", flush=True)
        for kind in tiny_st.MAKERS:
            with quiet_libraries():
                row = st_row(kind, tiny_st.save(kind, Path(place) / f"st-{kind}"))
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
