"""HDF5 files of tracks: DeepLabCut, SLEAP, JABS and NWB; nothing in them is unpickled.

Needs the extra ``pose``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from vlar.behaviour.tracks.formats.base import (
    MOST_ANIMALS,
    MOST_POINTS,
    PointTracks,
    TrackFormat,
    missing,
    track_format,
)
from vlar.behaviour.tracks.formats.tables import Column, tracks_of
from vlar.files.arrays import require_inside
from vlar.files.opening import open_input
from vlar.files.reading import parse_json, require_memory
from vlar.media.signals import FileHead
from vlar.types import JsonDict
from vlar.version import pip_install

_MAGIC = b"\x89HDF\r\n\x1a\n"
_MOST = 2 << 30
_ENDINGS = frozenset({".h5", ".hdf5", ".nwb", ".slp"})
_DLC_KEYS = ("df_with_missing", "tracks", "df", "keypoints")
_JABS_POINTS = (
    *("nose", "left_ear", "right_ear", "base_neck", "left_front_paw", "right_front_paw"),
    *("center_spine", "left_rear_paw", "right_rear_paw", "base_tail", "mid_tail", "tip_tail"),
)
_AXES = ("x", "y", "z")
_MOST_LATE = 1_000_000  # frames between the starts of two animals
_OFF_GRID = 0.1  # frames that starts of two clocks may lie off whole frames
Array = npt.NDArray[Any]


@track_format("hdf5")
class HdfTracks(TrackFormat):
    """Files of HDF5, told apart by the names of their groups."""

    order = 5
    endings = _ENDINGS

    def matches(self, head: FileHead) -> bool:
        """The first bytes of HDF5, and a group or array of one of the tools."""
        if not head.data.startswith(_MAGIC):
            return False
        try:
            with _opened(head.path) as file:
                return _reader_of(file) is not None
        except (OSError, ValueError, RuntimeError, KeyError):
            # Damaged, or h5py is missing: reading it names that.
            named = any(word in head.path.name.lower() for word in ("dlc", "pose", "analysis"))
            return named or head.ending in (".slp", ".nwb")

    def read(self, path: Path) -> PointTracks:
        """The tracks of a file."""
        with _opened(path) as file:
            reader = _reader_of(file)
            if reader is None:
                raise ValueError("it has no group of a pose tool that is read")
            try:
                return reader(file)
            except (KeyError, TypeError, IndexError, AttributeError, RuntimeError) as error:
                raise ValueError(f"a part of it is missing or malformed ({error!s:.80})") from error


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    """A file of HDF5.

    Raises:
        ValueError: h5py is missing; the message has the command that installs it.
    """
    try:
        import h5py
    except ImportError:
        raise ValueError(f"HDF5 needs the extra 'pose': {pip_install('pose')}") from None
    with open_input(path, _MOST, recording=True) as stream, h5py.File(stream, "r") as file:
        yield file


def _reader_of(file: Any) -> Callable[[Any], PointTracks] | None:
    if "poseest" in file:
        return _jabs
    if "tracks" in file and "node_names" in file:
        return _sleap_analysis
    if "instances" in file and "metadata" in file and "frames" in file:
        return _sleap_labels
    if "processing" in file and any(_nwb_groups(file)):
        return _nwb
    return _pandas if any(key in file for key in _DLC_KEYS) else None


def _array(node: Any) -> Array:
    """The values of a dataset, after its size was checked.

    Raises:
        ValueError: it is not an array of numbers or texts, or takes too much memory.
    """
    if not hasattr(node, "shape") or not hasattr(node, "dtype"):
        raise ValueError("a group stands in place of an array")
    require_inside(node)
    require_memory(float(math.prod(node.shape)) * max(1, node.dtype.itemsize))
    return np.asarray(node[()])


def _texts(node: Any, most: int = 10_000) -> list[str]:
    if math.prod(node.shape) > most:
        raise ValueError(f"it lists more than {most} names")
    return [_text(value) for value in np.atleast_1d(_array(node)).tolist()]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# DeepLabCut (pandas)


def _pandas(file: Any) -> PointTracks:
    group = file[next(key for key in _DLC_KEYS if key in file)]
    if "table" in group:
        return _pandas_table(group["table"])
    names = _levels(group, "axis0")
    items = _levels(group, "block0_items")
    values = _array(group["block0_values"])
    extra = [key for key in group if re.fullmatch(r"block[1-9]\d*_values", str(key))]
    if extra:
        raise ValueError("its columns are of several types; write them as numbers")
    order = {item: index for index, item in enumerate(items)}
    return _of_levels(names, values[:, [order[name] for name in names]])


def _levels(group: Any, prefix: str) -> list[tuple[str, ...]]:
    """Names of the columns: one text a level."""
    parts: list[list[str]] = []
    while f"{prefix}_level{len(parts)}" in group:
        level = len(parts)
        texts = _texts(group[f"{prefix}_level{level}"])
        codes = _array(group[f"{prefix}_label{level}"]).astype(np.int64)
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(texts):
            raise ValueError("a column names a level that does not exist")
        parts.append([texts[code] for code in codes])
    return list(zip(*parts, strict=True))


def _of_levels(names: list[tuple[str, ...]], values: Array) -> PointTracks:
    """Tracks from columns named scorer, [individual,] point, axis."""
    columns: list[Column] = []
    for number, parts in enumerate(names):
        if len(parts) < 3:
            raise ValueError("a column has not the names scorer, point and axis")
        animal = parts[1] if len(parts) > 3 else ""
        point, axis = parts[len(parts) - 2], parts[len(parts) - 1].lower()
        kind = axis if axis in _AXES else "likelihood"
        columns.append((number, animal, point, kind))
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise ValueError("its values do not fit its columns")
    return tracks_of(columns, values.astype(np.float64), unit="px")


def _pandas_table(table: Any) -> PointTracks:
    """A table whose column names are a pickle of texts, which is read as text and never run."""
    blocks = [str(name) for name in table.dtype.names or () if str(name).startswith("values_block")]
    if len(blocks) != 1:
        raise ValueError("its columns are of several types; write them as numbers")
    names = pickled_names(bytes(table.attrs[f"{blocks[0]}_kind"]))
    require_inside(table)
    require_memory(float(table.shape[0]) * table.dtype.itemsize)
    values = np.asarray(table[()][blocks[0]])
    width = values.shape[1] if values.ndim == 2 else 1
    if not names or len(names) != width:
        raise ValueError(f"its {width} columns have {len(names)} names that can be read")
    return _of_levels(names, values.reshape(len(values), width))


def pickled_names(data: bytes) -> list[tuple[str, ...]]:
    """Names of columns in a pickle of protocol 0, a list of tuples of texts.

    Only marks, texts, tuples, lists and the memory of the pickle are followed; anything else is
    refused. Nothing is imported and nothing is called.

    Raises:
        ValueError: the pickle holds anything else.
    """
    memo: dict[bytes, Any] = {}
    stack: list[Any] = []
    mark = object()
    count = 0
    while count < len(data):
        code = data[count : count + 1]
        count += 1
        if code in (b"V", b"g", b"p", b"S"):
            line, count = _line(data, count)
            if code == b"p":
                memo[line] = stack[-1]
            elif code == b"g":
                stack.append(memo[line])
            else:
                raw = line.decode("raw-unicode-escape" if code == b"V" else "latin-1")
                stack.append(raw.strip("'\"") if code == b"S" else raw)
        elif code == b"(":
            stack.append(mark)
        elif code in (b"t", b"l"):
            items: list[Any] = []
            while stack and stack[-1] is not mark:
                items.insert(0, stack.pop())
            if not stack:
                raise ValueError("the names of its columns are damaged")
            stack[-1] = tuple(items) if code == b"t" else items
        elif code == b"a" and len(stack) > 1 and isinstance(stack[-2], list):
            value = stack.pop()
            cast("list[Any]", stack[-1]).append(value)
        elif code == b".":
            break
        else:
            raise ValueError("the names of its columns are a pickle that is not plain texts")
    top = stack[0] if stack else None
    if not isinstance(top, list):
        raise ValueError("the names of its columns are not a list")  # noqa: TRY004 - of a file
    names: list[tuple[str, ...]] = []
    for item in cast("list[Any]", top):
        if not isinstance(item, tuple) or not all(isinstance(one, str) for one in cast(Any, item)):
            raise ValueError("the names of its columns are not tuples of texts")
        names.append(cast("tuple[str, ...]", item))
    return names


def _line(data: bytes, place: int) -> tuple[bytes, int]:
    end = data.find(b"\n", place)
    if end < 0:
        raise ValueError("the names of its columns are cut")
    return data[place:end], end + 1


# SLEAP


def _sleap_analysis(file: Any) -> PointTracks:
    stored = _array(file["tracks"])  # (tracks, 2 or 3, nodes, frames)
    names = tuple(_texts(file["node_names"]))
    if stored.ndim != 4 or stored.shape[2] != len(names):
        raise ValueError("its tracks do not fit its nodes")
    animals = tuple(_texts(file["track_names"])) if "track_names" in file else ()
    animals = animals if len(animals) == len(stored) else _numbered(len(stored))
    points = missing(stored.shape[3], len(stored), len(names), stored.shape[1])
    points[:] = stored.transpose(3, 0, 2, 1)
    points[~np.isfinite(points).all(axis=-1)] = np.nan
    scores = None
    if "point_scores" in file and file["point_scores"].shape == (
        stored.shape[0],
        stored.shape[2],
        stored.shape[3],
    ):
        scores = _array(file["point_scores"]).transpose(2, 0, 1).astype(np.float32)
    bones = _bones(names, _array(file["edge_inds"])) if "edge_inds" in file else ()
    return PointTracks(points, names, animals, unit="px", confidence=scores, bones=bones)


def _sleap_labels(file: Any) -> PointTracks:
    """Labels and predictions of one video; a person's instance wins over a prediction."""
    attributes = file["metadata"].attrs
    facts = parse_json(_text(attributes["json"]))
    shift = 0.5 if float(attributes.get("format_id", 1.2)) < 1.1 else 0.0
    nodes = [str(row["name"]) for row in facts["nodes"]]
    skeleton = facts["skeletons"][0]
    order = [int(row["id"]) for row in skeleton["nodes"]]
    names = tuple(nodes[number] for number in order)
    frames, instances = _array(file["frames"]), _array(file["instances"])
    sources = {0: _array(file["points"]), 1: _array(file["pred_points"])}
    if len(np.unique(frames["video"])) > 1:
        raise ValueError("it has several videos; export one file for each")
    tracks = [parse_json(_text(row))[1] for row in _array(file["tracks_json"]).tolist()]
    animals = max(len(tracks), _most_instances(frames) if not tracks else 1)
    count = int(frames["frame_idx"].max()) + 1 if len(frames) else 0
    if count > 100 * len(frames) + 1_000_000:
        raise ValueError("its frames are numbered far beyond their count")
    points = missing(count, animals, len(names), 2)
    scores = np.full(points.shape[:3], np.nan, np.float32)
    for frame in frames:
        part = instances[int(frame["instance_id_start"]) : int(frame["instance_id_end"])]
        for number, row in enumerate(sorted(part, key=lambda one: -int(one["instance_type"]))):
            track_row = int(row["track"]) if tracks and row["track"] >= 0 else number
            stored = sources[int(row["instance_type"])]
            stored = stored[int(row["point_id_start"]) : int(row["point_id_end"])]
            if track_row >= animals or len(stored) != len(names):
                continue
            inside = stored["visible"].astype(bool)
            xy = np.stack([stored["x"], stored["y"]], axis=1) - shift
            points[int(frame["frame_idx"]), track_row] = np.where(inside[:, None], xy, np.nan)
            if "score" in (stored.dtype.names or ()):
                scores[int(frame["frame_idx"]), track_row] = stored["score"]
    points[~np.isfinite(points).all(axis=-1)] = np.nan
    links = [(link["source"], link["target"]) for link in skeleton.get("links", ())]
    bones = tuple(
        (nodes[a], nodes[b]) for a, b in links if max(a, b) < len(nodes) and min(a, b) >= 0
    )
    return PointTracks(
        points,
        names,
        tuple(map(str, tracks)) or _numbered(animals),
        unit="px",
        confidence=scores,
        bones=bones,
    )


