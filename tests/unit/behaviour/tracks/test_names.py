"""Names of points, matched between tools and laboratories."""

from __future__ import annotations

import pytest

from vlar.behaviour.tracks.names import matched, place_of


@pytest.mark.parametrize(
    "forms",
    [
        ("l_ear", "Left Ear", "LEar", "ear_left", "earL", "leftear", "lear", "L.Ear", "EarLeft"),
        ("tailbase", "Tail_Base", "base_tail", "TailStart", "tail base", "tailBase"),
        ("nose", "Snout", "nose-tip", "NOSE"),
        ("centroid", "mid_back", "Mid-Back", "midback", "bodyCentre", "spine"),
        ("right_rear_paw", "R_hindpaw", "hind_paw_right", "rightHindPaw"),
        ("left_shoulder", "LShoulder", "lsho", "shoulder_l"),
    ],
)
def test_forms_of_a_name_are_one_place(forms: tuple[str, ...]):
    assert len({place_of(name) for name in forms}) == 1


def test_other_places_and_sides_differ():
    names = ("l_ear", "r_ear", "rear", "nose", "tailbase", "tail_tip", "tail_mid", "tail", "neck")
    assert len({place_of(name) for name in names}) == len(names)


def test_a_point_is_matched_once_and_an_equal_name_before_a_synonym():
    ours = ("Nose", "Left Ear", "Mid-Back", "Tailbase")
    pairs = matched(("nose", "l_ear", "midback", "tailbase", "lamp"), ours)
    assert pairs == dict(zip(("nose", "l_ear", "midback", "tailbase"), ours, strict=True))
    assert matched(("spine", "centroid"), ("Centroid", "Mid-Back")) == {
        "centroid": "Centroid",
        "spine": "Mid-Back",
    }
    assert matched(("spine", "centroid"), ("Mid-Back",)) == {"spine": "Mid-Back"}


def test_names_of_a_layout_have_the_last_word():
    named = {"snoot": "Nose", "nose": "Tailbase", "x": "Elbow"}
    assert matched(("nose", "snoot", "x"), ("Nose", "Tailbase"), named) == {
        "nose": "Tailbase",
        "snoot": "Nose",
    }
