"""What every registered few-shot head must do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.heads.fewshot.balanced import BalancedHead
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.fewshot.components import ComponentsHead
from vlar.heads.fewshot.mixture import MixtureHead
from vlar.heads.fewshot.stacking import StackingHead
from vlar.heads.model_selection import auto_heads, choose, methods
from vlar.heads.signatures import signature
from vlar.methods.relations.head import RelationHead

NAMES = registry.names("fewshot")
BLOCKS = (FrameBlock("look", 12, "appearance"),)
KIND = "mean"


def _features(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 8, 12)).astype(np.float32)


def _rows(head, n, seed):
    return signature(_features(n, seed), BLOCKS, head.kind)


def _fitted(name, n, y, zero_shot=None):
    """A head of this name, fitted; one that is made of other heads is made of ``ridge``."""
    part = registry.get("fewshot", name)
    if part is RelationHead:
        encoder = FakeEncoder()
        encoder.frame_blocks = BLOCKS
        head = registry.get("adapter", "trx").attach(encoder).head()
        return head.fit(_rows(head, n, 0), y)
    head = (part if part.standalone else registry.get("fewshot", "ridge"))()
    head.kind = head.kinds[0] if head.kinds else KIND
    head.fit(_rows(head, n, 0), y, zero_shot)
    if part is MixtureHead:
        return MixtureHead.of([(1.0, head)], {KIND: 12})
    if part is ComponentsHead:
        return _of_components(head, n, y)
    if part is BalancedHead:
        return BalancedHead.of(head, y)
    return StackingHead.of(head, 1.0, 0.25) if part is StackingHead else head


def _of_components(whole, n, y):
    """Labels as verbs of one object, known by a closed form of verbs."""
    pairs = [(label, "thing") for label in whole.labels]
    widths = {KIND: 12}
    return ComponentsHead.of(
        *(whole.labels, pairs, {"verb": whole}, widths), closed_weight=1.0, trained_weight=0.25
    )


def test_the_closed_forms_are_there():
    assert {"prototype", "cache", "ridge"} <= set(NAMES)


def test_the_registry_answers_which_heads_can_be_asked_for_and_which_auto_tries():
    assert {"mixture", "stacking"} <= set(NAMES) - set(methods())
    assert auto_heads() == ["ridge", "prototype"]
    with pytest.raises(UsageError, match="'mixture' is made of other heads"):
        choose(_features(4, 0), BLOCKS, ["a", "b"] * 2, method="mixture")


@pytest.fixture(params=NAMES)
def head(request) -> FewShotHead:
    y = ["b", "a", "c", "a", "b", "c"]
    zero_shot = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    return _fitted(request.param, 6, y, zero_shot)


def test_names_and_columns(head):
    assert head.config()["head"] == head.name
    assert registry.get("fewshot", head.name) is type(head)
    assert head.labels == ("a", "b", "c")
    assert head.logits(_rows(head, 4, 2)).shape == (4, 3)


def test_an_example_is_recognised(head):
    p = head.probabilities(_rows(head, 6, 0))
    assert [head.labels[i] for i in p.argmax(axis=1)] == ["b", "a", "c", "a", "b", "c"]
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_one_shot_works(name):
    head = _fitted(name, 3, ["a", "b", "c"])
    assert head.probabilities(_rows(head, 3, 0)).argmax(axis=1).tolist() == [0, 1, 2]


def test_the_state_survives_safetensors_and_json(head):
    arrays = load(save({key: np.ascontiguousarray(a) for key, a in head.state().items()}))
    again = FewShotHead.from_state(json.loads(json.dumps(head.config())), arrays)
    prior = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    rows = _rows(head, 4, 2)
    assert np.array_equal(again.logits(rows, prior), head.logits(rows, prior))


def test_batch_equals_single(head):
    queries = _rows(head, 5, 2)
    alone = np.concatenate([head.logits(row[None]) for row in queries])
    np.testing.assert_allclose(head.logits(queries), alone, atol=1e-5)
