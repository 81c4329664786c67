"""Recordings of robots as bundles: each camera, IMU and arm becomes a file that a reader reads.

Coded pictures (JPEG, PNG, H.264) are put into a video as they are, with the times of their
messages; IMU and joint states become tables. The clock is that of the recording. A joint is a point
of the sensor ``tracks``: cosine and sine of its position.
"""

from __future__ import annotations

import importlib
import io
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

from vlar.errors import DecodeError, UsageError
from vlar.files.workers.pool import WorkerPool, can_isolate
from vlar.files.workers.process import FileLimits, WorkerStartError
from vlar.media.bundle import ENDING, BundlePart, write_bundle
from vlar.media.signals import errors_of
from vlar.plugins.robots.messages import RobotMessage, messages
from vlar.types import JsonDict

_CLOCK = Fraction(1, 90_000)
_VIDEOS = ("CompressedImage", "CompressedVideo", "FFMPEGPacket")
_SENSORS = {**dict.fromkeys(_VIDEOS, "video"), "Imu": "imu", "JointState": "tracks"}
_FORMATS = {"jpeg": "jpeg_pipe", "jpg": "jpeg_pipe", "png": "png_pipe", "264": "h264"}
_MOST_TOPICS, _MOST_JOINTS, _NAMED = 64, 256, 20
_MOST_TIMES, _FREE_BYTES = 200, 1 << 30  # that messages may unpack to, over the file's size
_BYTES_A_SECOND = 2e6  # read at least
_NAL = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)


@dataclass(frozen=True)
class UnpackedTopic:
    """A topic of a recording.

    Attributes:
        topic: Its name.
        kind: Type of its messages.
        messages: Their number.
        sensor: Sensor whose reader reads the file; None where none was written.
        path: The file.
        begin_s: Seconds from the first message of the recording to its first sample.
        fault: Reason that messages were left out, of the first of them.
    """

    topic: str
    kind: str
    messages: int
    sensor: str | None = None
    path: Path | None = None
    begin_s: float = 0.0
    fault: str = ""


@dataclass(frozen=True)
class UnpackedRobot:
    """Result of ``unpack``.

    Attributes:
        bundle: The bundle of the first topic of each sensor.
        topics: Every topic of the recording, in the order of its first message.
        cut_off: Whether the recording ends in the middle of a record.
    """

    bundle: Path
    topics: tuple[UnpackedTopic, ...]
    cut_off: bool

    @property
    def left_out(self) -> str:
        """The topics that were not written, in one line; empty where there are none."""
        rows = [row for row in self.topics if row.path is None]
        named = [
            f"{row.topic} ({row.kind or 'no type'}, {row.messages}"
            f"{': ' + row.fault if row.fault else ''})"
            for row in rows
        ]
        more = f", and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        return " ".join((", ".join(named[:_NAMED]) + more).split())

    def to_dict(self) -> JsonDict:
        """JSON object."""
        rows = [{**vars(row), "path": row.path and str(row.path)} for row in self.topics]
        return {"bundle": str(self.bundle), "topics": rows, "cut_off": self.cut_off}


def unpack(path: Path, folder: Path, topics: Sequence[str] = ()) -> UnpackedRobot:
    """Write the topics of a recording as files, and a bundle of them.

    Args:
        path: An MCAP file, a ROS 1 bag, or the folder of a ROS 2 bag.
        folder: Is made; it gets ``NAME.bundle.json`` and ``NAME.TOPIC.mp4`` or ``.csv``.
        topics: Topics to read, those of the bundle first; empty for all that a reader reads.

    Raises:
        UsageError: a topic is not in the recording.
        DecodeError: the recording cannot be read, or has no topic that a reader reads.
    """
    importlib.import_module("mcap" if path.suffix.lower() == ".mcap" else "rosbags")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vlar-", dir=folder) as parts:
        made = _isolated(path, Path(parts), tuple(topics))
        absent = next((t for t in topics if t not in {row.topic for row in made.topics}), None)
        if absent is not None:
            names = ", ".join(row.topic for row in made.topics[:_NAMED])
            raise UsageError(f"{path}: no topic {absent!r}; there are {names or 'none'}")
        written = [row for row in made.topics if row.path is not None]
        if not written:
            none = "it is cut off before a whole message" if made.cut_off else "it has no messages"
            raise DecodeError(
                f"{path}: no topic of it is of pictures, an IMU or joint states that can be read: "
                f"{made.left_out or none}"
            )
        for row in written:
            if row.path is not None:
                shutil.move(row.path, folder / row.path.name)
    rows = [replace(row, path=row.path and folder / row.path.name) for row in made.topics]
    sensors: dict[str, BundlePart] = {}
    asked = {topic: number for number, topic in enumerate(topics)}
    order = sorted(
        (row for row in rows if row.path),
        key=lambda row: (asked.get(row.topic, 0), list(_SENSORS.values()).index(str(row.sensor))),
    )
    for row in order:
        if row.path and row.sensor:
            begin_s = row.begin_s - order[0].begin_s
            sensors.setdefault(row.sensor, BundlePart(row.path, round(begin_s, 6)))
    bundle = write_bundle(folder / f"{_plain(path.stem)}{ENDING}", sensors)
    return UnpackedRobot(bundle, tuple(rows), made.cut_off)


