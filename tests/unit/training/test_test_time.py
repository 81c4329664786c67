"""ViTTA: moments are drawn back to those of the training clips, and the model itself stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vlar
from tests import skeletons
from tests.clips import clips_of
from tests.command_line import invoke
from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.adapters.statistics import MOST_BYTES, Statistics, watching
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.model.model import Model
from vlar.training.test_time import FORMS, Online, moment_loss, running
from vlar.types import Failure, Window

TINY = {"widths": [8, 8], "halved": [2], "frames": 16, "epochs": 3, "average": "none"}


def support(folder: Path) -> Path:
    """Two labels with three recordings each."""
    for number in range(3):
        for label in ("waving", "sitting"):
            (folder / label).mkdir(parents=True, exist_ok=True)
            skeletons.write_ucla(
                folder / label / f"{number}.json", label == "waving", frames=40 + 5 * number
            )
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data: Path) -> Model:
    """A tower on joints. Not to be changed by a test."""
    return vlar.load("skeleton").adapt(data, method="skeleton-tower", settings=TINY)


def paths(data: Path) -> list[Path]:
    return sorted(data.rglob("*.json"))


def rows_of(done: Any) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("now", "source", "loss"),
    [
        ([([1, 2], [1, 1])], [([0, 0], [1, 3])], 2.5),
        ([([1, 2], [1, 1]), ([4.0], [2.0])], [([0, 0], [1, 3]), ([1.0], [2.5])], 6.0),
        ([([1, 2], [3, 4])], [([1, 2], [3, 4])], 0.0),
    ],
)
def test_moments_are_apart_by_their_mean_distance(now: Any, source: Any, loss: float):
    assert float(moment_loss(now, source)) == pytest.approx(loss, abs=1e-6)


def test_a_running_mean_takes_a_share_of_the_new_value():
    assert running(2, 4, 0.1) == pytest.approx(2.2)
    np.testing.assert_allclose(running(np.ones(2), np.array([3.0, 0.0]), 0.5), [2.0, 0.5])


@pytest.mark.parametrize(
    ("layer", "shape", "rest"),
    [(nn.BatchNorm2d(3), (2, 3, 4, 5), (0, 2, 3)), (nn.LayerNorm(6), (2, 4, 6), (0, 1))],
)
def test_moments_are_those_of_each_channel(layer: nn.Module, shape: Any, rest: Any):
    network, seen = nn.Sequential(layer.eval()), {}
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 1
    with watching(network, ["0"], seen.__setitem__):
        out = network(x).detach().numpy()
    network(x + 1)  # nobody watches any more
    mean, variance = seen["0"]
    np.testing.assert_allclose(mean.detach(), out.mean(rest), atol=1e-5)
    np.testing.assert_allclose(variance.detach(), out.var(rest), atol=1e-5)


def test_statistics_are_those_of_the_training_clips(model: Model, data: Path):
    kept = model.head.statistics  # type: ignore[union-attr]
    clips = [model.view_sampler.sample(path)[0] for path in paths(data)]
    again = Statistics.collect(model, clips)
    assert set(kept.layers) == set(again.layers) == set(model.encoder.norm_layers)  # type: ignore
    for name, pair in again.layers.items():
        np.testing.assert_allclose(kept.layers[name], pair, rtol=1e-4, atol=1e-5)
    assert float(moment_loss(list(kept.layers.values()), list(again.layers.values()))) < 1e-4
    features = np.stack([row.features for row in model.words.encode(clips)])
    np.testing.assert_allclose(kept.features[0], features.mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(kept.features[1], features.var((0, 1)), atol=1e-4)
    first = next(iter(again.layers))
    assert list(Statistics.collect(model, clips[:2], [first]).layers) == [first]


def test_statistics_fit_into_a_file():
    wide = Statistics({f"a.{n}": (np.ones(9000, np.float32),) * 2 for n in range(40)})
    kept = wide.with_features(np.ones((2, 3, 4000), np.float32))
    assert 0 < sum(array.nbytes for array in kept.arrays().values()) < MOST_BYTES
    assert list(kept.layers)[-1] == "a.39"  # the last layers stay
    assert Statistics.of_arrays(kept.arrays()).layers.keys() == kept.layers.keys()
    assert wide.with_features(np.ones((1, 1, 200_000), np.float32)).features is None


def test_the_running_moments_start_at_the_source_and_reset_returns_to_it(model: Model, data: Path):
    online = Online(model, rate=0.05, reset=None)
    kept = model.head.statistics  # type: ignore[union-attr]
    names = model.encoder.norm_layers  # type: ignore[attr-defined]
    assert online.layers == list(names[3 * len(names) // 4 :])
    source = [part for name in online.layers for part in kept.layers[name]]

    def at_start() -> bool:
        mine, own = online.encoder.state_dict(), model.encoder.state_dict()  # type: ignore
        same = np.array_equal(online.moments, np.concatenate(source))
        return same and all(np.array_equal(mine[name], own[name]) for name in own)

    assert at_start()
    first = [row.to_dict() for row in online.classify_each(paths(data))]
    assert not at_start()
    assert online.distance() > 0.01
    online.reset()
    assert at_start()
    assert [row.to_dict() for row in online.classify_each(paths(data))] == first


def test_only_norms_are_trained_unless_all_are_asked_for(model: Model, data: Path):
    for form, few in (("norms", True), ("all", False)):
        online = Online(model, form=form, rate=0.01)
        list(online.classify_each(paths(data)[:2]))
        own, now = model.encoder.state_dict(), online.encoder.state_dict()  # type: ignore
        moved = {name for name in own if not np.array_equal(own[name], now[name])}
        norms = {f"{name}.{end}" for name in online.layers for end in ("weight", "bias")}
        assert moved
        assert (moved <= norms) is few


def test_steps_bring_the_moments_to_the_source(model: Model, data: Path):
    kept = model.head.statistics  # type: ignore[union-attr]
    aim = Statistics({name: (mean + 0.5, v) for name, (mean, v) in kept.layers.items()})
    loss: dict[float, float] = {}
    for rate in (1e-12, 0.02):
        online = Online(model, aim, rate=rate, momentum=0.5, reset=None)
        list(online.classify_each(paths(data) * 3))
        wanted = [part for name in online.layers for part in aim.layers[name]]
        loss[rate] = float((online.moments - torch.from_numpy(np.concatenate(wanted))).abs().sum())
    assert loss[0.02] < 0.7 * loss[1e-12]


def test_a_sorted_stream_resets_and_says_so(model: Model, data: Path):
    sorted_stream = [p for label in ("sitting", "waving") for p in (data / label).glob("*")] * 3
    sorted_stream.sort(key=lambda path: path.parent.name)
    notes: dict[bool, list[str]] = {}
    for limits in ((0.3, 0.2), None):
        online = Online(model, momentum=0.5, reset=limits)
        rows = list(online.classify_each(sorted_stream))
        notes[limits is None] = [note for row in rows for note in row.notes]  # type: ignore
        assert online.resets == len(notes[limits is None])
    assert "back to the source model (loss up" in notes[False][0]
    assert not notes[True]
    far = Online(model, momentum=1.0, rate=0.1, reset=(0.001, 100.0))
    assert "distance" in next(iter(far.classify_each(sorted_stream))).notes[0]  # type: ignore


def test_a_network_of_pixels_gives_inputs_and_rows_in_use():
    encoder = FakeEncoder()
    settings = {"width": 4, "size": 16, "network": "frames", "frames": 4}
    tower = registry.get("adapter", "video-net").attach(encoder, settings)
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 8, 8, 3), dtype=np.uint8)
    clips = clips_of(frames)
    torch.nn.init.normal_(tower.network.leave[0].weight)
    inputs, row = tower.in_use(clips)
    small, own = inputs.split((inputs.shape[-1] - tower.dim, tower.dim), dim=-1)
    vectors = tower.network.vectors(small, own[:, 0]).detach()
    np.testing.assert_allclose(vectors[0], row().vector, atol=1e-5)
    np.testing.assert_allclose(vectors, [each.vector for each in tower.encode(clips)], atol=1e-5)
    assert set(Statistics.collect(SimpleNamespace(encoder=tower), clips).layers) == {
        *tower.norm_layers
    }


def test_features_are_whitened_and_coloured_as_the_source(model: Model, data: Path):
    clip = model.view_sampler.sample(paths(data)[0])[0]
    waves = np.sin(np.arange(len(clip.data)))[:, None, None, None]
    odd = replace(clip, data=(1.2 * clip.data + 0.3 * waves).astype(np.float32))
    online = Online(model, form="features", momentum=1.0)
    moved, own = online._recoloured(odd).features, model.words.encode([odd])[0].features
    mean, variance = online.source.features  # type: ignore[misc]
    path = model.encoder.frame_blocks[0].width  # bodies and joints hold masks, and stay
    there = np.flatnonzero((variance[:path] > 1e-3) & (own[:, :path].var(axis=0) > 1e-3))
    assert len(there) > 5
    np.testing.assert_allclose(moved[:, there].mean(axis=0), mean[there], atol=1e-3)
    np.testing.assert_allclose(moved[:, there].var(axis=0), variance[there], rtol=0.02)
    assert np.array_equal(moved[:, path:], own[:, path:])
    slow = Online(model, form="features", momentum=1e-9)._recoloured(odd).features
    np.testing.assert_allclose(slow, own, atol=1e-4)


def test_bad_recordings_are_failures_in_their_place(model: Model, data: Path, tmp_path: Path):
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    for form in ("norms", "features"):
        rows = list(Online(model, form=form).classify_each([bad, paths(data)[0]]))
        assert isinstance(rows[0], Failure)
        assert rows[1].predictions  # type: ignore[union-attr]
    empty = model.view_sampler.sample(paths(data)[0])[0]
    nobody = replace(empty, data=np.full_like(empty.data, np.nan), window=Window(0, 1))
    online = Online(model)
    assert online.classify([nobody]).predictions  # type: ignore[union-attr]
    assert online.clips == 0  # no layer was reached
    inputs, _ = online.encoder.in_use([empty])
    inputs[..., -1] = np.nan  # of the encoder's vector
    assert online._loss_of(inputs) is None
    assert torch.equal(online.moments, online._aim)


def test_what_cannot_adapt_is_refused(model: Model, data: Path):
    closed = vlar.load("skeleton").adapt(data, method="ridge")
    old = Model(model.encoder, adapted=replace(model.head, statistics=None))  # type: ignore
    other = Statistics({name: (np.ones(3, np.float32),) * 2 for name in ("a", "b")})
    for error, says, call in (
        (UsageError, "has no statistics.safetensors", lambda: Online(vlar.load("skeleton"))),
        (UsageError, "adapt again", lambda: Online(old)),
        (UsageError, "form='features'", lambda: Online(closed)),
        (UsageError, "not of model", lambda: Online(model, other)),
        (UsageError, "not of model", lambda: Online(model, layers=["leave"])),
        (UsageError, "not of model", lambda: Online(model, other, form="features")),
        (UsageError, "momentum is 0", lambda: Online(model, momentum=0)),
        (UnknownNameError, "norms", lambda: Online(model, form="norm")),
        (UsageError, "'x' is not a norm", lambda: Statistics.collect(model, [1], ["x"])),  # type: ignore
        (UsageError, "need a clip", lambda: Statistics.collect(model, [])),
    ):
        refused(error, says, call)
    assert next(iter(Online(closed, form="features").classify_each(paths(data)))).predictions  # type: ignore


@pytest.mark.parametrize("fault", ["lonely", "negative", "square"])
def test_malformed_statistics_are_refused(fault: str):
    arrays = Statistics({"a": (np.ones(2, np.float32),) * 2}).arrays()
    key = "a.variance"
    changes = {"lonely": None, "negative": -arrays[key], "square": np.ones((1, 2), np.float32)}
    arrays = {k: a for k, a in arrays.items() if k != key}
    arrays |= {} if changes[fault] is None else {key: changes[fault]}  # type: ignore[dict-item]
    refused(ModelError, "'a' are malformed", Statistics.of_arrays, arrays)


@pytest.mark.slow
def test_the_command_adapts_and_leaves_the_folder(
    model: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    defaults = Online.__init__.__kwdefaults__
    monkeypatch.setitem(FORMS, "norms", 0.05)
    monkeypatch.setitem(defaults, "momentum", 1.0)
    monkeypatch.setitem(defaults, "reset", (1e-3, 100.0))
    folder = model.save(tmp_path / "mine")
    assert 0 < (folder / "statistics.safetensors").stat().st_size < MOST_BYTES
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    given = ["classify", str(data), "--model", str(folder), "--json"]
    plain = rows_of(invoke(given))
    online = rows_of(invoke([*given, "--online"]))
    assert [row["path"] for row in online] == [row["path"] for row in plain]
    assert "back to the source model (distance" in online[0]["notes"][0]
    assert "notes" not in plain[0]
    own = Online(vlar.load(folder)).classify_each(paths(data))
    assert online == [row.to_dict() for row in own]
    for option in (["--every", "2s"], ["--at", "0s-1s"], ["--shots"], ["--who", "person 1"]):
        done = invoke([*given, "--online", *option])
        assert done.exit_code == 2
        assert "whole recordings" in done.output
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    file = folder / "statistics.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    refused(ModelError, "statistics.safetensors is not what was saved", vlar.load, folder)
