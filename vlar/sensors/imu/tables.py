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

from vlar.safety.csv_tables import cell_numbers, parse_csv
from vlar.safety.files import MB, read_file, require_memory
from vlar.sensors.signals import Head, evenly
from vlar.types import Float32

_MOST = 256 * MB
_GRAVITY = 9.80665
UNITS = {
    "acc": {"g": _GRAVITY, "mg": _GRAVITY / 1000, "ms2": 1.0, "m_s2": 1.0, "mps2": 1.0},
    "gyro": {"dps": np.pi / 180, "deg_s": np.pi / 180, "degs": np.pi / 180, "rad_s": 1.0,
             "rads": 1.0, "rps": 1.0},
}  # fmt: skip
_CLOCK = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_COLUMN = re.compile(
    r"^(?:(?P<place>[a-z0-9_]+?)_)?(?P<sensor>acc|accel|accelerometer|acceleration|gyro|gyr|"
    r"gyroscope)_?(?P<axis>[xyz])(?:_(?P<unit>[a-z0-9_]+))?$"
)
_TIME = re.compile(r"^(?:time|timestamp|t)_(?P<unit>s|ms|us|ns)$")


@dataclass(frozen=True)
class Table:
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


def is_table(head: Head) -> bool:
    """Whether a CSV file has a column of an accelerometer or gyroscope."""
    lines = [line for line in head.lines[:2] if line.strip() and not line.startswith("#")]
    return bool(lines) and any(_COLUMN.match(_plain(name)) for name in lines[0].split(","))


def read_table(path: Path) -> Table:
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
    for at, (place, factor) in columns.items():
        data[:, place] = values[:, at] * factor
    clock = next((at for at, name in enumerate(header) if _TIME.match(name)), None)
    if clock is None:
        if rate is None:
            raise ValueError(
                "it has no column of times such as time_s; state the rate in a first line "
                "'# rate_hz=50'"
            )
        return Table(data.astype(np.float32), devices, rate)
    times_s = values[:, clock] * _CLOCK[str(_TIME.match(header[clock])["unit"])]  # pyright: ignore
    known = np.isfinite(times_s)
    even, found = evenly(times_s[known], data[known].astype(np.float32))
    return Table(even.astype(np.float32), devices, rate or found)


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
    """Where each column goes and its factor to SI units, and the devices."""
    matched = {at: match for at, name in enumerate(header) if (match := _COLUMN.match(name))}
    devices = tuple(dict.fromkeys(match["place"] or "" for match in matched.values()))
    found: dict[int, tuple[int, float]] = {}
    for at, match in matched.items():
        sensor = "acc" if match["sensor"].startswith("acc") else "gyro"
        unit = match["unit"]
        if unit not in UNITS[sensor]:
            known = ", ".join(UNITS[sensor])
            raise ValueError(
                f"the column {header[at]!r} has the unit {unit!r}; end its name in one of {known}"
            )
        place = 6 * devices.index(match["place"] or "") + 3 * (sensor == "gyro")
        found[at] = place + "xyz".index(match["axis"]), UNITS[sensor][unit]
    if not found:
        raise ValueError("it has no column such as acc_x_g or gyro_x_dps")
    return found, devices
