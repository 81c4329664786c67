"""Event towers: the encoder at the start, one answer in every order, spikes that are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vlar
from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.encoders.base import FrameBlock
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.methods.events import network as parts
from vlar.methods.events.adapter import Events
from vlar.methods.events.network import EventsConfig
from vlar.methods.events.neurons import Neuron
from vlar.methods.events.objective import FrameContrast, frame_contrast
from vlar.methods.events.points import grouped
from vlar.methods.events.representations import EVENT
from vlar.model.core import ModelCore
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet
from vlar.types import Clip, Encoded, Window

LABELS = ["to the right", "to the left"]
PRESETS = ("spikmamba", "event-transact", "spikepoint")
SMALL: dict[str, Any] = {
    "size": 8,
    "width": 8,
    "points": 64,
    "groups": 8,
    "neighbours": 4,
    "steps": 4,
}


class FakeEvents(FakeEncoder):
    """Rates of eight spans of time."""

    name = fingerprint = "fake-events"
    modality = "events"
    n_frames, frame_dim = 8, 12
    frame_blocks = (FrameBlock("rates", 12, "appearance"),)

    def encode(self, clips: Any) -> list[Encoded]:
        rows = [np.full((8, 12), 0.1, np.float32) for _ in clips]
        for row, clip in zip(rows, clips, strict=True):
            row[:, 0] += np.histogram(clip.data["x"], 8, (0, 32))[0] / len(clip.data)
        return [Encoded(row, self.pool(row[None])[0]) for row in rows]


def moving(direction: int, seed: int = 0, count: int = 600) -> Clip:
    """A dot that crosses a sensor of 24 x 32 pixels in half a second."""
    random = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    share = np.sort(random.random(count))
    place = share if direction > 0 else 1 - share
    events["t"] = (share * 5e5).astype(np.int64)
    events["x"] = np.clip(place * 30 + random.normal(0, 1, count), 0, 31)
    events["y"] = np.clip(random.normal(12, 3, count), 0, 23)
    events["p"] = random.random(count) < 0.5
    times_s = events["t"] * 1e-6
    return Clip(Path(f"{direction} {seed}"), Window(0, 0.5), "events", events, times_s,
                meta={"size": (24, 32)})  # fmt: skip


def tower(name: str, **settings: Any) -> Events:
    made = registry.get("adapter", name).attach(FakeEvents(), {**SMALL, **settings})
    assert isinstance(made, Events)
    return made


def awake(made: Events, seed: int = 0) -> Events:
    """The tower with a readout that is not zero."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weight = made.network.leave.weight
        weight.copy_(torch.randn(weight.shape, generator=random))
    made.refresh()
    return made


def training(made: Events, per_label: int = 4, objectives: Any = (), **numbers: Any) -> Training:
    clips = [moving(d, s) for d in (1, -1) for s in range(per_label)]
    features = np.stack([row.features for row in made.source.encode(clips)])
    y = [LABELS[0]] * per_label + [LABELS[1]] * per_label
    dataset = Dataset.single(LABELS, y, [str(n) for n in range(len(y))], [c.path for c in clips])
    made.fit_inputs(features)
    loader = FeatureLoader(made.training_inputs(features), dataset.paths)
    how = load_recipe("event-tower/adapt").replaced(**{"epochs": 12, "batch": 4, **numbers})
    return Training(made, loader, dataset, how, objectives=ObjectiveSet(objectives))


