from __future__ import annotations

import numpy as np
import pytest

from tests.refusals import refused
from vlar.encoders.base import FrameBlock
from vlar.errors import SupportError, UnknownNameError
from vlar.heads.fewshot.base import ClosedForm
from vlar.heads.model_selection import choose, held_out_confusions, held_out_logits
from vlar.heads.signatures import parse_kind, signature

BLOCKS = (
    FrameBlock("motion", 16, "motion"),
    FrameBlock("direction", 4, "direction"),
    FrameBlock("appearance", 32, "appearance"),
)
T, LABELS = 8, 4


def _clips(shots, *, speaks, seed=0):
    """Frame features in which only the block ``speaks`` depends on the label."""
    random = np.random.default_rng(seed)
    target = np.repeat(np.arange(LABELS), shots)
    features = random.normal(size=(len(target), 1, 52)) + 0.3 * random.normal(
        size=(len(target), T, 52)
    )
    codes = 4 * np.random.default_rng(5).normal(size=(LABELS, 1, 52))
    start, stop = {"motion": (0, 16), "appearance": (20, 52)}[speaks]
    features[..., start:stop] += codes[target][..., start:stop]
    if speaks == "appearance":
        features[..., :20] *= 4
    else:
        features[..., 20:] *= 4
    return features.astype(np.float32), [f"label {t}" for t in target]


def _accuracy(head, speaks):
    features, y = _clips(25, speaks=speaks, seed=1)
    p = head.probabilities(signature(features, BLOCKS, head.kind))
    return np.mean([head.labels[i] == label for i, label in zip(p.argmax(1), y, strict=True)])


@pytest.mark.parametrize("speaks", ["motion", "appearance"])
def test_auto_finds_the_part_that_speaks(speaks):
    features, y = _clips(4, speaks=speaks)
    head, choice = choose(features, BLOCKS, y)
    assert _accuracy(head, speaks) > 0.9
    assert speaks != "motion" or "motion" in choice.chosen.kind
    assert sum(candidate.share for candidate in choice.candidates) == pytest.approx(1)
    assert choice.chosen.share == max(candidate.share for candidate in choice.candidates)
    assert choice.table().count("*") == 1


def test_one_shot_takes_the_default_and_says_so():
    features, y = _clips(1, speaks="appearance")
    head, choice = choose(features, BLOCKS, y)
    assert choice.chosen == choice.candidates[0]
    assert "nothing can be held out" in choice.why
    assert "none" in choice.table()
    assert choice.to_dict()["chosen"]["accuracy"] is None
    assert _accuracy(head, "appearance") > 0.4


@pytest.mark.parametrize("method", ["prototype", "cache", "ridge"])
def test_a_method_limits_the_choice(method):
    features, y = _clips(2, speaks="motion")
    head, choice = choose(features, BLOCKS, y, method=method)
    assert head.labels == tuple(sorted(set(y)))
    assert {candidate.head for candidate in choice.candidates} == {method}


def test_kinds_can_be_given():
    features, y = _clips(2, speaks="motion")
    head, _ = choose(features, BLOCKS, y, kinds=["std+motion:2"])
    weights = parse_kind(head.kind)
    assert weights["motion"] / weights["std"] == pytest.approx(2, rel=1e-2)


def test_an_encoder_with_appearance_only_works():
    features, y = _clips(2, speaks="appearance")
    head, choice = choose(features[..., 20:], BLOCKS[2:], y)
    assert all("motion" not in candidate.kind for candidate in choice.candidates)
    assert head.probabilities(signature(features[..., 20:], BLOCKS[2:], head.kind)).shape == (8, 4)


def test_the_same_support_gives_the_same_head():
    features, y = _clips(3, speaks="motion")
    first, _ = choose(features, BLOCKS, y)
    second, _ = choose(features, BLOCKS, y)
    assert first.config() == second.config()
    assert all(np.array_equal(a, second.state()[key]) for key, a in first.state().items())


def test_unknown_method_and_bad_support():
    features, y = _clips(2, speaks="motion")
    refused(UnknownNameError, "ridge", choose, features, BLOCKS, y, method="ridged")
    refused(SupportError, "at least two", choose, features, BLOCKS, ["x"] * len(y))


def test_queries_never_reach_a_fit(monkeypatch):
    """What is classified later is not among anything that is learnt from, whatever it holds."""
    seen: list[np.ndarray] = []
    fit = ClosedForm.fit

    def recorded(self, signatures, *args, **keywords):
        seen.append(signatures)
        return fit(self, signatures, *args, **keywords)

    monkeypatch.setattr(ClosedForm, "fit", recorded)
    features, y = _clips(3, speaks="motion")
    queries, _ = _clips(5, speaks="motion", seed=1)
    head, choice = choose(features, BLOCKS, y)
    before = {key: array.copy() for key, array in head.state().items()}
    asked = signature(queries, BLOCKS, head.kind)
    together = head.probabilities(asked)
    assert seen
    assert all(len(block) == len(y) for block in seen)
    # Every row a head learnt from is the signature of an example in the same terms.
    learnt = {row.tobytes() for block in seen for row in block}
    kinds = {candidate.kind for candidate in choice.candidates if candidate.share}
    examples = {row.tobytes() for kind in kinds for row in signature(features, BLOCKS, kind)}
    others = {row.tobytes() for kind in kinds for row in signature(queries, BLOCKS, kind)}
    assert learnt <= examples
    assert not learnt & others
    # Nor does asking teach: the state stays, and each answer is the same alone.
    assert all(np.array_equal(before[key], array) for key, array in head.state().items())
    alone = np.concatenate([head.probabilities(row[None]) for row in asked])
    np.testing.assert_allclose(together, alone, atol=1e-6)


LOOK = (FrameBlock("look", 12, "appearance"),)


def test_held_out_confusions_name_two_labels_that_cannot_be_told_apart():
    random = np.random.default_rng(0)
    y = ["left", "right", "far"] * 6
    centre = {"left": 0.0, "right": 0.0, "far": 6.0}
    rows = random.normal(size=(18, 8, 12)) + np.array([centre[label] for label in y])[:, None, None]
    features = rows.astype(np.float32)
    head, choice = choose(features, LOOK, y, method="prototype")
    logits = held_out_logits(head, features, LOOK, y, None, None)
    found, tested = held_out_confusions(logits, head.labels, y, None)
    assert tested == 18
    assert {frozenset((row.truth, row.answer)) for row in found} == {frozenset(("left", "right"))}
    assert all(row.of == 6 for row in found)
    right = 1 - sum(row.count for row in found) / 18
    assert right == pytest.approx(choice.chosen.accuracy, abs=0.12)


def test_one_recording_a_label_holds_out_nothing():
    features = np.random.default_rng(0).normal(size=(2, 8, 12)).astype(np.float32)
    head, _ = choose(features, LOOK, ["a", "b"])
    logits = held_out_logits(head, features, LOOK, ["a", "b"], None, None)
    assert held_out_confusions(logits, head.labels, ["a", "b"], None) == ((), 0)
