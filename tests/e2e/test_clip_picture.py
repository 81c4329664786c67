"""CLIP ViT-B/32 end to end on a known picture and three texts, where its weights are installed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vlar
from vlar.numeric import softmax, unit
from vlar.types import Clip, Window

SHARED = Path(os.environ.get("VLAR_SHARED", Path(__file__).parents[3] / "shared"))
GOLDEN = SHARED / "golden" / "numpyclip"
TEXTS = ["a diagram", "a dog", "a cat"]
PROBABILITY = [0.9928, 0.0042, 0.0030]


SPECS = ["openclip:ViT-B-32/openai", "hf:openai/clip-vit-base-patch32"]


@pytest.fixture(scope="module", params=SPECS)
def model(request) -> vlar.Model:
    if not GOLDEN.is_dir():
        pytest.skip("NumPyCLIP's picture is not on this machine (VLAR_SHARED)")
    try:
        return vlar.load(request.param)
    except vlar.VlarError as error:
        pytest.skip(f"the weights of {request.param} are not installed: {error.message}")


def test_a_picture_and_three_texts(model: vlar.Model):
    picture = np.asarray(Image.open(GOLDEN / "CLIP.png").convert("RGB"))
    clip = Clip(GOLDEN / "CLIP.png", Window(0, 1), "video", picture[None], np.zeros(1))
    (encoded,) = model.encode([clip])
    texts = model.encoder.encode_text(TEXTS)
    their_texts = unit(np.load(GOLDEN / "text_features.npy"))
    (their_picture,) = unit(np.load(GOLDEN / "image_features.npy"))
    assert np.abs(texts - their_texts).max() < 1e-3
    # Pictures are resized as integers, within 2 grey levels of PIL.
    assert float(encoded.vector @ their_picture) > 0.998
    (probability,) = softmax(100.0 * encoded.vector[None] @ texts.T)
    assert probability == pytest.approx(PROBABILITY, abs=0.01)
    assert model.classify(picture, TEXTS).predictions[0].label == "a diagram"
