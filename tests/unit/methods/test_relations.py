"""TRX, HyRSM and GgHM: what their formulas promise, on random networks and a small task."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch.nn import functional as F

import vlar
from tests.fixtures.models_1 import tiny
from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.heads.fewshot.base import FewShotHead
from vlar.methods.relations.learner import EpisodeNumbers, draw_episode, train_network
from vlar.methods.relations.network import (
    GghmNetwork,
    HyrsmNetwork,
    TrxNetwork,
    set_distance,
    sinusoids,
    temporal_coherence,
)
from vlar.numeric import unit

METHODS = ("trx", "hyrsm", "gghm")
SMALL = {"width": 16}
Y = ["b", "a", "c", "a", "b", "c"]


def rows(n: int, seed: int, width: int = 12) -> np.ndarray:
    frames = np.random.default_rng(seed).normal(size=(n, 8, width)).astype(np.float32)
    return (unit(frames) / np.float32(np.sqrt(8))).reshape(n, -1)


def made(method: str) -> Any:
    part = registry.get("adapter", method)
    encoder = FakeEncoder()
    width = sum(b.width for b in encoder.frame_blocks if b.kind == "appearance")
    return part.attach(encoder, SMALL).head(), width


@pytest.mark.parametrize("method", METHODS)
def test_a_query_is_scored_for_itself_and_the_state_survives(method: str):
    head, width = made(method)
    head.fit(rows(6, 0, width), Y)
    together = head.logits(rows(5, 1, width))
    assert together.shape == (5, 3)
    alone = np.concatenate([head.logits(rows(5, 1, width)[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    np.testing.assert_array_equal(alone, together)  # bit for bit
    state, config = load(save(head.state())), json.loads(json.dumps(head.config()))
    again = FewShotHead.from_state(config, state)
    np.testing.assert_array_equal(again.logits(rows(5, 1, width)), together)
    refused(ModelError, "malformed", FewShotHead.from_state, {**config, "method": "lora"}, state)
    with pytest.raises(ModelError, match="malformed"):
        FewShotHead.from_state(config, {k: v for k, v in state.items() if k != "centre"})
    refused(ModelError, "", FewShotHead.from_state, {**config, "settings": {"width": 10**9}}, state)


@pytest.mark.parametrize("method", METHODS)
def test_examples_twice_change_nothing(method: str):
    """TRX attends to tuples of all clips, the others take means; HyRSM's relations see numbers."""
    head, width = made(method)
    examples = rows(6, 0, width)
    once = head.fit(examples, Y).logits(rows(4, 1, width))
    twice = head.fit(np.concatenate([examples, examples]), Y * 2).logits(rows(4, 1, width))
    assert np.allclose(once, twice, atol=1e-5) is (method != "hyrsm")


def test_trx_is_its_formula():
    torch.manual_seed(0)
    network = TrxNetwork(5, 4, (2, 3), 0.0).eval()
    query, supports = torch.randn(1, 4, 5), torch.randn(3, 4, 5)
    member = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    wanted = torch.zeros(2)
    for size in (2, 3):
        key, value, norm = (network.get_submodule(f"{n}{size}") for n in ("key", "value", "norm"))
        places = list(itertools.combinations(range(4), size))

        def tuples(clip: torch.Tensor, places: Any = places) -> torch.Tensor:
            x = clip + 0.1 * sinusoids(clip)
            return torch.stack([torch.cat([x[i] for i in place]) for place in places])

        own = tuples(query[0])
        for label in range(2):
            of_label = torch.cat([tuples(supports[i]) for i in range(3) if member[i, label]])
            total = 0.0
            for one in own:
                scores = norm(key(of_label)) @ norm(key(one)) / math.sqrt(4)
                prototype = scores.softmax(0) @ value(of_label)
                total += (value(one) - prototype).square().sum().item()
            wanted[label] -= total / len(places) / 2
    torch.testing.assert_close(network(query, supports, member)[0], wanted, atol=1e-5, rtol=1e-5)


def test_hyrsm_scores_by_the_set_distance_of_guided_frames():
    torch.manual_seed(0)
    network = HyrsmNetwork(5, 8, 2, 0.4, 0.0).eval()
    query, supports = torch.randn(2, 4, 5), torch.randn(3, 4, 5)
    member = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    logits = network(query, supports, member)
    assert bool((logits < 0).all())
    swapped = network(query, supports[[2, 1, 0]], member[[2, 1, 0]])
    torch.testing.assert_close(swapped, logits)  # the order of examples does not matter
    far = network(query, torch.cat([supports[:2], supports[2:] * 3]), member)
    assert not torch.allclose(far[:, 1], logits[:, 1])  # one example guides all


def test_set_distance_is_nothing_for_the_same_frames_in_any_order():
    x = torch.randn(1, 1, 6, 5)
    assert float(set_distance(x, x[:, :, torch.randperm(6)])) == pytest.approx(0, abs=1e-6)
    assert float(set_distance(x, -x)) > 0


def test_coherence_wants_near_frames_alike_and_others_apart():
    still, turning = torch.ones(1, 8, 4), torch.eye(8)[None]
    assert float(temporal_coherence(still, window=7)) == pytest.approx(0, abs=1e-6)
    assert float(temporal_coherence(turning, window=0)) == pytest.approx(0, abs=1e-6)
    assert float(temporal_coherence(still, window=0)) > 0


