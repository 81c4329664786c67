"""STC-Net: curves follow what travels, and dilation reaches farther with the same weights."""

from __future__ import annotations

import pytest
import torch

from tests.unit.methods.skeleton_bodies import body, scene, size
from vlar.media.skeleton.layouts import levels
from vlar.methods.skeleton_towers.config import TowerConfig
from vlar.methods.skeleton_towers.curves import Curves, Dilated, follow, links
from vlar.methods.skeleton_towers.graphs import dilated
from vlar.methods.skeleton_towers.network import members


def _travelling(joints: int, frames: int, step: int) -> torch.Tensor:
    """(1, V, T, V): the code of curve u lies at joint u + step t of frame t."""
    place = (torch.arange(joints)[:, None] - step * torch.arange(frames)) % joints
    return torch.eye(joints)[place].permute(2, 1, 0)[None]


@pytest.mark.parametrize(("joints", "frames", "step"), [(5, 7, 1), (8, 6, 3)])
def test_curves_follow_a_signal_that_travels(joints: int, frames: int, step: int):
    x = _travelling(joints, frames, step)
    places = follow(links(x, x))
    for curve in range(joints):
        visited = places[0, :, curve].argmax(dim=-1).tolist()
        assert visited == [(curve + step * t) % joints for t in range(frames)]
    assert (places.sum(dim=-1) == 1).all()
    still = follow(links(x, _travelling(joints, frames, 0)))
    assert not torch.equal(still, places)


def test_a_link_leads_to_no_unseen_joint_and_has_the_gradient_of_a_softmax():
    x = _travelling(5, 4, 1).requires_grad_()
    seen = torch.ones(1, 4, 5)
    seen[:, 1, 1] = 0
    steps = links(x, x, seen)
    assert steps[0, 0, :, 1].sum() == 0
    assert steps[0, 0, 0].sum() == 1
    steps[0, 2, 0, 3].backward()  # a link that is not taken has a gradient too
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_features_come_back_to_the_joints_that_a_curve_visits():
    torch.manual_seed(0)
    layer = Curves(6)
    x = torch.randn(2, 6, 5, 4)
    places = layer.places(x, None)
    found = layer(x, None)
    assert found.shape == x.shape
    visited = places.sum(dim=2)[:, None].expand_as(found)
    assert (found[visited == 0] == 0).all()
    assert (found[visited > 0] != 0).all()
    # One curve, alone: its convolution over time of what it gathers, at the joint it is at.
    still = torch.randn(1, 6, 1, 4).expand(1, 6, 5, 4)
    layer.ends.weight.data.zero_()
    layer.ends.bias.data.zero_()
    layer.pair.weight.data[8:] = layer.pair.weight.data[:8]
    layer.pair.bias.data[8:] = layer.pair.bias.data[:8]
    expected = layer.along(still) + still.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(layer(still, None), expected)


@pytest.mark.parametrize("layout", ["kinect20", "openpose18"])
def test_dilation_reaches_farther_and_adds_no_weight(layout: str):
    sizes: set[int] = set()
    for dilation in (1, 2):
        config = TowerConfig(layout=layout, space="dilated", dilation=dilation, streams=("joint",))
        torch.manual_seed(0)
        layer = Dilated(4, 8, members(config)[0][1])
        layer.alpha.data.fill_(1.0)
        sizes.add(sum(parameter.numel() for parameter in layer.parameters()))
        x = torch.randn(1, 4, 3, config.joints, requires_grad=True)
        names = members(config)[0][1].config.layout
        joint = 4
        # Only the values' way: the topology itself is made from all frames of both its joints.
        graph = layer.topology(x, None).detach()
        (x @ graph.sum(dim=(1, 2))[:, None])[..., joint].sum().backward()
        assert x.grad is not None
        reached = x.grad.abs().sum(dim=(0, 1, 2)) > 0
        from vlar.media.skeleton.layouts import layout as of

        far = levels(layout, of(names).joints[joint])
        assert reached.tolist() == (far <= 3 * dilation).tolist()
        hops = torch.from_numpy(dilated(layout, 3 * dilation))
        for kernel in range(3):
            window = hops[kernel * dilation : (kernel + 1) * dilation].sum(dim=0) > 0
            own = torch.eye(config.joints) > 0
            assert torch.equal(layer.graph[kernel] > 0, window | own)
    assert len(sizes) == 1


def test_stc_net_has_about_the_published_size_and_starts_without_curves():
    wide = {"space": "dilated", "time": "curve", "layout": "ntu25", "people": 2, "frames": 64}
    assert size(body("graph", **wide), 60) == pytest.approx(1.46e6, rel=0.1)
    small = {**wide, "widths": (8, 16), "halved": (2,), "frames": 16, "layout": "kinect20"}
    network = body("graph", **small)
    x, seen = scene(2, 2, 16, 20)
    before = network(x, seen).vectors
    for block in network.blocks:
        assert block.time.share.item() == 0
        block.time.share.data.fill_(1.0)
    after = network(x, seen).vectors
    assert (before - after).abs().max() > 1e-3
    after.sum().backward()
    assert network.blocks[1].time.curves.pair.weight.grad.abs().sum() > 0
