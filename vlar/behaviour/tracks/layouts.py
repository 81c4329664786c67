"""Layouts of tracks as data: ``layout.toml`` names points, bones, sides, parts and the clock.

fps = 30
px_per_cm = 32
front = "nose"
back = "tail_base"
bones = [["nose", "neck"], ["neck", "tail_base"]]
left = ["left_ear"]
right = ["right_ear"]
[parts]
head = ["nose", "left_ear", "right_ear"]
[names]
l_ear = "Left Ear"
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from vlar.files.compressed import inner_stem
from vlar.files.reading import MB, number, read_file
from vlar.toml import read_toml

LAYOUT, REGIONS = "layout.toml", "regions.toml"
_MOST = 4 * MB
_LISTS = ("points", "left", "right")
_NUMBERS = ("fps", "px_per_cm")
_TEXTS = ("front", "back", "unit")


@dataclass(frozen=True)
class TrackLayout:
    """Facts of the points of a kind of recording; each may be absent.

    Attributes:
        points: Names of the points that are used, in order; empty for all.
        bones: Pairs of names that hang together.
        left: Points of the left side.
        right: Points of the right side, in the same order.
        front: Point at the front of the body.
        back: Point at the back of the body.
        parts: Points by the name of a part of the body.
        names: Names of the points in a model by those of the recording.
        fps: Frames a second; None where it is not stated.
        px_per_cm: Pixels a centimetre; None where it is not stated.
        unit: Unit of the coordinates; the empty text where it is not stated.
    """

    points: tuple[str, ...] = ()
    bones: tuple[tuple[str, str], ...] = ()
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    front: str = ""
    back: str = ""
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    names: dict[str, str] = field(default_factory=dict[str, str])
    fps: float | None = None
    px_per_cm: float | None = None
    unit: str = ""

    def check(self, names: Sequence[str]) -> None:
        """Refuse a layout that names a point that a recording lacks.

        Raises:
            ValueError: it does; the message names the point.
        """
        listed = [
            *self.names,
            *self.points,
            *self.left,
            *self.right,
            *(n for pair in self.bones for n in pair),
        ]
        listed += [name for part in self.parts.values() for name in part]
        listed += [name for name in (self.front, self.back) if name]
        strange = next((name for name in listed if name not in names), None)
        if strange is not None:
            raise ValueError(
                f"the layout names the point {strange[:60]!r}; the recording has "
                f"{', '.join(names)[:120]}"
            )


def layout_of(path: Path, given: Path | None = None) -> TrackLayout:
    """The layout of a recording.

    Args:
        path: The recording; ``NAME.toml`` or ``layout.toml`` next to it is read.
        given: A file that is read instead; None for the one next to it.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is malformed; the message is a sentence.
    """
    candidates = [path.with_name(f"{inner_stem(path)}.toml"), path.with_name(LAYOUT)]
    file = given or next((candidate for candidate in candidates if candidate.is_file()), None)
    return TrackLayout() if file is None else read_layout(file)


def read_layout(file: Path) -> TrackLayout:
    """A layout; arguments and errors as in ``layout_of``."""
    values = read_toml_file(file)
    try:
        bones = tuple((str(a), str(b)) for a, b in values.pop("bones", []))
        lists = {name: _names(values.pop(name, []), name) for name in _LISTS}
        parts = {str(k): _names(v, "parts") for k, v in dict(values.pop("parts", {})).items()}
        names = {str(k): str(v) for k, v in dict(values.pop("names", {})).items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file.name}: bones, parts, names or lists of points: {error}") from None
    numbers = {n: number(values, n, above=0, at_most=1e6) for n in _NUMBERS if n in values}
    texts = {name: str(values[name]) for name in _TEXTS if name in values}
    strange = sorted(values.keys() - {*_NUMBERS, *_TEXTS})
    if strange:
        names_known = ", ".join((*_LISTS, "bones", "parts", "names", *_TEXTS, *_NUMBERS))
        raise ValueError(f"{file.name} sets {strange[0][:60]!r}; {names_known} are known")
    facts: dict[str, Any] = {**lists, **numbers, **texts}
    return TrackLayout(bones=bones, parts=parts, names=names, **facts)


def _names(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in cast(Any, value)):
        raise ValueError(f"{key} is not a list of names of points")
    return tuple(cast("list[str]", value))


@dataclass(frozen=True)
class Region:
    """A region of the picture or the arena.

    Attributes:
        name: Its name.
        circle: Centre x and y and radius; empty for a polygon.
        polygon: Corners x and y; empty for a circle.
    """

    name: str
    circle: tuple[float, ...] = ()
    polygon: tuple[tuple[float, float], ...] = ()


def read_regions(file: Path, px_per_cm: float | None = None) -> tuple[Region, ...]:
    """Regions of a file, in the unit of the points.

    A table ``[NAME]`` has ``circle = [x, y, radius]`` or ``polygon = [[x, y], ...]``, and
    ``unit = "cm"`` where the numbers are centimetres.

    Args:
        file: TOML.
        px_per_cm: Pixels a centimetre, for regions in centimetres.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is malformed, or a region in centimetres has no scale.
    """
    regions: list[Region] = []
    for name, row in read_toml_file(file).items():
        try:
            scale = _scale(str(row.get("unit", "px")), px_per_cm)
            if "circle" in row:
                circle = tuple(float(value) * scale for value in row["circle"])
                shape = Region(name, circle=circle)
                fine = len(circle) == 3 and all(map(math.isfinite, circle)) and circle[2] > 0
            else:
                corners = tuple((float(x) * scale, float(y) * scale) for x, y in row["polygon"])
                shape = Region(name, polygon=corners)
                fine = len(corners) >= 3 and all(math.isfinite(v) for xy in corners for v in xy)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{file.name}: region {name[:60]!r}: {error}") from None
        if not fine:
            raise ValueError(f"{file.name}: region {name[:60]!r} is not a circle or a polygon")
        regions.append(shape)
    return tuple(regions)


def _scale(unit: str, px_per_cm: float | None) -> float:
    if unit != "cm":
        return 1.0
    if px_per_cm is None:
        raise ValueError("it is in cm; state px_per_cm in layout.toml, or give px_per_cm=...")
    return px_per_cm


def read_toml_file(file: Path) -> dict[str, Any]:
    """The content of a TOML file of others.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not TOML.
    """
    try:
        return read_toml(read_file(file, _MOST).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file.name} is not TOML ({str(error)[:80]})") from None
