"""vlar's own skeleton file (``.npz``): the arrays ``points``, ``confidence`` and ``facts``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlar.safety.files import require_memory
from vlar.safety.numbers import number
from vlar.safety.numpy_files import read_npz
from vlar.safety.strict_json import parse_json
from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    BYTES_EACH,
    Bodies,
    SkeletonFormat,
    caption,
    skeleton_format,
)

_UNITS = ("m", "px", "picture")


@skeleton_format("npz")
class OwnFile(SkeletonFormat):
    """What ``vlar pose --skeletons`` writes: one recording, and its facts as JSON."""

    order = 15
    endings = frozenset({".npz"})

    def matches(self, head: Head) -> bool:
        """By the name of its first array."""
        return head.data[:2] == b"PK" and b"facts.npy" in head.data[:200]

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        arrays = read_npz(path)
        points, facts = arrays.get("points"), arrays.get("facts")
        if points is None or facts is None or points.dtype.kind != "f" or facts.ndim:
            raise ValueError("it has no arrays 'points' and 'facts'")
        require_memory(BYTES_EACH * points.size)
        known: Any = parse_json(str(facts))
        if not isinstance(known, dict) or known.get("unit") not in _UNITS:
            raise ValueError("its facts have no unit m, px or picture")
        confidence = arrays.get("confidence")
        if confidence is not None and (
            confidence.shape != points.shape[:3] or confidence.dtype.kind != "f"
        ):
            raise ValueError("its confidence is not of the shape of its points")
        size = known.get("size")
        meta: dict[str, Any] = {}
        if isinstance(size, list) and len(size) == 2:
            sides: dict[str, Any] = dict(zip(("width", "height"), size, strict=True))
            meta["size"] = [number(sides, side, above=0, at_most=1e5) for side in sides]
        yield Bodies(
            points.astype(np.float32),
            str(known.get("layout")),
            known["unit"],
            number(known, "rate_hz", above=0, at_most=10_000),
            None if confidence is None else confidence.astype(np.float32),
            caption(known.get("name", "")),
            caption(known.get("label", "")),
            meta,
        )


def write(path: Path, bodies: Bodies) -> None:
    """Write a recording into a file of its own.

    Raises:
        OSError: it cannot be written.
    """
    facts = {
        "layout": bodies.layout, "unit": bodies.unit, "rate_hz": bodies.rate_hz,
        "name": bodies.name, "label": bodies.label,
        **({"size": list(bodies.meta["size"])} if "size" in bodies.meta else {}),
    }  # fmt: skip
    arrays = {"facts": np.array(json.dumps(facts)), "points": bodies.points.astype(np.float32)}
    if bodies.confidence is not None:
        arrays["confidence"] = bodies.confidence.astype(np.float32)
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # pyright: ignore[reportArgumentType]
