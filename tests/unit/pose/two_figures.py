"""Two generated figures who do something to each other, in many variations.

Drawn from how such actions look from the side, not from the verb table: who acts stands left or
right, is tracked first or second, acts more or less widely, sooner or later, near or far from the
camera, and every landmark trembles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tests.unit.pose.figure import ASPECT, Figure
from vlar.pose import features as pose

_TREMBLE = 0.006  # body heights, of every landmark in every frame
_REST = (8.0, 14.0)  # degrees of a hanging arm: upper, fore


@dataclass
class Scene:
    """How one clip varies; the actor stands at 0 and faces right, the partner at ``gap``."""

    rng: np.random.Generator
    n_frames: int = 32

    def __post_init__(self) -> None:
        self.seconds = self.between(1.8, 3.6)
        self.time = np.linspace(0, self.seconds, self.n_frames)
        self.size = self.between(0.85, 1.15)
        self.begin = self.between(0.15, 0.4) * self.seconds

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def ramp(self, begin: float, length: float) -> np.ndarray:
        """0 to 1, smoothly."""
        share = np.clip((self.time - begin) / length, 0, 1)
        return share * share * (3 - 2 * share)

    def held(self, begin: float, rise: float, hold: float) -> np.ndarray:
        """0 to 1, held, and back."""
        return self.ramp(begin, rise) - self.ramp(begin + rise + hold, rise)

    def person(self, facing: float, x: object, **changes: object) -> Figure:
        sway = 2 * np.sin(2 * np.pi * self.between(0.2, 0.5) * self.time + self.between(0, 6))
        arms = ((_REST[0] + sway, _REST[1] + sway), (_REST[0] - sway, _REST[1] - sway))
        figure = Figure(self.n_frames, self.n_frames / self.seconds, x, arms=arms, facing=facing)
        return replace(figure, **changes)

    def walker(self, facing: float, x: object) -> Figure:
        """Legs and arms swing while ``x`` changes."""
        x = np.broadcast_to(np.asarray(x, float), self.time.shape)
        speed = np.abs(np.gradient(x, self.time))
        swing = 26 * np.minimum(speed / 0.5, 1) * np.sin(2 * np.pi * 0.9 * self.time)
        return self.person(
            facing,
            x,
            legs=((swing, swing - np.abs(swing) / 3), (-swing, -swing - np.abs(swing) / 3)),
            arms=((8 - swing / 2, 14 - swing / 2), (8 + swing / 2, 14 + swing / 2)),
        )


def _one_arm(upper: object, fore: object) -> object:
    return ((_REST[0], _REST[1]), (upper, fore))


def _mixed(e: np.ndarray, target: float, rest: float) -> np.ndarray:
    return rest + e * (target - rest)


def shake_hands(s: Scene) -> tuple[Figure, Figure]:
    e = s.held(s.begin, 0.4, 0.4 * s.seconds)
    shake = 9 * s.size * e * np.sin(2 * np.pi * s.between(1.5, 2.8) * s.time)
    arm = _one_arm(_mixed(e, 35, 8) + shake, _mixed(e, 72, 14) + shake)
    gap = s.between(0.46, 0.54)
    return s.person(1, 0.0, arms=arm), s.person(-1, gap, arms=arm)


def exchange(s: Scene) -> tuple[Figure, Figure]:
    e, late = s.held(s.begin, 0.6, 0.4), s.held(s.begin + 0.3, 0.6, 0.4)
    high = s.between(60, 80)
    give = _one_arm(_mixed(e, 40, 8), _mixed(e, high, 14))
    take = _one_arm(_mixed(late, 40, 8), _mixed(late, high, 14))
    gap = s.between(0.58, 0.68)
    return s.person(1, 0.0, arms=give), s.person(-1, gap, arms=take)


def hug(s: Scene) -> tuple[Figure, Figure]:
    near = s.ramp(0.1, 0.3 * s.seconds)
    gap = s.between(0.5, 0.9) * (1 - near) + s.between(0.16, 0.24) * near
    e = s.ramp(0.2, 0.35 * s.seconds)
    arms = ((_mixed(e, 50, 8), _mixed(e, 95, 14)), (_mixed(e, 60, 8), _mixed(e, 105, 14)))
    return s.person(1, 0.0, arms=arms, pitch=6 * e), s.person(-1, gap, arms=arms, pitch=6 * e)


def kick(s: Scene) -> tuple[Figure, Figure]:
    e = s.held(s.begin, 0.25, 0.08)
    leg = (_mixed(e, 85 * s.size, 0), _mixed(e, 78 * s.size, 0))
    back = s.between(0.05, 0.3) * s.ramp(s.begin + 0.3, 0.4)
    gap = s.between(0.5, 0.62)
    actor = s.person(1, 0.0, legs=(leg, (0.0, 0.0)), pitch=-12 * e)
    return actor, s.person(-1, gap + back, pitch=15 * s.held(s.begin + 0.25, 0.3, 0.2))


def punch(s: Scene) -> tuple[Figure, Figure]:
    e = s.held(s.begin, 0.14, 0.06)
    arm = _one_arm(_mixed(e, 98, -15), _mixed(e, 100, 125))
    back = s.between(0.03, 0.25) * s.ramp(s.begin + 0.2, 0.4)
    gap = s.between(0.38, 0.46)
    actor = s.person(1, 0.0, arms=arm, pitch=8 * e)
    return actor, s.person(-1, gap + back, pitch=-20 * s.held(s.begin + 0.15, 0.2, 0.2))


def push(s: Scene) -> tuple[Figure, Figure]:
    e = s.held(s.begin, 0.25, 0.2)
    arm = (_mixed(e, 75, 15), _mixed(e, 82, 90))
    back = s.between(0.18, 0.5) * s.ramp(s.begin + 0.2, 0.5)
    gap = s.between(0.36, 0.44)
    actor = s.person(1, 0.0, arms=(arm, arm), pitch=14 * e)
    victim = s.walker(-1, gap + back)
    return actor, replace(victim, pitch=-8 * s.held(s.begin + 0.2, 0.3, 0.2))


def point(s: Scene) -> tuple[Figure, Figure]:
    e = s.held(s.begin, 0.4, 0.5 * s.seconds)
    arm = _one_arm(_mixed(e, s.between(75, 92), 8), _mixed(e, s.between(80, 92), 14))
    return s.person(1, 0.0, arms=arm), s.person(-1, s.between(0.65, 1.2))


def approach(s: Scene) -> tuple[Figure, Figure]:
    way = s.between(0.3, 0.6) * s.time
    gap = s.between(0.4, 0.6)
    far = gap + 2 * way[-1]
    return s.walker(1, way), s.walker(-1, far - way)


def come_to(s: Scene) -> tuple[Figure, Figure]:
    way = s.between(0.4, 0.8) * s.time
    return s.walker(1, way), s.person(-1, way[-1] + s.between(0.35, 0.6))


def depart(s: Scene) -> tuple[Figure, Figure]:
    way = s.between(0.3, 0.6) * s.time
    return s.walker(-1, -way), s.walker(1, s.between(0.4, 0.6) + way)


def leave(s: Scene) -> tuple[Figure, Figure]:
    way = s.between(0.4, 0.8) * s.time
    return s.walker(-1, -way), s.person(-1, s.between(0.35, 0.6))


Action = Callable[[Scene], tuple[Figure, Figure]]


def features(action: Action, seed: int, alone: bool = False) -> np.ndarray:
    """(T, POSE_WIDTH) of a variation; ``alone``: of the actor with nobody else in the picture."""
    scene = Scene(np.random.default_rng(seed))
    figures = action(scene)[: 1 if alone else 2]
    points = np.stack([figure.points() for figure in figures])
    points[..., :2] += 0.5 * scene.rng.normal(0, _TREMBLE, points[..., :2].shape)
    if scene.rng.random() < 0.5:
        points[..., 0] = ASPECT - points[..., 0]
    middle = np.array([points[..., 0].mean(), 0.5])
    zoom = scene.between(0.7, 1.1)
    points[..., :2] = (points[..., :2] - middle) * zoom + (ASPECT / 2, 0.5)
    if scene.rng.random() < 0.5:
        points = points[::-1]
    rows = np.zeros((scene.n_frames, pose.POSE_WIDTH), np.float32)
    for number, person in enumerate(points):
        rows[:, number * 100 : number * 100 + 99] = person.reshape(scene.n_frames, -1)
        rows[:, number * 100 + 99] = 1
    rows[:, -2], rows[:, -1] = scene.time, ASPECT
    return rows
