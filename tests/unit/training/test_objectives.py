"""Single objectives, and a training without any."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from torch import Tensor

from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from tests.unit.training.plain_trainings import METHODS, weights
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.methods.label_tree.objective import coarse_logits
from vlar.methods.long_tail.objectives import BalancedRepresentation
from vlar.methods.sefar.objective import Sefar, regulation
from vlar.methods.temporal.adapter import Temporal
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet, Step
from vlar.training.trainable import TrainingBatch, TrainingOutput

SMALL = {"width": 16, "heads": 2, "components": 6, "blocks": ["look", "flow"]}

NUMBERS = replace(load_recipe("temporal/adapt"), epochs=2, batch=8, warmup_epochs=1)


def begun(named: Any, facts: list[dict[str, str]] | None = None) -> Training:
    features, dataset = ordered_clips(24)
    if facts is not None:
        dataset = replace(dataset, facts=facts)
    adapter = Temporal.attach(FakeEncoder(), SMALL)
    adapter.fit_inputs(features)
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths, adapter.input_widths)
    return Training(adapter, loader, dataset, NUMBERS, objectives=ObjectiveSet(named))


@pytest.mark.parametrize(("p", "s", "wanted"), [(1, 0, 1), (0, 0, 0.304185), (0.5, 0.1, 0.125147)])
def test_regulation_has_the_values_of_its_formula(p: float, s: float, wanted: float):
    assert regulation(p, s) == pytest.approx(wanted, abs=1e-6)
    together = regulation(torch.tensor([p]), torch.tensor([s]))
    assert float(together) == pytest.approx(wanted, abs=1e-6)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_regulation_rises_with_confidence_and_falls_with_spread(
    p: float, q: float, s: float, r: float
):
    p, q, s, r = *sorted((p, q)), *sorted((s, r))
    assert 0 <= regulation(p, r) <= regulation(q, s) <= 1


def test_the_strong_view_turns_moments_round_and_keeps_the_rest():
    clip = torch.arange(1.0, 9.0)[:, None].expand(8, 50)
    view = Sefar().views()["strong"].reorder
    assert view is not None
    changed = view(clip, np.random.default_rng(0))
    kept = changed[0] != 0
    assert 0 < int((~kept).sum()) < 25  # whole channels are dropped
    order = (changed[:, kept][:, 0] * 0.8).round().int().tolist()
    assert sorted(order) == list(range(1, 9))
    turned = [i for i in range(0, 8, 2) if order[i] > order[i + 1]]
    assert len(turned) == 2
    assert [sorted(order[i : i + 2]) for i in range(0, 8, 2)] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    still = Sefar(reverse=False).views()["strong"].reorder
    assert still is not None
    ahead = still(clip, np.random.default_rng(0))
    assert (ahead[:, ahead[0] != 0].diff(dim=0) > 0).all()


def test_the_teacher_leaves_the_weights_of_the_student():
    training = begun({"balanced-softmax": {}})
    part = Sefar(average=0.5)
    part._named = list(training.named)
    part._teacher = {name: torch.zeros_like(p) for name, p in training.named}
    before = {name: p.detach().clone() for name, p in training.named}
    with part._as_teacher():
        assert all(not p.detach().any() for _, p in training.named)
    for name, parameter in training.named:
        assert torch.equal(parameter, before[name])
    part.after_step(0)
    for name, kept in part._teacher.items():
        torch.testing.assert_close(kept, before[name] / 2)


def test_late_in_a_training_rare_labels_weigh_more():
    part = BalancedRepresentation(mixed=0.0)
    part._counts, part._weights = [8.0, 1.0], [0.5, 1.5]
    logits = torch.zeros(9, 2)
    batch = TrainingBatch(torch.zeros(9, 4, 3), torch.eye(2)[[0] * 8 + [1]])
    output = TrainingOutput(logits, {"total": torch.zeros(())})
    logits.requires_grad_()

    def gradient(progress: float) -> Tensor:
        step = Step(0, progress, batch, output, lambda x: output, np.random.default_rng(0))
        (term,) = part.terms(step).values()
        return torch.autograd.grad(term, logits)[0].abs()

    early, late = gradient(0.5), gradient(0.9)
    assert float(early[0, 0]) == pytest.approx(float(early[8, 0]))
    assert float(late[8, 0]) == pytest.approx(3 * float(late[0, 0]))


def test_a_mixed_clip_goes_to_the_rarer_label():
    part = BalancedRepresentation(mixed=1.0)
    part._counts, part._weights = [8.0, 1.0], [0.5, 1.5]
    y = [0] * 8 + [1]
    inputs = torch.arange(9.0)[:, None, None].expand(9, 4, 3)
    batch = TrainingBatch(inputs, torch.eye(2)[y])
    output = TrainingOutput(torch.zeros(9, 2), {"total": torch.zeros(())})
    seen: list[Tensor] = []

    def forward(x: Tensor) -> TrainingOutput:
        seen.append(x)
        return replace(output, logits=torch.tensor([5.0, 0.0]).expand(len(x), 2))

    step = Step(0, 0.0, batch, output, forward, np.random.default_rng(0))
    mixed = float(part.terms(step)["mixed"])
    rare = {8} & {int(v) for clip in seen[0] for v in clip.flatten().tolist()}
    assert rare  # the rare clip takes part
    partner = [int(clip[-1, 0]) for clip in seen[0]]
    takes = [int(y[row] == 1 or y[other] == 1) for row, other in enumerate(partner)]
    losses = torch.nn.functional.cross_entropy(
        torch.tensor([5.0, 0.0]).expand(9, 2), torch.tensor(takes)
    )
    assert mixed == pytest.approx(float(losses), abs=1e-6)


@pytest.mark.parametrize("are_mixed", [True, False])
def test_brl_mixes_bodies_of_a_method_that_reads_joints(are_mixed: bool):
    part = BalancedRepresentation(mixed=1.0, bodies=are_mixed)
    blocks = (FrameBlock("lite", 7, "signal"), FrameBlock("joints", 2 * 15 * 4, "joints"))
    source = SimpleNamespace(frame_blocks=blocks, layout="sbu15", people=2)
    context: Any = SimpleNamespace(
        method=SimpleNamespace(source=source), clips_per_label=lambda name: [5.0, 4.0]
    )
    part.begin(context)
    joints = torch.arange(9.0)[:, None, None].expand(9, 6, 2 * 15 * 4 + 3)  # and a vector of 3
    y = torch.tensor([0] * 5 + [1] * 4)
    mixed, own = part._joined(joints, torch.arange(9).roll(1), y)
    assert mixed.shape == joints.shape
    assert own.tolist() == pytest.approx([8 / 15 if are_mixed else 0.64] * 9)
    bodies = mixed[..., :120].unflatten(-1, (2, 15, 4))
    upper = bodies[:, :, :, [0, 1, 3, 8], :]
    lower = bodies[:, :, :, [9, 10, 14], :]
    if are_mixed:
        assert (upper == joints[:, :, :1, None, None]).all()
        assert (lower == joints.roll(1, 0)[:, :, :1, None, None]).all()
        assert (mixed[..., 120:] == joints[..., 120:]).all()
    else:
        assert (upper[..., :1, :] == lower).all()


@pytest.mark.parametrize("name", ["exchange", "soar"])
def test_who_and_where_are_columns_of_the_support_set(name: str):
    refused(UsageError, "needs a column 'who'", begun, {name: {"column": "who"}})
    facts = [{"who": "one"}] * 24
    with pytest.raises(UsageError, match="'who'"):
        begun({name: {"column": "who"}}, facts if name == "soar" else [{"who": ""}] * 24)
    training = begun({name: {"column": "who"}}, [{"who": f"p{i // 2 % 4}"} for i in range(24)])
    assert training.run().epochs


def test_exchange_refuses_where_nothing_can_be_exchanged():
    with pytest.raises(UsageError, match="nothing to exchange"):
        begun({"exchange": {"column": "who"}}, [{"who": f"of {i % 2}"} for i in range(24)])


def test_exchange_puts_partners_next_to_each_other_and_every_clip_once():
    training = begun(
        {"exchange": {"column": "who"}}, [{"who": f"p{i // 2 % 4}"} for i in range(24)]
    )
    order = training.batches.order(0)
    assert sorted(order) == list(range(24))
    assert order != training.batches.order(1)


@pytest.mark.parametrize("name", ["tree", "pcan"])
def test_a_tree_is_read_from_its_file(name: str, tmp_path: Path):
    refused(UsageError, "needs a label tree", begun, [name])
    _, dataset = ordered_clips(2)
    file = tmp_path / "tree.json"
    file.write_text(json.dumps({dataset.texts[0]: "moving"}))
    refused(UsageError, "label tree has no label", begun, {name: {"file": str(file)}})


def test_coarse_logits_are_those_of_the_sums():
    logits, parent = torch.randn(4, 5), torch.tensor([0, 1, 0, 1, 1])
    above = coarse_logits(logits, parent).softmax(dim=1)
    fine = logits.softmax(dim=1)
    torch.testing.assert_close(above[:, 0], fine[:, [0, 2]].sum(dim=1))


def test_labels_without_a_clip_are_refused():
    features, dataset = ordered_clips(24)
    shown = dataset.targets.member.copy()
    assert isinstance(dataset, Dataset)
    shown[:, 1] = 0
    adapter = Temporal.attach(FakeEncoder(), SMALL)
    adapter.fit_inputs(features)
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths, adapter.input_widths)
    bare = replace(dataset, targets=replace(dataset.targets, member=shown))
    with pytest.raises(UsageError, match="has no clip; add one"):
        Training(adapter, loader, bare, NUMBERS, objectives=ObjectiveSet(["brl"]))


def test_exchange_reads_the_subject_where_the_support_set_names_it():
    facts = [{"group": "one", "subject": f"p{i // 2 % 4}"} for i in range(24)]
    assert begun({"exchange": {}}, facts).objectives.parts["exchange"]._subjects[2] == "p1"
    with pytest.raises(UsageError, match="nothing to exchange"):
        begun({"exchange": {"column": "group"}}, [{"group": f"of {i % 2}"} for i in range(24)])


def test_soar_takes_the_column_then_words_then_the_group():
    facts = [{"group": f"g{i}", "scene": f"s{i % 3}"} for i in range(24)]
    words = np.random.default_rng(0).dirichlet(np.ones(5), 24).astype(np.float32)

    def scenes(facts: list[dict[str, str]], words: np.ndarray | None, settings: dict[str, str]):
        features, dataset = ordered_clips(24)
        adapter = Temporal.attach(FakeEncoder(), SMALL)
        adapter.fit_inputs(features)
        inputs = adapter.training_inputs(features)
        loader = FeatureLoader(inputs, dataset.paths, adapter.input_widths)
        dataset = replace(dataset, facts=facts, scenes=words)
        objectives = ObjectiveSet({"soar": settings})
        training = Training(adapter, loader, dataset, NUMBERS, objectives=objectives)
        return training, training.objectives.parts["soar"]._scenes

    assert scenes(facts, words, {})[1].shape == (24, 3)
    plain = [{"group": row["group"]} for row in facts]
    training, found = scenes(plain, words, {})
    assert np.array_equal(found, words)
    assert training.run().epochs
    assert scenes(plain, None, {})[1].shape == (24, 24)
    assert scenes(facts, words, {"column": "group"})[1].shape == (24, 24)


GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def probe() -> str:
    """Hash of a few results of torch: it tells whether this CPU rounds as the one of the golden."""
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(48, 48, generator=random) for _ in range(2))
    x = torch.nn.functional.layer_norm(a @ b, (48,)).softmax(dim=-1)
    x = torch.nn.functional.gelu(x @ b.T).exp() + torch.linalg.vector_norm(a, dim=-1)
    return hashlib.sha256(x.numpy().tobytes() + torch.__version__.encode()).hexdigest()


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("objectives", [None, ObjectiveSet(())], ids=["none", "empty"])
def test_weights(method: str, objectives: ObjectiveSet | None):
    found = weights(method, objectives)
    golden = load_file(GOLDEN / "training_plain.safetensors")
    wanted = {
        k.removeprefix(f"{method}."): v for k, v in golden.items() if k.startswith(f"{method}.")
    }
    assert found.keys() == wanted.keys()
    same_cpu = json.loads((GOLDEN / "training_plain.json").read_text())["probe"] == probe()
    for name, array in wanted.items():
        np.testing.assert_allclose(
            found[name], array, atol=0 if same_cpu else 1e-4, rtol=0, err_msg=name
        )
