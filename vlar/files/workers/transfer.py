"""Objects from one process to another: small parts over a socket, arrays through shared memory."""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Sequence
from typing import Any

READY = b"R"
"""From the worker: it takes jobs."""
JOB = b"J"
"""To the worker: a function, its arguments and the seconds it may take."""
ITEM = b"I"
"""From the worker: the next result."""
TAKEN = b"T"
"""To the worker: a result has been copied out."""
END = b"E"
"""From the worker: the job is done."""
ERROR = b"X"
"""From the worker: the exception that ended the job."""

EXIT_MEMORY = 86
"""Exit code of a worker that took too much memory."""
EXIT_ALONE = 87
"""Exit code of a worker whose program is gone."""


_HEADER = struct.Struct(">BQ")
_ALIGN = 64
_GROW = 1 << 20
_READ_AT_MOST = 1 << 30
N_BLOCKS = 2
"""Blocks of shared memory: one is filled while the other is copied out."""


class SharedBlock:
    """Memory that both processes map. It has no name and is gone when both have closed it.

    Args:
        descriptor: Descriptor of the memory; both processes have it open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def new(cls) -> SharedBlock:
        """An empty one."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("vlar-frames"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    @property
    def descriptor(self) -> int:
        """Descriptor to hand to the other process."""
        return self._descriptor

    def write(self, buffers: Sequence[memoryview]) -> list[tuple[int, int]]:
        """Copy buffers in, from the start; returns offset and length of each."""
        spans: list[tuple[int, int]] = []
        end = 0
        for buffer in buffers:
            spans.append((end, buffer.nbytes))
            end += -(-buffer.nbytes // _ALIGN) * _ALIGN
        if end:
            target = self._mapped(end)
            for (start, length), buffer in zip(spans, buffers, strict=True):
                target[start : start + length] = buffer
        return spans

    def read(self, spans: Sequence[tuple[int, int]]) -> list[bytearray]:
        """Copies of what the other process wrote."""
        if not spans:
            return []
        source = self._mapped(max(start + length for start, length in spans))
        return [bytearray(source[start : start + length]) for start, length in spans]

    def _mapped(self, size: int) -> memoryview:
        if self._map is None or len(self._map) < size:
            size = -(-size // _GROW) * _GROW
            if os.fstat(self._descriptor).st_size < size:
                os.ftruncate(self._descriptor, size)
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self._descriptor, size)
        return memoryview(self._map)

    def close(self) -> None:
        """Give the memory back."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Channel:
    """Messages of a kind (one byte) and a content over a socket.

    Args:
        connection: The socket. Where it has a time limit, ``receive`` may raise TimeoutError.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """Send one message.

        Raises:
            OSError: the other side is gone.
        """
        self.connection.sendall(_HEADER.pack(kind[0], len(content)) + content)

    def receive(self) -> tuple[bytes, bytes]:
        """The next message.

        Raises:
            EOFError: the other side is gone.
        """
        kind, length = _HEADER.unpack(self._exactly(_HEADER.size))
        if length > _READ_AT_MOST:
            raise EOFError("a message that is too long")
        return bytes([kind]), self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        parts: list[bytes] = []
        while length:
            part = self.connection.recv(min(length, _GROW))
            if not part:
                raise EOFError("the other side is gone")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def packed(item: object, block: SharedBlock) -> bytes:
    """A message that ``unpacked`` turns into the item; its arrays are put into the block."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(item, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    return pickle.dumps((data, block.write(views)))


def unpacked(message: bytes, block: SharedBlock) -> Any:
    """The item of a message; its arrays are copied out of the block."""
    data, spans = pickle.loads(message)
    return pickle.loads(data, buffers=block.read(spans))
