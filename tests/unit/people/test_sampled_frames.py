"""Somebody whose body shows now and then: taken where something moves there all the time."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.unit.people.made import TIMES_S, Given, clip, scene, track
from vlar.people.focus import make_focus
from vlar.people.people import find_people, followed, glimpsed
from vlar.people.tracks import Track

PERSON = track(30)
BRIEF = Track(track(120).boxes[6:9], np.ones(3, np.float32))
MADE = clip(scene([]))


def movement(*tracks: Track) -> Given:
    """A detector of these tracks, without their numbers."""

    class Unnumbered(Given):
        def detect(self, frames, times_s, prompt="person"):
            return replace(super().detect(frames, times_s, prompt), tracks=None)

    return Unnumbered(*tracks)


def test_a_glimpse_with_movement_all_the_time_is_somebody():
    moving = movement(track(118, step=0.5))
    found = find_people(MADE, Given(PERSON, BRIEF), moving=moving).tracks
    assert [round(float(np.median(each.centres[:, 0]))) for each in found] == [30, 122]
    assert len(found[1].boxes) == len(TIMES_S)


def test_a_glimpse_alone_is_a_false_alarm():
    assert len(find_people(MADE, Given(PERSON, BRIEF)).tracks) == 1
    still = movement()
    assert len(find_people(MADE, Given(PERSON, BRIEF), moving=still).tracks) == 1
    brief = movement(Track(track(118).boxes[:8], np.ones(8, np.float32)))
    assert len(find_people(MADE, Given(PERSON, BRIEF), moving=brief).tracks) == 1
    tiny = movement(track(118, wide=4, tall=4))
    assert len(find_people(MADE, Given(PERSON, BRIEF), moving=tiny).tracks) == 1


class Sure(Given):
    """Sees a body wherever it looks again on the right of x = 100."""

    def confirms(self, frames, times_s, boxes):
        return bool(boxes[:, 1].min() > 100)


def test_movement_is_somebody_where_a_second_look_shows_a_body():
    for place, count in ((125, 2), (80, 1), (30, 1)):
        moving = movement(track(place))
        assert len(find_people(MADE, Sure(PERSON), moving=moving).tracks) == count
        assert len(find_people(MADE, Given(PERSON), moving=moving).tracks) == 1
    assert len(find_people(MADE, Sure(), moving=movement(track(125))).tracks) == 1


def test_a_brief_body_on_somebody_is_theirs_and_a_lasting_one_is_not():
    near = track(36, 52, tall=30)
    brief = Track(near.boxes[:6], np.ones(6, np.float32))
    assert len(find_people(MADE, Given(PERSON, near)).tracks) == 2
    assert len(find_people(MADE, Given(PERSON, brief)).tracks) == 1
    apart = Track(track(90).boxes[:6], np.ones(6, np.float32))
    assert len(find_people(MADE, Given(PERSON, apart)).tracks) == 2


def test_what_moves_on_a_person_is_that_person():
    assert glimpsed([PERSON, Track(track(33).boxes[:3], np.ones(3))], [PERSON]) == []
    assert followed([BRIEF], [track(32)], [PERSON, track(121)], len(TIMES_S)) == []
    assert glimpsed([BRIEF], []) == []


def test_movement_is_asked_beside_bodies_unless_a_detector_is_named(monkeypatch):
    made = {"pose": Given(PERSON), "motion": movement()}
    monkeypatch.setattr("vlar.people.focus.load_detector", made.__getitem__)
    monkeypatch.setattr("vlar.pose.networks.is_installed", lambda: True)
    asked = make_focus(who="the person on the left")
    assert asked is not None
    assert asked.moving is made["motion"]
    zoomed = make_focus(zoom="person")
    assert zoomed is not None
    assert zoomed.moving is made["motion"]
    for detector in ("pose", "motion"):
        plain = make_focus(zoom="person", detector=detector)
        assert plain is not None
        assert plain.moving is None
