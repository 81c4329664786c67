"""Paths as a library writes them, and patterns of them."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

from vlar.urls import as_url

# Keys that ``--where`` has for every video (``vlar.query.where``): no tag may have such a name.
FILTER_KEYS = ("path", "start_s", "end_s", "duration_s", "added", "modified", "persons", "who")


def place(path: str | Path) -> str:
    """A path as a library writes it: absolute, ``/`` between folders, links not followed.

    An address (``s3://bucket/clip.mp4``) stays as it is.
    """
    if (url := as_url(path)) is not None:
        return url
    return Path(os.path.abspath(path)).as_posix()  # noqa: PTH100 - removes "..", keeps links


def matches(path: str, pattern: str | Path) -> bool:
    """Return whether a stored path is a file, lies in a folder, or matches a glob.

    A relative pattern begins in the working directory, as for any other command; ``*`` also
    crosses folders.

    >>> path = "/v/a/b.mp4"
    >>> matches(path, "/v/a"), matches(path, "/v/*.mp4"), matches(path, "b.mp4")
    (True, True, False)
    """
    wanted = place(pattern)
    inside = wanted.rstrip("/") + "/"
    return path == wanted or path.startswith(inside) or fnmatchcase(path, wanted)


def is_unicode(text: str) -> bool:
    """Return whether a database can store a text; bytes that are not UTF-8 cannot be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_gone(path: str) -> bool:
    """Return whether a recording of this machine is gone; addresses are not asked."""
    return as_url(path) is None and not Path(path).exists()
