"""The gate between labels with examples and labels without."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.methods.test_mapped import LABELS, QUICK, SMALL, T, WordsEncoder
from vlar import registry
from vlar.errors import ModelError
from vlar.heads.concept_heads import ConceptHead, GatedHead
from vlar.language.labels import LabelSet
from vlar.methods.aligned.adapter import AlignedConfig
from vlar.methods.aligned.gate import (
    Gate,
    ListGate,
    SeenClassifier,
    Sides,
    fit_gate,
    held_out_harmonic,
    seen_scores,
)
from vlar.methods.aligned.stacking import Round, held_out_offset, pretended_apart
from vlar.methods.aligned.text_map_adapter import ALWAYS, CHOSEN, NEVER, decided
from vlar.model.core import ModelCore
from vlar.model.label_heads import make_classifier
from vlar.numeric import unit
from vlar.types import Encoded

SEEN, UNSEEN = 5, 4


def sides(sure: float, seed: int, n: int = 120) -> Sides:
    """Clips of both kinds, whose own classifier gives the right label ``sure`` more than others."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, SEEN + UNSEEN, n)
    has = np.arange(SEEN + UNSEEN) < SEEN
    scores = 0.1 * random.normal(size=(n, SEEN + UNSEEN))
    scores[np.arange(n), truth] += sure
    return Sides.of(scores[:, :SEEN], 0.3 * scores, truth, has)


# The gate


def test_kinds_that_are_apart_give_a_gate_near_one_and_nought():
    gate, new = fit_gate([sides(1.0, 0), sides(1.0, 1)]), sides(1.0, 2)
    p = gate.probability(new.seen, new.unseen)
    assert p[new.of_seen].mean() > 0.9
    assert p[~new.of_seen].mean() < 0.1
    assert new.harmonic(gate.log_odds(new.seen, new.unseen) >= 0) > 0.97


def test_where_the_kinds_are_mixed_the_gate_tells_nothing():
    """The control of the test above: which clips are of seen labels is drawn by lot."""
    random = np.random.default_rng(0)
    made = [sides(1.0, seed) for seed in range(3)]
    mixed = [dataclasses.replace(each, of_seen=random.permutation(each.of_seen)) for each in made]
    gate = fit_gate(mixed[:2])
    called = gate.log_odds(mixed[2].seen, mixed[2].unseen) >= 0
    of_seen = mixed[2].of_seen
    assert abs(called[of_seen].mean() - called[~of_seen].mean()) < 0.25


def test_the_threshold_and_the_temperature_are_the_best_of_the_splits():
    """No other pair gives these splits a higher harmonic mean with the same curve."""
    splits = [sides(0.25, seed) for seed in range(2)]
    gate = fit_gate(splits)

    def mean(gate):
        return np.mean([s.harmonic(gate.log_odds(s.seen, s.unseen) >= 0) for s in splits])

    moved = [dataclasses.replace(gate, threshold=gate.threshold + d) for d in (-1.0, -0.1, 0.1, 1)]
    assert mean(gate) >= max(map(mean, moved))
    assert 0.3 < mean(gate) < 1.0


def test_what_is_not_in_the_splits_does_not_move_the_gate():
    splits = [sides(0.3, seed) for seed in range(3)]
    assert fit_gate(splits[:2]) == fit_gate([sides(0.3, 0), sides(0.3, 1)])
    assert fit_gate(splits[:2]) != fit_gate(splits)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_the_order_of_labels_does_not_matter(seed, top):
    splits = [sides(0.4, at) for at in range(2)]
    gate, new = fit_gate(splits, top), splits[1]
    random = np.random.default_rng(seed)
    a, b = random.permutation(SEEN), random.permutation(UNSEEN)
    turned = gate.log_odds(new.seen[:, a], new.unseen[:, b])
    np.testing.assert_allclose(turned, gate.log_odds(new.seen, new.unseen), atol=1e-9)


