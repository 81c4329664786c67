"""MSQNet: the head of the paper against golden data, and the form for any list of labels."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests import videos
from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from vlar.errors import ModelError, SupportError
from vlar.methods.msq.adapter import Msq, turned
from vlar.methods.msq.network import ClosedMsqHead, position_code
from vlar.model.model import Model, load
from vlar.numeric import unit
from vlar.training import hyperparameters
from vlar.types import Encoded

GOLDEN = Path(__file__).parents[2] / "golden" / "vl_msqnet_head.safetensors"
SMALL = {"width": 8, "heads": 2, "moments": 4}
LABELS = [f"label number {i}" for i in range(50)]


def test_the_head_of_the_paper_equals_the_golden_values():
    kept = load_file(GOLDEN)
    head = ClosedMsqHead(
        token_dim=30, clip_dim=18, width=16, n_labels=4, n_frames=3, layers=2, heads=2, feed=20
    ).eval()
    head.load_state_dict({k.removeprefix("w."): v for k, v in kept.items() if k[:2] == "w."})
    tokens, frames = kept["in.tokens"], kept["in.frame_vectors"]
    memory, query = head.memory(tokens), head.queries(frames)
    torch.testing.assert_close(memory, kept["out.memory_input"], atol=1e-5, rtol=0)
    torch.testing.assert_close(query, kept["out.query"], atol=1e-5, rtol=0)
    hidden = head.transformer(memory, query)
    torch.testing.assert_close(hidden, kept["out.hidden"], atol=1e-5, rtol=0)
    torch.testing.assert_close(head(tokens, frames), kept["out.logits"], atol=1e-5, rtol=0)


def test_the_code_of_positions_fits_odd_widths():
    assert position_code(4, 7).shape == (4, 7)
    torch.testing.assert_close(position_code(2, 4)[1, :2], torch.tensor([1.0, 1.0]).sin()
                               * torch.tensor([1.0, 0]) + torch.tensor([0, 1.0]).cos()
                               * torch.tensor([0, 1.0]))  # fmt: skip


def features(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 8, 12)).astype(np.float32)


def drawn(seed: int = 1) -> Msq:
    """An adapter whose parameters are all drawn, as if it were trained."""
    adapter = Msq.attach(FakeEncoder(), SMALL)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=random))
        adapter.network.tau.fill_(0.02)
    adapter.refresh()
    return adapter


def contexts(adapter: Msq, rows: np.ndarray) -> np.ndarray:
    return np.stack([adapter.row(Encoded(row, row[0])).context for row in rows])


def test_at_the_start_it_is_the_encoder():
    encoder, adapter = FakeEncoder(), Msq.attach(FakeEncoder(), SMALL)
    rows = features()
    vectors = np.stack([adapter.row(Encoded(row, row[0])).vector for row in rows])
    np.testing.assert_array_equal(vectors, encoder.pool(rows))
    words = adapter.conditioned_text(LABELS, contexts(adapter, rows))
    np.testing.assert_array_equal(words, np.repeat(encoder.encode_text(LABELS)[None], 3, axis=0))


def test_a_label_alone_answers_as_in_a_list_of_fifty():
    adapter = drawn()
    held = contexts(adapter, features())
    together = adapter.conditioned_text(LABELS, held)
    assert np.abs(together - adapter.encode_text(LABELS)).max() > 0.01  # it does something
    for i in (0, 7, 49):
        alone = adapter.conditioned_text([LABELS[i]], held)
        np.testing.assert_allclose(alone[:, 0], together[:, i], atol=1e-6)


def test_many_labels_are_decoded_in_parts():
    adapter = drawn()
    many = [f"{label} {i}" for i in range(6) for label in LABELS]
    held = contexts(adapter, features(1))
    words = adapter.conditioned_text(many, held)
    assert words.shape == (1, 300, 12)
    np.testing.assert_allclose(
        adapter.conditioned_text(many[250:], held)[0], words[0, 250:], atol=1e-6
    )


def test_the_cosine_with_the_clip_is_the_trained_answer():
    adapter = drawn()
    rows = features()
    classes = adapter.training_classes(LABELS)
    tokens, vectors = adapter.split_inputs(torch.from_numpy(adapter.training_inputs(rows)))
    with torch.no_grad():
        added = adapter.network(classes, vectors, tokens) / adapter.logit_scale
        wanted = (vectors @ classes.T + added).clamp(-0.999, 0.999).numpy()
    words = adapter.conditioned_text(LABELS, contexts(adapter, rows))
    found = np.einsum("ncd,nd->nc", words, vectors.numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_turning_keeps_length_and_sets_the_cosine(seed: int, added: float):
    random = np.random.default_rng(seed)
    words = unit(random.normal(size=(3, 6)).astype(np.float32))
    vector = unit(random.normal(size=6).astype(np.float32))
    found = turned(words, vector, np.array([added, 0.0, 0.1]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(found[1], words[1])
    wanted = np.clip(words @ vector + [added, 0, 0.1], -0.999, 0.999)
    np.testing.assert_allclose((found @ vector)[[0, 2]], wanted[[0, 2]], atol=1e-5)


def test_a_decoder_wider_than_the_encoder_is_named():
    with pytest.raises(ModelError, match=r"width is 16; use 12 or less.*'fake'"):
        Msq.attach(FakeEncoder(), {"width": 16})
    refused(ModelError, r"heads is 16; use 12 or fewer", Msq.attach, FakeEncoder(), {"heads": 16})
    with pytest.raises(ModelError, match="width is 9; use a multiple of heads"):
        Msq.attach(FakeEncoder(), {"width": 9})
    refused(ModelError, r"patch_tokens.*'fake' shows none", Msq.attach, FakeEncoder(), {"grid": 2})


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Clips that show red, blue, or first one and then the other."""
    colours = {"red": (230, 20, 20), "blue": (20, 20, 230)}
    rows = []
    for i in range(12):
        shown = (["red"], ["blue"], ["red", "blue"])[i % 3]
        spans = [np.full((24, 32, 3), colours[name], np.uint8) for name in shown]

        def picture(t: int, spans: list[np.ndarray] = spans) -> np.ndarray:
            return spans[min(t // 4, len(spans) - 1)]

        videos.make_video(tmp_path / f"{i}.mp4", 8, picture=picture)
        rows.append([f"{i}.mp4", "|".join(shown)])
    with (tmp_path / "support.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "labels"], *rows])
    return tmp_path / "support.csv"


def test_several_labels_a_clip_make_a_model_of_any_labels(
    several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    short = {
        n: replace(p, epochs=8) for n, p in hyperparameters.recipes().items() if n == "msq/adapt"
    }
    monkeypatch.setattr(hyperparameters, "recipes", lambda: short)
    base = Model(FakeEncoder())
    refused(SupportError, "learns one label a clip", base.adapt, several, method="ridge")
    model = base.adapt(several, method="msq")
    assert model.labels is None
    assert set(model.default_labels) == {"red", "blue"}
    assert model.report.examples == {"red": 8, "blue": 8}
    assert model.report.sentence() == (
        "trained msq on 12 recordings that show 2 labels; it answers about any labels"
    )
    clip = several.parent / "2.mp4"
    own = model.classify(clip, mode="multi")
    assert {p.label for p in own.predictions} == {"red", "blue"}
    asked = model.classify(clip, ["red", "green", "a dog"], mode="multi")
    red = {p.label: p.probability for p in asked.predictions}["red"]
    alone = model.classify(clip, ["red"], mode="multi").predictions[0].probability
    assert alone == pytest.approx(red, abs=1e-6)
    monkeypatch.setattr("vlar.model.folder.load_encoder", lambda *a, **k: FakeEncoder())
    again = load(model.save(tmp_path / "mine"))
    assert again.fingerprint == model.fingerprint
    assert again.classify(clip, mode="multi").predictions == own.predictions
