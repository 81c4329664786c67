"""Annotations: facts that are kept of windows and files besides vectors and tags.

A ``Caption`` or the ``LostFrames`` of a window belong to a recording, whose rows may be encoded
again by another model: they stay. A ``FailedFile`` belongs to a path. Only crashes and exhausted
time or memory are kept: a file that is merely broken is read again at every ``add``, which takes
little, and succeeds once it is repaired or vlar reads more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar

from vlar.errors import DecodeCrash, DecodeOutOfMemory, DecodeTimeout
from vlar.index.store.values import Stamp
from vlar.types import Failure

KEPT_KINDS = frozenset({DecodeCrash.kind, DecodeTimeout.kind, DecodeOutOfMemory.kind})
"""Kinds of failures that are remembered."""
MOST_CHARACTERS = 4_000  # of a caption


class Caption(NamedTuple):
    """Text that a captioner wrote about a window; an empty one: the window was looked at."""

    start_s: float
    end_s: float
    text: str
    made_by: str


class LostFrames(NamedTuple):
    """Share of the frames of a window, above 0 and up to 1, that a damaged file lost."""

    start_s: float
    end_s: float
    share: float


@dataclass(frozen=True)
class FailedFile:
    """A file that is not to be read again as it is."""

    path: str
    content_hash: str
    stamp: Stamp
    kind: str
    message: str


Annotation: TypeAlias = Caption | LostFrames | FailedFile
A = TypeVar("A", bound=Annotation)


@dataclass(frozen=True)
class FailedFiles:
    """Files that earlier runs could not read.

    Attributes:
        by_path: The files by path.
        retry: Read them again.
    """

    by_path: Mapping[str, FailedFile] = field(default_factory=dict[str, FailedFile])
    retry: bool = False

    def to_skip(self, path: str, stamp: Stamp) -> FailedFile | None:
        """The failure of a file that has not changed since; None where it is to be read."""
        found = None if self.retry else self.by_path.get(path)
        return found if found is not None and found.stamp == stamp else None

    def with_content(self, content_hash: str) -> FailedFile | None:
        """The failure of a file with this content, wherever it lies."""
        if self.retry:
            return None
        failed = self.by_path.values()
        return next((each for each in failed if each.content_hash == content_hash), None)

    def is_retried(self, path: str, content_hash: str = "") -> bool:
        """Return whether a file is read again although the library has its content."""
        if not self.retry:
            return False
        failed = self.by_path.values()
        return path in self.by_path or any(each.content_hash == content_hash for each in failed)


def is_kept(failure: Failure) -> bool:
    """Return whether a failure is one to remember."""
    return failure.kind in KEPT_KINDS
