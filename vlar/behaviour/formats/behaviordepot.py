"""Behaviours of BehaviorDEPOT: ``hBehavior`` in a MATLAB file."""

from __future__ import annotations

import io
import struct
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.files.arrays import is_matlab, read_structs, require_inside
from vlar.registry import register
from vlar.segments.base import (
    MOST,
    AnnotationFormat,
    Options,
    Rows,
    Source,
    Table,
    Written,
    require_fps,
)
from vlar.segments.segment import Segment
from vlar.segments.spans import frames_notes, frames_of, stored_rate, without_overlap
from vlar.version import pip_install

_MOST_FRAMES = 50_000_000
_HDF = b"\x89HDF\r\n\x1a\n"


@register("annotation", "behaviordepot")
class BehaviorDepot(AnnotationFormat):
    """BehaviorDEPOT hBehavior: a struct a behaviour with Bouts (1-based, inclusive) and Vector.

    MATLAB 7.3 is read with h5py and not written.
    """

    endings = frozenset({".mat"})
    default_for = frozenset({".mat"})
    holds = frozenset({"recording"})
    loses = "times below a frame; overlaps; points become one frame"

    def claims(self, source: Source) -> bool:
        """Return whether it is a MATLAB file."""
        return is_matlab(source.data[:128]) or source.data[:8] == _HDF

    def read(self, source: Source, options: Options) -> Table:
        """The bouts of every behaviour; the recording is VideoName, else the file."""
        content = _content(source)
        fps = _number(content.get("FrameRate")) or require_fps(options)
        recording = content.get("VideoName") or source.stem
        segments: list[Segment] = []
        for label, fields in content.items():
            if not isinstance(fields, Mapping) or "Bouts" not in fields:
                continue
            bouts = np.asarray(fields["Bouts"], np.float64)
            if bouts.size and (bouts.ndim != 2 or bouts.shape[1] != 2):
                raise ValueError(f"Bouts of {label!r} have the shape {bouts.shape}, not (n, 2)")
            segments += [
                Segment(str(recording), (start - 1) / fps, end / fps, label)
                for start, end in (bouts.tolist() if bouts.size else ())
            ]
        total = _number(content.get("TotalFrames"))
        return Table(segments, (), {}, {str(recording): total / fps} if total else {})

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The struct in MATLAB 5, with Vector to the last frame."""
        content = _content(existing) if existing else {}
        if existing and not is_matlab(existing.data[:20]) | existing.data.startswith(b"MATLAB 5"):
            raise ValueError("it is of MATLAB 7.3, which is read alone; choose another name")
        stated = _number(content.get("FrameRate"))
        fps = stated or stored_rate(segments, options.fps and require_fps(options))
        rows, notes = without_overlap(segments, lambda s: s.label)
        notes += frames_notes(rows, fps, self.name)
        total = max(
            [int(_number(content.get("TotalFrames")) or 0), *(frames_of(r, fps)[1] for r in rows)]
        )
        spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row in rows:
            spans[row.label].append(frames_of(row, fps))
        if 8 * total * len(spans) > MOST / 2:
            raise ValueError(f"it would have {total:,} frames of {len(spans)} labels; write .csv")
        name = rows[0].recording if rows else ""
        fields: dict[str, Any] = {
            "VideoName": content.get("VideoName") or name,
            "FrameRate": fps,
            "TotalFrames": total,
        }
        for label, bouts in sorted(spans.items()):
            if not label.isidentifier() or len(label) > 63:
                raise ValueError(f"{label!r} is not a name of a field of MATLAB; rename it")
            vector = np.zeros((1, total))
            for start, end in bouts:
                vector[0, start:end] = 1
            fields[label] = {
                "Bouts": np.array([[start + 1, end] for start, end in bouts], np.float64),
                "Length": np.array([[end - start] for start, end in bouts], np.float64),
                "Count": len(bouts),
                "Vector": vector,
            }
        body = _element("hBehavior", fields)
        head = b"MATLAB 5.0 MAT-file, vlar".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
        return head + body, notes


def _content(source: Source) -> dict[str, Any]:
    """The struct hBehavior, or the variables of the file where there is none.

    Raises:
        ValueError: it cannot be read, or has no behaviours.
    """
    is_hdf = source.data.startswith(b"MATLAB 7.3") or source.data[:8] == _HDF
    values = _of_hdf(source) if is_hdf else read_structs(source.data)
    content = values.get("hBehavior", values)
    if not isinstance(content, dict) or not any(isinstance(v, Mapping) for v in content.values()):
        raise ValueError("it has no struct hBehavior with behaviours")
    return content


def _of_hdf(source: Source) -> dict[str, Any]:
    """Content of MATLAB 7.3, whose arrays are transposed."""
    try:
        import h5py
    except ImportError:
        raise ValueError(f"MATLAB 7.3 needs h5py; {pip_install('pose')}") from None
    try:
        with h5py.File(io.BytesIO(source.data), "r") as file:
            return _group(file, 4)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"it is damaged ({str(error)[:80]})") from None


def _group(group: Any, depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in group if depth else ():
        if name.startswith("#") or group.get(name, getlink=True).__class__.__name__ != "HardLink":
            continue
        item = group[name]
        if hasattr(item, "keys"):
            values[name] = _group(item, depth - 1)
        elif item.dtype.kind in "iufb" and item.size <= _MOST_FRAMES:
            require_inside(item)
            array = item[()].T
            is_text = item.attrs.get("MATLAB_class") == b"char"
            empty = bool(item.attrs.get("MATLAB_empty", 0))
            text = "".join(map(chr, array.ravel().tolist())) if is_text else ""
            values[name] = text if is_text else np.zeros((0, 2)) if empty else array
    return values


def _number(value: Any) -> float | None:
    array = np.asarray(value if value is not None else (), np.float64)
    return float(array.ravel()[0]) if array.size else None


def _tagged(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")


def _element(name: str, value: Any) -> bytes:
    """A matrix of MATLAB 5: a struct, a text or doubles."""
    array: npt.NDArray[np.float64] = np.zeros((1, 1))
    if isinstance(value, dict):
        kind, shape = 2, (1, 1)
        keys = b"".join(key.encode("latin-1").ljust(64, b"\0") for key in value)
        inner = [_element("", item) for item in value.values()]
        data = struct.pack("<HHi", 5, 4, 64) + _tagged(1, keys) + b"".join(inner)
    elif isinstance(value, str):
        kind, shape = 4, (1, len(value.encode("utf-16-le")) // 2)
        data = _tagged(4, value.encode("utf-16-le"))
    else:
        array = np.atleast_2d(np.asarray(value, np.float64))
        kind, shape = 6, array.shape
        data = _tagged(9, array.tobytes(order="F"))
    flags = _tagged(6, struct.pack("<II", kind, 0))
    body = flags + _tagged(5, struct.pack("<ii", *shape)) + _tagged(1, name.encode()) + data
    return struct.pack("<II", 14, len(body)) + body
