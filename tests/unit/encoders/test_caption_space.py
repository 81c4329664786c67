"""Sentences with sentences: by hand, and through the model that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from vlar.encoders.base import load_encoder
from vlar.encoders.caption_space import CaptionedEncoder
from vlar.encoders.captions import Captioner, Captions
from vlar.errors import UnknownNameError, UsageError
from vlar.language.labels import parse_labels
from vlar.model.label_vectors import label_vectors
from vlar.model.model import Model
from vlar.numeric import unit
from vlar.types import Clip, Sampling, Window

# Three words span the space of this test.
WORDS = ("barbell", "dog", "snow")
SEEN = {"a": ("A man lifts a barbell.",), "b": ("A dog runs.", "There is snow."), "c": ()}


def embed(texts: Sequence[str]) -> np.ndarray:
    rows = [[text.lower().count(word) + 0.01 for word in WORDS] for text in texts]
    return unit(np.array(rows, np.float32).reshape(-1, 3))


class Fake(Captioner):
    name = fingerprint = licence = "fake"

    @classmethod
    def from_spec(cls, argument: str) -> Fake:
        return cls()

    @property
    def sampling(self) -> Sampling:
        return Sampling(2)

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        return [SEEN[clip.path.stem] for clip in clips]


def clip(name: str) -> Clip:
    return Clip(Path(f"{name}.mp4"), Window(0, 1), "video", np.zeros((2, 4, 4, 3), np.uint8),
                np.zeros(2))  # fmt: skip


@pytest.fixture
def encoder() -> CaptionedEncoder:
    return CaptionedEncoder(Fake(), embed, "fake", words=3, keep=2)


def test_a_clip_is_what_is_said_about_it(encoder: CaptionedEncoder):
    a, b, c = encoder.encode([clip("a"), clip("b"), clip("c")])
    np.testing.assert_allclose(a.vector, embed(["barbell"])[0], atol=1e-6)
    np.testing.assert_allclose(b.vector, embed(["dog snow"])[0], atol=1e-6)
    np.testing.assert_allclose(c.vector, embed(["a video"])[0], atol=1e-6)
    assert b.features.shape == (1, 3)
    assert encoder.captions([clip("b")]) == [SEEN["b"]]


def test_a_label_is_the_mean_of_its_best_sentences(encoder: CaptionedEncoder):
    told = ["too short", "a dog in the snow", "snow falls on snow", "a dog and a dog barbell"]
    kept = encoder.sentences("dog", told)
    assert kept == ["a dog and a dog barbell dog", "a dog in the snow dog"]
    (row,) = encoder.encode_described(["dog"], [told])
    np.testing.assert_allclose(row, unit(embed(kept).mean(axis=0)), atol=1e-6)
    (bare,) = encoder.encode_described(["snow"], [[]])
    np.testing.assert_allclose(bare, embed(["snow"])[0], atol=1e-6)


def test_captions_decide_and_captions_of_another_clip_do_not(encoder: CaptionedEncoder):
    text = encoder.encode_text(["lifting a barbell", "a dog in snow"])
    rows = np.stack([row.vector for row in encoder.encode([clip("a"), clip("b")])])
    assert (rows @ text.T).argmax(axis=1).tolist() == [0, 1]
    assert (rows[::-1] @ text.T).argmax(axis=1).tolist() == [1, 0]


def test_a_model_reads_descriptions_by_it(encoder: CaptionedEncoder, monkeypatch):
    monkeypatch.setattr("vlar.model.label_vectors.descriptions_of",
                        lambda *_: [{"sentence": ("a dog in snow",)}, {}])  # fmt: skip
    model = Model(encoder)
    vectors, background = label_vectors(model.words, parse_labels(["barbell", "snow"]))
    np.testing.assert_allclose(vectors[0], embed(["a dog in snow barbell"])[0], atol=1e-6)
    np.testing.assert_allclose(vectors[1], embed(["snow"])[0], atol=1e-6)
    assert background.shape[1] == 3
    names, _ = label_vectors(model.words, parse_labels(["barbell", "snow"]), "none")
    np.testing.assert_allclose(names[0], embed(["barbell"])[0], atol=1e-6)


def test_specs_that_cannot_be_used_are_named():
    for spec, error in [
        ("captioned:concept", UnknownNameError),
        ("captioned:concepts?word=3", UnknownNameError),
        ("captioned:concepts?words=0", UsageError),
        ("captioned:file:none.json", UsageError),
    ]:
        refused(error, "", load_encoder, spec)
