"""CoCo: its start, what order and repetition do, its terms, and labels without examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.training.fakes import FakeEncoder
from vlar.errors import LabelError, ModelError
from vlar.language.prompts import fill, load_templates
from vlar.methods.coco.adapter import Coco
from vlar.numeric import unit
from vlar.training.trainable import TrainingBatch

LABELS = ["swim", "climb", "read"]
TEXTS = {
    "swim": ["A person moves through water.", "Arms pull in a pool."],
    "climb": ["Hands hold a wall.", "A rope hangs."],
    "read": ["Eyes follow a page."],
    "surf": ["A board glides on a wave."],
}


@pytest.fixture
def bank(tmp_path: Path) -> str:
    (tmp_path / "set.json").write_text(json.dumps(TEXTS))
    return str(tmp_path / "set.json")


def features(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 8, 12)).astype(np.float32)


def trained(bank: str, steps: int = 3, **settings: Any) -> Coco:
    torch.manual_seed(0)
    adapter = Coco.attach(FakeEncoder(), {"bank": bank, "hidden": 8, "rank": 4, **settings})
    clips = features(6)
    adapter.fit_inputs(clips)
    classes = adapter.training_classes(LABELS)
    batch = TrainingBatch(
        torch.from_numpy(adapter.training_inputs(clips)), torch.eye(3).repeat(2, 1)
    )
    optimiser = torch.optim.AdamW([p for _, p in adapter.trainable()], lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        adapter.training_step(batch, classes).losses["total"].backward()
        optimiser.step()
    adapter.network.requires_grad_(False)
    adapter.refresh()
    return adapter


def test_at_the_start_it_is_the_encoder(bank: str):
    adapter = Coco.attach(FakeEncoder(), {"bank": bank})
    np.testing.assert_array_equal(adapter.pool(features(3)), FakeEncoder().pool(features(3)))
    texts = ["swim", "a rope"]
    np.testing.assert_array_equal(adapter.encode_text(texts), FakeEncoder().encode_text(texts))
    by_hand = FakeEncoder().encode_text(["swim", *TEXTS["swim"]])
    (found,) = adapter.encode_described(["swim"], [TEXTS["swim"]])
    wanted = unit((by_hand[0] + unit(by_hand[1:].mean(axis=0))) / 2)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_order_and_repetition_of_descriptions_do_not_count(bank: str, pooling: str):
    adapter = trained(bank, pooling=pooling)
    told = [*TEXTS["swim"], *TEXTS["climb"]]
    (one,) = adapter.encode_described(["swim"], [told])
    for other in (told[::-1], told * 2):
        (again,) = adapter.encode_described(["swim"], [other])
        np.testing.assert_allclose(again, one, atol=1e-6)
    texts = torch.from_numpy(FakeEncoder().encode_text(told))
    torch.testing.assert_close(
        adapter.network.pooled(texts), adapter.network.pooled(texts.repeat(2, 1))
    )


def test_its_terms_are_named_and_can_be_switched_off(bank: str):
    def losses(**settings: Any) -> set[str]:
        adapter = Coco.attach(FakeEncoder(), {"bank": bank, **settings})
        classes = adapter.training_classes(LABELS)
        batch = TrainingBatch(torch.from_numpy(features(3)), torch.eye(3))
        return set(adapter.training_step(batch, classes).losses)

    assert losses() == {"total", "classes", "instances"}
    assert losses(instances=0.0) == {"total", "classes"}
    assert losses(unseen=["surf"]) == {"total", "classes", "instances", "cycle"}
    assert losses(unseen=["surf"], cycle=0.0) == {"total", "classes", "instances"}


def test_one_description_a_label_is_plain_contrast(tmp_path: Path):
    (tmp_path / "one.json").write_text(json.dumps({k: v[:1] for k, v in TEXTS.items()}))
    adapter = Coco.attach(FakeEncoder(), {"bank": str(tmp_path / "one.json")})
    classes = adapter.training_classes(LABELS)
    clips = torch.from_numpy(features(3))
    found = adapter.training_step(TrainingBatch(clips, torch.eye(3)), classes)
    assert found.vectors is not None
    texts = torch.from_numpy(FakeEncoder().encode_text([TEXTS[label][0] for label in LABELS]))
    logits = found.vectors @ texts.T / adapter.config.temperature
    wanted = torch.nn.functional.cross_entropy(logits, torch.arange(3))
    torch.testing.assert_close(found.losses["instances"], wanted, atol=1e-5, rtol=0)


def test_a_label_without_descriptions_teaches_nothing_by_them(tmp_path: Path):
    (tmp_path / "few.json").write_text(json.dumps({"swim": TEXTS["swim"]}))
    adapter = Coco.attach(FakeEncoder(), {"bank": str(tmp_path / "few.json")})
    classes = adapter.training_classes(LABELS)
    clips = torch.from_numpy(features(2))
    for label, wanted in ((1, 0.0), (0, 0.0)):  # of one bag the share is all
        targets = torch.nn.functional.one_hot(torch.tensor([label, label]), 3).float()
        found = adapter.training_step(TrainingBatch(clips, targets), classes).losses["instances"]
        assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_trained_labels_keep_their_descriptions_when_they_are_saved(bank: str):
    adapter = trained(bank)
    again = Coco.attach(FakeEncoder(), adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint
    prompts = [row[0] for row in fill(load_templates(adapter.templates), LABELS)]
    found = again.encode_text(prompts)
    np.testing.assert_allclose(found, adapter.encode_text(prompts), atol=1e-6)
    (wanted,) = adapter.encode_described(["swim"], [TEXTS["swim"]])
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    assert adapter.settings["bank_sha256"]
    assert abs(adapter.encode_text(["surf"]) - FakeEncoder().encode_text(["surf"])).max() > 1e-3


def test_names_off_leaves_the_descriptions(bank: str):
    adapter = Coco.attach(FakeEncoder(), {"bank": bank, "names": 0.0})
    (found,) = adapter.encode_described(["surf"], [TEXTS["surf"]])
    np.testing.assert_allclose(found, FakeEncoder().encode_text(TEXTS["surf"])[0], atol=1e-6)
    (bare,) = adapter.encode_described(["surf"], [[]])
    np.testing.assert_allclose(bare, FakeEncoder().encode_text(["surf"])[0], atol=1e-6)


def test_the_nearest_descriptions_are_kept_and_copies_dropped(bank: str):
    adapter = Coco.attach(FakeEncoder(), {"bank": bank, "keep": 0.5})
    rows = FakeEncoder().encode_text([*TEXTS["swim"], *TEXTS["climb"]])
    (name,) = FakeEncoder().encode_text(["swim"])
    chosen = adapter._reader.chosen(name, np.concatenate([rows, rows]))
    assert len(chosen) == 2
    assert (chosen @ name).min() >= np.sort(rows @ name)[-2] - 1e-6


def test_what_cannot_be_used_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match="cycle_temperature"):
        Coco.attach(FakeEncoder(), {"cycle_temperature": 0.01})
    (tmp_path / "bad.jsonl").write_text('{"description": "no label"}\n')
    adapter = Coco.attach(FakeEncoder(), {"bank": str(tmp_path / "bad.jsonl")})
    with pytest.raises(LabelError, match="line 1"):
        adapter.training_classes(LABELS)