@pytest.mark.parametrize("name", PRESETS)
def test_at_the_start_it_is_the_encoder(name: str):
    clips = [moving(1), moving(-1, seed=1)]
    made = tower(name)
    for row, plain in zip(made.encode(clips), FakeEvents().encode(clips), strict=True):
        np.testing.assert_array_equal(row.vector, plain.vector)
        np.testing.assert_array_equal(row.features[:, :12], plain.features)
    np.testing.assert_array_equal(made.encode_text(LABELS), FakeEvents().encode_text(LABELS))
    assert sum(block.width for block in made.frame_blocks) == made.frame_dim


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("neuron", ["lif", "none"])
def test_a_permuted_stream_gives_the_same_answer(name: str, neuron: str):
    made, clip = awake(tower(name, neuron=neuron)), moving(1)
    order = np.random.default_rng(3).permutation(len(clip.data))
    mixed = Clip(clip.path, clip.window, "events", clip.data[order], clip.times_s[order],
                 meta=clip.meta)  # fmt: skip
    one, other = made.encode([clip, mixed])
    np.testing.assert_array_equal(one.vector, other.vector)
    assert not np.allclose(one.vector, made.encode([moving(-1)])[0].vector, atol=1e-3)
    assert not np.allclose(one.vector, FakeEvents().encode([clip])[0].vector, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "rates"), [*((n, "expected") for n in PRESETS), ("spikepoint", "drawn")]
)
def test_use_draws_nothing_and_a_training_draws_from_its_seed(name: str, rates: str):
    made = awake(tower(name, dropout=0.0, rates=rates))
    inputs = torch.from_numpy(made.small(made.encode([moving(1)])[0].features[None]))
    with torch.no_grad():
        torch.manual_seed(1)
        still = made.network.residual(inputs)
        torch.manual_seed(2)
        assert torch.equal(still, made.network.residual(inputs))
        made.network.train()
        drawn = []
        for seed in (1, 2, 1):
            torch.manual_seed(seed)
            drawn.append(made.network.residual(inputs))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("block", ["linear_attention", "scan", "near_far", "gated"])
@pytest.mark.parametrize(("moments", "places"), [(1, 1), (5, 4), (9, 36)])
def test_blocks_take_any_number_of_patches_and_windows(block: str, moments: int, places: int):
    made = parts.NearFar(EventsConfig(block=block, width=8, heads=2, window=4))
    x = torch.randn(3, moments, places, 8)
    together = made(x)
    assert together.shape == x.shape
    assert torch.isfinite(together).all()
    for row in range(3):  # the last, partial batch is as good as a whole one
        torch.testing.assert_close(made(x[row : row + 1])[0], together[row], atol=1e-5, rtol=1e-4)


def test_what_is_near_stays_in_its_window_and_what_is_far_does_not():
    config = EventsConfig(width=8, window=2, neuron="none")
    near, far = parts.Near(config), parts.Far(config)
    for module in (near, far):
        for norm in [m for m in module.modules() if isinstance(m, parts.ClipNorm)]:
            norm.forward = lambda x: x  # type: ignore[method-assign] - it sees the whole clip
    x = torch.rand(1, 6, 2, 8)
    other = x.clone()
    other[:, 0] += 1
    assert torch.equal(near(x)[:, 2:], near(other)[:, 2:])
    assert not torch.allclose(near(x)[:, :2], near(other)[:, :2])
    assert not torch.allclose(far(x)[:, -1], far(other)[:, -1], atol=1e-7)
    assert not torch.allclose(far(x)[:, 0], far(x + (x > 2) + 0 * x)[:, 0] + 1)
    last = x.clone()
    last[:, -1] += 1
    assert not torch.allclose(far(x)[:, 0], far(last)[:, 0], atol=1e-7)  # backwards too


def test_a_gated_block_knows_places_and_a_closed_gate_lets_positions_alone_through():
    made = parts.Gated(EventsConfig(width=8, heads=2, neuron="none"))
    x = torch.rand(1, 4, 9, 8)
    turned = x.flip(2)  # with the maps upside down neighbours and angles are others
    assert not torch.allclose(made(turned).flip(2), made(x), atol=1e-4)
    with torch.no_grad():
        made.gate.weight.zero_()
        made.gate.bias.zero_()
        made.leave.bias.zero_()
    maps = x[0].unflatten(1, (3, 3)).movedim(-1, 1)
    torch.testing.assert_close(made(x)[0], made.around(maps).movedim(1, -1).flatten(1, 2))


def test_the_identity_has_no_spikes():
    made = parts.SpikingResidual(8, EventsConfig(width=8))
    x = torch.randn(2, 5, 3, 8)
    with torch.no_grad():
        for layer in (made.inner[-1],):
            layer.weight.zero_()
            layer.bias.zero_()
    assert torch.equal(made(x), x)
    assert len(x.unique()) > 2


def test_layers_of_points_are_those_of_the_paper():
    made = parts.PointReader(EventsConfig(rep="points", block="residual", width=32))
    widths = [tuple(m.weight.shape[1::-1]) for m in made.modules() if isinstance(m, nn.Conv1d)]
    enter = [(32, 16), (16, 32)]
    merge = [(32, 64), (64, 64), (64, 128), (128, 128), (128, 256)]
    assert widths == [(8, 32), *enter, (6, 32), *enter, *merge, (256, 64)]


