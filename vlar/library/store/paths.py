"""Paths of recordings as a library writes them."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

from vlar.formatting import as_url


def place(path: str | Path) -> str:
    """A path as a library writes it: absolute, ``/`` between folders, links not followed.

    An address (``s3://bucket/clip.mp4``) stays as it is.
    """
    return as_url(path) or absolute(path)


def absolute(path: str | Path) -> str:
    """The path of a file of this machine as a library writes it."""
    return os.path.abspath(path).replace(os.sep, "/")  # noqa: PTH100 - removes "..", keeps links


def matches(path: str, pattern: str | Path) -> bool:
    """Return whether a stored path is a file, lies in a folder, or matches a glob.

    A relative pattern begins in the working directory, as for any other command; ``*`` also
    crosses folders.

    >>> path = "/v/a/b.mp4"
    >>> matches(path, "/v/a"), matches(path, "/v/*.mp4"), matches(path, "b.mp4")
    (True, True, False)
    """
    prefix = place(pattern)
    inside = prefix.rstrip("/") + "/"
    return path == prefix or path.startswith(inside) or fnmatchcase(path, prefix)


def is_unicode(text: str) -> bool:
    """Return whether a database can store a text; bytes that are not UTF-8 cannot be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
