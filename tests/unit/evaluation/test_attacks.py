"""Motion of joints, gradients through it, and measures, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import skeletons
from tests.command_line import invoke
from tests.refusals import refused
from vlar.encoders.base import load_encoder
from vlar.errors import ProtocolError, UnknownNameError, UsageError
from vlar.evaluation.attacks.base import (
    Surrogate,
    acceleration,
    attack,
    bone_drift,
)
from vlar.evaluation.attacks.gradient import fit_ar, motion_gradient
from vlar.evaluation.attacks.posterior import applied, learned_moments
from vlar.evaluation.cards import LoadedCard, make_card, read_card
from vlar.evaluation.runner import make_plan, run_card
from vlar.model.model import Model


def series(frames: int, weights: list[float], constant: float, starts: np.ndarray) -> np.ndarray:
    rows = list(starts)
    while len(rows) < frames:
        lags = [w * rows[-lag] for lag, w in enumerate(weights, start=1)]
        rows.append(sum(lags) + constant)
    return np.array(rows)


@pytest.mark.parametrize(
    ("weights", "constant"), [([0.6, -0.3], 0.2), ([1.2, -0.5], -1.0), ([0.7], 0.4)]
)
@pytest.mark.parametrize("frames", [12, 60])
def test_an_exact_autoregression_is_recovered(weights: list[float], constant: float, frames: int):
    order = len(weights)
    starts = np.random.default_rng(0).normal(size=(order, 4))
    found = fit_ar(series(frames, weights, constant, starts), order)
    assert found.shape == (order + 1, frames, 4)
    wanted = np.array([*weights, constant])[:, None, None]
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=1e-6)


def test_coefficients_follow_the_time_and_leave_out_what_is_not_seen():
    noise = np.random.default_rng(1).normal(size=(400, 1))
    slow = np.linspace(-0.8, 0.8, 400)
    x = np.zeros((400, 1))
    for t in range(1, 400):
        x[t] = slow[t] * x[t - 1] + noise[t]
    found = fit_ar(x, 1)[0, :, 0]
    assert found[100] < -0.1 < 0.1 < found[300]
    lost = np.concatenate([x, np.full_like(x, 3.0)], axis=1)
    lost[50:55, 0] = np.nan
    again = fit_ar(lost, 1)
    assert np.isfinite(again).all()
    np.testing.assert_allclose(again[0, :, 0], found, atol=0.1)
    np.testing.assert_allclose(again[:, :, 1], [[0.0] * 400, [3.0] * 400], atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_frames_have_no_motion_to_follow(frames: int):
    x = np.random.default_rng(0).normal(size=(frames, 3))
    assert (fit_ar(x, 2) == 0).all()
    clips = torch.from_numpy(np.stack([x, x]))
    found = attack("motion", lambda x: x.sum(dim=(1, 2)), clips, eps=0.1, steps=2)
    torch.testing.assert_close(found, clips + 0.1)


def test_gradients_go_through_the_motion():
    g = np.array([[1.0], [2.0], [3.0]])
    ones = np.ones_like(g)
    np.testing.assert_allclose(motion_gradient(g, 0.5 * ones[None])[:, 0], [2, 3.5, 3])
    second = motion_gradient(g, np.stack([0.5 * ones, 0.25 * ones]))
    np.testing.assert_allclose(second[:, 0], [3.5, 3.5, 3])
    c, d = np.array([9.0, 0.2, -0.4]), np.array([9.0, 9.0, 0.7])
    moved = motion_gradient(g, np.stack([c, d])[..., None])[:, 0]
    np.testing.assert_allclose(moved, [1 + 0.2 * 2 + (0.7 - 0.4 * 0.2) * 3, 2 - 0.4 * 3, 3])
    np.testing.assert_array_equal(g[:, 0], [1, 2, 3])


@pytest.mark.parametrize("layout", ["kinect20", "sbu15"])
def test_bones_keep_their_length_when_a_body_turns_and_moves(layout: str):
    joints = {"kinect20": 20, "sbu15": 15}[layout]
    before = np.random.default_rng(0).normal(size=(5, 2, joints, 3))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    assert bone_drift(before, before @ turn + [1, -2, 3], layout) < 1e-6
    for scale, drift in ((1.1, 0.1), (0.75, 0.25)):
        assert bone_drift(before, scale * before, layout) == pytest.approx(drift, abs=1e-6)
    before[0, 1, 3] = np.nan
    assert bone_drift(before, 1.1 * before, layout) == pytest.approx(0.1, abs=1e-6)


def test_bones_of_other_joints_are_refused():
    here = np.ones((4, 1, 19, 3))
    refused(UsageError, r"\(4, 1, 19, 3\)", bone_drift, here, here, "kinect20")
    refused(UsageError, "give two", bone_drift, here[:2], here, "kinect20")


def test_steady_motion_has_no_acceleration():
    time = np.arange(6.0)[:, None, None, None]
    still = np.zeros((6, 1, 2, 3))
    assert acceleration(still, still + 4 * time) < 1e-12
    assert acceleration(still, still + time**2) == pytest.approx(2 * 3**0.5)
    assert acceleration(still, np.full_like(still, np.nan)) == 0


def test_heads_learn_what_the_surrogate_gets_wrong_and_are_unsure():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 3, generator=random)
    y = logits.roll(1, dims=1).argmax(dim=1)  # the surrogate is always one label off
    mean, deviation = learned_moments(logits, y, random)
    answers = applied(mean, logits.expand(len(mean), -1, -1)).argmax(dim=2)
    assert (answers == y).double().mean() > 0.6 > (logits.argmax(dim=1) == y).double().mean()
    assert (deviation > 0).any()


def test_attacks_cross_the_border_that_noise_of_equal_norm_does_not():
    random = np.random.default_rng(0)
    way = np.sign(random.normal(size=60))
    y = np.arange(40) % 2
    rows = random.normal(size=(40, 60))
    rows += (0.02 * (2 * y - 1) - rows @ way / 60)[:, None] * way  # 0.02 from the border
    x = torch.from_numpy(rows.reshape(40, 5, 12))
    weights = torch.from_numpy(np.stack([-way, way], axis=1))
    model = Surrogate(lambda clips: clips.flatten(1) @ weights, torch.from_numpy(y))

    def fooled(moved: torch.Tensor) -> float:
        before, after = model.logits(x).argmax(1), model.logits(moved).argmax(1)
        return float((before != after).float().mean())

    for name in ("fgsm", "mi", "pgd", "motion", "posterior"):
        found = attack(name, model, x, eps=0.05, steps=5, seed=0)
        size = (found - x).flatten(1).norm(dim=1)[:, None, None] / 60**0.5
        noise = size * torch.from_numpy(np.sign(random.normal(size=x.shape)))
        assert fooled(found) > 0.9, name
        assert fooled(x + noise) < 0.2, name


TINY = {
    "layout": "kinect20",
    "people": 1,
    "frames": 8,
    "widths": [8],
    "halved": [],
    "epochs": 20,
    "batch": 4,
    "learning_rate": 0.02,
}
EVALS = Path(__file__).parents[3] / "evals"


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    lines = ["path,label,group,split"]
    for number in range(24):
        wave, split = number % 2 == 0, "train" if number < 12 else "test"
        name = f"a{number}.json"
        skeletons.write_ucla(root / name, wave=wave, frames=20 + number)
        lines.append(f"{name},{'alpha' if wave else 'omega'},s{number // 4},{split}")
    (root / "clips.csv").write_text("\n".join(lines))
    return root


def card(**settings: Any) -> LoadedCard:
    given = {"settings": TINY, "surrogate_settings": {**TINY, "streams": ["joint"]}, **settings}
    values = {"name": "a", "protocol": "attack", "data": {"layout": "csv"}, "settings": given}
    return LoadedCard(make_card(values, "a"))


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["texts", "classes"])
def test_a_card_attacks_the_joints_of_a_tower(readout: str, bodies: Path):
    model = Model(load_encoder("skeleton"))
    tower = {**TINY, "readout": readout}
    given = card(
        names=["pgd", "motion"], eps=[0.0, 0.8], steps=3, clips=10, settings=tower,
        surrogate_settings={**tower, "streams": ["joint"]},
    )  # fmt: skip
    (run,) = run_card(given, bodies, model)
    by = {
        (
            row["name"],
            *(row["where"].get(key, "") for key in ("attack", "eps", "under", "model")),
        ): row
        for row in run["figures"]
    }
    assert by["top1", "", "", "", ""]["value"] > 0.8  # it has learned
    for name in ("pgd", "motion"):
        still, moved = (by["fooling", name, eps, "", ""] for eps in ("0.0", "0.8"))
        assert (still["value"], still["n"]) == (0, 10)
        assert by["bone drift", name, "0.0", "", ""]["value"] == 0
        assert by["bone drift", name, "0.8", "", ""]["value"] > 0.01
        assert by["acceleration", name, "0.8", "noise", ""]["value"] > 0
        noise = by["fooling", name, "0.8", "noise", ""]["value"]
        own = by["fooling", name, "0.8", "", "surrogate"]["value"]
        assert own >= max(noise, moved["value"])
    assert by["fooling", "pgd", "0.8", "", "surrogate"]["value"] > 0.3


REFUSED: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "eps below 0": (ProtocolError, "eps is -0.01", {"eps": [0.01, -0.01]}),
    "eps of text": (ProtocolError, "eps is 'a'", {"eps": ["a"]}),
    "no step": (ProtocolError, "steps is 0", {"steps": 0}),
    "half a clip": (ProtocolError, "clips is 0.5", {"clips": 0.5}),
    "a closed form": (ProtocolError, "not a tower", {"method": "ridge"}),
    "no gradients": (ProtocolError, r'no gradients.*\["no-box"\]', {"surrogate": "lora"}),
    "unknown attack": (UnknownNameError, "did you mean 'pgd'", {"names": ["pdg"]}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_card_that_cannot_be_carried_out_is_refused_before_anything_is_read(
    case: str, bodies: Path
):
    error, says, settings = REFUSED[case]
    refused(error, says, make_plan, card(**settings), "attack", bodies)


@pytest.mark.parametrize("given", ["eps=[-0.1]", "surrogate=ridge", 'eps=["a"]', "steps=0"])
def test_the_command_line_refuses_in_one_line(given: str, bodies: Path):
    arguments = ["--data", str(bodies), "--model", "skeleton", "--set", given, "--dry-run"]
    done = invoke(["eval", "attack", *arguments])
    assert done.exit_code in (1, 2)
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith("vlar: ")
    assert "unexpected" not in line


def test_without_a_model_no_surrogate_is_asked(bodies: Path):
    make_plan(card(names="no-box", eps=0.1, surrogate="ridge"), "attack", bodies)


def test_towers_that_read_other_joints_are_refused(bodies: Path):
    model = Model(load_encoder("skeleton"))
    other = {**TINY, "layout": "ntu25", "epochs": 1}
    given = card(names=["fgsm"], settings={**TINY, "epochs": 1}, surrogate_settings=other)
    refused(ProtocolError, "read other inputs", list, run_card(given, bodies, model))


def test_the_card_of_the_project_is_read():
    assert read_card(EVALS / "attack_skeleton.toml").card.protocols == ["attack"]