def test_spikes_of_points_are_added_behind_the_neurons():
    config = EventsConfig(rep="points", block="residual", width=8, steps=3)
    made = parts.PointResidual(config, 8, 4, 8)
    x = (torch.rand(2, 8, 3, 40) < 0.4).float()
    y = made(x)
    assert set(y.unique().tolist()) == {0.0, 1.0, 2.0}
    with torch.no_grad():
        for layer in made.layers:
            layer.norm.weight.zero_()
            layer.norm.bias.fill_(-1)
    assert torch.equal(made(x), x)
    once = parts.PointLayer(8, 4, config)
    torch.testing.assert_close(once(x[:, :, :1]), once(x[:, :, :1].expand(-1, -1, 3, -1)))
    assert not torch.equal(once(x), once(x[:, :, :1]))


@pytest.mark.parametrize("name", PRESETS)
def test_spikes_are_counted_and_parameters_are_printed(name: str):
    made = tower(name, neuron="lif")
    features = np.stack([row.features for row in made.encode([moving(1), moving(-1)])])
    fired: list[torch.Tensor] = []
    for module in made.network.modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(lambda m, i, out: fired.append(out))
    counted = made.spikes(features)
    assert counted.tolist() == [float(sum(out[n].sum() for out in fired)) for n in range(2)]
    assert (counted > 0).all()
    assert set(torch.cat([out.flatten() for out in fired]).unique().tolist()) == {0.0, 1.0}
    plain = tower(name, neuron="none")
    assert plain.spikes(features).tolist() == [0, 0]
    neurons = sum(isinstance(m, Neuron) for m in made.network.modules())
    assert sum(p.numel() for p in made.network.parameters()) == neurons + sum(
        p.numel() for p in plain.network.parameters()
    )


@pytest.mark.parametrize("name", PRESETS)
def test_it_learns_a_direction_that_the_encoder_lacks(name: str):
    made = tower(name, width=16, shift=0, drop="none", dropout=0.0)
    run = training(made, epochs=25, learning_rate=1e-2)
    done = run.run()
    assert done.epochs[-1].losses["total"] < 0.75 * done.epochs[0].losses["total"]
    words = ModelCore(made, templates=made.templates).encode_labels(LABELS)
    for direction, label in ((1, 0), (-1, 1)):
        rows = made.encode([moving(direction, seed) for seed in (11, 12, 13)])
        assert [int((words @ row.vector).argmax()) for row in rows] == [label] * 3
    again = registry.get("adapter", name).attach(FakeEvents(), made.settings)
    again.load_state_dict(made.state_dict())
    assert again.fingerprint == made.fingerprint


@pytest.mark.parametrize(("shift", "collapses"), [(0, False), (3, True)])
def test_the_contrast_alone_does_not_collapse(shift: int, collapses: bool):
    """Frames stay apart, unless views are moved as far as what tells the times apart moves."""
    made = tower("event-transact", dropout=0.1, shift=shift)
    clips = [moving(d, s) for d in (1, -1) for s in range(3)]
    inputs = torch.from_numpy(made.small(np.stack([r.features for r in made.encode(clips)])))

    def spread() -> float:
        with torch.no_grad():
            frames = torch.nn.functional.normalize(made.network.read(inputs)[1], dim=-1)
        return float(frames.var(dim=1).sum(dim=-1).mean())

    start = spread()
    torch.manual_seed(0)
    made.network.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(made.network.parameters(), lr=5e-3)
    for _ in range(20):
        optimiser.zero_grad()
        one, other = (made.network.read(inputs)[1] for _ in range(2))
        frame_contrast(one, other, 0.1, 2).backward()
        optimiser.step()
    made.network.eval()
    assert (spread() < 0.5 * start) if collapses else (spread() > start)


def test_the_objective_trains_any_tower_of_frames():
    run = training(tower("event-transact"), objectives={"frame-contrast": {"stride": 2}}, epochs=2)
    losses = run.run().epochs[-1].losses
    assert losses["frame-contrast.times"] > 0
    assert losses["total"] == pytest.approx(
        losses["base"] + losses["frame-contrast.times"], rel=1e-5
    )
    with pytest.raises(ModelError, match="temperature is 0"):
        FrameContrast(temperature=0.0)
    with pytest.raises(UsageError, match="gives one frame at stride 4; use a smaller stride"):
        training(tower("spikepoint"), objectives=["frame-contrast"], epochs=2).run()


# What a training leaves out


