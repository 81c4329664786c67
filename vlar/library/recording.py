"""A recording as a library has it: its path, its tags, its size and time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import DecodeError, LibraryError, TagConflictError, UsageError, VlarError
from vlar.files.opening import OUTSIDE, require_inside
from vlar.formatting import fault
from vlar.library.store.annotations import FailedFile
from vlar.library.store.paths import absolute, is_unicode
from vlar.library.store.values import MOST_LETTERS, NO_FILE, KnownVideo, Stamp
from vlar.media.bundle import bundle_files
from vlar.media.video.files import require_readable
from vlar.registry import PartSpec
from vlar.types import Failure

if TYPE_CHECKING:
    from vlar.library.store.base import LibraryWriter

# Keys that ``--where`` has for every video (``vlar.library.query.filters``): no tag may have such
# a name.
FILTER_KEYS = (
    *("path", "start_s", "end_s", "duration_s", "added", "modified"),
    *("persons", "who", "labelled"),
)


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


CHANGED, KNOWN, UNCHANGED, FAILED = "changed", "known", "unchanged", "failed"
SKIPPED = "skipped"


@dataclass(frozen=True)
class FileRecord:
    """One file of an ``add``.

    Attributes:
        file: As the caller gave it.
        state: ``changed`` (new or changed content: its windows follow), ``unchanged`` (the library
            has this content at this path), ``known`` (the library has it at another path),
            ``failed`` or ``skipped`` (it failed before and has not changed).
        path: As the library writes it.
        stamp: Size and time.
        content_hash: Hash of the content.
        duration_s: Length in seconds; 0 where no windows follow.
        failure: Why it cannot be read, for a failed or skipped file.
        tags: Tags of this file alone, besides those of all files of the call.
    """

    file: Path
    state: str
    path: str
    stamp: Stamp = NO_FILE
    content_hash: str = ""
    duration_s: float = 0.0
    failure: Failure | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


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
        failed_file = None if self.retry else self.by_path.get(path)
        return failed_file if failed_file is not None and failed_file.stamp == stamp else None

    def with_content(self, content_hash: str) -> FailedFile | None:
        """The failure of a file with this content, wherever it lies."""
        if self.retry:
            return None
        failed = self.by_path.values()
        return next(
            (failed_file for failed_file in failed if failed_file.content_hash == content_hash),
            None,
        )

    def is_retried(self, path: str, content_hash: str = "") -> bool:
        """Return whether a file is read again although the library has its content."""
        if not self.retry:
            return False
        failed = self.by_path.values()
        return path in self.by_path or any(
            failed_file.content_hash == content_hash for failed_file in failed
        )


@dataclass(frozen=True)
class ListedRecording:
    """One recording of an ``add``, as its listing has it: nothing of it is opened.

    Attributes:
        file: For messages and, on this machine, to open.
        path: As the library writes it: absolute, or an address.
        tags: Tags of this recording alone.
        stamp: Size and time; those of no file where they are not known.
        span: Bytes of an archive: offset and number.
        failure: Reason why it cannot be read.
        is_remote: It must be fetched: its path is an address.
    """

    file: Path
    path: str
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    stamp: Stamp = NO_FILE
    span: tuple[int, int] | None = None
    failure: Failure | None = None
    is_remote: bool = False

    @classmethod
    def of(cls, file: Path, tags: Mapping[str, str] | None = None) -> ListedRecording:
        """A file of this machine with its size and time, or why it cannot be read.

        Where a server names folders, nothing is stated of a file outside them.
        """
        path, tags = absolute(file), tags or {}
        try:
            if not is_unicode(path):
                message = f"{file!s}: the file name is not valid UTF-8; rename the file"
                raise VlarError(message.encode(errors="replace").decode())  # noqa: TRY301
            for part in (file, *bundle_files(file)):
                require_inside(part)
            return cls(file, path, tags, stamp_of(file))
        except (VlarError, OSError) as error:
            return cls(file, path, tags, failure=failure_of(file, error))

    @classmethod
    def failed(cls, path: str, error: VlarError) -> ListedRecording:
        """A recording that a list or an argument names and that cannot be looked for."""
        return cls(Path(path), path, failure=Failure(Path(path), error.kind, error.message))

    def record(
        self, state: str, content_hash: str = "", failure: Failure | None = None
    ) -> FileRecord:
        """The record of this recording in a state."""
        facts = self.stamp, content_hash, 0.0, failure, self.tags
        return FileRecord(self.file, state, self.path, *facts)

    def tagged(self, tags: Mapping[str, str]) -> ListedRecording:
        """The recording with more tags, which win.

        Raises:
            UsageError: one of them cannot be used.
        """
        return replace(self, tags={**self.tags, **checked_tags(tags)}) if tags else self

    def by_stamp(self, video: KnownVideo | None, failed: FailedFiles) -> FileRecord | None:
        """The record by size and time alone; None where the file must be opened.

        Args:
            video: What the library holds at this path.
            failed: Files that earlier runs could not read.
        """
        if self.failure is not None:
            return self.record(FAILED, failure=self.failure)
        if before := failed.to_skip(self.path, self.stamp):
            return self._skipped(before)
        if video is None or video.stamp != self.stamp or failed.is_retried(self.path):
            return None
        return self.record(UNCHANGED, video.content_hash)

    def by_content(
        self, digest: str, video: KnownVideo | None, contents: Counter[str], failed: FailedFiles
    ) -> FileRecord:
        """The record by the hash of the content.

        Args:
            digest: The hash.
            video: What the library holds at this path.
            contents: Number of recordings of the library by content.
            failed: Files that earlier runs could not read.
        """
        if before := failed.with_content(digest):
            return self._skipped(before)
        state = CHANGED
        if not failed.is_retried(self.path, digest):
            if video is not None and video.content_hash == digest:
                state = UNCHANGED
            elif contents[digest] > 0:
                state = KNOWN
        return self.record(state, digest)

    def _skipped(self, before: FailedFile) -> FileRecord:
        message = (
            f"{self.file}: skipped, its reading failed before ({before.message}); retry=True "
            "reads it"
        )
        failure = Failure(self.file, before.kind, message)
        return self.record(SKIPPED, before.content_hash, failure)


def stamp_of(path: Path) -> Stamp:
    """Size and time of a file; of a folder or a bundle, total size and latest time of its files.

    Raises:
        OSError: it does not exist.
    """
    status = path.stat()
    if path.is_dir():
        size = 0
        inside = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
    else:
        size = status.st_size
        inside = [part.stat() for part in bundle_files(path) if part.exists()]
    latest = max((s.st_mtime_ns for s in inside), default=0)
    return Stamp(size + sum(s.st_size for s in inside), max(latest, status.st_mtime_ns))


def failure_of(file: Path, error: VlarError | OSError) -> Failure:
    """The failure of a file that an error means."""
    if isinstance(error, FileNotFoundError):  # an address and a camera have their own message
        try:
            require_readable(file)
        except DecodeError as missing:
            return Failure(file, "decode", missing.message)
    if isinstance(error, VlarError):
        return Failure(file, error.kind, error.message)
    reason = error.strerror or str(error)
    kind, advice = "decode", "check the path and its permissions"
    if error.strerror == OUTSIDE:
        kind, advice = "outside", "start the server with --root FOLDER"
    return Failure(file, kind, f"{file}: cannot be read ({reason}); {advice}")


def lasting(spec: str) -> str:
    """A spec of a part by which it is found again from wherever a library is opened."""
    part = PartSpec.parse(spec)
    if not part.argument or not Path(part.argument).exists():
        return spec
    return str(replace(part, argument=absolute(part.argument)))
