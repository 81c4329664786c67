"""A recording of a library in Milvus: one text, whose replacement commits its rows.

Rows carry the **version** of the recording that they were written for. A recording's record names
the version that counts, so replacing this one entity makes new rows valid and old ones invalid at
once. Versions are never used twice, and the id of a row holds its version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vlar.errors import LibraryError
from vlar.library.rows import VideoRow
from vlar.library.store.row_check import MOST_ID
from vlar.library.store.values import RecordingFacts, Stamp, is_length, is_path, is_text
from vlar.plugins.milvus.layout import record

KIND = "video"
ROWS_A_VERSION = 1 << 21  # so an id stays below 2**53 for 2**32 versions
MOST_VERSIONS = MOST_ID // ROWS_A_VERSION


@dataclass(frozen=True)
class RecordingRecord:
    """Facts of a recording.

    Attributes:
        id: It stays while the recording is at a path.
        version: Version of its rows.
        path: Path as the library writes it.
        content_hash: Content hash of its file.
        size: Size of its file in bytes; -1 for none.
        mtime_ns: Time of its file.
        duration_s: Length in seconds.
        unreadable: Windows that could not be decoded.
        added_at_s: Seconds since 1970, by the clock of the writer.
        rows: Number of rows.
        last_start_s: Start of the last row.
        contexts: Rows with context tokens.
        context_bytes: Bytes of the tokens.
        captioned: Whether its windows have captions.
        has_lost: Whether shares of lost frames are kept.
        replaces: The version before this one; 0 for none.
        tags: Its tags.
    """

    id: int
    version: int
    path: str
    content_hash: str
    size: int
    mtime_ns: int
    duration_s: float
    added_at_s: float
    unreadable: int = 0
    rows: int = 0
    last_start_s: float = 0.0
    contexts: int = 0
    context_bytes: int = 0
    captioned: bool = False
    has_lost: bool = False
    replaces: int = 0
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def facts(self) -> RecordingFacts:
        """Facts that another library keeps too."""
        return RecordingFacts(
            self.id,
            self.path,
            self.content_hash,
            Stamp(self.size, self.mtime_ns),
            self.duration_s,
            self.unreadable,
            self.added_at_s,
        )

    def fact(self, name: str) -> float:
        """A fact that filters compare: ``duration_s``, ``added`` or ``modified``, in seconds."""
        if name == "duration_s":
            return self.duration_s
        return self.added_at_s if name == "added" else self.mtime_ns / 1e9

    def owns(self, row_id: int) -> bool:
        """Return whether a row belongs to its version."""
        return row_id // ROWS_A_VERSION == self.version

    def row_ids(self) -> range:
        """Ids of its rows."""
        first = first_id(self.version)
        return range(first + 1, first + self.rows + 1)

    def as_row(self) -> VideoRow:
        """Row of ``vlar index list``."""
        tags = dict(sorted(self.tags.items()))
        facts = self.duration_s, self.rows, self.added_at_s, tags, self.unreadable
        return VideoRow(self.path, *facts, self.content_hash)

    def to_record(self) -> dict[str, Any]:
        """The entity that commits it."""
        facts = {name: value for name, value in asdict(self).items() if name != "id"}
        return record(
            key_of(self.id),
            KIND,
            facts,
            version=self.version,
            video_id=self.id,
            path_key=text_key(self.path),
            content_key=text_key(self.content_hash),
        )

    @classmethod
    def of(cls, entity: Mapping[str, Any], address: str) -> RecordingRecord:
        """Build a recording from its entity.

        Raises:
            LibraryError: it is not one that vlar writes.
        """
        try:
            facts: dict[str, Any] = json.loads(entity["doc"])
            record = cls(id=int(entity["video_id"]), **facts)
            usable = is_path(record.path) and is_text(record.content_hash)
            usable = usable and is_length(record.duration_s) and record.version == entity["version"]
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged(entity, address) from error
        if not usable:
            raise _damaged(entity, address)
        return record


def key_of(video_id: int) -> str:
    """Key of the record of a recording."""
    return f"v{video_id}"


def text_key(text: str) -> str:
    """A short key that stands for a text of any length, such as a path."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def first_id(version: int) -> int:
    """The id before the first row of a version."""
    return version * ROWS_A_VERSION


def _damaged(entity: Mapping[str, Any], address: str) -> LibraryError:
    return LibraryError(
        f"library {address} is damaged (its recording {entity.get('video_id')!r:.40}); remove it "
        f"with pymilvus (key {entity.get('key')!r:.40}), or copy the library from its source again"
    )
