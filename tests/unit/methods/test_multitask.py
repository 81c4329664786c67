"""The semantic map: exactness of its steps, weights, choice by labels, and the way to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from tests.unit.training.fakes import FakeEncoder
from vlar.errors import ModelError, SupportError, UsageError
from vlar.methods.multitask_zero_shot.adapter import Multitask, choose_numbers, overlapping
from vlar.methods.multitask_zero_shot.map import SemanticMap, sylvester
from vlar.methods.multitask_zero_shot.weights import bounded, effective_size, kliep
from vlar.model.model import Model, load
from vlar.numeric import unit
from vlar.training.config import TrainConfig
from vlar.training.run import run


def data(n: int = 40, d: int = 6, k: int = 5, seed: int = 0) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d))
    z = x @ random.normal(size=(d, k)) + 0.3 * random.normal(size=(n, k))
    return x, z, random.uniform(0.1, 2, size=n)


# The map


@given(
    st.integers(2, 12), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9),
    st.floats(0, 10), st.floats(0, 10), st.integers(0, 5),
)  # fmt: skip
def test_the_objective_never_rises(
    n: int, d: int, k: int, q: int, penalty_s: float, penalty_a: float, seed: int
):
    x, z, w = data(n, d, k, seed)
    found = SemanticMap(q, penalty_s, penalty_a).fit(x, z, w)
    assert len(found.objective) >= 1
    assert (np.diff(found.objective) <= 0).all()
    missed = (w[:, None] * (z - found.transform(x)) ** 2).sum()
    penalty = penalty_s * (found.s**2).sum() + penalty_a * (found.a**2).sum()
    assert found.objective[-1] == pytest.approx(missed + penalty, rel=1e-6, abs=1e-9)
    assert found.s.shape[1] <= min(q, n, d, k)


@pytest.mark.parametrize(("k", "q", "d"), [(5, 4, 3), (4, 2, 6), (3, 3, 3)])
def test_the_step_for_a_equals_the_dense_solution(k: int, q: int, d: int):
    random = np.random.default_rng(k)
    s, g, right = random.normal(size=(k, q)), random.normal(size=(d, d)), random.normal(size=(q, d))
    g = g @ g.T
    dense = np.kron(s.T @ s, g) + 0.3 * np.eye(q * d)
    wanted = np.linalg.solve(dense, right.ravel()).reshape(q, d)
    np.testing.assert_allclose(sylvester(s, *np.linalg.eigh(g), right, 0.3), wanted, atol=1e-8)


@pytest.mark.parametrize("penalty", [0.0, 1e-12])
def test_without_penalties_and_with_all_tasks_it_is_least_squares(penalty: float):
    x, z, _ = data()
    found = SemanticMap(5, penalty, penalty).fit(x, z, np.ones(len(x)))
    wanted = x @ np.linalg.lstsq(x, z, rcond=None)[0]
    np.testing.assert_allclose(found.transform(x), wanted, atol=1e-6)


def test_with_all_tasks_it_is_ridge_up_to_regularisation():
    x, z, w = data()
    weighted = w[:, None] * x
    whole = x @ np.linalg.solve(weighted.T @ x + 1e-3 * np.eye(x.shape[1]), weighted.T @ z)
    shared = SemanticMap(50, 1e-3, 1e-3).fit(x, z, w).transform(x)
    few = SemanticMap(1, 1e-3, 1e-3).fit(x, z, w).transform(x)
    assert abs(shared - whole).max() < 0.01 < abs(few - whole).max()


def test_more_features_than_clips_is_the_same_problem():
    x, z, w = data(8, 30, 5)
    found = SemanticMap(3, 0.1, 0.2).fit(x, z, w)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(30, 30)))[0]
    again = SemanticMap(3, 0.1, 0.2).fit(x @ turned, z, w)
    np.testing.assert_allclose(again.transform(x @ turned), found.transform(x), atol=1e-8)


def test_a_clip_of_weight_two_is_the_clip_twice():
    x, z, _ = data(10)
    twice = SemanticMap(2, 0.1, 0.1).fit(np.r_[x, x[:1]], np.r_[z, z[:1]])
    heavy = SemanticMap(2, 0.1, 0.1).fit(x, z, np.r_[2.0, np.ones(9)])
    np.testing.assert_allclose(heavy.transform(x), twice.transform(x), atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Z": np.ones((3, 2))}, "3 label vectors"),
        ({"X": np.full((40, 6), np.nan)}, "not finite"),
        ({"weights": np.zeros(40)}, "not all 0"),
        ({"weights": -np.ones(40)}, "0 or more"),
        ({"X": np.ones(40)}, "shape"),
    ],
)
def test_bad_arrays_are_named(change: dict[str, Any], message: str):
    x, z, w = data()
    with pytest.raises(ModelError, match=message):
        SemanticMap(2, 1, 1).fit(**{"X": x, "Z": z, "weights": w, **change})


@pytest.mark.parametrize("values", [(0, 1, 1), (1, -1, 1), (1, 1, float("nan"))])
def test_bad_numbers_are_named(values: tuple[int, float, float]):
    with pytest.raises(ModelError, match="semantic map"):
        SemanticMap(*values)


# Importance


def test_weights_of_equal_distributions_are_nearly_equal():
    random = np.random.default_rng(0)
    found = kliep(random.normal(size=(400, 3)), random.normal(size=(300, 3)))
    assert found.mean() == pytest.approx(1, abs=1e-6)
    assert found.std() < 0.5
    assert (found >= 0).all()


def test_weights_rise_towards_the_target():
    random = np.random.default_rng(0)
    source = random.normal(size=(400, 2))
    found = kliep(source, random.normal(size=(300, 2)) + 1)
    assert found.mean() == pytest.approx(1, abs=1e-6)
    assert np.corrcoef(found, source.sum(axis=1))[0, 1] > 0.8
    near = source.sum(axis=1) > 1
    assert found[near].mean() > 2 * found[~near].mean()


def test_weights_that_rest_on_few_clips_are_bounded():
    weights = np.r_[np.full(95, 0.01), np.full(5, 50.0)]
    assert effective_size(weights) < 6
    found = bounded(weights, 0.3)
    assert effective_size(found) == pytest.approx(30, rel=0.01)
    assert found.mean() == pytest.approx(1)
    np.testing.assert_allclose(bounded(np.ones(4)), np.ones(4))


def test_equal_items_have_equal_weights():
    np.testing.assert_array_equal(kliep(np.ones((3, 2)), np.ones((2, 2))), np.ones(3))


@pytest.mark.parametrize(
    "pair", [(np.ones((3, 2)), np.ones((2, 3))), (np.ones((0, 2)), np.ones((2, 2)))]
)
def test_items_of_other_kinds_are_refused(pair: tuple[Any, Any]):
    with pytest.raises(ModelError, match="importance weights"):
        kliep(*pair)


# Choice


def test_numbers_that_were_given_are_taken_as_they_are():
    x, z, w = data()
    assert choose_numbers(x, z[:6], np.arange(40) % 6, w, q=3, penalty=2.0).q == 3


def test_labels_that_can_be_carried_over_are_found():
    random = np.random.default_rng(0)
    labels = random.normal(size=(12, 4))
    columns = np.arange(120) % 12
    x = labels[columns] @ random.normal(size=(4, 20)) + 0.05 * random.normal(size=(120, 20))
    found = choose_numbers(x, labels - labels.mean(axis=0), columns, np.ones(120))
    assert found.rank is not None
    assert found.rank > 0.85
    shuffled = choose_numbers(x, random.permutation(labels), columns, np.ones(120))
    assert shuffled.rank is not None
    assert shuffled.rank < 0.75  # with three labels held out, chance is 0.61


def test_labels_under_another_name_are_listed():
    labels, targets = ["kicks a ball", "swimming", "paddling a canoe"], ["kick", "canoeing"]
    cosines = np.array([[0.3, 0.1], [0.2, 0.2], [0.1, 0.9]])
    found = overlapping(labels, targets, cosines)
    assert found == [("kicks a ball", "kick"), ("paddling a canoe", "canoeing")]


# The adapter


def solved(settings: dict[str, Any] | None = None) -> tuple[Multitask, Any, list[str]]:
    random = np.random.default_rng(0)
    adapter = Multitask.attach(FakeEncoder(), {"q": 5, "penalty": 0.01, **(settings or {})})
    labels = ["swim", "climb", "read", "cook", "wave", "sleep"]
    columns = np.arange(36) % 6
    z = adapter.encode_text(labels)
    frames = z[columns][:, None] + 0.05 * random.normal(size=(36, 8, 12))
    adapter.solve(frames.astype(np.float32), columns, labels)
    return adapter, frames.astype(np.float32), labels


def test_before_it_is_solved_it_is_the_encoder():
    adapter, features = Multitask.attach(FakeEncoder()), np.ones((2, 8, 12), np.float32)
    np.testing.assert_array_equal(adapter.pool(features), FakeEncoder().pool(features))
    np.testing.assert_array_equal(adapter.encode_text(["a"]), FakeEncoder().encode_text(["a"]))


@pytest.mark.parametrize("match", ["labels", "latent"])
def test_clips_are_mapped_to_their_labels(match: str):
    adapter, features, labels = solved({"match": match})
    vectors, words = adapter.pool(features), adapter.encode_text(labels)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    found = (vectors @ words.T).argmax(axis=1)
    assert (found == np.arange(36) % 6).mean() > 0.8
    assert adapter.settings["q"] == 5


def test_the_latent_space_keeps_its_inner_products():
    adapter, features, labels = solved({"match": "latent"})
    s, a = (adapter.parts.get_buffer(name).double().numpy() for name in "sa")
    from vlar.methods.multitask_zero_shot.adapter import clip_statistics

    x = clip_statistics(features, adapter.encoder.frame_blocks) - adapter._mean_x
    z = FakeEncoder().encode_text(labels) - adapter._mean_z
    own = np.linalg.solve(s.T @ s + 1e-6 * np.eye(5), s.T @ z.T).T
    # The basis keeps angles only among S's own columns, so S = Q R is used on both sides.
    q = np.linalg.qr(s)[0]
    wanted = unit(x @ a.T @ q.T) @ unit(own @ q.T).T
    np.testing.assert_allclose(adapter.pool(features) @ adapter.encode_text(labels).T, wanted,
                               atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(wanted, unit(x @ a.T) @ unit(own).T, atol=1e-5)


def test_permuted_label_vectors_are_worse():
    adapter, features, labels = solved()
    wrong = Multitask.attach(FakeEncoder(), {"q": 3, "penalty": 0.1})
    wrong.solve(features, (np.arange(36) % 6)[np.random.default_rng(1).permutation(36)], labels)
    right = np.arange(36) % 6
    shares = [
        ((one.pool(features) @ one.encode_text(labels).T).argmax(axis=1) == right).mean()
        for one in (adapter, wrong)
    ]
    assert shares[0] > shares[1] + 0.3


def test_targets_weigh_and_leave_out():
    adapter, _, _ = solved({"targets": ["swimming", "a dance"]})
    assert adapter.solved is not None
    assert ("swim", "swimming") in adapter.solved.dropped
    assert adapter.solved.effective <= 36


def test_too_few_labels_beside_the_targets_are_named():
    adapter = Multitask.attach(FakeEncoder(), {"targets": ["jump", "run"]})
    with pytest.raises(SupportError, match="asked about"):
        adapter.solve(np.ones((4, 8, 12), np.float32), np.arange(4) % 2, ["jumping", "running"])


def test_sentences_are_a_space_of_their_own():
    adapter = Multitask.attach(FakeEncoder(), {"text": "sentences", "q": 2, "penalty": 1.0})
    assert adapter.dim == 384
    random = np.random.default_rng(0)
    features = random.normal(size=(8, 8, 12)).astype(np.float32)
    adapter.solve(features, np.arange(8) % 4, ["riding a bike", "cooking", "jumping", "reading"])
    assert adapter.pool(features).shape == (8, 384)
    near = adapter.encode_text(["riding a bicycle", "riding a bike", "reading a book"])
    assert near[0] @ near[1] > near[2] @ near[1]


# From a support set to a model


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("support")
    for label, value in (("red bar", 250), ("green bar", 5)):
        (folder / label).mkdir()
        for i in range(2):
            picture = np.full((48, 64, 3), 90, np.uint8)
            picture[10 + 5 * i : 30, 10:40] = (value, 255 - value, 60)
            videos.make_video(folder / label / f"{i}.mp4", 8, picture=lambda _, p=picture: p)
    return folder


def test_adapted_saved_loaded_it_answers_the_same(support: Path, tmp_path: Path):
    adapted = Model(FakeEncoder()).adapt(support, method="multitask")
    assert adapted.report.training is not None
    assert adapted.report.training.recipe == "a closed solution"
    assert adapted.report.training.held_out is not None
    answer = adapted.classify(support / "red bar" / "0.mp4")
    assert {row.label for row in answer.predictions} == {"red bar", "green bar"}
    config = adapted.encoder.settings  # type: ignore[attr-defined]
    again = Multitask.attach(FakeEncoder(), config)
    again.load_state_dict(adapted.encoder.state_dict())  # type: ignore[attr-defined]
    assert again.fingerprint == adapted.fingerprint


def test_objectives_have_no_place(support: Path):
    with pytest.raises(UsageError, match="no objectives"):
        Model(FakeEncoder()).adapt(support, method="multitask", objectives=["tree"])


@pytest.mark.slow  # loads lite three times
def test_a_configuration_file_reaches_it(support: Path, tmp_path: Path):
    config = TrainConfig(
        method="multitask", train=support, out=tmp_path / "map", model="lite",
        adapter={"text": "sentences", "targets": ["waving a flag"], "penalty": 1.0},
    )  # fmt: skip
    model = run(config)
    loaded = load(tmp_path / "map")
    assert loaded.fingerprint == model.fingerprint
    assert loaded.words.dim == 384
    clip = support / "red bar" / "0.mp4"
    answers = [m.classify(clip, labels="waving a flag, red bar") for m in (model, loaded)]
    assert answers[0].predictions == answers[1].predictions