def _most_instances(frames: Array) -> int:
    counts = frames["instance_id_end"].astype(np.int64) - frames["instance_id_start"].astype(
        np.int64
    )
    return int(max(1, min(counts.max(initial=1), MOST_ANIMALS)))


def _bones(names: tuple[str, ...], edges: Array) -> tuple[tuple[str, str], ...]:
    rows = edges.reshape(-1, 2).astype(np.int64).tolist()
    return tuple(
        (names[a], names[b]) for a, b in rows if 0 <= a < len(names) and 0 <= b < len(names)
    )


def _numbered(count: int) -> tuple[str, ...]:
    return ("",) if count == 1 else tuple(f"animal {n + 1}" for n in range(count))


# JABS


def _jabs(file: Any) -> PointTracks:
    """Versions 2 to 6: points are (y, x) in whole pixels; confidence 0 is a missing point."""
    group = file["poseest"]
    stored, confidence = _array(group["points"]), _array(group["confidence"]).astype(np.float32)
    facts: JsonDict = {}
    if "cm_per_pixel" in group.attrs:
        facts["cm_per_px"] = float(np.asarray(group.attrs["cm_per_pixel"]).ravel()[0])
    if stored.ndim == 3:  # version 2: one animal
        stored, confidence = stored[:, None], confidence[:, None]
        identity = np.zeros(stored.shape[:2], np.int64)
        inside = np.ones(stored.shape[:2], np.bool_)
    else:
        counts = _array(group["instance_count"]).astype(np.int64)
        inside = np.arange(stored.shape[1])[None, :] < counts[:, None]
        if "instance_embed_id" in group:  # version 4 on: identities from 1; 0 is none
            identity = _array(group["instance_embed_id"]).astype(np.int64) - 1
            inside &= identity >= 0
        else:
            identity = _array(group["instance_track_id"]).astype(np.int64)
    if stored.shape[2] > MOST_POINTS or stored.shape[:3] != confidence.shape[:3]:
        raise ValueError("its points do not fit its confidence")
    identity, animals = _rows_of(identity, inside)
    names = (
        _JABS_POINTS
        if stored.shape[2] == len(_JABS_POINTS)
        else tuple(f"point {n}" for n in range(stored.shape[2]))
    )
    points = missing(len(stored), animals, len(names), 2)
    scores = np.full(points.shape[:3], np.nan, np.float32)
    frames, instances = np.nonzero(inside)
    rows = identity[frames, instances]
    xy = stored[frames, instances][..., ::-1].astype(np.float32)
    sure = confidence[frames, instances].reshape(len(frames), len(names))
    points[frames, rows] = np.where((sure > 0)[..., None], xy, np.nan)
    scores[frames, rows] = sure
    return PointTracks(points, names, _numbered(animals), unit="px", confidence=scores, meta=facts)


