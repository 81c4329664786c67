"""Messages of recordings of robots: MCAP files, ROS 1 bags, and folders of ROS 2 bags.

MCAP is read in the order of the file, chunk after chunk, also where the end is missing; bags are
read by rosbags. A message is decoded by vlar's own list of types: definitions of ROS that a file
brings along would become code, and are not read. Compressed chunks are unpacked to the size that
was compared with a limit, never further.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vlar.files.opening import open_input, open_native, require_inside
from vlar.files.reading import MB, check_file, parse_json

_MOST_RECORD = 512 * MB
_METADATA = "metadata.yaml"
_STAMPED = "{time} timestamp\nstring frame_id\nuint8[] data\nstring format\n"
_TYPES = {  # of packages that rosbags does not have
    "foxglove_msgs/msg/CompressedImage": _STAMPED,
    "foxglove_msgs/msg/CompressedVideo": _STAMPED,
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "std_msgs/Header header\nint32 width\n"
    "int32 height\nstring encoding\nuint64 pts\nuint8 flags\nbool is_bigendian\nuint8[] data\n",
}
Decode = Callable[[bytes], Any]


@dataclass(frozen=True)
class RobotMessage:
    """A message as it lies in a recording.

    Attributes:
        topic: Its topic.
        kind: Name of its type, such as ``sensor_msgs/msg/Imu``.
        time_ns: Time at which it was recorded.
        data: Its bytes.
        decode: Makes an object of them, with the fields of the type; raises where it cannot.
    """

    topic: str
    kind: str
    time_ns: int
    data: bytes
    decode: Decode


def messages(path: Path) -> Iterator[RobotMessage]:
    """The messages of a recording; of MCAP in the order of the file, else of time.

    Raises:
        OSError: it cannot be opened.
        EOFError: an MCAP file is cut off, after its last whole message.
        Exception: the libraries' own, where it is damaged.
    """
    return _of_mcap(path) if path.suffix.lower() == ".mcap" else _of_bag(path)


def _of_mcap(path: Path) -> Iterator[RobotMessage]:
    from mcap.exceptions import EndOfFile
    from mcap.records import Channel, Chunk, Schema
    from mcap.records import Message as Record
    from mcap.stream_reader import StreamReader, breakup_chunk

    schemas: dict[int, Schema] = {}
    channels: dict[int, tuple[str, str, Decode]] = {}
    with open_input(path, recording=True) as stream:
        try:
            reader = StreamReader(stream, emit_chunks=True, record_size_limit=_MOST_RECORD)
            for whole in reader.records:
                for record in breakup_chunk(_plain(whole)) if isinstance(whole, Chunk) else [whole]:
                    if isinstance(record, Schema):
                        schemas[record.id] = record
                    elif isinstance(record, Channel):
                        schema = schemas.get(record.schema_id)
                        kind = schema.name if schema else ""
                        decode = _decoder(record.message_encoding, kind, schema)
                        channels[record.id] = record.topic, kind, decode
                    elif isinstance(record, Record) and record.channel_id in channels:
                        topic, kind, decode = channels[record.channel_id]
                        yield RobotMessage(topic, kind, record.log_time, record.data, decode)
        except EndOfFile:
            raise EOFError from None


def _plain(chunk: Any) -> Any:
    """A chunk of MCAP, unpacked to the size that it states."""
    size, data = chunk.uncompressed_size, chunk.data
    if size > _MOST_RECORD:
        raise ValueError(f"a chunk of it has {size / MB:,.0f} MB; {_MOST_RECORD // MB} are read")
    if chunk.compression == "zstd":
        import zstandard

        data = zstandard.ZstdDecompressor().stream_reader(data).read(size)
    elif chunk.compression == "lz4":
        import lz4.frame

        data = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size)
    elif chunk.compression:
        raise ValueError(f"its chunks are compressed by {chunk.compression[:20]!r}")
    return replace(chunk, compression="", data=data)


def _of_bag(path: Path) -> Iterator[RobotMessage]:
    from rosbags import rosbag1, rosbag2

    if not path.is_dir():
        with open_native(path) as name, rosbag1.Reader(name) as bag:
            yield from _of_reader(bag, "ros1")
        return
    check_file(path / _METADATA, MB, links=False)
    for file in path.iterdir():
        require_inside(file)
        check_file(file, 1 << 40, links=False)
        if file.suffix in (".zstd", ".lz4"):
            raise ValueError(f"{file.name} is compressed as a whole; unpack the bag first")
    with rosbag2.Reader(path) as bag:
        yield from _of_reader(bag, "cdr")


def _of_reader(bag: Any, encoding: str) -> Iterator[RobotMessage]:
    decoders = {c.id: _decoder(encoding, c.msgtype, None) for c in bag.connections}
    for connection, time_ns, data in bag.messages():
        decode = decoders[connection.id]
        yield RobotMessage(connection.topic, connection.msgtype, time_ns, bytes(data), decode)


def _decoder(encoding: str, kind: str, schema: Any) -> Decode:
    """Makes objects of the messages of a type; raises where it is not read, once it is asked."""

    @cache
    def made() -> Decode:
        if encoding in ("cdr", "ros1"):
            store = _store(encoding)
            name = kind if "/msg/" in kind else "/msg/".join(kind.rsplit("/", 1))
            if name not in store.types:
                raise ValueError(f"messages {kind[:60]!r} are not known")
            method = store.deserialize_ros1 if encoding == "ros1" else store.deserialize_cdr
            return lambda data: method(data, name)
        if encoding == "protobuf" and schema is not None:
            return _protobuf(schema)
        if encoding == "json":
            return _from_json
        raise ValueError(f"messages encoded as {encoding[:20]!r} are not read")

    return lambda data: made()(data)


@cache
def _store(encoding: str) -> Any:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    is_first = encoding == "ros1"
    store = get_typestore(Stores.ROS1_NOETIC if is_first else Stores.ROS2_HUMBLE)
    for name, text in _TYPES.items():
        stamp = "time" if is_first else "builtin_interfaces/Time"
        store.register(get_types_from_msg(text.format(time=stamp), name))
    return store


def _protobuf(schema: Any) -> Decode:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema.data).file:
        pool.Add(file)
    message_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name))
    return message_class.FromString


def _from_json(data: bytes) -> Any:
    fields = parse_json(data)
    return SimpleNamespace(**{**fields, "data": base64.b64decode(fields.get("data", ""))})
