"""Two people in metres: seen from the side, wherever the camera stood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import skeletons
from vlar.encoders import skeleton as read
from vlar.encoders.base import Encoder, load_encoder
from vlar.pose.body import HIPS
from vlar.types import Clip, Window

FRAMES = 60
YAWS = (0, 35, 90, 155, 250)


@pytest.fixture(scope="module")
def skeleton() -> Encoder:
    return load_encoder("skeleton")


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Joints (..., 3) turned about the vertical."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def pair(way: float = 0.0, gap: float = 1.0, looks: float = 90) -> np.ndarray:
    """(T, 2, 20, 3) two people who face each other; the first waves and both go ``way`` metres.

    The one goes from the other where ``way`` is negative. With ``looks`` 0 both face the camera.
    """
    there = np.linspace(0, way, FRAMES) - way * (way > 0)
    one, other = (skeletons.walker(FRAMES, wave) for wave in (True, False))
    one, other = turned(one, -looks), turned(0.5 * other + 0.5 * other[:1], looks)
    one[..., 0] += there[:, None]
    other[..., 0] += gap - there[:, None]
    return np.stack([one, other], axis=1)


def clip_of(points: np.ndarray, unit: str = "m") -> Clip:
    times_s = (np.arange(len(points)) + 0.5) / 30
    facts = {"layout": "kinect20", "unit": unit}
    window = Window(0.0, len(points) / 30)
    return Clip(Path("clip"), window, "skeleton", points.astype(np.float32), times_s, meta=facts)


def as_first_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the first person faces the camera, also next to another one."""
    monkeypatch.setattr(read, "_between", lambda people: None)


def depth(points: np.ndarray) -> float:
    """Largest part of the distance between two people that lies along the view, in metres."""
    people = read.people_of(clip_of(points), FRAMES)
    assert people is not None
    hips = read.facing(people)[:, :, list(HIPS)].mean(axis=2)
    return float(np.abs(hips[0] - hips[1])[:, 2].max())


@pytest.mark.parametrize("yaw", YAWS)
def test_a_pair_is_seen_from_the_side(yaw: float, monkeypatch: pytest.MonkeyPatch):
    points = turned(pair(), yaw)
    assert depth(points) < 0.05
    as_first_faces(monkeypatch)
    assert depth(points) > 0.9


@pytest.mark.parametrize("way", [0.0, 0.6, -0.6])
def test_the_camera_and_the_order_of_two_people_change_nothing(skeleton: Encoder, way: float):
    points = pair(way, gap=0.8)
    whole = skeleton.encode([clip_of(points)])[0]
    for other in (*(turned(points, yaw) + np.array([0.3, 0, 2]) for yaw in YAWS), points[:, ::-1]):
        found = skeleton.encode([clip_of(other)])[0]
        np.testing.assert_allclose(found.features, whole.features, atol=2e-4)
        np.testing.assert_allclose(found.vector, whole.vector, atol=5e-3)


@pytest.mark.parametrize("yaw", YAWS)
def test_words_tell_those_who_come_from_those_who_go(
    skeleton: Encoder, yaw: float, monkeypatch: pytest.MonkeyPatch
):
    texts = skeleton.encode_text(["approaching each other", "departing from each other"])

    def right() -> int:
        clips = [clip_of(turned(pair(way, gap=0.7), yaw)) for way in (0.8, -0.8)]
        named = [int((row.vector @ texts.T).argmax()) for row in skeleton.encode(clips)]
        return sum(np.equal(named, [0, 1]))

    assert right() == 2
    as_first_faces(monkeypatch)
    assert right() < 2


def test_one_person_and_pictures_are_read_as_before():
    one = turned(skeletons.walker(FRAMES), 25)[:, None]
    people = read.people_of(clip_of(one), FRAMES)
    assert people is not None
    body = people.points[0]
    across = body[:, 12] - body[:, 11] + body[:, 24] - body[:, 23]
    x, z = np.median(across[:, [0, 2]], axis=0)
    cos, sin = x / float(np.hypot(x, z)), z / float(np.hypot(x, z))
    seen = read.facing(people)
    np.testing.assert_array_equal(seen[0, ..., 0], body[..., 0] * cos + body[..., 2] * sin)
    np.testing.assert_array_equal(seen[0, ..., 1], body[..., 1])
    np.testing.assert_array_equal(seen[0, ..., 2], body[..., 2] * cos - body[..., 0] * sin)
    flat = read.people_of(clip_of(pair()[..., :2], "px"), FRAMES)
    assert flat is not None
    assert read.facing(flat) is flat.points


def test_a_second_body_of_a_few_frames_is_no_pair(monkeypatch: pytest.MonkeyPatch):
    points = turned(pair(), 40)
    points[: FRAMES // 2 + 5, 1] = np.nan
    people = read.people_of(clip_of(points), FRAMES)
    assert people is not None
    seen = read.facing(people)
    as_first_faces(monkeypatch)
    np.testing.assert_array_equal(seen, read.facing(people))


def test_two_who_stand_side_by_side_face_the_camera(monkeypatch: pytest.MonkeyPatch):
    points = pair(looks=0)
    people = read.people_of(clip_of(turned(points, 70)), FRAMES)
    assert people is not None
    seen = read.facing(people)
    as_first_faces(monkeypatch)
    np.testing.assert_allclose(seen, read.facing(people), atol=0.05)


def test_people_who_pass_each_other_are_seen_from_the_side():
    points = turned(pair(way=1.0, gap=-1.0), 60)
    assert depth(points) < 0.05


def test_two_in_one_place_are_read_as_one():
    one = skeletons.walker(FRAMES)
    assert np.isfinite(depth(np.stack([one, one], axis=1)))


def test_what_learned_with_the_reading_before_keeps_it(
    skeleton: Encoder, monkeypatch: pytest.MonkeyPatch
):
    clips = [clip_of(turned(points, 40)) for points in (pair(), skeletons.walker(FRAMES)[:, None])]
    before = skeleton.before()
    assert before is not None
    assert before.before() is None
    assert before.name == skeleton.name
    assert before.fingerprint != skeleton.fingerprint
    two, one = before.encode(clips)
    np.testing.assert_array_equal(one.features, skeleton.encode(clips[1:])[0].features)
    assert np.abs(two.features - skeleton.encode(clips[:1])[0].features).max() > 0.5
    as_first_faces(monkeypatch)
    np.testing.assert_array_equal(two.features, skeleton.encode(clips[:1])[0].features)


def test_a_bundle_keeps_it_too():
    bundle = load_encoder("bundle:skeleton+imu")
    before = bundle.before()
    assert before is not None
    assert (before.name, before.modality) == (bundle.name, bundle.modality)
    assert before.fingerprint != bundle.fingerprint
    assert before.before() is None
    assert load_encoder("imu").before() is None