def _rows_of(identity: Array, inside: npt.NDArray[np.bool_]) -> tuple[Array, int]:
    """Rows of animals for identities; short tracks share rows so that few rows hold all.

    Raises:
        ValueError: more animals are in one frame than are read.
    """
    present = np.unique(identity[inside])
    if len(present) <= min(MOST_ANIMALS, max(2, identity.shape[1])):
        return np.searchsorted(present, identity).clip(0, max(len(present) - 1, 0)), max(
            1, len(present)
        )
    frames = np.nonzero(inside)[0]
    first = {int(n): int(f) for n, f in zip(identity[inside][::-1], frames[::-1], strict=True)}
    last = {int(n): int(f) for n, f in zip(identity[inside], frames, strict=True)}
    free_at: list[int] = []
    row_of: dict[int, int] = {}
    for name in sorted(first, key=lambda n: first[n]):
        row = next((r for r, end in enumerate(free_at) if end < first[name]), len(free_at))
        if row == len(free_at):
            free_at.append(0)
        free_at[row], row_of[name] = last[name], row
    if len(free_at) > MOST_ANIMALS:
        raise ValueError(f"it has {len(free_at)} animals at once; at most {MOST_ANIMALS} are read")
    rows = np.zeros(identity.shape, np.int64)
    for name, row in row_of.items():
        rows[identity == name] = row
    return rows, len(free_at)


