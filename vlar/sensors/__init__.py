"""Recordings of any sensor to clips, one file a reader."""

from vlar.sensors.base import Reader, RecordingInfo, Request
from vlar.sensors.lookup import find, read_clip, reader, reader_for
from vlar.sensors.views import Views, ViewSampler

__all__ = [
    "Reader",
    "RecordingInfo",
    "Request",
    "ViewSampler",
    "Views",
    "find",
    "read_clip",
    "reader",
    "reader_for",
]
