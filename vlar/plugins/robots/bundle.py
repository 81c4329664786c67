"""``vlar bundle`` of the recording of a robot."""

from __future__ import annotations

from pathlib import Path

from vlar.apps.cli import output
from vlar.apps.cli.exits import EXIT_FINE
from vlar.formatting import counted
from vlar.plugins.robots.unpacking import unpack


def write(recording: Path, out: Path, topics: str | None) -> int:
    """Write a recording as a bundle and show its topics; the exit code."""
    names = [name.strip() for name in (topics or "").split(",") if name.strip()]
    unpacked = unpack(recording, out, names)
    lines = [
        f"  {row.topic}  {row.sensor}, {counted(row.messages, 'messages')}: {row.path}"
        for row in unpacked.topics
        if row.path is not None
    ]
    output.row(unpacked, f"{unpacked.bundle}", *lines)
    if unpacked.left_out:
        output.note(f"left out: {unpacked.left_out}")
    if unpacked.cut_off:
        output.note(f"{recording} ends in the middle of a record: what comes before it was read")
    return EXIT_FINE