def test_a_gate_survives_its_numbers():
    gate = fit_gate([sides(0.4, 0)], top=2)
    assert (gate.top, len(gate.numbers)) == (2, 7)
    assert Gate.of(gate.numbers) == gate


@pytest.mark.parametrize(
    "numbers",
    [(0.1, 0.0, 0.0), (0.1, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0, 1.0), (0.1,) * 15,
     (0.1, float("nan"), 0.0, 1.0, 1.0)],
)  # fmt: skip
def test_numbers_that_are_no_gate_are_refused(numbers):
    with pytest.raises(ModelError, match="adapt the model again"):
        AlignedConfig(gate_numbers=numbers)


def test_the_classifier_of_seen_labels_finds_them():
    random = np.random.default_rng(0)
    columns = np.repeat(np.arange(4), 10)
    x = np.eye(4)[columns] + 0.1 * random.normal(size=(40, 4))
    kept, asked = np.flatnonzero(np.arange(40) % 2 == 0), np.flatnonzero(np.arange(40) % 2)
    found = seen_scores(x, columns, kept, asked)
    assert (found.argmax(axis=1) == columns[asked]).all()
    shuffled = seen_scores(x, random.permutation(columns), kept, asked)
    assert (shuffled.argmax(axis=1) == columns[asked]).mean() < 0.7
    empty = SeenClassifier.empty(3, 5)
    assert (empty.weights.shape, empty.bias.shape) == ((3, 5), (3,))


# What labels held out decide


def rounds_and_scores(classifier: float):
    """Three splits where stacking finds few, and the scores of a classifier that is as sure."""
    rounds, scores = [], []
    for seed in range(3):
        random = np.random.default_rng(seed)
        truth = np.repeat(np.arange(9), 12)
        seen = np.arange(9) < SEEN
        cosines = 0.05 * np.eye(9)[truth] + 0.05 * random.normal(size=(108, 9)) + 0.2 * seen
        rounds.append(Round(cosines, cosines, truth, seen))
        scores.append(classifier * np.eye(9)[truth][:, :SEEN] + 0.1 * random.normal(size=(108, 5)))
    return rounds, scores


def held_out(classifier):
    rounds, scores = rounds_and_scores(classifier)
    return rounds, rounds, scores


def test_a_gate_is_kept_where_it_is_better_on_labels_held_out_and_only_there():
    chosen = AlignedConfig(gate=CHOSEN)
    rounds, scores = rounds_and_scores(1.0)
    kept, weighed = decided(chosen, rounds, rounds, scores)
    made = [
        Sides.of(s, r.cosines(kept.own), r.truth, r.seen)
        for s, r in zip(scores, rounds, strict=True)
    ]
    assert (kept.gate, len(kept.gate_numbers)) == (ALWAYS, 5)
    assert weighed.gate == held_out_harmonic(made)
    assert weighed.gate > weighed.stacking == held_out_offset(rounds, kept.own) > 0
    left, _ = decided(chosen, *held_out(0.0))
    assert (left.gate, left.gate_numbers) == (NEVER, ())
    forced, worse = decided(AlignedConfig(gate=ALWAYS), *held_out(0.0))
    assert forced.gate_numbers
    assert worse.gate < worse.stacking
    assert left.stacking == kept.stacking > 0  # stacking is chosen as it was without gates


def test_a_gate_that_is_not_asked_for_is_not_fitted():
    for config in (AlignedConfig(), AlignedConfig(gate=CHOSEN, stacking=0.1)):
        assert decided(config, *held_out(1.0))[0].gate_numbers == ()


def test_too_few_labels_are_told_apart_by_stacking_with_a_note(caplog):
    with caplog.at_level(logging.WARNING, "vlar"):
        found, _ = decided(AlignedConfig(gate=CHOSEN), [], [], [])
    assert (found.gate, found.gate_numbers) == (NEVER, ())
    assert "at least 6 labels" in caplog.text


# In an adapter and a list of labels


