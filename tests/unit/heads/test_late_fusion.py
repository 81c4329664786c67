"""A head for each sensor of a bundle: what remains of it where a sensor is missing."""

from __future__ import annotations

import numpy as np
import pytest

from vlar.encoders.base import FrameBlock
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.fewshot.late_fusion import LateFusionHead
from vlar.heads.model_selection import choose, held_out_logits
from vlar.heads.signatures import kinds_for, of_sensor, over_present, signature, terms

JOINTS = FrameBlock("path", 12, "signal", part="skeleton")
DEVICE = FrameBlock("imu", 6, "signal", part="imu")
BLOCKS = (JOINTS, DEVICE, FrameBlock("presence", 2, "presence"))
LABELS = ("nod", "sit", "wave")


def _clips(shots: int, seed: int) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    target = np.repeat(np.arange(len(LABELS)), shots)
    courses = np.cumsum(np.random.default_rng(7).normal(size=(len(LABELS), 10, 20)), axis=1)
    rows = courses[target] + 1.5 * random.normal(size=(len(target), 10, 20))
    rows[..., 18:] = 1
    return rows.astype(np.float32), [LABELS[t] for t in target]


def _without(features: np.ndarray, sensor: str) -> np.ndarray:
    found = features.copy()
    place = {"skeleton": (slice(0, 12), 18), "imu": (slice(12, 18), 19)}[sensor]
    found[..., place[0]], found[..., place[1]] = 0, 0
    return found


def _logits(head: FewShotHead, features: np.ndarray) -> np.ndarray:
    return head.logits(signature(features, BLOCKS, head.kind))


@pytest.mark.parametrize(
    ("sensor", "block", "columns"), [("skeleton", JOINTS, (0, 12)), ("imu", DEVICE, (12, 18))]
)
def test_a_clip_of_one_sensor_has_the_answer_of_a_model_of_that_sensor(sensor, block, columns):
    features, y = _clips(4, 0)
    head, _ = choose(features, BLOCKS, y)
    assert isinstance(head, LateFusionHead)
    own = features[..., slice(*columns)]
    alone, _ = choose(own, (block,), y)
    asked = _clips(5, 1)[0]
    other = {"skeleton": "imu", "imu": "skeleton"}[sensor]
    found = _logits(head, _without(asked, other))
    wanted = alone.logits(signature(asked[..., slice(*columns)], (block,), alone.kind))
    assert np.allclose(found, wanted, atol=1e-5)
    # The control: one form for both sensors has another answer.
    both, _ = choose(features, BLOCKS, y, kinds=kinds_for(BLOCKS))
    assert not np.allclose(_logits(both, _without(asked, other)), wanted, atol=1e-2)


def test_both_sensors_give_the_mean_of_the_answers_of_each():
    head, _ = choose(*_examples())
    asked = _clips(5, 1)[0]
    each = [_logits(head, _without(asked, sensor)) for sensor in ("imu", "skeleton")]
    assert np.allclose(_logits(head, asked), np.mean(each, axis=0), atol=1e-5)


def _examples() -> tuple[np.ndarray, tuple[FrameBlock, ...], list[str]]:
    features, y = _clips(4, 0)
    return features, BLOCKS, y


def test_a_sensor_that_was_not_learned_from_says_nothing():
    features, blocks, y = _examples()
    features[:4] = _without(features[:4], "imu")  # no example of the first label is left
    head, _ = choose(features, blocks, y)
    asked = _clips(5, 1)[0]
    assert np.array_equal(_logits(head, asked), _logits(head, _without(asked, "imu")))
    assert not _logits(head, _without(asked, "skeleton")).any()


def test_sensors_that_cover_the_labels_together_share_one_form():
    features, blocks, y = _examples()
    features[:4] = _without(features[:4], "imu")
    features[4:] = _without(features[4:], "skeleton")
    assert not isinstance(choose(features, blocks, y)[0], LateFusionHead)


def test_cosines_to_examples_are_means_over_the_sensors_that_are_there():
    features, blocks, _ = _examples()
    kind = "skeleton.course+imu.speed:2"
    rows = signature(features, blocks, kind)
    joints = _without(features, "imu")
    found = over_present(signature(joints, blocks, kind), joints, blocks, kind)
    course = terms(features, blocks, ("skeleton.course",))["skeleton.course"]
    assert np.allclose(found @ rows.T, course @ course.T, atol=1e-5)
    assert over_present(rows, features, blocks, kind) == pytest.approx(rows)
    assert over_present(rows, joints, blocks, "course+speed") is rows


def test_examples_that_lack_a_sensor_teach_the_other():
    features, blocks, y = _examples()
    features[::4] = _without(features[::4], "imu")
    head, choice = choose(features, blocks, y)
    assert isinstance(head, LateFusionHead)
    assert "skeleton and for imu" in choice.why
    assert sum(candidate.share for candidate in choice.candidates) == pytest.approx(1)
    held = held_out_logits(head, features, blocks, y, None, None)
    assert held.shape == (12, 3)
    assert np.isfinite(held).all()


def test_a_saved_head_answers_the_same():
    head, _ = choose(*_examples())
    again = FewShotHead.from_state(head.config(), head.state())
    asked = _without(_clips(5, 1)[0], "skeleton")
    assert isinstance(again, LateFusionHead)
    assert np.array_equal(_logits(again, asked), _logits(head, asked))


def test_a_term_of_a_sensor_reads_that_sensor_and_is_zero_without_it():
    features, blocks, _ = _examples()
    names = ("imu.speed", "imu.frames:4", "skeleton.speed")
    found = terms(features, blocks, names)
    changed = terms(_without(features, "imu"), blocks, names)
    assert found["imu.speed"].shape == (12, 6)
    assert not changed["imu.speed"].any()
    assert not changed["imu.frames:4"].any()
    assert np.array_equal(changed["skeleton.speed"], found["skeleton.speed"])


def test_a_kind_of_a_sensor_keeps_its_weights():
    assert of_sensor("spread+speed:0.5", "imu") == "imu.spread+imu.speed:0.5"