def _isolated(path: Path, folder: Path, topics: tuple[str, ...]) -> UnpackedRobot:
    """Unpack in a worker process: what crashes a parser, hangs or fills the memory ends alone."""
    limits = FileLimits.from_environment()
    if limits.workers and can_isolate(_unpacked):
        with suppress(WorkerStartError), WorkerPool(limits, module=__name__) as pool:
            length_s = _size(path) / _BYTES_A_SECOND
            with errors_of(path):
                return pool.call(path, length_s, _unpacked, path, folder, topics)
    return _unpacked(path, folder, topics)


def _unpacked(path: Path, folder: Path, topics: tuple[str, ...]) -> UnpackedRobot:
    """The task of a worker."""
    found: dict[str, _Topic] = {}
    first_ns, is_cut = None, False
    most = _MOST_TIMES * _size(path) + _FREE_BYTES
    with errors_of(path):
        try:
            for message in messages(path):
                first_ns = message.time_ns if first_ns is None else first_ns
                topic = found.get(message.topic)
                if topic is None:
                    if len(found) >= _MOST_TOPICS:
                        raise ValueError(f"it has more than {_MOST_TOPICS} topics")
                    is_asked = not topics or message.topic in topics
                    taken = {topic.path for topic in found.values()}
                    topic = _Topic.of(message, folder / _plain(path.stem), is_asked, taken)
                    found[message.topic] = topic
                topic.take(message, first_ns)
                most -= len(message.data)
                if most < 0:
                    raise ValueError("its messages unpack to far more than its size")
        except EOFError:
            is_cut = True
        finally:
            for topic in found.values():
                topic.close()
    rows = tuple(topic.row() for topic in found.values())
    return UnpackedRobot(folder, rows, is_cut)


