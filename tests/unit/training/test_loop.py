"""The loop: resumed bit for bit, stops at NaN, leaves broken clips out, recomputes activations."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.refusals import refused
from tests.unit.encoders.clip import models
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar import registry
from vlar.encoders import memory
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.block_view import recomputing
from vlar.errors import TrainingError, UsageError
from vlar.methods.temporal.adapter import Temporal
from vlar.training import checkpoint
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import Hyperparameters, decay_matrices, load_recipe, recipes
from vlar.training.loop import Training
from vlar.training.trainable import TrainingBatch

SMALL = {"width": 16, "heads": 2, "components": 6, "blocks": ["look", "flow"]}

PLAN = replace(load_recipe("temporal/adapt"), epochs=6, batch=8, warmup_epochs=1)


def training(
    plan: Hyperparameters = PLAN, keep: CheckpointConfig | None = None, poison: int | None = None
) -> Training:
    features, dataset = ordered_clips(24)
    adapter = Temporal.attach(FakeEncoder(), SMALL)
    adapter.fit_inputs(features)
    inputs = adapter.training_inputs(features)
    if poison is not None:
        inputs[poison] = np.nan
    loader = FeatureLoader(inputs, dataset.paths, adapter.input_widths)
    return Training(adapter, loader, dataset, plan, checkpoints=keep)


def weights(done: Training) -> dict[str, np.ndarray]:
    return done.adapter.state_dict()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("average", ["none", "ema", "uniform"])
def test_it_goes_on_bit_for_bit_from_any_step(tmp_path: Path, average: str):
    plan = replace(PLAN, average=average, micro_batch=4)
    whole = training(plan)
    whole.run()
    for stop in (4, 11):
        keep = CheckpointConfig(tmp_path / f"{stop}", "key", every=1)
        cut = training(plan, keep)
        plain = cut._step

        def step(totals, end, cut=cut, plain=plain, stop=stop):
            if cut.step == stop:
                raise Stopped
            return plain(totals, end)

        cut._step = step  # type: ignore[method-assign]
        refused(Stopped, "", cut.run)
        torch.manual_seed(99)  # whatever else was drawn in between
        rest = training(plan, keep)
        assert rest.run().resumed_at == stop
        for name, array in weights(whole).items():
            np.testing.assert_array_equal(weights(rest)[name], array, err_msg=name)


def test_the_checkpoints_of_another_training_are_refused(tmp_path: Path):
    training(keep=CheckpointConfig(tmp_path, "one")).run()
    refused(TrainingError, "another training", training(keep=CheckpointConfig(tmp_path, "two")).run)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path):
    training(keep=CheckpointConfig(tmp_path, "one")).run()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:100])
    assert training(keep=CheckpointConfig(tmp_path, "one")).run().resumed_at == 15
    for file in tmp_path.iterdir():
        file.write_bytes(b"no")
    refused(TrainingError, "can be read", checkpoint.load, tmp_path)


def test_nan_stops_and_names_the_clips():
    with pytest.raises(TrainingError, match=r"loss 'total' is nan at step \d+, .*5\.mp4"):
        training(replace(PLAN, mixup=0.0), poison=5).run()


def test_accumulating_gives_what_one_batch_gives():
    plan = replace(PLAN, mixup=0.0, average="none", epochs=2)
    results = []
    for micro in (None, 4):
        one = training(replace(plan, micro_batch=micro))
        for module in one.adapter.module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(module, torch.nn.MultiheadAttention):
                module.dropout = 0.0
        one.run()
        results.append(weights(one))
    for name, array in results[0].items():
        np.testing.assert_allclose(results[1][name], array, atol=1e-4, err_msg=name)


def test_a_micro_batch_is_no_more_than_the_batch():
    assert training(replace(PLAN, batch=2, micro_batch=4)).batches.micro == 2


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_nearly_the_same_and_for_itself_alone(precision: str, tmp_path: Path):
    whole = training()
    exact = whole.run().epochs[-1].losses["total"]
    half = training(replace(PLAN, precision=precision), CheckpointConfig(tmp_path, "key"))
    near = half.run().epochs[-1].losses["total"]
    assert near != exact
    assert near == pytest.approx(exact, rel=0.05)
    again = training()  # the precision of one training is not that of the next
    again.run()
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(weights(again)[name], array, err_msg=name)


def test_averages_and_ensembles():
    def run(**changes) -> np.ndarray:
        done = training(replace(PLAN, mixup=0.0, augment=False, **changes))
        start = {name: t.clone() for name, t in done.start.items()}
        done.run()
        return weights(done)["leave.weight"], start["leave.weight"].numpy()

    last, start = run(average="none")
    half, _ = run(average="none", ensemble=0.5)
    np.testing.assert_allclose(half, (last + start) / 2, atol=1e-6)
    skipped, _ = run(average="none", ensemble=0.5, ensemble_skips=("leave",))
    np.testing.assert_array_equal(skipped, last)
    only, _ = run(average="uniform", average_from=6)
    np.testing.assert_allclose(only, last, atol=1e-7)
    mean, _ = run(average="uniform")
    assert np.abs(mean - last).max() > 1e-5


def test_buffers_are_averaged_with_the_parameters():
    """A normalisation whose weights are averaged has the running means of the same average."""

    class Counting(Temporal):
        def training_classes(self, labels):
            classes = super().training_classes(labels)  # it builds the network for the labels
            self.network.register_buffer("seen", torch.zeros(1))
            self.network.register_buffer("kept", torch.full((1,), 0.1, dtype=torch.float64))
            return classes

        def training_step(self, batch, classes):
            self.network.seen += 1.0
            return super().training_step(batch, classes)

    def run(**changes) -> tuple[float, float, int]:
        features, dataset = ordered_clips(24)
        adapter = Counting.attach(FakeEncoder(), SMALL)
        adapter.fit_inputs(features)
        loader = FeatureLoader(
            adapter.training_inputs(features), dataset.paths, adapter.input_widths
        )
        done = Training(adapter, loader, dataset, replace(PLAN, **changes))
        done.run()
        network = adapter.network
        return float(network.seen[0]), float(network.kept[0]), done.total_steps

    last, kept, steps = run(average="none")
    assert (last, kept) == (steps, 0.1)
    mean, _, _ = run(average="uniform")
    per_epoch = steps // PLAN.epochs
    assert mean == pytest.approx(np.mean([per_epoch * (n + 1) for n in range(PLAN.epochs)]))
    smooth, kept, _ = run(average="ema", ema_decay=0.9)
    assert 0 < smooth < steps
    assert kept == 0.1
    half, _, _ = run(average="none", ensemble=0.5)
    assert half == steps / 2


def test_copies_advance_and_exchange_what_they_learned():
    alone, first, second = training(), training(), training()
    alone.run()
    for _ in range(alone.total_steps):
        first.advance(1)
    first.advance(5)  # beyond the end
    first.finish()
    for name, array in weights(alone).items():
        np.testing.assert_array_equal(weights(first)[name], array)
    second.advance(2)
    other = training()
    other.put(second.parameters())
    for name, tensor in other.parameters().items():
        torch.testing.assert_close(tensor, second.parameters()[name], rtol=0, atol=0)


def test_rates_rise_and_fall():
    plan = Hyperparameters(epochs=10, warmup_epochs=2, lowest_rate=1e-6, first_rate=1e-7)
    rates = [plan.rate(step, 10, 1e-3) for step in range(101)]
    assert rates[0] == 1e-7
    assert max(rates) == rates[20] == pytest.approx(1e-3)
    assert rates[100] == pytest.approx(1e-6)
    assert all(a >= b for a, b in pairwise(rates[20:]))
    assert Hyperparameters(schedule="constant").rate(10**6, 10, 1e-3) == 1e-3
    refused(UsageError, "micro_batch 3", Hyperparameters, batch=8, micro_batch=3)


def test_recipes_hold_the_published_numbers():
    found = recipes()
    froster, ez = found["froster/base-to-novel"], found["ez-clip/zero-shot"]
    assert (froster.epochs, froster.batch, froster.learning_rate) == (12, 32, 3.33e-6)
    assert (froster.clip_norm, froster.average, froster.average_from) == (1.0, "uniform", 2)
    assert (ez.learning_rate, ez.batch, ez.epochs, ez.weight_decay) == (1e-4, 80, 150, 0.2)
    tc = found["tc-clip/zero-shot"]
    assert (tc.batch, tc.micro_batch, tc.schedule) == (256, 4, "unshifted-cosine")
    assert [tc.rate(i, 100, 8e-6) for i in (0, 499, 500)] == pytest.approx([0, 7.984e-6, 4.04e-6])


def test_vectors_do_not_decay():
    named = [("a.weight", torch.zeros(2, 2)), ("a.bias", torch.zeros(2)), ("s", torch.zeros(()))]
    groups = decay_matrices(named, 1e-3, 0.1)
    assert [len(group["params"]) for group in groups] == [2, 1]  # a scalar decays, as in FROSTER
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]


LABELS = ["riding a bike", "cooking"]


SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2, "dropout": 0.2, "towers": "both"},
    "tuned": {"n_frames": 4},
    "tc-clip": {"n_frames": 4},
    "froster": {"n_frames": 4},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return load_encoder(f"openclip:{folder}")


@pytest.mark.parametrize("method", SETTINGS)
def test_gradients_are_the_same_and_less_is_kept(method: str, encoder: Any):
    torch.manual_seed(0)
    part = registry.get("adapter", method)
    settings = {k: v for k, v in SETTINGS[method].items() if k != "n_frames" or method != "froster"}
    adapter = part.attach(encoder, settings)
    assert adapter.recomputes
    classes, named = adapter.training_classes(LABELS), adapter.trainable()
    adapter.module.train()
    pixels = torch.randn(2, adapter.n_frames, 3, 32, 32)
    batch = TrainingBatch(pixels, torch.eye(2))

    def step(again: bool) -> tuple[int, list[np.ndarray]]:
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        torch.manual_seed(1)
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with hooks, recomputing(again):
            loss = adapter.training_step(batch, classes).losses["total"]
        size = kept
        loss.backward()
        found = [p.grad.numpy().copy() for _, p in named if p.grad is not None]
        for _, parameter in named:
            parameter.grad = None
        return size, found

    plain, plain_grads = step(False)
    again, again_grads = step(True)
    assert again < 0.7 * plain
    assert len(plain_grads) == len(again_grads) > 0
    for one, other in zip(plain_grads, again_grads, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_method_without_towers_refuses_it(tmp_path: Path):
    features, dataset = ordered_clips(8)
    adapter = Temporal.attach(FakeEncoder(), {"blocks": ["look"]})
    adapter.fit_inputs(features)
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths)
    numbers = Hyperparameters(gradient_checkpointing=True)
    with pytest.raises(UsageError, match="'temporal' has no blocks that could be computed again"):
        Training(adapter, loader, dataset, numbers)


def test_a_micro_batch_that_does_not_fit_into_memory_is_halved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The weights are those of a training with the smaller micro-batch, bit for bit."""
    monkeypatch.setattr(memory, "_fitting", {})
    plan = replace(PLAN, micro_batch=2)
    small = training(plan)
    small.run()
    step, most = Temporal.training_step, 3

    def on_a_small_card(self: Any, batch: TrainingBatch, classes: Any) -> Any:
        output = step(self, batch, classes)
        if len(batch.inputs) > most:  # within the backward pass: some gradients are summed
            output.losses["total"].backward(retain_graph=True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return output

    monkeypatch.setattr(Temporal, "training_step", on_a_small_card)
    halved = training()
    losses = [epoch.losses for epoch in halved.run().epochs]
    assert halved.batches.micro == 2
    assert [r.message for r in caplog.records if "memory" in r.message] == [
        "out of memory with 8 training clips at a time: 4 from now on",
        "out of memory with 4 training clips at a time: 2 from now on",
    ]
    for name, array in weights(small).items():
        np.testing.assert_array_equal(weights(halved)[name], array, err_msg=name)
    assert training().batches.micro == 2  # kept for the rest of the process
    assert len(losses) == PLAN.epochs
    most = 0
    refused(TrainingError, "out of memory with 1 clips.*micro_batch", training().run)


def test_a_control_with_other_micro_batches_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_fitting", {})
    whole, small = training(), training(replace(PLAN, micro_batch=2))
    for one in (whole, small):
        one.run()
    assert any((weights(whole)[n] != array).any() for n, array in weights(small).items())
