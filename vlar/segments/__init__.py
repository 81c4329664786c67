"""Labelled spans of recordings, and the formats that people keep them in.

``read`` and ``write`` find the format by the ending and the content of a file::

    segments = vlar.segments.read("project.boris")
    vlar.segments.write("project.eaf", segments)
"""

from vlar.segments.base import Table as Table
from vlar.segments.files import load as load
from vlar.segments.files import read as read
from vlar.segments.files import save as save
from vlar.segments.files import write as write
from vlar.segments.segment import Segment as Segment
