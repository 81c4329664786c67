"""People whom an answer is about: chosen by motion, words and colours."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.people.made import TIMES_S, Given, T, clip, scene, track
from vlar.errors import PersonError, UnknownNameError, UsageError
from vlar.language.referring import COLOURS, parse
from vlar.people import focus as focus_module
from vlar.people import people
from vlar.people.base import Boxes, load_detector
from vlar.people.detectors.motion import MotionDetector
from vlar.people.focus import Focus, make_focus, who_moves
from vlar.people.people import find_people, followed, glimpsed
from vlar.people.subject_selection import choose, from_left
from vlar.people.tracks import Track


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
    refused(PersonError, "40 people", asked("person 41", *crowd).find, MADE, None)


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
    refused(UsageError, reason, make_focus, **given)


def test_unknown_names_are_refused():
    refused(UnknownNameError, "zoom", make_focus, zoom="much")
    refused(UnknownNameError, "detector", make_focus, who="person 1", detector="sonar")


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


ROW = [track(20, tall=40), track(80, tall=60, y=70), track(140, tall=30, y=50)]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("the person on the left", 0), ("the person in the middle", 1),
        ("the person on the right", 2), ("person 2", 1), ("the third person", 2),
        ("the second person from the right", 1), ("the last person", 2), ("the largest person", 1),
        ("the smallest person", 2), ("the person in front", 1), ("the person in the back", 2),
    ],
)  # fmt: skip
def test_people_are_picked_by_the_order_of_their_boxes(text: str, place: int):
    found = choose(ROW, parse(text))
    assert found.place == place
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights[place] > 0.9


def test_from_left_orders_by_the_middle():
    assert [float(t.centres[0, 0]) for t in from_left(ROW[::-1])] == [20, 80, 140]


def test_one_person_is_taken_with_a_note():
    found = choose(ROW[:1], parse("the person on the left"))
    assert found.place == 0
    assert "one is found" in found.note


def test_a_number_beyond_the_people_is_an_error():
    refused(PersonError, "3 people are found", choose, ROW, parse("person 4"))
    assert choose([track(20 * n) for n in range(40)], parse("person 40")).place == 39


def test_a_plain_noun_names_the_first_with_a_note():
    found = choose(ROW, parse("the person"))
    assert found.place == 0
    assert "tells none apart" in found.note


def only(name: str) -> np.ndarray:
    return np.array([0.9 if colour == name else 0.01 for colour in COLOURS], np.float32)


def test_a_colour_counts_more_than_a_place_and_both_count():
    worn = [only("red"), only("blue"), only("red")]
    assert choose(ROW, parse("the person in blue"), worn).place == 1
    assert choose(ROW, parse("the person in red on the right"), worn).place == 2
    assert choose(ROW, parse("the person in blue on the left"), worn).place == 1
    nobody = choose(ROW, parse("the person in green"), worn)
    assert "nobody is clearly in green" in nobody.note


def test_words_count_where_an_encoder_compares_them():
    found = choose(ROW, parse("the person holding a bat"), likeness=np.array([0.0, 5.0, 1.0]))
    assert found.place == 1


@pytest.mark.parametrize(
    ("pixel", "name"),
    [
        ((10, 10, 12), "black"), ((240, 240, 238), "white"), ((120, 120, 122), "grey"),
        ((200, 30, 40), "red"), ((120, 25, 30), "red"), ((240, 130, 30), "orange"),
        ((240, 220, 40), "yellow"), ((40, 140, 50), "green"), ((30, 60, 170), "blue"),
        ((120, 50, 150), "purple"), ((240, 130, 180), "pink"), ((110, 75, 40), "brown"),
    ],
)  # fmt: skip
def test_plain_colours_have_their_names(pixel: tuple[int, int, int], name: str):
    row = people.named(np.array([pixel], np.uint8))[0]
    assert COLOURS[int(row.argmax())] == name
    assert row.sum() == pytest.approx(1)


def test_clothes_are_measured_on_the_trunk_not_around_it():
    frames = np.full((T, 120, 160, 3), (40, 140, 50), np.uint8)  # a lawn
    worn = track(80, tall=60, wide=30)
    frames[:, 30:40, 70:90] = (220, 180, 150)  # a face
    frames[:, 40:64, 65:95] = (200, 30, 40)  # a shirt
    frames[:, 64:90, 65:95] = (20, 20, 25)  # trousers
    share = people.shares(frames, TIMES_S, worn)
    assert COLOURS[int(share.argmax())] == "red"
    assert share.sum() == pytest.approx(1, abs=1e-5)
    joints = np.zeros((T, 33, 3), np.float32)
    joints[..., 2] = 1
    joints[:, 11, :2], joints[:, 12, :2] = (92, 42), (68, 42)
    joints[:, 23, :2], joints[:, 24, :2] = (88, 62), (72, 62)
    joints[:, 25, :2], joints[:, 26, :2] = (88, 80), (72, 80)
    from dataclasses import replace

    share = people.shares(frames, TIMES_S, replace(worn, joints=joints))
    assert COLOURS[int(share.argmax())] == "red"
    assert share[COLOURS.index("black")] > 0.1  # the trousers count too
    assert share[COLOURS.index("green")] < 0.05


PERSON = track(30)

BRIEF = Track(track(120).boxes[6:9], np.ones(3, np.float32))

SCENE = clip(scene([]))


def movement(*tracks: Track) -> Given:
    """A detector of these tracks, without their numbers."""

    class Unnumbered(Given):
        def detect(self, frames, times_s, prompt="person"):
            return replace(super().detect(frames, times_s, prompt), tracks=None)

    return Unnumbered(*tracks)


def test_a_glimpse_with_movement_all_the_time_is_somebody():
    moving = movement(track(118, step=0.5))
    found = find_people(SCENE, Given(PERSON, BRIEF), moving=moving).tracks
    assert [round(float(np.median(each.centres[:, 0]))) for each in found] == [30, 122]
    assert len(found[1].boxes) == len(TIMES_S)


def test_a_glimpse_alone_is_a_false_alarm():
    assert len(find_people(SCENE, Given(PERSON, BRIEF)).tracks) == 1
    still = movement()
    assert len(find_people(SCENE, Given(PERSON, BRIEF), moving=still).tracks) == 1
    brief = movement(Track(track(118).boxes[:8], np.ones(8, np.float32)))
    assert len(find_people(SCENE, Given(PERSON, BRIEF), moving=brief).tracks) == 1
    tiny = movement(track(118, wide=4, tall=4))
    assert len(find_people(SCENE, Given(PERSON, BRIEF), moving=tiny).tracks) == 1


class Sure(Given):
    """Sees a body wherever it looks again on the right of x = 100."""

    def confirms(self, frames, times_s, boxes):
        return bool(boxes[:, 1].min() > 100)


def test_movement_is_somebody_where_a_second_look_shows_a_body():
    for place, count in ((125, 2), (80, 1), (30, 1)):
        moving = movement(track(place))
        assert len(find_people(SCENE, Sure(PERSON), moving=moving).tracks) == count
        assert len(find_people(SCENE, Given(PERSON), moving=moving).tracks) == 1
    assert len(find_people(SCENE, Sure(), moving=movement(track(125))).tracks) == 1


def test_a_brief_body_on_somebody_is_theirs_and_a_lasting_one_is_not():
    near = track(36, 52, tall=30)
    brief = Track(near.boxes[:6], np.ones(6, np.float32))
    assert len(find_people(SCENE, Given(PERSON, near)).tracks) == 2
    assert len(find_people(SCENE, Given(PERSON, brief)).tracks) == 1
    apart = Track(track(90).boxes[:6], np.ones(6, np.float32))
    assert len(find_people(SCENE, Given(PERSON, apart)).tracks) == 2


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


def moves(*tracks) -> Boxes:
    """Movement along tracks."""
    if not tracks:
        return Boxes.none()
    return Boxes(
        np.concatenate([each.boxes for each in tracks]),
        np.concatenate([each.scores for each in tracks]),
    )


def with_joints(body, swing: float):
    """A body whose left wrist swings by so many of its heights."""
    joints = np.zeros((T, 33, 3), np.float32)
    joints[..., :2] = body.centres[:, None]
    joints[..., 2] = 1.0
    joints[:, 15, 0] += swing * body.extent * np.sin(np.arange(T) / 2)
    joints[:, 13] = joints[:, 15]
    return replace(body, joints=joints)


LARGE, SMALL, ARM = track(40, tall=70), track(120, tall=30), track(45, 40, 10, 14)


def test_a_body_that_moves_as_a_whole_comes_first():
    assert who_moves([LARGE, SMALL], moves(track(121, tall=32)), T) is SMALL
    assert who_moves([LARGE, SMALL], moves(track(41, tall=66), track(121, tall=32)), T) is LARGE


def test_a_body_that_moves_a_limb_comes_next_and_a_still_one_does_not():
    waving, still = with_joints(LARGE, 0.3), with_joints(LARGE, 0.0)
    assert who_moves([waving], moves(ARM), T) is waving
    found = who_moves([still], moves(ARM), T)
    assert found is not None
    assert found is not still
    assert np.allclose(found.boxes, ARM.boxes)


def test_movement_elsewhere_or_for_a_moment_does_not_move_a_body():
    elsewhere = who_moves([LARGE], moves(SMALL), T)
    assert elsewhere is not None
    assert np.allclose(elsewhere.boxes, SMALL.boxes)
    moment = replace(SMALL, boxes=SMALL.boxes[:4], scores=SMALL.scores[:4])
    assert who_moves([LARGE], moves(moment), T) is LARGE


def test_without_movement_the_largest_body_is_taken():
    assert who_moves([SMALL, LARGE], moves(), T) is LARGE
    assert who_moves([], moves(), T) is None