def test_dropped_events_are_gone_and_no_others():
    torch.manual_seed(0)
    frames = torch.randint(0, 4, (64, 8, 2, 8, 8)).float()
    assert torch.equal(parts.thinned_frames(frames, "none"), frames)
    for kind in ("time", "area", "chance"):
        kept = parts.thinned_frames(frames, kind)
        assert ((kept >= 0) & (kept <= frames)).all()
        assert torch.equal(kept, kept.round())
        share = float(kept.sum() / frames.sum())
        assert 0.6 < share < 0.98, kind
    whole = parts.thinned_frames(frames, "time").flatten(2).sum(dim=2)
    either = (whole == 0) | (whole == frames.flatten(2).sum(dim=2))
    assert either.all()
    boxes = (parts.thinned_frames(frames, "area") != frames).any(dim=1).any(dim=1)
    for box in boxes:
        rows, columns = box.any(dim=1), box.any(dim=0)
        assert int(box.sum()) <= int(rows.sum()) * int(columns.sum()) <= 16


def test_groups_that_are_left_out_are_replaced_by_others_of_the_clip():
    torch.manual_seed(0)
    groups = torch.rand(6, 10, 11) * 2 - 1
    for kind in ("time", "area", "chance", "any"):
        kept = parts.thinned_groups(groups, kind)
        assert kept.shape == groups.shape
        for clip, own in zip(kept, groups, strict=True):
            assert all((group == own).all(dim=1).any() for group in clip)
    assert torch.equal(parts.thinned_groups(groups, "none"), groups)
    moved = parts.shifted(torch.ones(5, 2, 2, 8, 8), 2)
    assert moved.shape == (5, 2, 2, 8, 8)
    assert torch.equal(parts.shifted(moved, 0), moved)


def test_groups_of_points_do_not_depend_on_their_order():
    random = np.random.default_rng(0)
    points = random.integers(0, 5, (60, 4)).astype(np.float32) / 2 - 1  # many ties
    one = grouped(points, 6, 5)
    np.testing.assert_array_equal(one, grouped(points[random.permutation(60)], 6, 5))
    assert one.shape == (6, 23)
    assert np.abs(one).max() <= 1
    near = one[:, :20].reshape(6, 5, 4)[..., :3]
    np.testing.assert_array_equal(near[:, 0], 0)  # the centre is the nearest


# What is refused


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"rep": "points"}, ModelError, "block is 'near_far'; use 'residual'"),
        ({"block": "residual"}, ModelError, "block is 'residual'; use another"),
        ({"rep": "voxels"}, UnknownNameError, "voxels"),
        ({"neuron": "lift"}, UnknownNameError, "did you mean 'lif'"),
        ({"size": 30}, ModelError, "size is 30; use a multiple of 4"),
        ({"width": 30, "heads": 4}, ModelError, "width is 30"),
        ({"groups": 100, "points": 64}, ModelError, "groups is 100; use points up to 64"),
        ({"threshold": 0.0}, ModelError, "threshold is 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], error: Any, words: str):
    with pytest.raises(error, match=words):
        Events.attach(FakeEvents(), settings)


def test_another_sensor_is_refused():
    with pytest.raises(ModelError, match="reads event cameras, and encoder 'fake' reads 'video'"):
        Events.attach(FakeEncoder())


def test_no_tower_has_the_name_of_an_encoder():
    """A name of both would be read as a checkpoint of the tower."""
    assert not set(registry.names("encoder")) & {"event-tower", *PRESETS}


def test_a_folder_of_recordings_is_adapted_to_saved_and_asked_again(tmp_path: Path):
    for direction, label in ((1, "to the right"), (-1, "to the left")):
        (tmp_path / "taught" / label).mkdir(parents=True)
        for seed in range(3):
            np.save(tmp_path / "taught" / label / f"{seed}.npy", moving(direction, seed).data)
    settings = {**SMALL, "epochs": 1, "batch": 4, "warmup_epochs": 0}
    mine = vlar.load("events").adapt(tmp_path / "taught", method="spikmamba", settings=settings)
    assert mine.report.training is not None
    made = mine.encoder
    assert isinstance(made, Events)
    assert mine.report.training.parameters == sum(p.numel() for p in made.network.parameters())
    again = vlar.load(mine.save(tmp_path / "mine"))
    assert again.fingerprint == mine.fingerprint
    asked = tmp_path / "taught" / "to the left" / "0.npy"
    assert again.classify(asked).predictions == mine.classify(asked).predictions
