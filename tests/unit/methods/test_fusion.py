"""Fusion of several sensors: the facts of its functions, and what each block must not do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlar
from tests import skeletons
from tests.command_line import invoke
from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.bundle import BundleEncoder
from vlar.encoders.protocols import PatchTokens
from vlar.errors import ModelError, SupportError, UsageError
from vlar.media.bundle import BundlePart, write_bundle
from vlar.media.lookup import reader
from vlar.methods.fusion.adapter import Fusion
from vlar.methods.fusion.deformable import Deformable, sample
from vlar.methods.fusion.devices import Devices, device_mix
from vlar.methods.fusion.intervals import Intervals, visible
from vlar.methods.fusion.losses import cross_prototypes, info_nce, masked_error
from vlar.methods.fusion.mixer import DeviceMixer
from vlar.methods.fusion.presence import draw, parts_of
from vlar.methods.fusion.rebuild import Rebuild
from vlar.methods.fusion.tokens import BLOCKS
from vlar.methods.video_net.bodies import guide
from vlar.training.batches import Dataset
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.sources import FeatureSource

PRESETS = ("mmg", "action-mae", "m-mixer", "deformable", "masked-imu", "tim")
SMALL = {"width": 8, "heads": 2, "components": 4}
T = 8


class PartEncoder(FakeEncoder):
    """An encoder of one sensor; the first block has places of four numbers."""

    def __init__(self, sensor: str) -> None:
        self.name = self.fingerprint = sensor
        self.modality = sensor
        self.frame_blocks = (
            FrameBlock("look", 8, "signal", 4),
            FrameBlock("flow", 4, "motion"),
        )


def pair() -> BundleEncoder:
    """A bundle of two sensors."""
    return BundleEncoder([PartEncoder("skeleton"), PartEncoder("imu")])


def clips(n: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """(n, T, 26) features of both sensors, which rise or fall with the label."""
    random = np.random.default_rng(seed)
    way = np.random.default_rng(9).normal(size=24)
    x = 1 + 0.3 * random.normal(size=(n, T, 24))
    x += np.where(np.arange(n) % 2, 1, -1)[:, None, None] * np.linspace(-1, 1, T)[:, None] * way
    return np.concatenate([x, np.ones((n, T, 2))], axis=2).astype(np.float32), [
        ("up", "down")[i % 2] for i in range(n)
    ]


def lost(features: np.ndarray, part: int, filled: float = 0.0) -> np.ndarray:
    """The same without a part; what stands in its place is of no meaning."""
    found = features.copy()
    found[..., 12 * part : 12 * part + 12] = filled
    found[..., 24 + part] = 0
    return found


def made(settings: dict[str, Any], encoder: Encoder | None = None, method: str = "fusion") -> Any:
    """An adapter with random weights, as after a training."""
    part = registry.get("adapter", method)
    adapter = part.attach(encoder or pair(), {**SMALL, **settings})
    torch.manual_seed(1)
    torch.nn.init.normal_(adapter.network.leave.weight)
    adapter.fit_inputs(clips(12)[0])
    return adapter


def trained(adapter: Any, features: np.ndarray, y: list[str], epochs: int = 40) -> Training:
    paths = [Path(str(row)) for row in range(len(y))]
    dataset = Dataset.single(sorted(set(y)), y, [str(p) for p in paths], paths)
    loader = FeatureSource(features).loader(adapter, dataset, range(len(y)))
    numbers = load_recipe("fusion/adapt").replaced(epochs=epochs, batch=24, learning_rate=3e-2)
    training = Training(adapter, loader, dataset, numbers, seed=0)
    training.run()
    return training


def concepts(adapter: Any) -> np.ndarray:
    """(2, D) of the labels, as the adapter has moved them."""
    return np.stack(
        [adapter.encode_text(t).mean(axis=0) for t in adapter.label_texts(["up", "down"])]
    )


# The functions


@pytest.mark.parametrize(("n", "temperature"), [(4, 0.5), (3, 1.0), (6, 0.25)])
def test_contrast_of_own_rows(n: int, temperature: float):
    a = 2 * torch.eye(n)
    wanted = math.log(1 + (n - 1) * math.exp(-1 / temperature))
    assert float(info_nce(a, a, temperature)) == pytest.approx(wanted, abs=1e-5)
    if (n, temperature) == (4, 0.5):
        assert wanted == pytest.approx(0.340753, abs=1e-6)
    other = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    one, two = info_nce(a, other, temperature), info_nce(7 * other, 3 * a, temperature)
    assert float(one) == pytest.approx(float(two), abs=1e-5)


@pytest.mark.parametrize(
    ("b", "temperature"), [(torch.eye(3)[:2], 0.5), (torch.eye(3), 0.0), (torch.eye(3), math.nan)]
)
def test_contrast_refuses_what_has_no_pairs(b: torch.Tensor, temperature: float):
    refused(UsageError, "one row a clip", info_nce, torch.eye(3), b, temperature)


@pytest.mark.parametrize(("apart", "wanted"), [(2.0, 0.018150), (1.0, math.log(1 + math.exp(-1)))])
def test_prototypes_by_squared_distances(apart: float, wanted: float):
    supports = torch.tensor([[[-1.0, 0], [1, 0]], [[apart, 1], [apart, -1]]])
    loss = cross_prototypes(supports, torch.zeros(1, 2), torch.tensor([0]))
    assert float(loss) == pytest.approx(wanted, abs=1e-5)
    two = torch.tensor([[0.0, 0], [apart, 0]])
    assert float(cross_prototypes(supports, two, torch.tensor([0, 1]))) == pytest.approx(
        wanted, abs=1e-5
    )


def test_drawn_parts_are_there_and_never_none():
    present = np.random.default_rng(0).random((400, 3)) < 0.6
    present[0], present[1] = True, False
    for p in (0.0, 0.3, 0.95, 1.0):
        kept = draw(present, np.random.default_rng(1), p)
        assert kept.dtype == bool
        assert not (kept & ~present).any()
        assert (kept.any(axis=1) == present.any(axis=1)).all()
        np.testing.assert_array_equal(kept, draw(present, np.random.default_rng(1), p))
    assert (draw(present, np.random.default_rng(1), 0.0) == present).all()
    assert (draw(present, np.random.default_rng(1), 1.0).sum(axis=1) <= 1).all()
    many = draw(np.ones((14_000, 3), bool), np.random.default_rng(2), 0.5)
    counts = np.bincount(many @ [1, 2, 4], minlength=8)
    assert counts[0] == 0
    assert abs(counts[1:] / 2000 - 1).max() < 0.1  # all subsets alike
    assert len({tuple(row) for row in many[:40].tolist()}) > 3  # other clips lose other parts


def test_queries_see_tokens_and_themselves():
    wanted = ["11100"] * 3 + ["11110", "11101"]
    rows = ["".join(map(str, row)) for row in visible(3, 2).int().tolist()]
    assert rows == wanted
    assert visible(2, 0).all()
    assert visible(1, 3).int().sum() == 1 + 3 * 2


def test_samples_of_a_grid():
    random = torch.Generator().manual_seed(0)
    grid = torch.randn(2, 3, 4, 5, 6, generator=random)
    points = torch.tensor([[[0.0, 0, 0], [3, 4, 5], [1, 2, 3]], [[2, 0, 5], [0, 4, 1], [3, 3, 3]]])
    found = sample(grid, points)
    assert found.shape == (2, 3, 3)
    for n in range(2):
        for p, (t, y, x) in enumerate(points[n].int().tolist()):
            torch.testing.assert_close(found[n, p], grid[n, :, t, y, x], atol=1e-5, rtol=1e-5)
    half = sample(grid, torch.tensor([[[1.5, 2.0, 3.0]], [[1.0, 2.0, 2.5]]]))
    torch.testing.assert_close(half[0, 0], grid[0, :, 1:3, 2, 3].mean(dim=1))
    torch.testing.assert_close(half[1, 0], grid[1, :, 1, 2, 2:4].mean(dim=1))
    outside = sample(grid, torch.tensor([[[-3.0, 9.0, 2.0]]] * 2))
    torch.testing.assert_close(outside[:, 0], grid[:, :, 0, 4, 2])
    flat = sample(torch.arange(4.0).reshape(1, 1, 4, 1, 1), torch.tensor([[[2.5, 0, 0]]]))
    assert float(flat) == pytest.approx(2.5)
    points = points.requires_grad_()
    sample(grid, points + 0.25).sum().backward()
    assert points.grad is not None
    assert bool((points.grad[0, 0] != 0).all())


def test_a_guided_picture():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, 6, generator=random)
    ones, rows = torch.ones(2, 3, 1, 5, 6), torch.ones(2, 3)
    assert torch.equal(guide(x, 0 * ones, rows), x)
    assert torch.equal(guide(x, ones, 0 * rows), x)
    assert torch.equal(guide(x, ones, rows), 2 * x)
    half = ones.clone()
    half[..., 2:] = 0
    found = guide(x, half, 0.5 * rows)
    assert torch.equal(found[..., 2:], x[..., 2:])
    torch.testing.assert_close(found[..., :2], 1.5 * x[..., :2])


def test_hidden_patches_alone_count():
    target = torch.tensor([[1.0, 3, 5, 7], [2, 2, 2, 2], [0, 0, 4, 4]])
    prediction = torch.zeros(3, 4, requires_grad=True)
    hidden = torch.tensor([True, False, True])
    loss = masked_error(prediction, target, hidden)
    assert loss.item() == pytest.approx(1.0, abs=1e-5)  # standardised targets have variance 1
    loss.backward()
    assert prediction.grad is not None
    assert not prediction.grad[1].any()
    assert prediction.grad[0].any()
    wanted = (target - target.mean(1, keepdim=True)) / target.std(1, unbiased=False, keepdim=True)
    assert float(masked_error(wanted[:1], target[:1], hidden[:1])) == pytest.approx(0, abs=1e-6)
    none = masked_error(prediction, target, torch.zeros(3).bool())
    none.backward()
    assert none.item() == 0


@pytest.mark.parametrize("epsilon", [0.0, 0.5, -1.0])
def test_devices_take_in_the_others(epsilon: float):
    h = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    found = device_mix(h, epsilon)
    for i in range(4):
        others = [h[:, j] for j in range(4) if j != i]
        torch.testing.assert_close(found[:, i], (1 + epsilon) * h[:, i] + sum(others))
    assert torch.equal(device_mix(h[:, :1], epsilon), (1 + epsilon) * h[:, :1])


# The adapter


def test_parts_are_found_below_wrappers():
    names = [(p.name, p.start, p.end, p.place) for p in parts_of(pair())]
    assert names == [("skeleton", 0, 12, slice(0, 12)), ("imu", 12, 24, slice(12, 24))]
    assert [p.name for p in parts_of(Fusion.attach(pair(), SMALL))] == [
        "skeleton", "imu",
    ]  # fmt: skip
    assert [p.end for p in parts_of(FakeEncoder())] == [12]


@pytest.mark.parametrize("method", ["fusion", *PRESETS])
def test_an_untrained_adapter_is_its_encoder(method: str):
    features, _ = clips(3)
    adapter = registry.get("adapter", method).attach(pair(), SMALL)
    np.testing.assert_array_equal(adapter.pool(features), pair().pool(features))
    assert adapter.name == method
    assert isinstance(adapter, Fusion)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_missing_part_is_masked_and_zeros_are_not_absence(block: str):
    adapter, (features, _) = made({"block": block}), clips(4, seed=3)
    for part in (0, 1):
        gone, other = lost(features, part), lost(features, part, filled=1e3)
        np.testing.assert_array_equal(adapter.pool(gone), adapter.pool(other))
        there = gone.copy()
        there[..., 24 + part] = 1  # recorded, and nothing moved
        assert np.abs(adapter.pool(there) - adapter.pool(gone)).max() > 1e-4
        assert np.abs(adapter.pool(features) - adapter.pool(gone)).max() > 1e-4
    together = adapter.pool(features)
    for row, clip in zip(together, features, strict=True):
        np.testing.assert_array_equal(adapter.pool(clip[None])[0], row)
    nothing = lost(lost(features, 0), 1)
    assert np.isfinite(adapter.pool(nothing)).all()


@pytest.mark.parametrize("method", ["fusion", *PRESETS])
def test_it_learns_and_answers_with_either_sensor(method: str):
    (features, y), (other, truth) = clips(24), clips(16, seed=5)
    adapter = registry.get("adapter", method).attach(pair(), {**SMALL, "dropout": 0.0})
    trained(adapter, features, y, epochs=80)
    words = concepts(adapter)
    for rows in (other, lost(other, 0), lost(other, 1)):
        found = (adapter.pool(rows) @ words.T).argmax(axis=1)
        assert np.mean([("up", "down")[i] == t for i, t in zip(found, truth, strict=True)]) > 0.8


def test_a_part_that_no_clip_has_is_named():
    features, y = clips(8)
    adapter = registry.get("adapter", "mmg").attach(pair(), SMALL)
    refused(SupportError, "no example has the part 'imu'", trained, adapter, lost(features, 1), y)
    # Clips without labels that have it are enough.
    adapter.fit_inputs(lost(features, 1))
    adapter.training_inputs(lost(features, 1))
    adapter.training_inputs(features)
    adapter.training_classes(["up", "down"])
    assert adapter.network.get_buffer("axes2").any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"block": "lucky"}, "value of fusion setting 'block'"),
        ({"width": 12, "heads": 4}, "width is 12; use a multiple of heads"),
        ({"drop": 1.5}, "drop is 1.5"),
        ({"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str):
    refused((ModelError, UsageError), words, Fusion.attach, pair(), settings)


# The blocks


def seen(adapter: Any, features: np.ndarray) -> Any:
    inputs = torch.from_numpy(adapter.small(features))
    return adapter.network.seen(inputs, adapter.network.there(inputs))


@pytest.mark.slow
def test_sensors_are_drawn_together_by_the_contrast():
    random = np.random.default_rng(0)
    way = np.linspace(-1, 1, T)[:, None] * random.normal(size=(3, 1, 24))

    def latent(n: int) -> np.ndarray:
        """Clips that differ in three numbers, which both sensors show in their way."""
        x = np.einsum("nk,ktf->ntf", random.normal(size=(n, 3)), way)
        return np.concatenate([x, np.ones((n, T, 2))], axis=2).astype(np.float32)

    features, other, y = latent(48), latent(16), [("up", "down")[i % 2] for i in range(48)]
    away = []
    for weight in (0.0, 1.0):
        adapter = registry.get("adapter", "fusion").attach(
            pair(), {**SMALL, "contrast": weight, "dropout": 0.0}
        )
        trained(adapter, features, y)
        inputs = torch.from_numpy(adapter.small(other))
        network = adapter.network
        network.config = replace(network.config, contrast=1.0)
        away.append(float(network.between_sensors(inputs, torch.zeros(16).long())["contrast"]))
    assert away[1] < 0.8 * away[0]


def test_lost_parts_alone_are_rebuilt():
    adapter, (features, _) = made({"block": "rebuild"}), clips(6)
    block = adapter.network.block
    assert isinstance(block, Rebuild)
    x = seen(adapter, features)
    assert float(block(x)[1]["rebuild"]) == 0  # nothing is lost
    kept = x.kept.clone()
    kept[0, 0] = kept[1, 1] = False
    loss = block(x._replace(kept=kept))[1]["rebuild"]
    vectors = block.vectors(x.rows)
    _, decoded = block.rebuilt(vectors, kept)
    hidden = torch.zeros(6, 2, dtype=torch.bool)
    hidden[0, 0] = hidden[1, 1] = True
    assert float(loss) == pytest.approx(float(masked_error(decoded, vectors, hidden)), abs=1e-6)
    # A part that was never recorded has no target.
    gone = x._replace(there=kept, kept=kept)
    assert float(block(gone)[1]["rebuild"]) == 0
    # What is lost does not reach its own prediction.
    changed = vectors.clone()
    changed[0, 0] += 5
    torch.testing.assert_close(block.rebuilt(changed, kept)[1], decoded)


@pytest.mark.parametrize("fuse", ["sum", "concatenation", "attention"])
def test_rebuilt_parts_are_fused_in_three_ways(fuse: str):
    adapter = made({"block": "rebuild", "fuse": fuse})
    assert np.isfinite(adapter.pool(clips(2)[0])).all()


def test_the_order_of_sensors_does_not_matter_to_the_mixer():
    adapter, (features, _) = made({"block": "mixer"}), clips(5)
    block = adapter.network.block.eval()
    assert isinstance(block, DeviceMixer)
    x = seen(adapter, features)
    kept = x.kept.clone()
    kept[2, 0] = kept[3, 1] = False
    one = block(x._replace(kept=kept))[0]
    with torch.no_grad():
        block.queries.copy_(block.queries.flip(0))
    two = block(x._replace(rows=x.rows.flip(1), kept=kept.flip(1)))[0]
    torch.testing.assert_close(one, two)
    # One sensor alone is the unit without what the others add.
    alone = block.unit(block.own(x.rows.flip(1)[:, 0]))
    torch.testing.assert_close(alone[2], two[2])
    assert not torch.allclose(alone[0], two[0])


def test_offsets_start_as_strided_samples_and_move_to_a_blob():
    adapter = made({"block": "deformable", "layers": 2, "fold": 1})
    block = adapter.network.block
    assert isinstance(block, Deformable)
    block.requires_grad_(True)
    layer, grid = block.layers[0], torch.randn(2, 8, T, 2, 1)
    strided = grid[:, :, ::2, ::4].flatten(2).transpose(1, 2)
    torch.testing.assert_close(sample(grid, layer.points(0, grid)), strided, atol=1e-5, rtol=1e-5)
    # A blob at moment 5: the offsets that raise what is sampled lead to it.
    time = torch.arange(12.0)
    blob = torch.exp(-0.5 * ((time - 5) / 3) ** 2).expand(1, 8, 12)[..., None, None].contiguous()
    optimiser = torch.optim.Adam(layer.offsets[0].parameters(), lr=0.02)
    before = (layer.points(0, blob)[0, :, 0] - 5).abs()
    for _ in range(60):
        optimiser.zero_grad()
        (-sample(blob, layer.points(0, blob)).mean()).backward()
        optimiser.step()
    after = (layer.points(0, blob)[0, :, 0] - 5).abs()
    assert float(after[before > 0.5].mean()) < 0.75 * float(before[before > 0.5].mean())


def test_offsets_in_time_height_and_width_all_learn_and_find_a_blob_that_moves_sideways():
    adapter = made({"block": "deformable", "layers": 2, "fold": 1})
    block = adapter.network.block
    block.requires_grad_(True)
    for number, layer in enumerate(block.layers):
        grid = torch.randn(2, 8, T, 5, 4)
        sample(grid, layer.points(0, grid)).square().sum().backward()
        gradient = layer.offsets[0].bias.grad.abs()
        assert (gradient > 0).all(), (number, gradient)
    columns = torch.arange(4.0)
    blob = torch.exp(-0.5 * (columns - 3) ** 2).expand(1, 8, 6, 5, 4).contiguous()
    layer = block.layers[0]
    optimiser = torch.optim.Adam(layer.offsets[0].parameters(), lr=0.001)
    before = float(sample(blob, layer.points(0, blob)).mean().detach())
    for _ in range(60):
        optimiser.zero_grad()
        (-sample(blob, layer.points(0, blob)).mean()).backward()
        optimiser.step()
    assert float(sample(blob, layer.points(0, blob)).mean().detach()) > before + 0.1


class Patched(PartEncoder, PatchTokens):
    """A video encoder with patches, whose features are given."""

    def __init__(self) -> None:
        super().__init__("video")
        self.frame_blocks = (FrameBlock("look", 12, "signal"),)

    def encode_regions(self, frames: np.ndarray, rows: int, columns: int) -> np.ndarray:
        raise AssertionError("features are given")


@pytest.mark.parametrize("grid", [0, 4])
def test_all_offsets_of_patches_learn_from_a_blob_that_moves_sideways(grid: int):
    encoder = BundleEncoder([Patched(), PartEncoder("skeleton")])
    settings = {"block": "deformable", "layers": 2, "fold": 1, "grid": grid}
    adapter = Fusion.attach(encoder, {**SMALL, **settings})
    random, n = np.random.default_rng(0), 16
    features = 0.1 * random.normal(size=(n, T, adapter.frame_dim)).astype(np.float32)
    features[..., -2:] = 1
    if grid:
        patches = features[..., 12 : 12 + 16 * encoder.parts[0].dim].reshape(n, T, 4, 4, -1)
        for number, step in np.ndindex(n, T):
            column = step // 2 if number % 2 else 3 - step // 2
            patches[number, step, number % 4, column] += 3
        features[..., 12 : 12 + 16 * encoder.parts[0].dim] = patches.reshape(n, T, -1)
    adapter.fit_inputs(features)
    inputs = torch.from_numpy(adapter.small(features))
    block, video = adapter.network.block, adapter.network.parts[0]
    assert isinstance(block, Deformable)
    assert block.grid(0, inputs[..., video.columns]).shape[2:] == (T, grid or 1, grid or 1)
    trained(adapter, features, [("left", "right")[number % 2] for number in range(n)], epochs=8)
    for layer in adapter.network.block.layers:
        offsets = layer.offsets[0].bias.detach().abs()
        assert (offsets > 0).tolist() == [True, bool(grid), bool(grid)], offsets


def test_a_graph_of_one_device_is_no_graph():
    features, _ = clips(4)
    features[..., 16:20] = features[..., :1].mean()  # the second device of the IMU rests
    adapter = made({"block": "devices"})
    block = adapter.network.block
    assert isinstance(block, Devices)
    one, two = torch.randn(3, 1, 8), torch.randn(3, 2, 8)
    assert not block.added(one).any()
    assert block.added(two).abs().min() > 0
    lone = torch.cat([one, torch.zeros_like(one)], dim=1)
    there = torch.tensor([[True, False]] * 3)
    assert float(block.hidden_nodes(lone, there)) == 0
    assert not (block.added(lone) * there[..., None]).any()
    torch.manual_seed(0)
    assert float(block.hidden_nodes(two, torch.ones(3, 2).bool())) > 0


def test_pretraining_predicts_what_is_hidden():
    features, y = clips(24)
    losses = []
    for epochs in (1, 40):
        adapter = registry.get("adapter", "masked-imu").attach(pair(), SMALL)
        adapter.pretraining = True
        done = trained(adapter, features, y, epochs)
        adapter.network.train()
        torch.manual_seed(0)
        inputs = torch.from_numpy(adapter.training_inputs(features))
        batch = done.batches.make(list(range(8)), 0, 0)
        output = adapter.training_step(replace(batch, inputs=inputs[:8]), done.classes)
        losses.append(float(output.losses["hidden 1"]))
        assert {"hidden 0", "hidden 1", "graph", "contrast"} <= set(output.losses)
    assert losses[1] < 0.8 * losses[0]


def test_an_interval_asks_alone():
    adapter, (features, _) = made({"block": "intervals"}), clips(4)
    block = adapter.network.block
    assert isinstance(block, Intervals)
    asked = np.array([[0.0, 0.25], [0.25, 0.5], [0.4, 0.9]], np.float32)
    together = adapter.interval_vectors(features, asked)
    for row, one in zip(together, asked, strict=True):
        np.testing.assert_allclose(adapter.interval_vectors(features, one[None])[0], row, atol=1e-6)
    moved = adapter.interval_vectors(features, asked + np.float32(0.05))
    assert np.abs(moved - together).max(axis=1).min() > 1e-3
    with pytest.raises(UsageError, match="a start and a later end"):
        adapter.interval_vectors(features, np.array([[0.5, 0.5]], np.float32))
    refused(UsageError, "adapt with 'tim'", made({}).interval_vectors, features, asked)


def test_intervals_of_clips_laid_end_to_end_are_told_apart():
    features, y = clips(24)
    adapter = registry.get("adapter", "tim").attach(pair(), {**SMALL, "dropout": 0.0})
    trained(adapter, features, y)
    recording = clips(4, seed=8)[0]
    recording = recording[[0, 2, 1, 3]]  # up up down down
    words = concepts(adapter)
    asked = np.array([[0, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 1]], np.float32)
    found = (adapter.interval_vectors(recording, asked) @ words.T).argmax(axis=1)
    assert found.tolist() == [0, 0, 1, 1]


# From files to answers


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three takes of two labels with joints and an IMU, and a table of them."""
    folder = tmp_path_factory.mktemp("takes")
    imu = reader("imu").example(folder)
    rows = ["path,label"]
    for number in range(3):
        for label, wave in (("wave", True), ("stand", False)):
            joints = folder / f"{label}{number}.json"
            skeletons.write_ucla(joints, wave, frames=40 + number)
            parts = {"skeleton": BundlePart(joints), "imu": BundlePart(imu)}
            path = write_bundle(folder / f"{label}{number}.bundle.json", parts)
            rows.append(f"{path.name},{label}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.slow
def test_bundles_are_learned_saved_and_answered_with_a_sensor_missing(takes: Path, tmp_path: Path):
    base = vlar.load("bundle:skeleton+imu")
    mine = base.adapt(takes / "rows.csv", method="tim", settings={"epochs": 2, **SMALL})
    saved = mine.save(tmp_path / "m")
    again = vlar.load(saved)
    for name in ("wave0.bundle.json", "wave0.json", "example.csv"):  # both, and each file alone
        assert again.classify(takes / name).predictions == mine.classify(takes / name).predictions
    # A file of one sensor is a bundle that lacks the other.
    alone = takes / "alone.bundle.json"
    write_bundle(alone, {"skeleton": BundlePart(takes / "wave0.json")})
    part, sampling = reader("bundle"), mine.encoder.sampling
    clips = [part.read_clip(path, None, sampling) for path in (alone, takes / "wave0.json")]
    one, two = mine.encoder.encode(clips)
    np.testing.assert_array_equal(one.vector, two.vector)
    np.testing.assert_array_equal(one.features, two.features)
    # Clips that show an action and a sound train a model that answers about either.
    lines = (takes / "rows.csv").read_text().replace(",label", ",labels").splitlines()
    (takes / "two.csv").write_text("\n".join([lines[0], *(f"{row}|rain" for row in lines[1:])]))
    both = base.adapt(takes / "two.csv", method="tim", settings={"epochs": 2, **SMALL})
    assert both.classify(takes / "wave0.json", ["rain", "snow"]).predictions
    # An interval is asked of the whole recording.
    bundle = str(takes / "wave0.bundle.json")
    for at in ("0s-0.5s", "0.4s-1.2s"):
        done = invoke(["classify", bundle, "--model", str(saved), "--at", at, "--json"])
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)["predictions"]
        assert {row["label"] for row in found} == {"wave", "stand"}
