"""Recordings of robots become bundles: MCAP and ROS bags, made by the libraries themselves."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.command_line import invoke
from tests.refusals import refused
from vlar.errors import DecodeError, UsageError
from vlar.media.bundle import bundle_parts
from vlar.media.lookup import read_clip
from vlar.plugins.robots.unpacking import unpack

mcap_writer = pytest.importorskip("mcap.writer")
rosbags = pytest.importorskip("rosbags")
N, STEP_NS, START_NS = 10, 100_000_000, 1_700_000_000_000_000_000
IMAGE, VIDEO = "foxglove.CompressedImage", "foxglove.CompressedVideo"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")


def frames() -> Iterator[np.ndarray]:
    for number in range(N):
        picture = np.full((64, 96, 3), 40, np.uint8)
        picture[20:44, 6 * number : 6 * number + 24] = (220, 180, 60)
        yield picture


def jpeg(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def h264() -> list[bytes]:
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 96, 64, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 10), Fraction(10)
    context.options = {"g": "5", "tune": "zerolatency"}
    packets: list[bytes] = []
    for number, picture in enumerate(frames()):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += map(bytes, context.encode(frame))
    return packets


def left_edges(path: Path) -> list[int]:
    """Column at which the square of each frame begins."""
    return [int((frame[32, :, 0] > 130).argmax()) for frame in read_clip(path, None, N).data]


def mcap_file(
    path: Path,
    pictures: list[bytes],
    kind: str = VIDEO,
    cut: int = 0,
    topics: tuple[str, ...] = ("/camera",),
) -> Path:
    """Pictures as JSON on topics, and a topic that nothing reads."""
    with path.open("wb") as stream:
        writer = mcap_writer.Writer(stream, chunk_size=2000)
        writer.start()
        channels = {
            topic: writer.register_channel(
                topic, "json", writer.register_schema(name, "jsonschema", b"{}")
            )
            for topic, name in (("/log", "foxglove.Log"), *((topic, kind) for topic in topics))
        }
        for number, data in enumerate(pictures):
            text = {
                "data": base64.b64encode(data).decode(),
                "format": "h264" if kind == VIDEO else "jpeg",
            }
            time_ns = START_NS + number * STEP_NS
            for topic in channels:
                content = {"message": "x"} if topic == "/log" else text
                writer.add_message(channels[topic], time_ns, json.dumps(content).encode(), time_ns)
        writer.finish()
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    return path


@pytest.mark.parametrize("kind", [IMAGE, VIDEO])
def test_pictures_keep_their_bytes_and_times(tmp_path: Path, kind: str):
    pictures = h264() if kind == VIDEO else [jpeg(frame) for frame in frames()]
    made = unpack(mcap_file(tmp_path / "run.mcap", pictures, kind), tmp_path / "out")
    assert made.left_out == f"/log (foxglove.Log, {N})"
    assert not made.cut_off
    (path,) = (part.path for part in bundle_parts(made.bundle).values())
    assert left_edges(path) == pytest.approx([6 * number for number in range(N)], abs=1)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert [float(p.pts * p.time_base) for p in packets] == pytest.approx(
        [n / 10 for n in range(N)]
    )
    if kind == IMAGE:
        assert [bytes(p) for p in packets] == pictures


def test_pictures_in_protobuf(tmp_path: Path):
    descriptor = pytest.importorskip("google.protobuf.descriptor_pb2")
    file = descriptor.FileDescriptorProto(name="x.proto", package="foxglove", syntax="proto3")
    kind = file.message_type.add(name="CompressedImage")
    kind.field.add(name="data", number=2, type=12, label=1)
    kind.field.add(name="format", number=3, type=9, label=1)
    path = tmp_path / "run.mcap"
    with path.open("wb") as stream:
        writer = mcap_writer.Writer(stream)
        writer.start()
        types = descriptor.FileDescriptorSet(file=[file]).SerializeToString()
        schema = writer.register_schema(IMAGE, "protobuf", types)
        channel = writer.register_channel("/camera", "protobuf", schema)
        for number, picture in enumerate(frames()):
            data, time_ns = jpeg(picture), START_NS + number * STEP_NS
            length = len(data)
            head = bytes([0x12, length & 127 | 128, length >> 7]) if length > 127 else b""
            writer.add_message(channel, time_ns, head + data + b"\x1a\x04jpeg", time_ns)
        writer.finish()
    (topic,) = unpack(path, tmp_path / "out").topics
    assert (topic.sensor, topic.messages, topic.fault) == ("video", N, "")


def test_a_file_that_is_cut_off_gives_what_comes_before(tmp_path: Path):
    made = unpack(mcap_file(tmp_path / "run.mcap", h264(), cut=1200), tmp_path / "out")
    assert made.cut_off
    assert 2 <= made.topics[1].messages <= N


def test_a_file_that_is_cut_off_before_a_message_is_named_as_that(tmp_path: Path):
    path = mcap_file(tmp_path / "run.mcap", [jpeg(frame) for frame in frames()], IMAGE)
    path.write_bytes(path.read_bytes()[:300])
    refused(DecodeError, "cut off before a whole message", unpack, path, tmp_path / "out")
    none = mcap_file(tmp_path / "none.mcap", [], IMAGE)
    refused(DecodeError, "it has no messages", unpack, none, tmp_path / "out")


def bag(folder: Path, version: int) -> Path:
    """A ROS bag with pictures, an IMU that begins later, an arm, and a topic that nothing reads."""
    from rosbags.typesys import Stores, get_typestore

    store: Any = get_typestore(Stores.ROS1_NOETIC if version == 1 else Stores.ROS2_HUMBLE)
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    more = {"seq": 0} if version == 1 else {}
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="base", **more)
    vector = types["geometry_msgs/msg/Vector3"]
    turn = types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    covered, none, no = np.zeros(9), np.full(9, -1.0), [np.zeros(0)] * 2
    if version == 1:
        from rosbags.rosbag1 import Writer

        path = folder / "run.bag"
        writer: Any = Writer(path)
        packed = store.serialize_ros1
    else:
        from rosbags.rosbag2 import Writer as Writer2

        path = folder / "run"
        writer = Writer2(path, version=9)
        packed = store.serialize_cdr
    with writer:
        names = {"/camera": "sensor_msgs/msg/CompressedImage", "/imu": "sensor_msgs/msg/Imu",
                 "/arm": "sensor_msgs/msg/JointState", "/text": "std_msgs/msg/String"}  # fmt: skip
        topics = {t: writer.add_connection(t, name, typestore=store) for t, name in names.items()}
        for number, picture in enumerate(frames()):
            rows: dict[str, tuple[Any, ...]] = {
                "/camera": (header, "jpeg", np.frombuffer(jpeg(picture), np.uint8)),
                "/arm": (header, ["shoulder", "elbow"], np.array([0.0, number / 10]), *no),
                "/text": ("x",),
            }  # fmt: skip
            if number >= 2:
                acc = vector(float(number), 0.0, 9.81)
                rows["/imu"] = (header, turn, covered, vector(0.0, 0.0, 0.0), none, acc, covered)
            for topic, values in rows.items():
                message = types[names[topic]](*values)
                time_ns = START_NS + number * STEP_NS
                writer.write(topics[topic], time_ns, packed(message, names[topic]))
    return path


@pytest.mark.parametrize("version", [1, 2])
def test_a_bag_becomes_a_bundle_of_its_sensors(tmp_path: Path, version: int):
    path = bag(tmp_path, version)
    made = unpack(path, tmp_path / "out")
    parts = bundle_parts(made.bundle)
    assert list(parts) == ["video", "imu", "tracks"]
    assert parts["imu"].offset_s == pytest.approx(0.2)
    assert made.left_out == f"/text (std_msgs/msg/String, {N})"
    clip = read_clip(made.bundle, None, 4)
    assert set(clip.parts) == {"video", "imu", "tracks"}
    imu = read_clip(parts["imu"].path)
    assert imu.data[:, 0] == pytest.approx(range(2, N))
    assert np.isnan(imu.data[:, 3:]).all()
    arm = read_clip(parts["tracks"].path)
    assert list(arm.meta["points"]) == ["shoulder", "elbow"]
    angles = np.arctan2(arm.data[:, 0, 1, 1], arm.data[:, 0, 1, 0])
    assert angles == pytest.approx(np.arange(N) / 10, abs=1e-6)
    chosen = unpack(path, tmp_path / "out2", ["/imu"])
    assert list(bundle_parts(chosen.bundle)) == ["imu"]
    assert "/camera" in chosen.left_out


def test_topics_whose_names_are_written_alike_have_files_of_their_own(tmp_path: Path):
    topics = ("/a/js", "/a_js", "/a/js-2", "/a js")
    pictures = [jpeg(frame) for frame in frames()]
    made = unpack(
        mcap_file(tmp_path / "run.mcap", pictures, IMAGE, topics=topics), tmp_path / "out"
    )
    paths = [row.path for row in made.topics if row.path]
    names = {"run.a_js.mp4", "run.a_js2.mp4", "run.a_js-2.mp4", "run.a_js3.mp4"}
    assert {path.name for path in paths} == names
    assert {len(left_edges(path)) for path in paths} == {N}


def test_the_command(tmp_path: Path):
    path = mcap_file(tmp_path / "run.mcap", [jpeg(frame) for frame in frames()], IMAGE)
    done = invoke(
        ["bundle", str(path), "--out", str(tmp_path / "out"), "--topics", "/camera", "--json"]
    )
    row = json.loads(done.stdout)
    assert row["topics"][1]["sensor"] == "video"
    assert "left out: /log" in done.stderr
    refused(
        UsageError, "no topic '/x'; there are /log, /camera", unpack, path, tmp_path / "o", ["/x"]
    )
