"""The encoder ``imu``: accelerations and angular rates as features, and as attributes of a limb.

An IMU measures one limb: how quick it is, how often it turns back, how sudden, how regular, and how
it is turned at the end. It does not measure where the limb is, nor what others do. So few words are
distinguished without examples: still or busy, once or again and again, slow or quick, gentle or
hard.
"""

from __future__ import annotations

import numpy as np

from vlar.encoders.attribute_words import AttributeWords, attribute_vector
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.pose import signals
from vlar.registry import register
from vlar.types import Clip, Float32, Float64

_GRAVITY = 9.80665
_RADIANS = 2.0  # rad/s that count as much as one g
_CHANNELS = 8  # of a device: acceleration, angular rate, and the two magnitudes
# Placements by the words in a device's name; a device of another name, or without one, is a limb.
_PLACES = {
    "limb": (),
    "left wrist": ("left", "wrist"),
    "right wrist": ("right", "wrist"),
    "wrist": ("wrist",),
    "hand": ("hand",),
    "waist": ("waist",),
    "hip": ("hip",),
    "chest": ("chest",),
    "ankle": ("ankle",),
    "thigh": ("thigh",),
    "head": ("head",),
}
_WIDTH = _CHANNELS * len(_PLACES)
_ARM_M, _HEIGHT_M = 0.6, 1.7  # from the shoulder to the hand; of a body
_TURN_RAD, _TURN_SHARE = 0.15, 0.12  # least prominence of a turning point
_OF_ARMS = frozenset({"limb", "left wrist", "right wrist", "wrist", "hand"})
_VISIBLE = 0.6  # how much of a movement one limb shows


