"""Bundle files ``NAME.bundle.json``: the recordings of several sensors of one moment.

    {"skeleton": "a_skeleton.mat", "imu": {"path": "a_inertial.mat", "offset_s": 0.12}}

A key names a sensor, paths count from the file. ``offset_s`` is when a part begins on the clock of
the first part. ``"clock": "share"`` lines a part up by its share of the take, for recordings whose
rates are nominal. A sensor without a key was not recorded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar.errors import DecodeError
from vlar.files.reading import MB, number, parse_json, read_file
from vlar.types import Clip, Failure

ENDING = ".bundle.json"
SHARE = "share"
FAILED = "failed"
"""Key of ``Clip.meta``: the parts that could not be read, with the message of each."""
PART = "part"
"""Kind of the failure of such a part."""
_MOST_PARTS = 16
LONGEST_S = 1e7
_LONGEST_PATH = 4096


@dataclass(frozen=True)
class BundlePart:
    """One recording of a bundle.

    Attributes:
        path: The recording.
        offset_s: Seconds on the clock of the first part at which it begins.
        by_share: Whether it lasts as long as the first part, whatever its own clock states.
    """

    path: Path
    offset_s: float = 0.0
    by_share: bool = False


def is_bundle(path: Path) -> bool:
    """Return whether a path is named like a bundle file."""
    return path.name.lower().endswith(ENDING)


def bundle_parts(path: Path) -> dict[str, BundlePart]:
    """The parts of a bundle file by sensor, in the order of the file; none is opened.

    Raises:
        DecodeError: it cannot be read, is not a bundle, lists a bundle, or leads outside its folder
            by a link.
    """
    try:
        rows = parse_json(read_file(path, MB, recording=True))
        if not isinstance(rows, dict) or not 1 <= len(rows) <= _MOST_PARTS:
            raise ValueError(f"it is not an object of 1 to {_MOST_PARTS} sensors")  # noqa: TRY301
        parts = {sensor: _part(path.parent, sensor, row) for sensor, row in rows.items()}
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(
            f'{path}: not a readable bundle: {reason}; write {{"SENSOR": "FILE", ...}}, see '
            "docs/bundles.md"
        ) from error
    first = next(iter(parts.values())).offset_s
    return {
        sensor: BundlePart(part.path, part.offset_s - first, part.by_share)
        for sensor, part in parts.items()
    }


def failed_parts(clips: Iterable[Clip]) -> tuple[Failure, ...]:
    """The parts of clips of one bundle that could not be read, each once."""
    texts = [(clip.path, text) for clip in clips for text in clip.meta.get(FAILED, {}).values()]
    return tuple(Failure(path, PART, text) for path, text in dict.fromkeys(texts))


def bundle_files(path: Path) -> list[Path]:
    """The recordings of a bundle file; none of another file, or of one that cannot be read."""
    try:
        return [part.path for part in bundle_parts(path).values()] if is_bundle(path) else []
    except DecodeError:
        return []


def write_bundle(path: Path, parts: Mapping[str, BundlePart]) -> Path:
    """Write a bundle file; paths become relative to its folder.

    Args:
        path: ``NAME.bundle.json``.
        parts: By sensor, the one whose clock counts first.

    Returns:
        The path.
    """
    rows: dict[str, Any] = {}
    for sensor, part in parts.items():
        part_path = os.path.relpath(part.path, path.parent)
        more = {"offset_s": part.offset_s} if part.offset_s else {}
        more |= {"clock": SHARE} if part.by_share else {}
        rows[sensor] = {"path": part_path, **more} if more else part_path
    path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return path


def _part(folder: Path, sensor: str, row: object) -> BundlePart:
    row = {"path": row} if isinstance(row, str) else row
    if not isinstance(row, dict) or not {"path"} <= row.keys() <= {"path", "offset_s", "clock"}:
        raise ValueError(f"{sensor!r} is not a path, or an object of path, offset_s and clock")
    text = row["path"]
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_PATH or "\0" in text:
        raise ValueError(f"the path of {sensor!r} is {str(text)[:40]!r}")
    if row.get("clock", SHARE) != SHARE or ("clock" in row and "offset_s" in row):
        raise ValueError(f"the clock of {sensor!r} is not {SHARE!r}, or has an offset_s too")
    facts = {"offset_s": 0.0, **row}
    offset_s = number(facts, "offset_s", above=-LONGEST_S, at_most=LONGEST_S)
    part_path = Path(os.path.normpath(folder / text))
    if is_bundle(part_path):
        raise ValueError(f"it lists the bundle {text!r}: list its recordings themselves")
    # A path may lead elsewhere openly; one that only a link leads elsewhere is refused.
    home = Path(os.path.normpath(folder))
    if part_path.is_relative_to(home) and not part_path.resolve().is_relative_to(home.resolve()):
        raise ValueError(f"a link leads {text!r} out of its folder: name the recording itself")
    return BundlePart(part_path, offset_s, "clock" in row)
