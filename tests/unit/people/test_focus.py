"""Whom an answer is about, end to end on made clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.people.made import TIMES_S, Given, clip, scene, track
from vlar.errors import PersonError, UnknownNameError, UsageError
from vlar.language.referring import parse
from vlar.people import focus as focus_module
from vlar.people.base import load_detector
from vlar.people.detectors.motion import MotionDetector
from vlar.people.focus import Focus, make_focus
from vlar.people.people import find_people


def asked(text: str | None, *tracks, small: bool = False) -> Focus:
    return Focus(parse(text) if text else None, small, Given(*tracks))


MADE = clip(scene([(20, 1), (110, 1)]))
QUICK = clip(scene([(20, 3), (120, -2)]))


def test_the_cut_is_of_the_person_who_is_named():
    for text, number, channel in (("person on the left", 1, 0), ("person on the right", 2, 2)):
        found = asked(text, track(117, 52, step=1), track(27, 52, step=1)).find(MADE, None)
        assert found.person is not None
        assert (found.person.number, found.person.of) == (number, 2)
        assert found.cut is not None
        assert found.cut.data.shape[:3] == (16, 72, 72)
        others = [value for value in range(3) if value != channel]
        bright = found.cut.data.astype(int)
        assert (bright[..., channel] - bright[..., others].max(axis=-1) > 60).any()
        x1, _, x2, _ = found.person.box
        assert x1 < (27 if number == 1 else 117) / 160 + 0.06 < x2 + 0.06


def test_nobody_means_the_whole_picture_with_a_note():
    for focus in (asked("person 2"), asked(None)):
        found = focus.find(MADE, None)
        assert found.cut is None
        assert found.person is None
        assert "the whole picture is judged" in found.notes[0]


def test_a_static_scene_has_no_track_and_is_judged_whole():
    focus = Focus(None, False, MotionDetector())
    found = focus.find(clip(scene([])), None)
    assert found.cut is None
    assert "no person is found" in found.notes[0]


def test_forty_people_are_counted():
    crowd = [track(4 * n, tall=20, wide=3) for n in range(40)]
    found = asked("person 40", *crowd).find(MADE, None)
    assert found.person is not None
    assert (found.person.number, found.person.of) == (40, 40)
    with pytest.raises(PersonError, match="40 people"):
        asked("person 41", *crowd).find(MADE, None)


def test_zoom_auto_leaves_large_people_alone():
    small, large = track(80, tall=20), track(80, tall=80)
    assert asked(None, small, small=True).find(MADE, None).cut is not None
    assert asked(None, large, small=True).find(MADE, None).cut is None
    assert asked(None, large).find(MADE, None).cut is not None


def test_zoom_follows_what_moves_where_no_body_is_seen():
    focus = Focus(None, False, Given(), moving=Given(track(80, tall=20)))
    assert focus.find(MADE, None).cut is not None


def test_zoom_prefers_who_moves_to_who_is_larger():
    poster, runner = track(120, tall=80), track(30, tall=30, step=2)
    for seen, number in (((poster, runner), 1), ((poster,), 1)):
        focus = Focus(None, True, Given(*seen), moving=Given(track(30, tall=30, step=2)))
        found = focus.find(MADE, None)
        assert found.person is not None
        assert (found.person.number, found.person.of) == (number, 2)
        assert found.cut is not None
    still = Focus(None, False, Given(poster, runner), moving=Given()).find(MADE, None)
    assert still.person is not None
    assert still.person.number == 2


def test_too_few_pixels_are_named():
    made = replace(MADE, meta={"encoder_side": 400})
    assert "too few pixels" in asked(None, track(80, tall=20)).find(made, None).notes[0]


def test_doubles_parts_and_false_alarms_are_not_people():
    person = track(40, step=1)
    double = track(41, step=1)
    first, second = (
        replace(person, boxes=person.boxes[part], scores=person.scores[part])
        for part in (slice(0, 7), slice(9, 16))
    )
    blip = replace(track(140, tall=8), boxes=track(140, tall=8).boxes[:3])
    blip = replace(blip, scores=blip.scores[:3])
    assert len(find_people(MADE, Given(person, double)).tracks) == 1
    assert len(find_people(MADE, Given(first, second)).tracks) == 1
    assert len(find_people(MADE, Given(person, blip)).tracks) == 1
    assert len(find_people(MADE, Given(person, track(120))).tracks) == 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"who": "person 1", "zoom": "person"}, "give one"),
        ({"detector": "motion"}, "give one of these"),
        ({"who": "the dog"}, "not a person"),
        ({"who": "the dog", "detector": "pose"}, "finds people"),
        ({"who": "person 1", "detector": "motion:x"}, "takes no argument"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, reason: str, monkeypatch):
    class Bodies(Given):
        name = "pose"

    monkeypatch.setattr(
        focus_module,
        "load_detector",
        lambda spec: Bodies() if spec == "pose" else load_detector(spec),
    )
    with pytest.raises(UsageError, match=reason):
        make_focus(**given)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="zoom"):
        make_focus(zoom="much")
    with pytest.raises(UnknownNameError, match="detector"):
        make_focus(who="person 1", detector="sonar")


def test_nothing_asked_for_is_no_focus():
    assert make_focus() is None
    assert make_focus(zoom="off") is None


def test_without_networks_movement_finds_people_with_a_note(monkeypatch):
    monkeypatch.setattr(focus_module.networks, "is_installed", lambda: False)
    focus = make_focus("the person on the left")
    assert focus is not None
    assert focus.detector.name == "motion"
    found = focus.find(QUICK, None)
    assert "vlar models get lite-motion" in found.notes[0]
    assert found.person is not None
    assert found.person.number == 1
    assert np.isclose(found.person.of, 2)


def test_a_recording_is_read_again_where_the_clip_is_sparse(tmp_path):
    from tests import videos
    from vlar.media.lookup import reader
    from vlar.people.people import searchable
    from vlar.types import Sampling

    path = videos.make_video(tmp_path / "a.mp4", 100, fps=25)
    source = reader("video")
    sparse = source.read_clip(path, None, Sampling(4))
    dense = searchable(sparse, Given(), source)
    assert len(dense.data) == 24  # 3 s between the first and the last, at 8 frames a second
    assert searchable(dense, Given(), source) is dense
    found = find_people(sparse, Given(track(40)), source=source)
    cut = found.cut_out(0, sparse)
    assert len(cut.data) == 4
    assert TIMES_S[0] <= cut.times_s[0]
