"""Location of a library: a folder (``gym.vlar``), or an address in a database of a plugin.

An address begins with the name of its backend and a colon; the backend reads the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from vlar import registry
from vlar.errors import LibraryError, TagConflictError, UsageError
from vlar.formatting import as_url, fault
from vlar.library.manifest import DEFAULT_STRIDE_S, DEFAULT_WINDOW_S
from vlar.library.store.base import LibraryWriter
from vlar.library.store.row_check import MOST_SECONDS
from vlar.library.store.values import MOST_LETTERS


@dataclass(frozen=True)
class StoreAddress:
    """A library in a database that a plugin serves.

    Attributes:
        text: As the user wrote it.
        uri: Address of the server, or the absolute path of a folder.
        name: Name of the library there.
        embedded: Whether it is a folder that this process alone opens.
    """

    text: str
    uri: str
    name: str
    embedded: bool

    def __str__(self) -> str:
        """Address as the user wrote it."""
        return self.text

    @property
    def backend(self) -> str:
        """Name of the backend: what stands before the colon."""
        return _scheme(self.text)


LibraryPlace: TypeAlias = Path | StoreAddress


def _scheme(text: str) -> str:
    return text.partition(":")[0].partition("+")[0]


def is_address(address: str | LibraryPlace) -> bool:
    """Return whether an address names a library in a database, not a folder."""
    text = str(address)
    return ":" in text and _scheme(text) in registry.names("backend")


def place_of(address: str | LibraryPlace) -> LibraryPlace:
    """The folder or the database that an address names.

    >>> str(place_of("gym.vlar"))
    'gym.vlar'

    Raises:
        UsageError: an address of a database that is not complete.
    """
    if isinstance(address, StoreAddress):
        return address
    if not is_address(address):
        return Path(address)
    text = str(address)
    return registry.get("backend", _scheme(text)).address(text)


# Keys that ``--where`` has for every video (``vlar.library.query.filters``): no tag may have such
# a name.
FILTER_KEYS = (
    *("path", "start_s", "end_s", "duration_s", "added", "modified"),
    *("persons", "who", "labelled"),
)


def place(path: str | Path) -> str:
    """A path as a library writes it: absolute, ``/`` between folders, links not followed.

    An address (``s3://bucket/clip.mp4``) stays as it is.
    """
    if (url := as_url(path)) is not None:
        return url
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


def check_span(window_s: float | None, stride_s: float | None, long_times: float | None) -> None:
    """Validate the window arguments.

    Raises:
        UsageError: a span is not a number above 0, or ``long_times`` not one from 1 to 100.
    """
    from vlar.media.video.sample import windows

    # The sampler has the rule of a valid span; it raises UsageError.
    windows(
        1.0,
        DEFAULT_WINDOW_S if window_s is None else window_s,
        DEFAULT_STRIDE_S if stride_s is None else stride_s,
    )
    for name, span_s in (("window_s", window_s), ("stride_s", stride_s)):
        if span_s is not None and span_s >= MOST_SECONDS:
            raise UsageError(f"{name} is {span_s}; give less than {MOST_SECONDS:.0f} seconds")
    if long_times is not None and not 1.0 <= long_times <= 100.0:
        raise UsageError(f"long_times is {long_times}; give a number from 1 to 100")


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as text.

    Raises:
        UsageError: a key is empty, reserved, or one that ``--where`` could not name; or a key or
            a value is too long or not valid Unicode.
    """
    for key in tags:
        if not key.strip():
            raise UsageError("a tag has an empty key; write for example place=gym")
        if key in FILTER_KEYS:
            raise UsageError(f"the tag key {key!r} is reserved for --where; choose another")
        if set(key) & set("<>!="):
            raise UsageError(f"the tag key {key!r} holds one of < > ! =; choose another")
        if (what := fault(key)) is not None:
            raise UsageError(f"the tag key {key[:80]!a} holds {what}; choose another")
    held = {key: str(value) for key, value in tags.items()}
    for text in (*held.keys(), *held.values()):
        if len(text) > MOST_LETTERS:
            raise UsageError(f"a tag has {len(text)} letters; at most {MOST_LETTERS} are stored")
        if not is_unicode(text):
            raise UsageError(f"the tag {text!r:.80} is not valid Unicode; write it again")
    return held


def change_tags(
    writer: LibraryWriter,
    tags: Mapping[str, Mapping[str, str | None]],
    before: Mapping[str, Mapping[str, str | None]],
) -> None:
    """Change tags of recordings inside a transaction (``Library.tag``)."""
    for path, tags_of_path in tags.items():
        checked_tags({key: value or "" for key, value in tags_of_path.items()})
        recording = writer.at_path(path)
        if recording is None:
            raise LibraryError(f"{path!r:.200} is not in the library; list what is")
        held = writer.tags([recording.id]).get(recording.id, {})
        for key, value in before.get(path, {}).items():
            if held.get(key) != value:
                raise TagConflictError(
                    f"the tag {key!r:.80} of {path!r:.200} is {held.get(key)!r:.80} by now, not "
                    f"{value!r:.80}; read it again before you change it"
                )
        writer.update(recording.id, tags=tags_of_path)
