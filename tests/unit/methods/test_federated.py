"""Federated training: clients send weights, the mean is the server's, private parts stay."""

from __future__ import annotations

import gc
import importlib.util
import logging
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import skeletons
from tests.command_line import invoke
from tests.refusals import refused
from tests.unit.methods.skeleton_bodies import scene
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar.errors import UnknownNameError, UsageError
from vlar.heads.support import SupportItem
from vlar.methods.federated.averaging import average, prototypes, proximal, split_state
from vlar.methods.federated.learner import SHARED, Federated, Federation, first_block
from vlar.methods.federated.private import add_private, places, plain_state
from vlar.methods.skeleton_towers.config import TowerConfig
from vlar.methods.skeleton_towers.network import TowerNetwork
from vlar.model.model import load
from vlar.training.config import read_config
from vlar.training.fusion_weights import train_on
from vlar.training.loop import Training
from vlar.training.run import run
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask

SETTINGS = {"width": 16, "heads": 2, "components": 4}


def task(seed: int = 0, **training: Any) -> TrainingTask:
    made = TrainingTask.by_recipe(FakeEncoder(), "temporal", settings=SETTINGS, seed=seed)
    return replace(made, numbers=made.numbers.replaced(batch=4, **training))


def federation(how: Federated, n: int = 16, clients: int = 2, **training: Any) -> Federation:
    features, dataset = ordered_clips(n)
    rows = {f"c{k}": list(range(k, n, clients)) for k in range(clients)}
    return Federation(how, task(**training), dataset, features, rows)


def test_the_mean_is_weighted_and_of_one_kind():
    one, two = {"w": np.array([1.0, 2.0])}, {"w": np.array([3.0, 6.0])}
    np.testing.assert_array_equal(average([one, two], [1, 3])["w"], [2.5, 5.0])
    other = average([{"w": torch.tensor([2.0, -4.0])}, {"w": torch.tensor([8.0, 2.0])}], [2, 1])
    torch.testing.assert_close(other["w"], torch.tensor([4.0, -2.0]))
    alone = {"a": torch.rand(5, generator=torch.Generator().manual_seed(0)) / 3}
    assert torch.equal(average([alone], [7])["a"], alone["a"])
    same = average([alone] * 3, [3, 5, 11])["a"]
    assert torch.equal(same, alone["a"])


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"w": np.array([1.0, np.nan])}, "client 'b' sends 'w' with numbers that are not finite"),
        ({"w": np.array([1.0])}, r"client 'b' sends 'w' of shape \(1,\), not \(2,\)"),
        ({}, "client 'b' lacks 'w'"),
        ({"w": np.zeros(2), "v": np.zeros(1)}, "client 'b' has 'v'"),
    ],
)
def test_what_is_not_weights_is_refused_by_name(sent: Any, says: str):
    refused(UsageError, says, average, [{"w": np.zeros(2)}, sent], [1, 1], ["a", "b"])
    refused(UsageError, "weights of clients", average, [{"w": np.zeros(2)}], [0])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_states():
    alive: list[weakref.ref[Any]] = []
    most: list[int] = []

    def state() -> Any:
        tensor = torch.rand(8)
        alive.append(weakref.ref(tensor))
        gc.collect()
        most.append(sum(ref() is not None for ref in alive))
        return {"w": tensor}

    average((state() for _ in range(30)), [1] * 30)
    assert max(most) <= 4


def test_keys_are_split_by_prefix():
    sent, kept = split_state({"shared.a": 1, "private.b": 2, "private.shared.": 3}, "shared.")
    assert (sent, kept) == ({"shared.a": 1}, {"private.b": 2, "private.shared.": 3})


def test_the_distance_is_squared():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    found = proximal({"w": w}, {"w": torch.zeros(2)}, 2)
    assert float(found.detach()) == 5
    found.backward()
    assert torch.equal(w.grad, torch.tensor([2.0, 4.0]))
    pair = {"a": torch.ones(2, 2), "b": torch.tensor(3.0)}
    assert float(proximal(pair, {"a": torch.zeros(2, 2), "b": torch.tensor(1.0)}, 0.5)) == 2