def _size(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    try:
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0  # reading it names the fault


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_")[:80] or "topic"


@dataclass
class _Topic:
    """A topic while it is written."""

    topic: str
    kind: str
    sensor: str | None
    path: Path
    count: int = 0
    samples: int = 0
    begin_s: float = 0.0
    fault: str = ""
    _last_s: float = -math.inf
    _table: TextIO | None = None
    _joints: list[str] = field(default_factory=list[str])
    _video: Any = None
    _step_s: float = 0.0

    @classmethod
    def of(cls, message: RobotMessage, stem: Path, is_asked: bool, taken: set[Path]) -> _Topic:
        """A topic by its first message; its file has a number where its name is taken."""
        sensor = _SENSORS.get(re.split(r"[/.]", message.kind)[-1]) if is_asked else None
        ending = ".mp4" if sensor == "video" else ".csv"
        names = (f"{_plain(message.topic)}{number}" for number in ("", *range(2, 10**6)))
        paths = (stem.with_name(f"{stem.name}.{name}{ending}") for name in names)
        path = next(path for path in paths if path not in taken)
        return cls(message.topic, message.kind, sensor, path)

    def take(self, message: RobotMessage, first_ns: int) -> None:
        """Write a message; one that cannot be is counted, and the first states its fault."""
        self.count += 1
        time_s = (message.time_ns - first_ns) / 1e9
        if self.sensor is None:
            return
        try:
            self._write(message.decode(message.data), time_s)
        except Exception as error:  # noqa: BLE001 - of a parser, about one message
            self.fault = self.fault or f"{type(error).__name__}: {str(error)[:80]}"

    def _write(self, content: Any, time_s: float) -> None:
        if not time_s > self._last_s:
            raise ValueError("its times do not rise")
        if self.samples == 0:
            self.begin_s = time_s
        if self.sensor == "video":
            self._write_picture(content, time_s - self.begin_s)
        else:
            row = _imu(content) if self.sensor == "imu" else self._angles(content)
            if self._table is None:
                self._table = self.path.open("w", encoding="utf-8")
                self._table.write(",".join(["time_s", *row]) + "\n")
            cells = [time_s - self.begin_s, *row.values()]
            texts = ("" if math.isnan(value) else f"{value:.9g}" for value in cells)
            self._table.write(",".join(texts) + "\n")
        self._step_s = time_s - self._last_s if self.samples else 0.0
        self._last_s = time_s
        self.samples += 1

    def _angles(self, content: Any) -> dict[str, float]:
        """Joints as points; one that a later message lacks is missing there."""
        positions = dict(zip(map(str, content.name), map(float, content.position), strict=True))
        self._joints = self._joints or list(positions)
        if not 0 < len(self._joints) <= _MOST_JOINTS:
            raise ValueError(f"it has {len(self._joints)} joints; 1 to {_MOST_JOINTS} are read")
        angles = [positions.get(name, math.nan) for name in self._joints]
        names = [re.sub(r"[^A-Za-z0-9-]+", "-", name) for name in self._joints]
        return {
            f"robot.{name}_{axis}": value(angle)
            for name, angle in zip(names, angles, strict=True)
            for axis, value in (("x", math.cos), ("y", math.sin))
        }

    def _write_picture(self, content: Any, time_s: float) -> None:
        import av

        data = bytes(content.data)
        coded = str(getattr(content, "format", "") or getattr(content, "encoding", "")).lower()
        demuxer = next((name for part, name in _FORMATS.items() if part in coded), None)
        if demuxer is None:
            raise ValueError(f"pictures coded as {coded[:40]!r} are not read")
        kinds = {match[1][0] & 31 for match in _NAL.finditer(data)} if demuxer == "h264" else {5}
        if self._video is None:
            if demuxer == "h264" and not {5, 7} <= kinds:
                raise ValueError("pictures before the first key frame are left out")
            with av.open(io.BytesIO(data), format=demuxer) as source:
                target = av.open(str(self.path), "w")
                self._video = target, target.add_stream_from_template(source.streams.video[0])
                self._video[1].time_base = _CLOCK
        target, stream = self._video
        packet = av.Packet(data)
        packet.stream, packet.time_base, packet.is_keyframe = stream, _CLOCK, 5 in kinds
        packet.pts = packet.dts = round(time_s / _CLOCK)
        packet.duration = round((self._step_s or 0.1) / _CLOCK)
        target.mux(packet)

    def close(self) -> None:
        """End the file."""
        if self._table is not None:
            self._table.close()
        if self._video is not None:
            self._video[0].close()

    def row(self) -> UnpackedTopic:
        """The topic as it was written."""
        if self.samples < 2:
            fault = self.fault or ("it has one sample" if self.samples else "")
            return UnpackedTopic(self.topic, self.kind, self.count, fault=fault)
        return UnpackedTopic(
            self.topic, self.kind, self.count, self.sensor, self.path, self.begin_s, self.fault
        )


def _imu(content: Any) -> dict[str, float]:
    """Acceleration and angular rate; -1 in the first covariance states that one is not measured."""
    row: dict[str, float] = {}
    for name, sensor, unit in (
        ("linear_acceleration", "acc", "ms2"),
        ("angular_velocity", "gyro", "rads"),
    ):
        vector, covariance = getattr(content, name), getattr(content, f"{name}_covariance")
        is_measured = covariance[0] != -1
        for axis in "xyz":
            value = float(getattr(vector, axis)) if is_measured else math.nan
            row[f"{sensor}_{axis}_{unit}"] = value
    return row


__all__ = ["UnpackedRobot", "UnpackedTopic", "unpack"]
