"""Static and dynamic latents: who answers, what separates them, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlar
from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar.errors import UsageError
from vlar.methods.transvae.adapter import Latents, TransVae
from vlar.methods.transvae.objective import DomainsApart, log_density, mutual_information
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask

SMALL = {"width": 16, "static": 4, "dynamic": 6, "segments": 4, "components": 6}


def moved(n: int, seed: int, offset: float) -> tuple[Any, Dataset]:
    """Clips of two actions; the domain moves all frames."""
    features, dataset = ordered_clips(n, seed)
    return features + np.float32(offset), dataset


def trained(
    epochs: int = 2, facts: Any = (), free_facts: Any = (), **settings: Any
) -> tuple[Any, Any, Any]:
    (first, dataset), (other, _) = moved(16, 0, 0.0), moved(16, 1, 1.5)
    dataset = replace(dataset, facts=facts or [{}] * 16)
    task = TrainingTask.by_recipe(
        FakeEncoder(), "transvae", settings=SMALL, objectives={"transvae": settings}
    )
    task = replace(
        task,
        numbers=task.numbers.replaced(epochs=epochs, batch=16, warmup_epochs=0, learning_rate=5e-3),
    )
    paths = [Path(str(row)) for row in range(16)]
    source = FeatureSource(first, other, paths, free_facts)
    training, _ = train_on(task, dataset, source)
    return training, first, other


def test_the_dynamic_latents_alone_answer():
    encoder: Any = FakeEncoder()
    features, _ = ordered_clips(6)
    adapter = TransVae.attach(encoder, SMALL)
    np.testing.assert_array_equal(adapter.pool(features), encoder.pool(features))  # the start
    adapter.fit_inputs(features)
    before = adapter.pool(features)
    np.testing.assert_allclose(np.linalg.norm(before, axis=1), 1, atol=1e-5)
    with torch.no_grad():
        adapter.network.static.weight.add_(3)
        adapter.network.decoder[0].weight.add_(3)
    np.testing.assert_array_equal(adapter.pool(features), before)
    with torch.no_grad():
        adapter.network.dynamic.weight.add_(torch.randn_like(adapter.network.dynamic.weight))
    assert np.abs(adapter.pool(features) - before).max() > 1e-3
    # The encoder's own vector has no part in the answer.
    inputs = torch.from_numpy(adapter.training_inputs(features))
    assert not adapter.split_inputs(inputs)[1].any()


def test_latents_have_a_prior_of_the_past_alone():
    adapter = TransVae.attach(FakeEncoder(), SMALL)
    x = torch.randn(3, 9, 12)
    moments = adapter.network.moments(x)
    assert moments.shape == (3, 4, 12)
    found = adapter.network.latents(moments)
    assert found.static.shape == (3, 4)
    assert found.dynamic.shape == found.prior.shape == (3, 4, 6)
    np.testing.assert_allclose(found.prior[:, 0], found.prior[:1, 0].expand(3, -1), atol=1e-6)
    assert adapter.network.decode(found.static, found.dynamic).shape == moments.shape
    assert adapter.network.relations(found.dynamic).shape == (3, 3, 16)  # scales 2 to 4


def test_densities_and_what_latents_share():
    x, mean, deviation = torch.randn(4, 3), torch.randn(4, 3), torch.rand(4, 3) + 0.5
    wanted = torch.distributions.Normal(mean, deviation).log_prob(x[:, None]).sum(dim=-1)
    found = log_density(x, mean, 2 * deviation.log())
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)

    def shared(static: torch.Tensor, dynamic: torch.Tensor) -> float:
        low = torch.full_like(static, -6.0), torch.full_like(dynamic, -6.0)
        return float(mutual_information(Latents(static, low[0], dynamic, low[1], dynamic, low[1])))

    bit = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    assert shared(bit, bit[:, None]) == pytest.approx(np.log(2), abs=1e-4)
    assert shared(bit, bit[[0, 2, 1, 3], None]) == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_both_sets_train_and_the_domain_goes_to_the_static_latent():
    training, first, other = trained(epochs=90, rebuild=0.1)
    network = training.adapter.network
    rows = [torch.from_numpy(training.adapter.small(x)) for x in (first, other)]
    with torch.no_grad():
        one, two = (network.latents(network.moments(x)) for x in rows)
    apart = (one.static.mean(dim=0) - two.static.mean(dim=0)).norm() / one.static.std(dim=0).norm()
    near = one.dynamic.mean(dim=(0, 1)) - two.dynamic.mean(dim=(0, 1))
    near = near.norm() / one.dynamic.flatten(0, 1).std(dim=0).norm()
    assert apart > 2 * near
    y = np.array(training.dataset.columns)
    answers = held_out_logits(training, first).argmax(axis=1)
    assert (answers == y).mean() > 0.8


def test_domains_are_columns_or_labelled_and_not():
    training, _, _ = trained(
        1, [{"domain": "ab"[i % 2]} for i in range(16)], [{"domain": "c"}] * 16
    )
    part: Any = training.objectives.parts["transvae"]
    assert [own.tolist() for own in part._domains] == [[0, 1] * 8, [2] * 16]
    part = trained(1)[0].objectives.parts["transvae"]
    assert [set(own.tolist()) for own in part._domains] == [{0}, {1}]
    same = [{"domain": "ward"}] * 16
    refused(UsageError, r"of one \('ward'\); give unlabelled", trained, 1, same, same)
    assert DomainsApart.other_domain


def test_a_table_of_clips_without_labels_brings_their_domain(tmp_path: Path):
    from tests.fixtures.models_1 import tiny

    support, more = tiny.support(tmp_path / "support"), tmp_path / "more"
    for example in (5, 6):
        tiny.clip(more, "rise", example)
    rows = "".join(f"rise/{example},street\n" for example in (5, 6))
    (more / "rows.csv").write_text("path,domain\n" + rows)
    (tmp_path / "none").mkdir()
    base = vlar.load("tiny-for-fixtures")
    named: Any = {"method": "transvae", "objectives": ["transvae"], "settings": {"epochs": 1}}
    made = base.adapt(support, unlabelled=more / "rows.csv", **named)
    assert made.report.training.closed_weight is None  # the latents answer alone
    for says, how in (
        ("of one .'labelled'.", {"unlabelled": more / "rows.csv", **named}),
        ("needs unlabelled clips", named),
        ("no recording", {"unlabelled": tmp_path / "none", **named}),
        ("trains the adapter 'transvae'", {**named, "unlabelled": more, "method": "temporal"}),
    ):
        (more / "rows.csv").write_text("path,domain\n" + rows.replace("street", "labelled"))
        refused(UsageError, says, base.adapt, support, **how)
