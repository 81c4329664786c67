"""Index of Milvus over the vectors of a library, and its search.

``FLAT`` compares every row. ``HNSW`` (Malkov and Yashunin 2018) is a graph in memory, ``DISKANN``
(Subramanya et al. 2019) one on disk, ``IVF_FLAT`` groups rows around centroids. Milvus Lite always
begins with FLAT; a server begins with FLAT too, and ``vlar index compact`` builds what suits the
number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlar import registry

AUTO = "auto"
EXACT_BELOW = 100_000  # rows
IN_MEMORY_BELOW = 20_000_000
_SPARE = 1.25  # more rows than its bound, before another index is recommended
_BUILD: Mapping[str, Mapping[str, Any]] = {
    "flat": {},
    "hnsw": {"M": 32, "efConstruction": 360},
    "ivf": {"nlist": 4096},
    "diskann": {},
}
_NAMES = {"flat": "FLAT", "hnsw": "HNSW", "ivf": "IVF_FLAT", "diskann": "DISKANN"}
_LEAST_EFFORT = 256  # candidates or lists
_PROBED = 64  # lists of IVF


def recommended(rows: int, is_lite: bool) -> str:
    """The index that suits a number of rows."""
    if is_lite or rows < EXACT_BELOW:
        return "flat"
    return "hnsw" if rows < IN_MEMORY_BELOW else "diskann"


def is_due(index: str, rows: int, is_lite: bool) -> bool:
    """Return whether another index suits the rows clearly better than the present one."""
    return index == "flat" and recommended(int(rows / _SPARE), is_lite) != "flat"


def checked(kind: str, is_lite: bool) -> str:
    """The name of an index as ``vlar index compact --type`` takes it.

    Raises:
        UnknownNameError: Milvus has no such index, or Milvus Lite does not.
    """
    known = [name for name in _NAMES if not (is_lite and name == "diskann")]
    if kind not in known:
        raise registry.unknown_name("index type of Milvus", kind, [*known, AUTO])
    return kind


def build_params(index: str, rows: int) -> dict[str, Any]:
    """Parameters that Milvus builds an index with."""
    params = dict(_BUILD[index])
    if index == "ivf":
        params["nlist"] = int(min(params["nlist"], max(1, rows // 39)))
    return {"index_type": _NAMES[index], "metric_type": "IP", "params": params}


def name_of(facts: Mapping[str, str]) -> str:
    """The name of an index that Milvus describes."""
    kind = facts.get("index_type", "FLAT")
    return next((name for name, milvus in _NAMES.items() if milvus == kind), kind.lower())


def search_params(index: str, k: int) -> dict[str, Any]:
    """Width of a search of ``k`` rows."""
    if index == "hnsw":
        return {"ef": max(_LEAST_EFFORT, 2 * k)}
    if index == "diskann":
        return {"search_list": max(_LEAST_EFFORT, 2 * k)}
    return {"nprobe": _PROBED} if index == "ivf" else {}
