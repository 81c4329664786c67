"""Members of a tar: their names, and where their bytes lie; nothing is unpacked.

Names and extended headers are bounded: the headers alone may state gigabytes, and a sparse member
states more than the archive holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 512
_LONGEST_HEADER = 1 << 16  # bytes of an extended header, or of a long name
_LARGEST = 1 << 50
_FILES = (b"\x00", b"0", b"7")  # kinds of members that are regular files
_PAX, _PAX_OF_ALL, _LONG_NAME, _LONG_LINK, _SPARSE = b"x", b"g", b"L", b"K", b"S"


@dataclass(frozen=True)
class Member:
    """A regular file in a tar.

    Attributes:
        name: Its path in the archive.
        start: Byte of the archive where its content begins.
        size: Bytes.
        mtime_s: Seconds since 1970.
    """

    name: str
    start: int
    size: int
    mtime_s: float


def members(stream: BinaryIO) -> Iterator[Member]:
    """The regular files of an uncompressed tar, in its order.

    Args:
        stream: The archive, which can be sought in.

    Raises:
        ValueError: it is not a tar, is cut off or damaged, or has a header that is too long; the
            message is a sentence.
    """
    total_size = stream.seek(0, 2)
    stream.seek(0)
    offset, more, shared, is_begun = 0, dict[str, str](), dict[str, str](), False
    while True:
        head = stream.read(_BLOCK)
        if len(head) < _BLOCK or not head.strip(b"\0"):
            break
        kind, size, name, mtime_s = _facts(head, is_begun)
        is_begun = True
        size = int(_number(more.get("size"), size))
        start, end = offset + _BLOCK, offset + _BLOCK + -(-size // _BLOCK) * _BLOCK
        if start + size > total_size:
            raise ValueError(f"it is cut off at byte {total_size:,}")
        if kind in (_PAX, _PAX_OF_ALL, _LONG_NAME, _LONG_LINK):
            if size > _LONGEST_HEADER:
                raise ValueError(f"a header in it has {size:,} bytes")
            content = stream.read(size)
            if kind == _LONG_NAME:
                more["path"] = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif kind != _LONG_LINK:
                (shared if kind == _PAX_OF_ALL else more).update(_records(content))
        else:
            limits = {**shared, **more}
            if kind == _SPARSE or any(key.startswith("GNU.sparse") for key in limits):
                raise ValueError("it holds sparse files; pack it without --sparse")
            if kind in _FILES:
                name = limits.get("path", name)
                yield Member(name, start, size, _number(limits.get("mtime"), mtime_s))
            more = {}
        stream.seek(end)
        offset = end
    if not is_begun and total_size:
        raise ValueError("it begins like no tar")


def _facts(head: bytes, is_begun: bool) -> tuple[bytes, int, str, float]:
    """Kind, size, name and time that a header states."""
    summed = sum(head[:148]) + 8 * 32 + sum(head[156:])
    try:
        if int(head[148:156].strip(b" \0") or b"0", 8) != summed:
            raise ValueError  # noqa: TRY301 - one message for all
        size, mtime = _stored(head[124:136]), _stored(head[136:148])
    except ValueError:
        what = "a header in it is damaged" if is_begun else "it begins like no tar"
        raise ValueError(what) from None
    name = head[:100].split(b"\0")[0]
    if (
        head[257:262] == b"ustar"
        and head[262:263] != b" "
        and (prefix := head[345:500]).strip(b"\0")
    ):
        name = prefix.split(b"\0")[0] + b"/" + name
    return head[156:157], size, name.decode("utf-8", "surrogateescape"), float(mtime)


def _stored(field: bytes) -> int:
    """A number of a header: octal digits, or bytes where it is large.

    Raises:
        ValueError: it is neither, negative or absurd.
    """
    number = (
        int.from_bytes(field[1:], "big")
        if field[:1] == b"\x80"
        else int(field.split(b"\0")[0].strip() or b"0", 8)
    )
    if not 0 <= number <= _LARGEST:
        raise ValueError("out of range")
    return number


def _records(content: bytes) -> dict[str, str]:
    """Keys and values of an extended header: ``LENGTH KEY=VALUE`` in lines."""
    records: dict[str, str] = {}
    offset = 0
    while offset < len(content) and content[offset : offset + 1].isdigit():
        length, _, _ = content[offset : offset + 20].partition(b" ")
        if not length.isdigit() or int(length) < len(length) + 3:
            raise ValueError("an extended header in it is damaged")
        key, _, value = content[offset + len(length) + 1 : offset + int(length) - 1].partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        offset += int(length)
    return records


def _number(text: str | None, otherwise: float) -> float:
    """A number that an extended header states, else that of the plain one."""
    if text is None:
        return otherwise
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _LARGEST:
        raise ValueError(f"an extended header in it states {text[:40]!r}")
    return value
