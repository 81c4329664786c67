"""What two generated people do to each other is measured, and finds its words."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.pose import two_figures as drawn
from tests.unit.pose.figure import Figure, walker
from tests.unit.pose.test_features import rows
from vlar.language.motion.verb_table import VerbTable
from vlar.pose import features
from vlar.pose.attributes.base import attribute_names, attributes, find, measure

TABLE = VerbTable.packaged()
T = Figure().time
VARIATIONS = 8

UT = {
    "shaking hands": drawn.shake_hands,
    "hugging": drawn.hug,
    "kicking a person": drawn.kick,
    "pointing at someone": drawn.point,
    "punching someone": drawn.punch,
    "pushing someone": drawn.push,
}
SBU = {
    "approaching each other": drawn.approach,
    "departing from each other": drawn.depart,
    "pushing someone": drawn.push,
    "kicking someone": drawn.kick,
    "punching someone": drawn.punch,
    "exchanging objects": drawn.exchange,
    "hugging": drawn.hug,
    "shaking hands": drawn.shake_hands,
}
ONE_OF_TWO = {"approaching someone": drawn.come_to, "walking away from someone": drawn.leave}
ALONE = ("kicking", "punching", "pushing", "pointing", "walking", "waving", "standing still")


def value(name: str, *figures: Figure) -> float:
    return find(name).measure(figures[0].people(*figures[1:]))[0]


def profile(facing: float, x: object, arm: object = (10.0, 10.0), **changes: object) -> Figure:
    return Figure(x=x, facing=facing, arms=((10.0, 10.0), arm), **changes)


def pair(gap: object, arm: object = (10.0, 10.0), other: object = (10.0, 10.0)) -> list[Figure]:
    return [profile(1, 0.0, arm), profile(-1, gap, other)]


OUT = (90.0, 90.0)  # an arm held out, .33 body heights long


def test_hands_that_meet_are_told_from_hands_at_head_or_trunk():
    assert value("hand_to_hand", *pair(0.66, OUT, OUT)) == pytest.approx(0, abs=0.04)
    assert value("hand_to_hand", *pair(1.0, OUT, OUT)) == pytest.approx(-0.34, abs=0.04)
    assert value("hand_to_trunk", *pair(0.36, (75.0, 75.0))) == pytest.approx(-0.05, abs=0.04)
    assert value("hand_to_head", *pair(0.40, (110.0, 110.0))) > -0.08
    assert value("hand_to_head", *pair(1.0)) < -0.4


def test_arms_around_are_two_hands_at_the_others_trunk():
    around = (60.0, 100.0)
    assert value("arms_around", *pair(0.3, around, around)) == 1
    assert value("arms_around", *pair(0.36, (75.0, 75.0))) == 0
    assert value("head_to_head", *pair(0.2)) > -0.1
    assert value("head_to_head", *pair(0.8)) == pytest.approx(-0.68, abs=0.03)


def test_a_kick_is_a_lifted_foot_at_the_other():
    thigh = 85 * np.exp(-(((T - 2) / 0.3) ** 2))
    kick = profile(1, 0.0, legs=((thigh, thigh), (0.0, 0.0)))
    assert value("foot_to_body", kick, profile(-1, 0.55)) > -0.2
    assert value("foot_to_body", kick, profile(-1, 1.5)) < -0.7
    assert value("foot_to_body", *pair(0.3)) == -1


def test_a_blow_is_quick_and_lands():
    def reach(seconds: float) -> np.ndarray:
        return np.interp(T, [1.5, 1.5 + seconds], [0.0, 1.0])

    def arm(seconds: float) -> tuple[np.ndarray, np.ndarray]:
        return -15 + 110 * reach(seconds), 125 - 25 * reach(seconds)

    assert value("strike", *pair(0.40, arm(0.2))) > 0.9
    assert value("strike", *pair(0.40, arm(1.2))) < 0.4
    assert value("strike", *pair(1.20, arm(0.2))) < 0.1


def test_faces():
    assert value("face_to_face", *pair(0.6)) > 0.9
    assert value("face_to_face", profile(-1, 0.0), profile(1, 0.6)) < -0.9
    assert value("face_to_face", profile(1, 0.0), profile(1, 0.6)) == pytest.approx(0, abs=0.1)
    frontal = Figure(x=-0.3).people(Figure(x=0.3))
    assert find("face_to_face").measure(frontal)[1] < 0.1, "they look at the camera"


def test_who_moves():
    busy = (90 + 60 * np.sin(6 * T), 90 + 60 * np.sin(6 * T))
    assert value("both_act", *pair(1.0, busy, busy)) > 0.9
    assert value("both_act", *pair(1.0, busy)) < 0.2
    ahead, still = 0.5 * (T - 2), np.zeros_like(T)
    assert value("same_way", profile(1, ahead), profile(1, ahead + 1)) > 0.95
    assert value("same_way", profile(1, ahead), profile(-1, 3 - ahead)) < -0.95
    assert value("both_go", profile(1, ahead), profile(-1, 3 - ahead)) > 0.9
    assert value("both_go", profile(1, ahead), profile(-1, 3 + still)) < 0.1


def test_giving_way_is_not_following_and_meeting_is_not_coming():
    back = np.interp(T, [2.0, 2.6], [0.0, 0.3])
    assert value("driven_back", *pair(0.4 + back)) == pytest.approx(0.3, abs=0.03)
    followed = profile(1, back), profile(-1, 0.4 + back)
    assert value("driven_back", *followed) == pytest.approx(0, abs=0.03)
    dip = 0.4 * np.exp(-(((T - 2) / 0.5) ** 2))
    assert value("meet_and_part", *pair(0.9 - dip)) == pytest.approx(0.4, abs=0.06)
    assert value("meet_and_part", *pair(1.5 - 2 * back)) < 0.05


def test_a_person_alone_says_nothing_of_a_pair():
    rows_of = dict(zip(attribute_names(), measure(walker().people()).trust, strict=True))
    silent = [row.name for row in attributes() if not row.of_actor and row.name != "two_people"]
    assert len(silent) >= 15
    assert not any(rows_of[name] for name in silent)


def test_who_acts_is_measured_not_who_is_moved():
    """The quick arm decides, although the other one is thrown further."""
    arm = -15 + 110 * np.exp(-(((T - 2) / 0.2) ** 2))
    back = np.interp(T, [2.0, 2.6], [0.0, 0.9])
    people = profile(-1, 0.4 + back).people(profile(1, 0.0, (arm, arm)))
    assert people[0].hips[:, 0].std() < 0.01


def best(labels: list[str], vector: np.ndarray) -> str:
    weights = np.stack([TABLE.lookup(label).weights for label in labels])
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return labels[int((weights @ vector).argmax())]


@pytest.mark.parametrize(("actions", "least"), [(UT, 0.9), (SBU, 0.9), ({**UT, **ONE_OF_TWO}, 0.9)])
def test_drawn_actions_are_named(actions: dict[str, drawn.Action], least: float):
    right = [
        best(list(actions), features.motion_vector(drawn.features(action, seed))) == label
        for label, action in actions.items()
        for seed in range(VARIATIONS)
    ]
    assert np.mean(right) >= least


def test_one_person_is_not_called_two():
    labels = [*ALONE, *UT, *SBU, *ONE_OF_TWO]
    named = [
        best(labels, features.motion_vector(drawn.features(action, seed, alone=True)))
        for action in {**UT, **SBU}.values()
        for seed in range(3)
    ]
    assert set(named) <= set(ALONE)


def test_the_order_of_the_people_does_not_matter():
    figures = pair(0.4, (80.0 * np.exp(-(((T - 2) / 0.3) ** 2)), 85.0))
    plain, swapped = (features.motion_vector(rows(*order)) for order in (figures, figures[::-1]))
    np.testing.assert_allclose(swapped, plain, atol=1e-5)


def test_one_hidden_by_the_other_is_close_to_him():
    """A hug as the tracker sees it: two come together, then only one is found."""
    seen = drawn.features(drawn.hug, 3)
    seen[len(seen) // 4 :, 100:200] = 0
    names = attribute_names()
    measured = features.measure_features(seen)
    assert measured.values[names.index("merged")] == pytest.approx(0.75, abs=0.02)
    assert measured.trust[names.index("merged")] > 0.99
    apart = drawn.features(drawn.point, 3)
    apart[len(apart) // 2 :, 100:200] = 0
    assert features.measure_features(apart).values[names.index("merged")] == 0
