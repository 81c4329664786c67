"""Words that bind: a question of things may not be won by movement, one of movement may."""

from __future__ import annotations

import numpy as np
import pytest

from vlar.encoders.lite.body import BodyBlock
from vlar.language.motion.verb_table import VerbTable
from vlar.numeric import unit

N_OBJECTS = 50


@pytest.fixture
def block() -> BodyBlock:
    """The rule without its networks."""
    made = object.__new__(BodyBlock)
    made.table, made.hands = VerbTable.packaged(), None
    made.width = len(made.table.about.names)
    return made


def bodily(block: BodyBlock, text: str, sharpness: float) -> tuple[float, float]:
    """Length of the motion block against that of the objects, and the block of no body."""
    objects = np.tile(np.linspace(0.0, 1.0, N_OBJECTS, dtype=np.float32), (1, 1))
    objects[0, 3] += sharpness
    objects = unit(objects - objects.mean())
    plain = block.text(objects, [text])
    bound = block.bound(plain, objects, [text])
    assert np.linalg.norm(bound) == pytest.approx(1.0, abs=1e-6)
    assert np.allclose(unit(bound[:, :N_OBJECTS]), objects, atol=1e-6)
    motion = np.linalg.norm(bound[0, N_OBJECTS:-1]) / np.linalg.norm(bound[0, :N_OBJECTS])
    return float(motion), float(bound[0, -1])


def test_a_thing_that_stands_out_leaves_less_to_movement(block: BodyBlock):
    vague, _ = bodily(block, "jump", 0.1)
    clear, _ = bodily(block, "jump", 3.0)
    assert clear < vague


def test_much_movement_counts_more_than_little(block: BodyBlock):
    told = {text: np.abs(block.table.lookup(text).weights).sum() for text in ("jump", "sit")}
    less, more = sorted(told, key=told.__getitem__)
    assert bodily(block, more, 1.0)[0] > bodily(block, less, 1.0)[0]


def test_a_clip_without_a_body_answers_things_rather_than_movement(block: BodyBlock):
    assert bodily(block, "jump", 3.0)[1] > bodily(block, "jump", 0.1)[1]


def test_a_question_is_the_same_alone_and_in_company(block: BodyBlock):
    objects = unit(np.random.default_rng(0).normal(size=(2, N_OBJECTS)).astype(np.float32))
    texts = ["jump", "a kayak on a river"]
    both = block.bound(block.text(objects, texts), objects, texts)
    alone = block.bound(block.text(objects[:1], texts[:1]), objects[:1], texts[:1])
    assert np.array_equal(both[0], alone[0])
