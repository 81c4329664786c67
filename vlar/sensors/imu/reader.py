"""The reader ``imu``: accelerations and angular rates of one or more devices, in SI units."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlar.errors import DecodeError
from vlar.registry import register
from vlar.safety.matlab_files import is_matlab, read_matlab, shapes_in
from vlar.sensors.imu.tables import Table, is_table, read_table
from vlar.sensors.signals import Recorded, SignalReader, head_of

_UTD = "d_iner"  # UTD-MHAD: acceleration in g, angular rate in degrees a second
_UTD_HZ = 50.0
_TO_SI = np.repeat([9.80665, np.pi / 180], 3).astype(np.float32)
_LARGEST = 1e4  # m/s² or rad/s; more is another unit
_EXAMPLE_HZ = 50.0


@register("reader", "imu")
class ImuReader(SignalReader):
    """Clips of (T, D * 6) float32: of each device the acceleration and the angular rate.

    ``Clip.meta`` has ``devices`` (D names), ``channels`` and ``unit``. Gravity is kept. A sensor
    that a device lacks, and a dropped packet, are NaN.
    """

    modality = "imu"
    averages = True
    endings = frozenset({".csv", ".mat"})

    def claims(self, path: Path) -> bool:
        """A table by its header, a MATLAB file by its variables."""
        if path.suffix.lower() not in self.endings:
            return False
        head = head_of(path)
        if head is None:
            return False
        if path.suffix.lower() == ".csv":
            return is_table(head)
        if not is_matlab(head.data):
            return False
        try:
            return _UTD in shapes_in(path)
        except (OSError, ValueError):
            return "inertial" in path.name.lower()  # damaged: reading it names the damage

    def load(self, path: Path) -> Recorded:
        """The recording.

        Raises:
            DecodeError: it cannot be read, or its unit is unknown.
        """
        try:
            table = _utd(path) if path.suffix.lower() == ".mat" else read_table(path)
            if not np.isfinite(table.data).any():
                raise ValueError("no sample in it is a number")  # noqa: TRY301 - as the others
            if not np.nanmax(np.abs(table.data)) < _LARGEST:
                raise ValueError(f"a value is beyond {_LARGEST:g} m/s² or rad/s; check its unit")  # noqa: TRY301
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DecodeError(
                f"{path}: not a readable IMU file: {reason}; see docs/sensors.md for the formats"
            ) from error
        channels = [
            f"{device}_{sensor}_{axis}".lstrip("_")
            for device in table.devices
            for sensor in ("acc", "gyro")
            for axis in "xyz"
        ]
        meta = {"devices": table.devices, "channels": channels, "unit": "m/s2 rad/s"}
        return Recorded(table.data, table.rate_hz, meta)

    def example(self, folder: Path) -> Path:
        """Four seconds of a wrist that shakes more and more."""
        time_s = np.arange(round(4 * _EXAMPLE_HZ)) / _EXAMPLE_HZ
        wave = time_s[:, None] * np.sin(2 * np.pi * 2 * time_s)[:, None]
        acc = np.array([0, 0, 1]) + 0.2 * wave * np.array([1.0, 0.5, 0.2])
        gyro = 40 * wave * np.array([0.2, 1.0, 0.1])
        names = [f"wrist_{s}_{a}_{u}" for s, u in (("acc", "g"), ("gyro", "dps")) for a in "xyz"]
        path = folder / "example.csv"
        rows = np.column_stack([time_s, acc, gyro])
        lines = [",".join(f"{value:.5f}" for value in row) for row in rows]
        path.write_text("\n".join([",".join(["time_s", *names]), *lines]) + "\n")
        return path


def _utd(path: Path) -> Table:
    array = read_matlab(path, [_UTD]).get(_UTD)
    if array is None or array.ndim != 2 or array.shape[1] != 6:
        shape = "absent" if array is None else array.shape
        raise ValueError(f"its variable {_UTD!r} is {shape}, not (T, 6)")
    return Table(array.astype(np.float32) * _TO_SI, ("",), _UTD_HZ)
