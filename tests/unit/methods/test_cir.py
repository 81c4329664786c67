"""Reconstruction of clips from clips of other domains, and the order of the clips."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar import registry
from vlar.errors import UnknownNameError, UsageError
from vlar.methods.align.adapter import caption_loss
from vlar.methods.cir.objective import CrossInstance, attention, mask, reconstruct
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet

IDS: dict[str, Any] = {
    "rows": [4, 9, 2, 9],
    "domain": ["a", "a", "b", "a"],
    "site": ["x", "y", "y", "y"],
}


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        ("self", {(1, 3)}),
        ("domain", {(0, 1), (0, 3), (1, 3)}),
        ("site", {(1, 2), (1, 3), (2, 3)}),
        ("both", {(0, 1), (0, 3), (1, 2), (1, 3), (2, 3)}),
    ],
)
def test_masks_forbid_self_and_what_is_named(kind: str, pairs: set[tuple[int, int]]):
    found = mask(kind, IDS)
    assert found.dtype == torch.bool
    wanted = {(i, i) for i in range(4)} | pairs | {(j, i) for i, j in pairs}
    assert {tuple(place) for place in found.nonzero().tolist()} == wanted


def test_a_clip_is_the_mean_of_the_others_that_are_like_it():
    f = torch.tensor([[1.0, 0], [2.0, 0], [0, 3.0]])
    rebuilt = reconstruct(f, torch.eye(3).bool(), 0.5)
    share = 1 / (1 + np.exp(-1 / 0.5))  # cosine 1 against cosine 0
    np.testing.assert_allclose(rebuilt[0], [2 * share, 3 * (1 - share)], rtol=1e-5)
    np.testing.assert_allclose(rebuilt[2], [1.5, 0], rtol=1e-5)  # both alike
    shares = reconstruct(torch.eye(5), torch.eye(5).bool(), 0.1)
    assert torch.equal(shares.diagonal(), torch.zeros(5))
    np.testing.assert_allclose(shares.sum(dim=1), 1, atol=1e-6)


def test_a_clip_that_may_use_none_is_zero_and_its_gradient_too():
    f = torch.randn(4, 3, requires_grad=True)
    forbidden = mask("domain", {"rows": range(4), "domain": ["a", "a", "a", "b"]})
    forbidden[3] = True
    rebuilt = reconstruct(f, forbidden, 0.1)
    assert not rebuilt[3].any()
    np.testing.assert_allclose(rebuilt[:3].detach(), f[3].detach().expand(3, 3), rtol=1e-5)
    (gradient,) = torch.autograd.grad(rebuilt[3].sum(), f)
    assert not gradient.any()
    shares = attention(f, f, forbidden, 0.1).sum(dim=1)
    np.testing.assert_allclose(shares.detach(), [1, 1, 1, 0], atol=1e-6)


def test_equal_sentences_are_one_target():
    z = torch.eye(3)[[0, 1, 1]]
    same, apart = torch.eye(3)[[0, 1, 1]], torch.eye(3)
    assert float(caption_loss(z, same, 0.01)) == pytest.approx(2 / 3 * np.log(2), abs=1e-5)
    assert float(caption_loss(z, apart, 0.01)) > 10  # the third clip is not like its sentence


def made(facts: list[dict[str, str]], **settings: Any) -> Training:
    features, dataset = ordered_clips(len(facts))
    dataset = replace(dataset, facts=facts)
    adapter: Any = registry.get("adapter", "temporal").attach(
        FakeEncoder(), {"width": 16, "heads": 2, "components": 4}
    )
    adapter.fit_inputs(features)
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths, ())
    numbers = replace(load_recipe("temporal/adapt"), epochs=2, batch=8, warmup_epochs=0)
    return Training(adapter, loader, dataset, numbers, objectives=ObjectiveSet({"cir": settings}))


def test_batches_have_two_domains_of_each_label():
    facts = [{"domain": "a" if i % 12 < 8 else "b", "text": f"clip {i // 6}"} for i in range(24)]
    training = made(facts)
    y = np.array(training.dataset.columns)
    for epoch in (0, 1):
        order = training.batches.order(epoch)
        assert set(order) == set(range(24))
        for begin in range(0, 24, 8):
            rows = np.array(order[begin : begin + 8])
            for label in set(y[rows].tolist()):
                assert len({facts[row]["domain"] for row in rows[y[rows] == label]}) == 2
    assert training.batches.order(0) != order
    losses = training.run().epochs[-1].losses
    assert losses["cir.action"] > 0
    assert losses["cir.text"] > 0


def test_a_label_of_one_domain_is_ordered_too_and_left_out_of_the_terms():
    _, dataset = ordered_clips(8)
    facts = [{"domain": str(column)} for column in dataset.columns]
    training = made(facts)
    assert Counter(training.batches.order(0)) == Counter(range(8))
    assert np.isfinite(training.run().epochs[-1].losses["total"])
    # Without another label in the batch a clip has nothing to be rebuilt from.
    part: Any = training.objectives.parts["cir"]
    batch = training.batches.make([i for i, c in enumerate(dataset.columns) if c == 0], 0, 0)
    assert batch is not None
    step: Any = type("Step", (), {"batch": batch, "output": training._forward(batch)})
    step.vectors = step.output.vectors
    assert part.terms(step) == {}


def test_one_domain_is_refused():
    one = [{"domain": "street", "group": str(i)} for i in range(8)]
    refused(UsageError, r"all clips are of one \('street'\); give clips of two", made, one)
    site = [{"domain": str(i % 2), "site": "ward"} for i in range(8)]
    refused(UsageError, r"another site, .* \('ward'\)", made, site, mask="both")
    assert made(one, mask="self").run().steps
    refused(UnknownNameError, "'country'", CrossInstance.from_settings, {"mask": "country"})