@register("encoder", "imu")
class ImuEncoder(AttributeWords):
    """Features of 64 moments of up to eleven placements, and six attributes of the busiest device.

    A device without a known placement counts as an arm. Dropped packets of up to a quarter of a
    second are interpolated; what a device lacks is 0.
    """

    name = "imu"
    modality = "imu"
    few_words = True  # docs/sensor_figures.md: 6 % right among 27 labels
    n_frames = 256
    fixed_rows = 64
    longest_s = 20.0
    frame_blocks = (FrameBlock("imu", _WIDTH, "signal", _CHANNELS), FrameBlock("clock", 1, "clock"))

    def features_of(self, clip: Clip) -> Float32:
        """(64, F) the devices at even times, and the times."""
        self.require(clip, 2, "signals (T, D * 6)")
        unit, data = clip.meta.get("unit"), np.asarray(clip.data, np.float64)
        if unit != "m/s2 rad/s":
            raise UsageError(
                f"{clip.path}: the unit of its signals is {unit!r}; convert them to 'm/s2 rad/s'"
            )
        if data.shape[1] % 6:
            raise UsageError(f"{clip.path}: {data.shape[1]} channels; give 6 of each device")
        devices = tuple(clip.meta.get("devices") or [""] * (data.shape[1] // 6))
        times_s = np.asarray(clip.times_s, np.float64)
        frames = np.flatnonzero(np.isfinite(data).any(axis=1))
        rows = np.zeros((self.feature_rows, self.frame_dim), np.float32)
        if not len(frames):
            return rows
        span = slice(int(frames[0]), int(frames[-1]) + 1)
        data, times_s = _filled(data[span]), times_s[span]
        times = np.linspace(times_s[0], times_s[-1], self.feature_rows)
        rows[:, -1] = signals.clock(times - times[0], clip.meta.get("rate_hz"))
        for number, device in enumerate(devices):
            start = _CHANNELS * _place(str(device))
            channels = _channels(data[:, 6 * number : 6 * number + 6])
            columns = [np.interp(times, times_s, column) for column in channels.T]
            rows[:, start : start + _CHANNELS] = np.stack(columns, axis=1)
        return rows

    def motion(self, features: Float32) -> Float32:
        duration_s = float(features[-1, -1])
        devices = features[:, :-1].reshape(len(features), len(_PLACES), _CHANNELS)
        busy = int(devices.std(axis=0).sum(axis=1).argmax())
        moving = devices[:, busy].astype(np.float64)
        if not duration_s > 0 or not moving.any():
            return attribute_vector({}, 0.0)
        on_arm = float(list(_PLACES)[busy] in _OF_ARMS)
        return attribute_vector(_measured(moving, duration_s, on_arm), _VISIBLE)


def _place(device: str) -> int:
    words = device.lower()
    fitting = [
        (len(needed), index)
        for index, needed in enumerate(_PLACES.values())
        if needed and all(word in words for word in needed)
    ]
    return max(fitting, default=(0, 0))[1]


def _filled(data: Float64) -> Float64:
    """Signals without gaps; 0 where a channel has no value."""
    time = np.arange(len(data))
    filled = np.zeros_like(data)
    for column in range(data.shape[1]):
        frames = np.flatnonzero(np.isfinite(data[:, column]))
        if len(frames):
            filled[:, column] = np.interp(time, frames, data[frames, column])
    return filled


def _channels(signal: Float64) -> Float64:
    """(T, 6) in SI units to (T, 8): in g and in 2 rad/s, then how strong each is."""
    acc, gyro = signal[:, :3] / _GRAVITY, signal[:, 3:] / _RADIANS
    strength = np.linalg.norm(acc, axis=1) - float(acc.any())
    return np.column_stack([acc, gyro, strength, np.linalg.norm(gyro, axis=1)])


def _measured(own: Float64, duration_s: float, on_arm: float) -> dict[str, tuple[float, float]]:
    """Value and trust of what a limb's device shows, by attribute."""
    fps = signals.frame_rate(len(own), duration_s)
    duration_s = (len(own) - 1) / fps
    acc, gyro = own[:, :3] * _GRAVITY, own[:, 3:6] * _RADIANS
    speed = _speed(acc, gyro, fps)
    turns = _turns(acc, gyro, fps)
    moving = float(signals.step(speed.mean(), 0.2, 0.2))
    repeats, rhythm_hz = signals.periodicity(np.concatenate([acc / _GRAVITY, gyro], axis=1), fps)
    return {
        "arm_energy": (float(speed.mean()), on_arm),
        "energy": (0.5 * float(speed.mean()), 0.5),
        "wrist_rep": (float(turns), on_arm),
        "wrist_osc_freq": (turns / 2 / duration_s, on_arm * moving * min(1.0, turns / 3)),
        "wrist_peak": (float(np.percentile(speed, 98)), on_arm),
        "burst": (float(np.percentile(speed, 98)) / max(float(speed.mean()), 0.05), 0.7 * moving),
        "periodic": (repeats, moving),
        "pose_freq": (rhythm_hz, moving * float(repeats > 0)),
    }


def _speed(acc: Float64, gyro: Float64, fps: float) -> Float64:
    """(T,) speed of the hand in body heights a second: of an arm that turns about the shoulder.

    Without a gyroscope it is the integral of the quick part of the acceleration.
    """
    if gyro.any():
        return np.linalg.norm(gyro, axis=1) * _ARM_M / _HEIGHT_M
    away = signals.high_pass(acc, fps)
    velocity = signals.high_pass(np.cumsum(away, axis=0) / fps, fps)
    return np.linalg.norm(velocity, axis=1) / _HEIGHT_M


def _turns(acc: Float64, gyro: Float64, fps: float) -> int:
    """Turning points of the limb about the axis that it turns about most."""
    path = np.cumsum(gyro, axis=0) / fps if gyro.any() else signals.smooth(acc, 0.1 * fps) / 5
    path = path - path.mean(axis=0)
    axes = np.linalg.svd(path, full_matrices=False)[2]
    curve = path @ axes[0]
    return signals.turning_points(curve, max(_TURN_RAD, _TURN_SHARE * float(np.ptp(curve))))
