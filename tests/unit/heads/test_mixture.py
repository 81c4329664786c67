from __future__ import annotations

import numpy as np
import pytest

from tests.refusals import refused
from vlar import registry
from vlar.encoders.base import FrameBlock
from vlar.errors import ModelError
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.fewshot.mixture import MixtureHead, mixed_kind
from vlar.heads.signatures import signature
from vlar.numeric import softmax

BLOCKS = (FrameBlock("frame", 10, "appearance"),)
KINDS = ("mean", "mean+std:0.5", "dct+std")
SHARES = (0.2, 0.5, 0.3)


def _features(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 8, 10)).astype(np.float32)


@pytest.fixture
def blend() -> MixtureHead:
    y = ["a", "b", "c"] * 3
    zero_shot = np.random.default_rng(2).normal(size=(9, 3)).astype(np.float32)
    heads = []
    for name, kind in zip(("ridge", "prototype", "cache"), KINDS, strict=True):
        head = registry.get("fewshot", name)()
        head.kind = kind
        heads.append(head.fit(signature(_features(9, 0), BLOCKS, kind), y, zero_shot))
    members = [(2 * share, head) for share, head in zip(SHARES, heads, strict=True)]
    return MixtureHead.of(members, {"mean": 10, "std": 10, "dct": 30})


def test_scores_are_the_weighted_mean_of_the_members(blend):
    queries, prior = _features(6, 1), np.ones((6, 3), np.float32)
    prior[:, 1] = 0.5
    expected = sum(
        share * head.logits(signature(queries, BLOCKS, kind), prior)
        for share, kind, (_, head) in zip(SHARES, KINDS, blend.members, strict=True)
    )
    rows = signature(queries, BLOCKS, blend.kind)
    np.testing.assert_allclose(blend.logits(rows, prior), expected, atol=1e-3)
    np.testing.assert_allclose(blend.probabilities(rows, prior), softmax(expected), atol=1e-3)


def test_cosines_are_the_members_mean():
    features = _features(6, 1)
    expected = sum(
        share * signature(features, BLOCKS, kind) @ signature(features, BLOCKS, kind).T
        for share, kind in zip(SHARES, KINDS, strict=True)
    )
    rows = signature(features, BLOCKS, mixed_kind(list(zip(SHARES, KINDS, strict=True))))
    np.testing.assert_allclose(rows @ rows.T, expected, atol=1e-3)


def test_state_and_config_bring_it_back(blend):
    again = FewShotHead.from_state(blend.config(), blend.state())
    rows = signature(_features(6, 1), BLOCKS, blend.kind)
    assert again.kind == blend.kind
    np.testing.assert_allclose(again.logits(rows), blend.logits(rows))


def test_damage_is_refused(blend):
    for key in blend.config():
        config = {k: v for k, v in blend.config().items() if k != key}
        refused(ModelError, "adapt again", FewShotHead.from_state, config, blend.state())
    with pytest.raises(ModelError, match="adapt again"):
        FewShotHead.from_state({**blend.config(), "members": []}, blend.state())
    state = {k: v for k, v in blend.state().items() if not k.startswith("1.")}
    refused(ModelError, "adapt again", FewShotHead.from_state, blend.config(), state)
