"""Batches that do not fit into the memory of an accelerator, and vectors that are not numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from tests.clips import clips_of
from tests.fake_device import fake_device
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.encoders import memory
from vlar.encoders.base import load_encoder
from vlar.errors import ModelError, UsageError
from vlar.model.model import Model

FRAMES = np.random.default_rng(7).integers(0, 256, (5, 4, 40, 48, 3), dtype=np.uint8)
TEXTS = [f"a person does {n}" for n in range(9)]


@pytest.fixture(autouse=True)
def _nothing_tried() -> Iterator[None]:
    with fake_device(), mock.patch.object(memory, "_fitting", {}):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return folder


def small_card(encoder: Any, frames: int, texts: int = 99) -> list[int]:
    """Let towers run out of memory above a number of rows; the sizes that were tried."""
    towers, tried = encoder.towers, list[int]()

    def limited(run: Any, most: int) -> Any:
        def called(rows: torch.Tensor) -> torch.Tensor:
            tried.append(len(rows))
            if len(rows) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return run(rows)

        return called

    image, text = limited(towers.image, frames), limited(towers.text, texts)
    encoder.towers = replace(towers, image=image, text=text)
    return tried


def test_a_batch_on_a_device_that_does_not_fit_is_halved_and_stays_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder: Any = load_encoder(f"openclip:{folder}")
    clips = clips_of(FRAMES)
    usual = [encoder.encode(clips), encoder.encode_text(TEXTS)]
    tried = small_card(encoder, 9, 3)
    with caplog.at_level(logging.WARNING, "vlar"):
        rows = encoder.encode(clips)
        assert tried == [20, 8, 8, 4]
        session = encoder.session().encode(clips)
        assert tried[4:] == [8, 8, 4]
        words = encoder.encode_text(TEXTS)
        assert tried[7:] == [9, 4, 2, 2, 2, 2, 1]
    for one, two, other in zip(rows, session, usual[0], strict=True):
        np.testing.assert_allclose(one.features, other.features, atol=2e-6)
        np.testing.assert_allclose(two.vector, other.vector, atol=2e-6)
    np.testing.assert_allclose(words, usual[1], atol=2e-6)
    lines = [record.message for record in caplog.records if "memory" in record.message]
    assert lines == [
        "out of memory with 20 frames at a time: 10 from now on",
        "out of memory with 9 texts at a time: 4 from now on",
        "out of memory with 4 texts at a time: 2 from now on",
    ]


def test_a_clip_that_does_not_fit_on_a_device_is_an_error_with_advice(folder: Path) -> None:
    encoder: Any = load_encoder(f"openclip:{folder}")
    tried = small_card(encoder, 3)
    message = r"out of memory with 4 frames at a time; use bf16 .*smaller model.*--device cpu"
    refused(ModelError, message, encoder.encode, clips_of(FRAMES[:2]))
    assert tried == [8, 4]


def test_frames_of_a_session_on_a_device_are_halved_to_one(folder: Path) -> None:
    encoder: Any = load_encoder(f"openclip:{folder}")
    plain = encoder.session().encode(clips_of(FRAMES[:1]))
    tried = small_card(encoder, 1)
    (row,) = encoder.session().encode(clips_of(FRAMES[:1]))
    assert tried == [4, 2, 1, 1, 1, 1]
    np.testing.assert_allclose(row.vector, plain[0].vector, atol=2e-6)


def test_parts_of_frames_on_a_device_are_halved(folder: Path) -> None:
    encoder: Any = load_encoder(f"openclip:{folder}")
    plain = encoder.encode_regions(FRAMES[0], 2, 2)
    view, tried = encoder.towers.vision_view(), list[int]()

    def limited(pixels: torch.Tensor) -> torch.Tensor:
        tried.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return view.patches(pixels)

    small = mock.Mock(patches=limited)
    encoder.towers = replace(encoder.towers, vision_view=lambda: small)
    parts = encoder.encode_regions(FRAMES[0], 2, 2)
    assert tried == [4, 2, 2]
    np.testing.assert_allclose(parts, plain, atol=2e-6)


def test_a_batch_for_a_device_may_be_set(folder: Path) -> None:
    encoder: Any = load_encoder(f"openclip:{folder}")
    memory.set_batch(4)
    tried = small_card(encoder, 99)
    encoder.encode(clips_of(FRAMES))
    assert tried == [4] * 5
    refused(UsageError, "at least 1 frame, got 0", memory.set_batch, 0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_vector_that_is_not_a_number_names_clip_and_type_on_a_device(
    folder: Path, wrong: float
) -> None:
    encoder: Any = load_encoder(f"openclip:{folder}", dtype="float16")
    model, clips = Model(encoder), clips_of(FRAMES[:2])
    model.words.encode(clips)
    image = encoder.towers.image

    def overflown(pixels: torch.Tensor) -> torch.Tensor:
        features = image(pixels).clone()
        features[-1] = wrong  # a frame of the second clip
        return features

    encoder.towers = replace(encoder.towers, image=overflown)
    message = rf"{clips[1].path} at 0.0 s: .* not a number in float16; use bf16"
    refused(ModelError, message, model.words.encode, clips)

    def overflown_text(ids: torch.Tensor) -> torch.Tensor:
        return torch.full((len(ids), 24), wrong)

    encoder.towers = replace(encoder.towers, text=overflown_text)
    refused(ModelError, "text '.*a cat.*': .* in float16; use bf16", model.encode_text, ["a cat"])