class ModelEncoder(WordsEncoder):
    """As ``WordsEncoder``, and clips that show nothing have features of the same width."""

    def encode(self, clips):
        rows = [np.zeros((T, 40), np.float32) for _ in clips]
        return [Encoded(row, self.pool(row[None])[0]) for row in rows]

    def pool(self, features):
        return unit(features.mean(axis=1)[:, :24] + 1e-3)


def made(n: int = 8, seed: int = 1):
    """(n, T, 40) clips of ten labels, and their labels."""
    encoder, random = ModelEncoder(), np.random.default_rng(seed)
    way = np.random.default_rng(9).normal(size=(24, 40))
    columns = np.repeat(np.arange(len(LABELS)), n)
    mean = unit(encoder.encode_text(LABELS))[columns] @ way
    noise = random.normal(size=(len(columns), T, 40))
    return (mean[:, None] + 0.4 * noise).astype(np.float32), columns


@pytest.fixture(scope="module")
def gated():
    """``aligned`` with a gate, of the first eight labels."""
    return solved("aligned", {})


def solved(method, more):
    features, columns = made()
    settings = {"own": 0.0, "text": "own", "gate": ALWAYS} | more
    adapter = registry.get("adapter", method).attach(ModelEncoder(), settings)
    kept = columns < 8
    adapter.solve(features[kept], columns[kept].astype(np.int64), LABELS[:8])
    return adapter


@pytest.mark.parametrize("method", ["aligned", "sa-dvae"])
def test_a_solved_gate_survives_its_state(gated, method):
    if method != gated.method:
        gated = solved(method, SMALL | {"cycles": 1, "steps": 5})
    loaded = type(gated).attach(ModelEncoder(), gated.settings)
    loaded.load_state_dict(gated.state_dict())
    assert loaded.fingerprint == gated.fingerprint
    features = made(2, 5)[0]
    cosines = (gated.pool(features) @ gated.encode_text(LABELS).T).astype(np.float32)
    for old, new in zip(
        gated.label_gate(LABELS).answer(features, cosines),
        loaded.label_gate(LABELS).answer(features, cosines),
        strict=True,
    ):
        np.testing.assert_array_equal(old, new)


def test_a_gate_serves_only_lists_of_both_kinds(gated):
    assert gated.label_gate(["wave", "lift"]).has_examples.tolist() == [True, False]
    assert gated.label_gate(LABELS[:8]) is None
    assert gated.label_gate(["lift", "turn"]) is None
    gate = Gate(0.1, 0.0, 0.0, (1.0, 1.0, 1.0, 1.0))
    two = ListGate(gate, SeenClassifier.empty(3, 4), np.array([0, -1]), lambda x: x)
    assert not two.serves


def test_without_a_gate_nothing_is_saved_and_the_fingerprint_is_the_old_one():
    features, columns = made(2)
    part = registry.get("adapter", "aligned")
    found = []
    for gate in (NEVER, CHOSEN):
        adapter = part.attach(ModelEncoder(), QUICK | {"gate": gate})
        adapter.solve(features, columns.astype(np.int64), LABELS)
        found.append(adapter.fingerprint)
        assert set(adapter.state_dict()) == {"map", "clips", "texts"}
        assert adapter.label_gate([*LABELS, "squat"]) is None
    assert found[0] == found[1]


def encoded(adapter, features):
    return [Encoded(row, adapter.pool(row[None])[0]) for row in features]


