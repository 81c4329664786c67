"""RefAtomNet's agent block against the golden data, and the adapter around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.unit.people.made import Given, clip, scene, track
from tests.unit.training.fakes import FakeEncoder
from vlar.errors import ModelError
from vlar.methods.refer.adapter import Refer
from vlar.methods.refer.network import AgentBlock, ReferConfig, gated
from vlar.people.people import find_people

GOLDEN = Path(__file__).parents[2] / "golden" / "ravar_agent.safetensors"


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


def block(golden, stream: str) -> AgentBlock:
    made = AgentBlock(16, heads=1, agents=3)
    start = f"w.{stream}."
    made.load_state_dict(
        {name[len(start) :]: value for name, value in golden.items() if name.startswith(start)}
    )
    return made


def test_the_block_is_that_of_the_original(golden):
    text, text_agents = block(golden, "text")(golden["in.text"])
    location, location_agents = block(golden, "location")(golden["in.location"])
    visual = block(golden, "visual")
    alone, _ = visual(golden["in.visual"])
    fused, own = visual(golden["in.visual"], (text_agents, location_agents))
    for found, name in (
        (text, "text"),
        (location, "location"),
        (alone, "visual_alone"),
        (fused, "visual_fused"),
        (text_agents.agents, "text_agents"),
        (text_agents.attention, "text_agent_attention"),
    ):
        torch.testing.assert_close(found, golden[f"out.{name}"], atol=1e-5, rtol=1e-5)
    # What a block gives others is its own, before any gate.
    torch.testing.assert_close(own.agents, visual(golden["in.visual"])[1].agents)


def test_several_heads_run_and_one_head_gates_by_two_thirds():
    made = AgentBlock(24, heads=4, agents=3)
    tokens, agents = made(torch.randn(2, 6, 24))
    assert tokens.shape == (2, 6, 24)
    assert agents.agents.shape == (2, 4, 3, 6)
    assert agents.attention.shape == (2, 4, 3, 6)
    own, guide = torch.rand(2, 1, 3, 5), torch.randn(2, 1, 3, 5)
    expected = (own * guide.softmax(dim=-1) + 2 * own) / 3
    torch.testing.assert_close(gated(own, [guide]), expected)
    with pytest.raises(ValueError, match="multiple"):
        AgentBlock(10, heads=4)


@pytest.fixture(scope="module")
def adapter() -> Refer:
    return Refer.attach(FakeEncoder(), {"width": 16, "heads": 2, "tokens": 3, "people": 4})


def people(count: int):
    made = clip(scene([(10, 1)]))
    return find_people(made, Given(*(track(15 + 25 * n, tall=30) for n in range(count))))


def test_it_starts_as_the_encoder_and_points_at_nobody(adapter: Refer):
    made = clip(scene([(10, 1)]))
    own, wrapped = adapter.encode([made])[0], FakeEncoder().encode([made])[0]
    np.testing.assert_array_equal(own.vector, wrapped.vector)
    cuts = np.eye(12, dtype=np.float32)[:3]
    found = adapter.point(people(3), cuts, cuts[0], "the person on the left")
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_people_beyond_the_most_get_the_least(adapter: Refer):
    with torch.no_grad():
        adapter.network.gain.fill_(1.0)
    cuts = np.eye(12, dtype=np.float32)[:6]
    found = adapter.point(people(6), cuts, cuts[0], "the person on the left")
    assert found.shape == (6,)
    assert (found[4:] == found[:4].min()).all()
    assert np.ptp(found[:4]) > 0
    other = adapter.point(people(6), cuts, cuts[0], "the person on the right")
    assert not np.allclose(found, other)
    with torch.no_grad():
        adapter.network.gain.fill_(0.0)


def test_the_fingerprint_follows_the_weights(adapter: Refer):
    before = adapter.fingerprint
    with torch.no_grad():
        adapter.network.gain.fill_(0.5)
    adapter.refresh()
    assert adapter.fingerprint != before


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ModelError, match="multiple"):
        ReferConfig(width=10, heads=4)
