"""How long a file may take, how much memory, and how many worker processes read files."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vlar.errors import UsageError
from vlar.resources import size_in_bytes

_TIMEOUT_S = 60.0
_MEMORY = "4GB"
_MOST_WORKERS = 4
_TIMES_LENGTH = 2.0  # 4K HEVC of 60 frames a second on a slow core decodes at half its speed


@dataclass(frozen=True)
class FileLimits:
    """Limits of reading one file.

    Attributes:
        timeout_s: Seconds for each result. A file as a whole may take this long and twice its
            length, where a worker reads it.
        memory_bytes: What a worker may allocate beyond what it starts with.
        workers: Worker processes; 0 reads files in this process, without protection.
    """

    timeout_s: float = _TIMEOUT_S
    memory_bytes: int = 4 * 10**9
    workers: int = 1

    @classmethod
    def from_environment(cls) -> FileLimits:
        """``VLAR_FILE_TIMEOUT_S`` (60), ``VLAR_FILE_MEMORY`` (4GB), ``VLAR_DECODE_WORKERS``.

        The default is a worker for every two cores, at least 1 and at most 4.

        Raises:
            UsageError: a variable has no usable value.
        """
        return cls(
            _number("VLAR_FILE_TIMEOUT_S", _TIMEOUT_S, above=0.0),
            size_in_bytes("VLAR_FILE_MEMORY", _MEMORY),
            int(_number("VLAR_DECODE_WORKERS", float(_default_workers()), above=-1.0)),
        )

    def whole_s(self, duration_s: float) -> float:
        """Seconds that all results of a file of this length may take."""
        return self.timeout_s + _TIMES_LENGTH * max(duration_s, 0.0)


def _default_workers() -> int:
    can_say = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if can_say else os.cpu_count() or 1
    return max(1, min(cores // 2, _MOST_WORKERS))


def _number(name: str, default: float, above: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not above < value < float("inf"):
        raise UsageError(f"{name} {text!r} is not a usable number; write for example {default:g}")
    return value