def test_the_graph_of_gghm_knows_labels_apart_and_the_query_open():
    network = GghmNetwork(5, 8, 4, 2, 0.1).eval()
    member = torch.eye(3)
    edges = network._graph(torch.randn(2, 4, 8))[-1]
    assert bool((edges[:, 1:, 1:][:, ~torch.eye(3).bool()] == 0).all())  # other labels
    assert bool(((edges[:, 0, 1:] > 0) & (edges[:, 0, 1:] < 0.5)).all())
    loss = network.further_losses(
        torch.randn(2, 4, 5), torch.randn(3, 4, 5), member, torch.tensor([0, 2])
    )
    assert 0 < loss.item() < 10


def test_episodes_keep_recordings_apart_and_are_the_same_again():
    columns, groups = [0, 0, 0, 1, 1, 2], ["x", "x", "y", "p", "q", "z"]
    for seed in range(30):
        drawn = [
            draw_episode(columns, groups, EpisodeNumbers(), np.random.default_rng(seed))
            for _ in range(2)
        ]
        assert drawn[0] == drawn[1]
        episode = drawn[0]
        assert set(episode.columns) == {0, 1, 2}
        apart = {groups[row] for row in episode.supports if columns[row] < 2}
        assert not apart & {groups[row] for row in episode.queries if columns[row] < 2}
        assert 5 in episode.supports  # the single clip of a label stands on both sides
        assert 5 in episode.queries
        assert {columns[row] for row in episode.supports} == {0, 1, 2}
    few = draw_episode(columns, groups, EpisodeNumbers(ways=2), np.random.default_rng(0))
    assert len(few.columns) == 2


@pytest.mark.parametrize("method", ["trx", "gghm"])  # HyRSM compares sets of frames
def test_order_is_learned_by_episodes(method: str):
    """Labels that differ by the order of the same frames; frames shuffled are the control."""
    random = np.random.default_rng(0)
    way, frames = random.normal(size=12), []
    for i in range(52):
        start = random.normal(size=12)
        path = start + np.linspace(-2, 2, 8)[:, None] * way + 0.1 * random.normal(size=(8, 12))
        frames.append(path if i % 2 == 0 else path[::-1])
    inputs, columns = unit(np.array(frames, np.float32)), [i % 2 for i in range(52)]
    part = registry.get("adapter", method)
    torch.manual_seed(0)
    network = part.build(12, part.read_config(SMALL))
    numbers = EpisodeNumbers(episodes=120, learning_rate=3e-3)
    groups = [f"g{i}" for i in range(12)]
    train_network(network, inputs[:12], columns[:12], groups, numbers)
    member = F.one_hot(torch.tensor(columns[:12])).float()
    supports, queries = torch.from_numpy(inputs[:12]), torch.from_numpy(inputs[12:])
    drawn = torch.Generator().manual_seed(1)
    shuffled = torch.stack([clip[torch.randperm(8, generator=drawn)] for clip in queries])

    def accuracy(clips: torch.Tensor) -> float:
        answer = network(clips, supports, member).argmax(dim=1)
        return float((answer == torch.tensor(columns[12:])).float().mean())

    assert accuracy(queries) >= 0.9
    assert 0.25 <= accuracy(shuffled) <= 0.75


def test_training_is_the_same_again():
    part = registry.get("adapter", "hyrsm")
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        network = part.build(5, part.read_config({"width": 8, "heads": 2}))
        frames = np.random.default_rng(0).normal(size=(6, 8, 5)).astype(np.float32)
        numbers = EpisodeNumbers(episodes=4)
        train_network(network, frames, [0, 0, 1, 1, 2, 2], list("abcdef"), numbers, seed=3)
        states.append(network.state_dict())
        assert not any("classes" in name for name in network.state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_settings_are_checked():
    with pytest.raises(UnknownNameError, match="did you mean 'width'"):
        registry.get("adapter", "trx").check_settings({"with": 3})
    with pytest.raises(ModelError, match="cardinalities"):
        registry.get("adapter", "trx").check_settings({"cardinalities": [2, 2]})
    with pytest.raises(ModelError, match="a divisor of width"):
        registry.get("adapter", "hyrsm").check_settings({"width": 30})


def test_adapt_trains_saves_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import vlar.methods.relations.learner as episodic

    monkeypatch.setattr(episodic, "EpisodeNumbers", lambda: EpisodeNumbers(episodes=15))
    support = tiny.support(tmp_path / "support", 3)
    base = vlar.load("tiny-for-fixtures")
    model = base.adapt(support, method="trx")
    assert model.report is not None
    assert model.report.training is not None
    assert model.report.training.method == "trx"
    assert model.encoder.fingerprint == base.encoder.fingerprint
    clip = tiny.clip(tmp_path / "clip", "rise", 6)
    answer = model.classify(clip, top=9)
    assert sum(p.probability for p in answer.predictions) == pytest.approx(
        1 - answer.unknown_probability, abs=1e-6
    )
    again = vlar.load(model.save(tmp_path / "m")).classify(clip, top=9)
    assert again.predictions == answer.predictions
    refused(UsageError, "no objectives", base.adapt, support, method="trx", objectives=["dear"])
