from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vlar.encoders.base import Encoder, cached_vectors
from vlar.model.core import concept_vectors
from vlar.numeric import unit


class Letters:
    """A text tower that counts letters; stands for an encoder where only its texts matter."""

    name, dim, max_tokens, fingerprint = "letters", 26, 40, "f" * 64
    two_roles, encode_in_role, runs_on = False, Encoder.encode_in_role, ""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode_text(self, texts: Sequence[str]):
        self.seen += texts
        counts = [[text.count(chr(97 + i)) for i in range(26)] for text in texts]
        return unit(np.array(counts, np.float32) + 0.01)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Any:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))
    return Letters()


def test_a_concept_is_the_unit_mean_of_its_prompts(encoder):
    templates = ("{}", "a video of {}")
    vectors = concept_vectors(encoder, ["rowing", "a jump"], templates)
    one = encoder.encode_text(["rowing", "a video of rowing"])
    assert vectors.shape == (2, 26)
    np.testing.assert_allclose(vectors[0], unit(one.mean(axis=0)), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_no_text_gives_no_rows(encoder):
    assert concept_vectors(encoder, [], ("{}",)).shape == (0, 26)


def test_long_lists_are_encoded_once(encoder):
    texts = [f"label {i}" for i in range(200)]
    first = concept_vectors(encoder, texts, ("{}",))
    count = len(encoder.seen)
    again = concept_vectors(encoder, texts, ("{}",))
    assert len(encoder.seen) == count
    np.testing.assert_array_equal(first, again)
    concept_vectors(encoder, texts, ("a {}",))
    assert len(encoder.seen) > count


def test_a_damaged_or_unwritable_cache_costs_time_only(encoder, tmp_path, monkeypatch):
    shape = (2, 26)
    make = lambda: np.ones(shape, np.float32)  # noqa: E731
    cached_vectors(encoder, "key", shape, make)
    (file,) = (tmp_path / "made").rglob("*.bin")
    file.write_bytes(b"garbage")
    np.testing.assert_array_equal(cached_vectors(encoder, "key", shape, make), make())
    monkeypatch.setenv("VLAR_CACHE", "/proc/nowhere")
    np.testing.assert_array_equal(cached_vectors(encoder, "key", shape, make), make())


def test_another_encoder_does_not_read_these_vectors(encoder):
    cached_vectors(encoder, "key", (1, 26), lambda: np.ones((1, 26), np.float32))
    encoder.fingerprint = "0" * 64
    other = cached_vectors(encoder, "key", (1, 26), lambda: np.zeros((1, 26), np.float32))
    assert not other.any()


def test_text_that_is_cut_is_said(encoder, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("vlar"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="vlar"):
        concept_vectors(encoder, ["word " * 60], ("{}",))
        assert "62 tokens; letters reads the first 40" in caplog.text
        caplog.clear()
        concept_vectors(encoder, ["a long text but few words " + "x" * 60], ("{}",))
        assert caplog.text == ""
        concept_vectors(encoder, ["word " * 60], ("{}",))
        assert caplog.text == ""  # once a text
        concept_vectors(encoder, ["word " * 36], ("{}",))
        assert caplog.text == ""
        concept_vectors(encoder, ["word " * 36], ("a video of {}",))
        assert "'word word" in caplog.text  # with the words around it
        assert "41 tokens; letters reads the first 40" in caplog.text