def test_prototypes_are_those_of_one_place():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(60, 7)).astype(np.float32), random.integers(0, 4, 60)
    parts = [np.flatnonzero(y < 2)[:9], np.flatnonzero(y == 3)]  # clients that lack labels
    rest = np.setdiff1d(np.arange(60), np.concatenate(parts))
    found = prototypes([(x[rows], y[rows]) for rows in (*parts, rest)])
    wanted = [x[y == label].mean(axis=0, dtype=np.float64) for label in range(4)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_one_client_one_round_and_one_epoch_are_the_plain_training():
    features, dataset = ordered_clips(16)
    training, _ = train_on(task(epochs=1, warmup_epochs=0), dataset, FeatureSource(features))
    made = federation(Federated(rounds=1, local_epochs=1), clients=1, warmup_epochs=0).run()
    plain, mine = training.adapter.state_dict(), made.adapter.state_dict()
    assert plain.keys() == mine.keys()
    for name, value in plain.items():
        np.testing.assert_array_equal(value, mine[name], err_msg=name)
    assert made.adapter.fingerprint == training.adapter.fingerprint


def test_clients_together_learn_what_each_has_a_third_of():
    asked, truth = ordered_clips(60)
    how = Federated(rounds=6, local_epochs=6)
    made = federation(how, n=24, clients=3, learning_rate=5e-3, mixup=0.0).run()
    logits = held_out_logits(made, asked[24:])
    assert (logits.argmax(axis=1) == truth.columns[24:]).mean() > 0.8


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    own = Federation.train

    def noted(self: Federation, *given: Any) -> dict[str, Any]:
        found.append(own(self, *given))
        return found[-1]

    monkeypatch.setattr(Federation, "train", noted)
    return found


def test_private_parts_never_leave_and_differ(sent: list[dict[str, Any]]):
    made = federation(Federated(rounds=3, local_epochs=2, private=2))
    training = made.run()
    assert len(sent) == 6
    assert all(name.startswith(SHARED) for state in sent for name in state)
    assert not any("gamma" in name or ".0.up" in name for state in sent for name in state)
    assert made.first.keys() == sent[0].keys()
    kept = [made.merged(client).adapter.state_dict() for client in made.clients]
    shared = training.adapter.state_dict()
    assert shared.keys() == kept[0].keys() == kept[1].keys()
    for name, value in shared.items():
        differ = [not np.array_equal(value, each[name]) for each in kept]
        assert differ == [name == "leave.weight"] * 2
    assert not np.array_equal(kept[0]["leave.weight"], kept[1]["leave.weight"])


def test_a_tower_with_a_classifier_of_its_own_has_a_private_part_too():
    features, dataset = ordered_clips(16)
    tower = TrainingTask.by_recipe(FakeEncoder(), "local-temporal", settings={"width": 8})
    rows = {"a": range(8), "b": range(8, 16)}
    made = Federation(Federated(rounds=1, private=2), tower, dataset, features, rows)
    made.run()
    one, two = (made.merged(client).adapter.state_dict()["leave.weight"] for client in rows)
    assert not np.array_equal(one, two)


def test_the_private_part_of_a_graph_tower_is_its_topology():
    config = TowerConfig(widths=(16, 16), frames=8, people=1)
    network = TowerNetwork(config, 12).eval()
    x, seen = scene(2, 1, 8, config.joints, channels=9)
    before = network.bodies[0](x, seen).vectors
    owners = places(network)
    assert [name for _, name in owners] == ["graph"] * 2
    add_private(network, 4, seed=0)
    assert torch.equal(network.bodies[0](x, seen).vectors, before)
    for owner, _ in owners:
        torch.nn.init.ones_(owner.parametrizations["graph"][0].gamma)
    other = network.bodies[0](x, seen).vectors
    assert not torch.allclose(other, before)
    assert first_block(network) is network.bodies[0].blocks[0]
    for used, wanted in ((True, other), (False, before)):
        again = TowerNetwork(config, 12).eval()
        again.load_state_dict(plain_state(network, used=used))
        torch.testing.assert_close(again.bodies[0](x, seen).vectors, wanted)


@pytest.mark.parametrize("term", ["proximal", "distil", "words"])
def test_each_term_holds_clients_to_what_they_receive(term: str):
    plain, held = (federation(Federated(rounds=1, local_epochs=6, **how), clients=1)
                   for how in ({}, {term: 1e4}))  # fmt: skip
    for made in (plain, held):
        made.run()
    apart = [
        sum(float((made.last[name] - w).square().sum()) for name, w in made.first.items()
            if "enter" in name or term != "distil")
        for made in (plain, held)
    ]  # fmt: skip
    assert apart[1] < apart[0] * 0.75
    held.adapter.network.enter.weight.sum()  # the weights are there
    assert not any(module._forward_hooks for module in held.adapter.module.modules())


def items(sites: str) -> list[SupportItem]:
    return [
        SupportItem(Path(f"{n}.mp4"), None, ("ab"[n % 2],), "g", facts={"site": site.strip()})
        for n, site in enumerate(sites)
    ]


def test_clients_by_column_and_drawn():
    assert Federated().groups(items("yxyx"), 0) == {"x": [1, 3], "y": [0, 2]}
    found = Federated("dirichlet:0.02").groups(items("x" * 12), 3)
    assert sorted(row for rows in found.values() for row in rows) == list(range(12))
    assert [] in found.values()
    even = Federated("dirichlet:1000").groups(items("x" * 60), 0)
    assert [len(rows) for rows in even.values()] == [10] * 6


@pytest.mark.parametrize(
    ("clients", "says"),
    [
        ("site", "clients is 'site'; write by:COLUMN"),
        ("by:", "write by:COLUMN"),
        ("dirichlet:0", "write by:COLUMN"),
        ("dirichlet:x", "write by:COLUMN"),
        ("by:camera", "0.mp4: its table has no column 'camera'"),
        ("by:site", "2.mp4: its table has an empty cell in column 'site'"),
    ],
)
def test_clients_that_cannot_be_told_apart_are_refused(clients: str, says: str):
    refused(UsageError, says, Federated(clients).groups, items("xy "), 0)


def test_other_wrong_settings_are_refused():
    for how, says in (
        (Federated(keep="z"), "keep is 'z'; the clients are c0, c1"),
        (Federated(strategy="FedNone"), "Flower" if not FLOWER else "FedNone"),
    ):
        refused((UsageError, UnknownNameError), says, lambda how=how: federation(how).run())


def test_a_client_that_breaks_is_named(monkeypatch: pytest.MonkeyPatch):
    own = Training.parameters

    def broken(training: Training) -> dict[str, Any]:
        state = own(training)
        if str(training.dataset.paths[0]) == "1.mp4":
            state["enter.bias"][0] = float("nan")
        return state

    made = federation(Federated(rounds=1, local_epochs=1))
    monkeypatch.setattr(Training, "parameters", broken)
    refused(UsageError, "client 'c1' sends 'shared.enter.bias' with numbers", made.run)


FLOWER = importlib.util.find_spec("flwr") is not None


@pytest.mark.skipif(not FLOWER, reason="needs the extra fed")
def test_flower_gives_what_the_own_average_gives():
    how = Federated(rounds=3, local_epochs=1, private=2)
    own, theirs = federation(how), federation(replace(how, strategy="FedAvg"))
    for made in (own, theirs):
        made.run()
    for name, value in own.last.items():
        torch.testing.assert_close(theirs.last[name], value, atol=1e-6, rtol=0)
    federation(replace(how, strategy="FedMedian", rounds=1)).run()


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    """A CSV of skeletons of two sites, and of one whose clips are broken."""
    rows = ["path,label,site"]
    for wave, label in ((True, "wave"), (False, "sit down")):
        for number in range(4):
            file = tmp_path / f"{label[0]}{number}_skeleton.json"
            skeletons.write_ucla(file, wave, frames=30 + 2 * number)
            rows.append(f"{file.name},{label},{'ab'[number % 2]}")
    (tmp_path / "broken_skeleton.json").write_text("{")
    rows.append("broken_skeleton.json,wave,lost")
    (tmp_path / "bodies.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "bodies.csv"


def test_a_table_of_a_configuration_trains_over_sites(
    bodies: Path, caplog: pytest.LogCaptureFixture
):
    text = (
        'method = "temporal"\ntrain = "bodies.csv"\nout = "fed"\nmodel = "skeleton"\n'
        '[federated]\nclients = "by:site"\nrounds = 2\nlocal_epochs = 2\nprivate = 2\nkeep = "a"\n'
    )
    bodies.with_name("fed.toml").write_text(text)
    config = read_config(bodies.with_name("fed.toml"))
    assert config.learner == "federated"
    with caplog.at_level(logging.WARNING):
        model = run(config)
    assert "client 'lost' is left out: none of its 1 clips can be read" in caplog.text
    again = load(bodies.with_name("fed"))
    assert again.fingerprint == model.fingerprint
    assert again.report.examples == {"sit down": 4, "wave": 4}
    assert again.classify(bodies.with_name("w1_skeleton.json")).label == "wave"
    caplog.clear()
    command = ["adapt", str(bodies), "--model", "skeleton", "--method", "federated"]
    short = [
        w for s in ("rounds=1", "local_epochs=1", "clients=dirichlet:0.05") for w in ("--set", s)
    ]
    with caplog.at_level(logging.WARNING):
        done = invoke([*command, "--out", str(bodies.with_name("drawn")), *short])
    assert done.exit_code == 1, done.output  # one recording is broken
    assert "is left out: it has no example" in done.output + caplog.text, done.output
    done = invoke(["adapt", str(bodies), "--model", "skeleton", "--method", "federated", "--out",
                   str(bodies.with_name("cli")), "--set", "clients=by:sites"])  # fmt: skip
    assert (done.exit_code, "no column 'sites'" in done.output) == (2, True)
    bodies.with_name("bad.toml").write_text(text.replace("[federated]", "federated = 3\n[adapter]"))
    refused(UsageError, r"write a table \[federated\]", read_config, bodies.with_name("bad.toml"))