def test_a_mixed_list_is_answered_with_the_gate_and_others_as_before(gated):
    core = ModelCore(gated)
    features, columns = made(4, 5)
    clips = encoded(gated, features)
    mixed = make_classifier(core, LabelSet.read(LABELS))
    assert isinstance(mixed.head, GatedHead)
    scores = mixed.scores(clips)
    right = scores.probability.argmax(axis=1) == columns
    assert right[columns < 8].mean() > 0.9
    assert right[columns >= 8].mean() > 0.6
    np.testing.assert_allclose(scores.probability.sum(axis=1) + scores.unknown, 1.0)
    stacked = mixed.head.concepts.scores(clips)
    np.testing.assert_array_equal(scores.unknown, stacked.unknown)
    odds = np.concatenate([
        mixed.head.gate.answer(each.features[None], row[None])[0]
        for each, row in zip(clips, stacked.similarity, strict=True)
    ])  # fmt: skip
    assert ((scores.probability.argmax(axis=1) < 8) == (odds >= 0)).all()
    for labels, mode in ((LABELS[8:], "one"), (LABELS[:8], "one"), (LABELS, "multi")):
        assert type(make_classifier(core, LabelSet.read(labels, mode)).head) is ConceptHead


def test_lists_of_one_kind_are_answered_as_without_a_gate(gated):
    plain = solved("aligned", {"gate": NEVER, "stacking": gated.config.stacking})
    clips = encoded(gated, made(1, 5)[0])
    for labels in (LABELS[:8], LABELS[8:]):
        one = make_classifier(ModelCore(gated), LabelSet.read(labels)).scores(clips)
        other = make_classifier(ModelCore(plain), LabelSet.read(labels)).scores(clips)
        np.testing.assert_array_equal(one.probability, other.probability)
        np.testing.assert_array_equal(one.unknown, other.unknown)
    mixed = (
        make_classifier(ModelCore(part), LabelSet.read(LABELS)).scores(clips)
        for part in (gated, plain)
    )
    first, second = (scores.probability for scores in mixed)
    assert np.abs(first - second).max() > 0.01


def test_the_order_of_a_mixed_list_does_not_matter(gated):
    core, clips = ModelCore(gated), encoded(gated, made(1, 5)[0])
    order = np.random.default_rng(0).permutation(len(LABELS))
    one = make_classifier(core, LabelSet.read(LABELS)).scores(clips).probability
    other = (
        make_classifier(core, LabelSet.read([LABELS[i] for i in order])).scores(clips).probability
    )
    np.testing.assert_allclose(other, one[:, order], atol=1e-6)


def test_a_mixed_list_is_restored_with_its_gate(gated):
    core, clips = ModelCore(gated), encoded(gated, made(1, 5)[0])
    old = make_classifier(core, LabelSet.read(LABELS))
    new = type(old).restore(core, old.config(), old.state())
    np.testing.assert_array_equal(new.scores(clips).probability, old.scores(clips).probability)
    with pytest.raises(ModelError, match="make the classifier again"):
        GatedHead.restore(old.config()["head"], old.state(), None)


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 12), st.integers(2, 6), st.integers(0, 99))
def test_people_that_are_asked_about_are_not_learned_from(n_labels, n_people, seed):
    columns = np.repeat(np.arange(n_labels), 2 * n_people)
    people = np.tile(np.arange(n_people), 2 * n_labels).astype(str)
    order = np.random.default_rng(seed).permutation(len(columns))
    columns, people = columns[order], people[order]
    splits = pretended_apart(columns, n_labels, people.tolist())
    assert np.array([~split.seen for split in splits]).sum(axis=0).tolist() == [1] * n_labels
    for split in splits:
        assert not set(people[split.kept]) & set(people[split.asked])
        assert set(columns[split.kept]) == set(np.flatnonzero(split.seen))
        assert set(columns[split.asked]) == set(range(n_labels))


def test_one_person_or_few_labels_cannot_be_held_out():
    columns = np.repeat(np.arange(6), 2)
    assert pretended_apart(columns, 6, ["a"] * 12) == []
    assert len(pretended_apart(columns, 6, ["a", "b"] * 6)) == 3
    assert pretended_apart(columns[:8], 4, ["a", "b"] * 4) == []
    # One label was shown by one person only: two ways would leave it without a clip.
    few = [name for at, name in enumerate(["a", "b"] * 6) if at != 11]
    assert len(pretended_apart(columns[:11], 6, few)) < 3
