"""Semantic units that a clip shows: the encoder at the start, units of labels, what is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import clips_of
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar import registry
from vlar.errors import LabelError, ModelError
from vlar.methods.temporal.adapter import Temporal
from vlar.methods.temporal.told import label_units
from vlar.model.model import Model
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training, score

SMALL = {"width": 16, "heads": 2, "components": 6}
LABELS = ("archery", "climb stairs", "pour")
Asu: type[Temporal] = registry.get("adapter", "asu")


def features(n: int = 3, t: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, t, 12)).astype(np.float32)


@pytest.mark.parametrize("settings", [{}, {"regions": 0}, {"selected": 4096}])
def test_at_the_start_it_is_the_encoder(settings: dict[str, Any]):
    adapter = Asu.attach(FakeEncoder(), {**SMALL, **settings})
    adapter.training_classes(LABELS)
    assert adapter.config.regions == 0  # this encoder cannot tell parts apart
    np.testing.assert_array_equal(adapter.pool(features()), FakeEncoder().pool(features()))
    np.testing.assert_array_equal(adapter.encode_text(LABELS), FakeEncoder().encode_text(LABELS))


def test_shares_of_units_sum_to_one_and_name_what_is_shown():
    adapter = Asu.attach(FakeEncoder(), {**SMALL, "units": ["object: bow", "object: dog"]})
    told = adapter.network.told
    assert told is not None
    shares = told.shares(told.bank[1].repeat(1, 8, 1, 1))
    assert shares.argmax(dim=1).item() == 1
    vectors = torch.nn.functional.normalize(torch.from_numpy(features()[:, :, None]), dim=-1)
    torch.testing.assert_close(told.shares(vectors).sum(dim=-1), torch.ones(3))
    assert told(vectors).shape == (3, 2, 16)  # no more than there are


def test_units_come_from_the_labels_and_new_labels_have_new_ones():
    adapter = Asu.attach(FakeEncoder(), SMALL)
    assert adapter.config.units == ()
    adapter.training_classes(LABELS)
    first = adapter.config.units
    assert "object: bow" in first
    assert first == label_units(LABELS, FakeEncoder())
    before = adapter.fingerprint
    adapter.training_classes(("kick ball", "brush hair", "shoot gun"))
    assert "object: bow" not in adapter.config.units
    assert adapter.fingerprint != before
    given = Asu.attach(FakeEncoder(), {**SMALL, "units": ["object: bow", "scene: field"]})
    given.training_classes(LABELS)
    assert given.config.units == ("object: bow", "scene: field")


def test_a_bank_of_units_becomes_part_of_the_settings(tmp_path: Path):
    from vlar.generators.descriptions.base import write_units

    units = write_units("archery, pour", tmp_path / "units.json")
    adapter = Asu.attach(FakeEncoder(), {**SMALL, "unit_bank": str(tmp_path / "units.json")})
    assert adapter.config.units == tuple(map(str, units))
    (tmp_path / "units.json").unlink()
    again = Asu.attach(FakeEncoder(), adapter.settings)
    assert again.fingerprint == adapter.fingerprint
    with pytest.raises(LabelError, match="is not 'GROUP: WORD'"):
        Asu.attach(FakeEncoder(), {"unit_bank": "everyday_actions"})


def test_it_learns_order_with_units_and_shuffled_labels_are_chance():
    clips, dataset = ordered_clips(40)
    others, held = ordered_clips(40, seed=0)
    others = others + np.random.default_rng(9).normal(size=others.shape).astype(np.float32) * 0.1
    reached: list[float] = []
    y = np.random.default_rng(0).permutation(dataset.y).tolist()
    shuffled = Dataset.single(dataset.labels, y, dataset.groups, dataset.paths)
    for task in (dataset, shuffled):
        adapter = Asu.attach(FakeEncoder(), {**SMALL, "units": ["object: bow", "motion: running"]})
        adapter.fit_inputs(clips)
        loader = FeatureLoader(adapter.training_inputs(clips), task.paths, adapter.input_widths)
        numbers = replace(load_recipe("asu/adapt"), epochs=40, learning_rate=1e-2)
        training = Training(adapter, loader, task, numbers)
        training.run()
        asked = torch.from_numpy(adapter.training_inputs(others))
        logits = score(training.method, asked, training.classes, 2)
        reached.append(float((logits.argmax(1).numpy() == held.columns).mean()))
    assert reached[0] > 0.9 > reached[1] + 0.2


def test_on_lite_it_reads_parts_of_frames(lite_model: Model):
    adapter = Asu.attach(lite_model.encoder)
    assert adapter.config.regions == 2
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 40, 48, 3), dtype=np.uint8)
    (ours,), (theirs,) = (one.encode(clips_of(frames)) for one in (adapter, lite_model.encoder))
    np.testing.assert_array_equal(ours.vector, theirs.vector)


def test_a_model_of_the_decoder_is_refused_in_one_sentence():
    with pytest.raises(ModelError, match=r"learn it again: vlar adapt .* --method asu"):
        Asu.attach(FakeEncoder(), {"grid": 0, "moments": 8, "feed": 2})