# NWB


def _nwb_groups(file: Any) -> Iterator[Any]:
    """Groups of pose estimation in the processing modules."""
    for module in file["processing"].values():
        for name, group in getattr(module, "items", lambda: ())():
            kind = _text(group.attrs.get("neurodata_type", ""))
            if kind == "PoseEstimation" or str(name) == "PoseEstimation":
                yield group


def _nwb(file: Any) -> PointTracks:
    """All animals of a file, joined by their clocks."""
    groups = list(_nwb_groups(file))
    tracks, starts_s = zip(*(_nwb_animal(group, file) for group in groups), strict=True)
    first: PointTracks = tracks[0]
    if len(groups) > 1:
        videos = [_texts(g["original_videos"]) if "original_videos" in g else [] for g in groups]
        rows, times_s = _nwb_rows(tracks, starts_s)
        alike = [(sorted(t.names), t.unit, t.points.shape[-1], v)
                 for t, v in zip(tracks, videos, strict=True)]  # fmt: skip
        if alike != [alike[0]] * len(alike):
            raise ValueError("its PoseEstimations differ in points, unit or video; export each")
        count = max(int(row[-1]) + 1 for row in rows)
        points = missing(count, len(tracks), *first.points.shape[2:])
        scores = np.full(points.shape[:3], np.nan, np.float32)
        for number, (one, row) in enumerate(zip(tracks, rows, strict=True)):
            order = [one.names.index(name) for name in first.names]
            points[row, number] = one.points[:, 0, order]
            scores[row, number] = cast("Array", one.confidence)[:, 0, order]
        animals = tuple(re.sub(r".*/(track=)?", "", str(group.name)) for group in groups)
        animals = animals if len({*animals}) == len(animals) else _numbered(len(animals))
        first = replace(first, points=points, animals=animals, confidence=scores, times_s=times_s)
    if first.times_s is not None:
        first = replace(first, times_s=first.times_s - first.times_s[0])
    return first


