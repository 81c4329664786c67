"""Seconds as people and editing programs write them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Seconds as ``h:mm:ss.d`` or ``m:ss.d``.

    >>> clock(3725.25), clock(4.0)
    ('1:02:05.2', '0:04.0')
    """
    tenths = int(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def timecode(seconds: float, fps: int) -> str:
    """Seconds as ``hh:mm:ss:ff``, to the nearest frame.

    >>> timecode(61.5, 24)
    '00:01:01:12'
    """
    whole, frames = divmod(round(seconds * fps), fps)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest:02d}:{frames:02d}"
