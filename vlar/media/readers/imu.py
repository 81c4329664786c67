"""IMU tables (CSV): the header names axis and unit of each column, and the clock.

    time_s,wrist_acc_x_g,wrist_acc_y_g,wrist_acc_z_g,wrist_gyro_x_dps,...

A column is ``[PLACE_]SENSOR_AXIS_UNIT``. Without a column of times, a first line ``# rate_hz=50``
states the rate. An empty cell, or a row that is left out, is a dropped packet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlar.errors import DecodeError
from vlar.files.arrays import is_matlab, read_matlab, shapes_in
from vlar.files.reading import MB, cell_numbers, parse_csv, read_file, require_memory
from vlar.media.signals import FileHead, Recorded, SignalReader, evenly, head_of
from vlar.registry import register
from vlar.types import Float32

_MOST = 256 * MB
_MOST_DEVICES = 256
_GRAVITY = 9.80665
UNITS = {
    "acc": {"g": _GRAVITY, "mg": _GRAVITY / 1000, "ms2": 1.0, "m_s2": 1.0, "mps2": 1.0},
    "gyro": {
        "dps": np.pi / 180,
        "deg_s": np.pi / 180,
        "degs": np.pi / 180,
        "rad_s": 1.0,
        "rads": 1.0,
        "rps": 1.0,
    },
}
_CLOCK = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_COLUMN = re.compile(
    r"^(?:(?P<place>[a-z0-9_]+?)_)?(?P<sensor>acc|accel|accelerometer|acceleration|gyro|gyr|"
    r"gyroscope)_?(?P<axis>[xyz])(?:_(?P<unit>[a-z0-9_]+))?$"
)
_TIME = re.compile(r"^(?:time|timestamp|t)_(?P<unit>s|ms|us|ns)$")


@dataclass(frozen=True)
class ImuTable:
    """An IMU recording.

    Attributes:
        data: (T, D * 6) float32: acceleration (m/s²) and angular rate (rad/s) of each device, x, y
            and z; NaN where there is none.
        devices: D names; the empty text where the file gives none.
        rate_hz: Samples a second.
    """

    data: Float32
    devices: tuple[str, ...]
    rate_hz: float


def is_table(head: FileHead) -> bool:
    """Return whether a CSV file has a column of an accelerometer or gyroscope."""
    lines = [line for line in head.lines[:2] if line.strip() and not line.startswith("#")]
    return bool(lines) and any(_COLUMN.match(_plain(name)) for name in lines[0].split(","))


def read_table(path: Path) -> ImuTable:
    """The recording.

    Raises:
        OSError: it cannot be opened.
        ValueError: a unit is missing or unknown, or a cell is not a number; the message is one
            sentence.
    """
    try:
        text = read_file(path, _MOST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    first = text.partition("\n")[0]
    rate = _stated_rate(first) if first.startswith("#") else None
    rows = [row for row in parse_csv(text) if not row[0].startswith("#")]
    if len(rows) < 3:
        raise ValueError("it has fewer than two samples")
    header = [_plain(name) for name in rows[0]]
    values = cell_numbers(rows[1:], len(header))
    columns, devices = _columns(header)
    require_memory(24.0 * len(values) * 6 * len(devices))
    data = np.full((len(values), 6 * len(devices)), np.nan)
    for column, (target, factor) in columns.items():
        data[:, target] = values[:, column] * factor
    clock = next(((i, unit) for i, name in enumerate(header) if (unit := _TIME.match(name))), None)
    if clock is None:
        if rate is None:
            raise ValueError(
                "it has no column of times such as time_s; state the rate in a first line "
                "'# rate_hz=50'"
            )
        return ImuTable(data.astype(np.float32), devices, rate)
    times_s = values[:, clock[0]] * _CLOCK[str(clock[1]["unit"])]
    finite = np.isfinite(times_s)
    even, even_data = evenly(times_s[finite], data[finite].astype(np.float32))
    return ImuTable(even.astype(np.float32), devices, rate or even_data)


def _plain(name: str) -> str:
    """A column name in lower case, with ``_`` for all that stands between its parts."""
    name = name.strip().strip('"').lower().replace("²", "2").replace("m/s^2", "ms2")
    name = name.replace("m/s2", "ms2").replace("deg/s", "dps").replace("rad/s", "rads")
    return re.sub(r"[^a-z0-9]+", "_", name).strip("_")


def _stated_rate(line: str) -> float:
    match = re.search(r"rate_hz\s*=\s*([0-9.]+)", line)
    try:
        rate = float(match[1]) if match else 0.0
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 100_000:
        raise ValueError(f"its first line {line[:60]!r} states no rate such as rate_hz=50")
    return rate


def _columns(header: list[str]) -> tuple[dict[int, tuple[int, float]], tuple[str, ...]]:
    """Target and factor to SI units of each column, and the devices."""
    matched = {index: match for index, name in enumerate(header) if (match := _COLUMN.match(name))}
    devices = tuple(dict.fromkeys(match["place"] or "" for match in matched.values()))
    if len(devices) > _MOST_DEVICES:
        raise ValueError(f"it has {len(devices):,} devices; at most {_MOST_DEVICES} are read")
    targets: dict[int, tuple[int, float]] = {}
    for column, match in matched.items():
        sensor = "acc" if match["sensor"].startswith("acc") else "gyro"
        unit = match["unit"]
        if unit not in UNITS[sensor]:
            units = ", ".join(UNITS[sensor])
            raise ValueError(
                f"the column {header[column]!r} has the unit {unit!r}; end its name in one of "
                f"{units}"
            )
        target = 6 * devices.index(match["place"] or "") + 3 * (sensor == "gyro")
        targets[column] = target + "xyz".index(match["axis"]), UNITS[sensor][unit]
    if not targets:
        raise ValueError("it has no column such as acc_x_g or gyro_x_dps")
    return targets, devices


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


def _utd(path: Path) -> ImuTable:
    array = read_matlab(path, [_UTD]).get(_UTD)
    if array is None or array.ndim != 2 or array.shape[1] != 6:
        shape = "absent" if array is None else array.shape
        raise ValueError(f"its variable {_UTD!r} is {shape}, not (T, 6)")
    values = array.astype(np.float32)
    values *= _TO_SI
    return ImuTable(values, ("",), _UTD_HZ)