def _nwb_rows(
    tracks: tuple[PointTracks, ...], starts_s: tuple[float, ...]
) -> tuple[list[Array], Array | None]:
    """Frames of each animal in the frames of all, and their times where the file has them.

    Raises:
        ValueError: the clocks cannot be joined.
    """
    counts = [len(one.points) for one in tracks]
    stamps = [np.round(one.times_s, 6) for one in tracks if one.times_s is not None]
    if len(stamps) == len(tracks):
        times_s = np.unique(np.concatenate(stamps))
        rows = [np.searchsorted(times_s, stamp) for stamp in stamps]
        if min(counts) and all((np.diff(row) > 0).all() for row in rows):
            return rows, times_s
    elif not stamps and len({one.rate_hz for one in tracks}) == 1 and min(counts):
        rate = tracks[0].rate_hz
        shifts = (np.array(starts_s) - min(starts_s)) * (rate or 0)
        even = (shifts < _MOST_LATE).all() and (np.abs(shifts - np.rint(shifts)) < _OFF_GRID).all()
        if even and (rate or len(set(counts)) == 1):
            return [
                np.arange(count) + int(shift)
                for count, shift in zip(counts, np.rint(shifts), strict=True)
            ], None
    raise ValueError("its PoseEstimations have clocks that cannot be joined; export each")


def _nwb_animal(group: Any, file: Any) -> tuple[PointTracks, float]:
    """Tracks of one group, with times as they are stored, and the start of an even clock."""
    series = {
        str(name): node
        for name, node in group.items()
        if (hasattr(node, "keys") and "data" in node and "confidence" in node)
        or (
            hasattr(node, "attrs")
            and _text(node.attrs.get("neurodata_type", "")) == "PoseEstimationSeries"
        )
    }
    if not series:
        raise ValueError("its PoseEstimation has no series of a point")
    names = tuple(series)
    arrays = {name: _array(node["data"]) for name, node in series.items()}
    count = min(len(array) for array in arrays.values())
    dims = min(array.shape[1] for array in arrays.values())
    points = missing(count, 1, len(names), min(3, dims))
    scores = np.full(points.shape[:3], np.nan, np.float32)
    for number, (name, node) in enumerate(series.items()):
        factor = float(node["data"].attrs.get("conversion", 1.0))
        points[:, 0, number] = arrays[name][:count, : points.shape[3]] * factor
        if "confidence" in node:
            scores[:, 0, number] = _array(node["confidence"])[:count]
    points[~np.isfinite(points).all(axis=-1)] = np.nan
    times_s, rate, start_s = _nwb_clock(next(iter(series.values())), count)
    unit = _text(next(iter(series.values()))["data"].attrs.get("unit", "")).lower()
    units = {"pixels": "px", "pixel": "px", "px": "px", "meters": "m", "cm": "cm"}
    bones = _nwb_bones(group, file)
    unit = units.get(unit, "")
    return PointTracks(points, names, ("",), rate, times_s, unit, scores, bones), start_s


def _nwb_clock(node: Any, count: int) -> tuple[Any, float | None, float]:
    if "timestamps" in node:
        return _array(node["timestamps"]).astype(np.float64)[:count], None, 0.0
    if "starting_time" in node and "rate" in node["starting_time"].attrs:
        start = node["starting_time"]
        return None, float(start.attrs["rate"]), float(_array(start))
    return None, None, 0.0


def _nwb_bones(group: Any, file: Any) -> tuple[tuple[str, str], ...]:
    sources = [group]
    for module in file["processing"].values():
        if "Skeletons" in module:
            sources += list(module["Skeletons"].values())
    for source in sources:
        if "nodes" in source and "edges" in source:
            return _bones(tuple(_texts(source["nodes"])), _array(source["edges"]))
    return ()
