"""The contract of a detector, as a check; frames are a bright square that moves over a ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import ModelError, PackageError, VlarError
from vlar.people.base import Boxes, Detector, load_detector
from vlar.testing.contract import name_of, refused, registered, run, skip
from vlar.types import UInt8

N_FRAMES, HEIGHT, WIDTH = 16, 96, 160
TIMES_S = np.arange(N_FRAMES) / 8.0


@dataclass
class DetectorMaterial:
    """A detector, and the name that it is registered by.

    Attributes:
        name: Its name.
        detector: The detector.
    """

    name: str
    detector: Detector


def check_detector(part: Any, *, argument: str | None = None) -> None:
    """Try a detector on frames in which a square moves.

    Args:
        part: The detector: a class, an object, or a registered name.
        argument: Text after the colon of its spec; default none.

    Raises:
        AssertionError: it breaks the contract of ``vlar.people.base.Detector``.
        unittest.SkipTest: its weights or its library are missing.
    """
    part = registry.get("detector", part) if isinstance(part, str) else part
    cls: type[Detector] = part if isinstance(part, type) else type(part)
    name = name_of("detector", cls)
    with registered("detector", name, cls):
        run("detector", name, (_described,), cls)
        try:
            detector = cls.from_spec(argument or "") if isinstance(part, type) else part
        except (ModelError, PackageError) as error:
            raise skip(str(error)) from error
        except VlarError as error:
            if argument is None:  # it needs one
                raise skip(f"{error} (give the check an argument)") from error
            raise
        run("detector", name, STEPS, DetectorMaterial(name, detector))


def scene(start: int = 20, step: int = 3) -> UInt8:
    """(T, H, W, 3): a still ground, and a bright square that moves ``step`` pixels a frame."""
    ground = np.random.default_rng(0).integers(70, 80, (HEIGHT, WIDTH, 3), np.uint8)
    frames = np.repeat(ground[None], N_FRAMES, axis=0)
    for number, frame in enumerate(frames):
        x = start + step * number
        frame[40:80, x : x + 20] = (220, 200, 60)
    return frames


def _described(cls: type[Detector]) -> None:
    """A detector states what it finds and how many frames a second it needs."""
    assert registry.get("detector", cls.name) is cls, f"name {cls.name!r}"
    assert cls.finds in ("people", "movement", "words"), cls.finds
    assert cls.rate_hz > 0
    refused(VlarError, "", load_detector, f"{cls.name}:no/such/file")


def _boxes(m: DetectorMaterial) -> None:
    """Boxes are float32 with the times of their frames, lie in them, and have a score."""
    boxes = m.detector.detect(scene(), TIMES_S, "person")
    assert isinstance(boxes, Boxes)
    assert boxes.rows.shape == (len(boxes), 5)
    assert boxes.rows.dtype == np.float32
    assert len(boxes.scores) == len(boxes)
    if len(boxes):
        assert np.isfinite(boxes.rows).all(), "numbers are NaN or infinite"
        assert np.isin(boxes.rows[:, 0], TIMES_S.astype(np.float32)).all()
        assert (boxes.rows[:, 1:] >= 0).all()
        assert (boxes.rows[:, 1:] <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
        assert (boxes.rows[:, 3:] >= boxes.rows[:, 1:3]).all()


def _repeat(m: DetectorMaterial) -> None:
    """The same frames give the same boxes."""
    one, other = (m.detector.detect(scene(), TIMES_S, "person") for _ in range(2))
    np.testing.assert_array_equal(one.rows, other.rows)


def _nothing(m: DetectorMaterial) -> None:
    """No frame gives no box."""
    assert len(m.detector.detect(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0))) == 0


STEPS = (_boxes, _repeat, _nothing)
