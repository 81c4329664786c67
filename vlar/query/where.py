"""Filters on videos: ``key=value`` on their tags, and ``path=GLOB``; several must all hold."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from vlar.errors import QueryError
from vlar.index.store import Store

PATH_KEY = "path"


def select(store: Store, where: Mapping[str, str]) -> set[int] | None:
    """Ids of the videos that meet all conditions; None where there is no condition.

    Raises:
        QueryError: a key is neither ``path`` nor a tag of any video.
    """
    check_keys(where, store.tag_keys())
    chosen: set[int] | None = None
    for key, value in where.items():
        if key == PATH_KEY:
            found = {i for i, path in store.paths().items() if path_matches(path, value)}
        else:
            found = store.tagged(key, value)
        chosen = found if chosen is None else chosen & found
    return chosen


def check_keys(where: Mapping[str, str], tag_keys: Iterable[str]) -> None:
    """Refuse keys nobody has: a mistyped key would silently answer nothing.

    Raises:
        QueryError: it names the known keys and the nearest one.
    """
    known = [PATH_KEY, *sorted(tag_keys)]
    for key in where:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise QueryError(f"no video has a tag {key!r}{hint} Known keys: {', '.join(known)}.")


def path_matches(path: str, pattern: str) -> bool:
    """Whether a stored path is meant by a pattern.

    A pattern is a path, a folder above it, or a glob (``*`` also crosses folders, ``?``, ``[ab]``).
    One that does not start with ``/`` may begin at any folder. Case counts.

    >>> path_matches("/v/cooking/eggs.mp4", "cooking/*"), path_matches("/v/cooking.mp4", "cooking")
    (True, False)
    >>> path_matches("/v/cooking/eggs.mp4", "cooking")
    True
    """
    pattern = pattern.rstrip("/") or "/"
    anchored = path if pattern.startswith("/") else f"/{path.lstrip('/')}"
    wanted = pattern if pattern.startswith("/") else f"*/{pattern}"
    if fnmatchcase(anchored, wanted) or fnmatchcase(anchored, f"{wanted.rstrip('/')}/*"):
        return True
    # A name that holds glob characters, as "take [2].mp4", means itself too.
    literal = pattern if pattern.startswith("/") else f"/{pattern}"
    ends = anchored == literal if pattern.startswith("/") else anchored.endswith(literal)
    return ends or (anchored.startswith(f"{literal}/") if pattern.startswith("/") else False)
