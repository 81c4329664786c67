"""The recordings of one view of a library in Milvus."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vlar.plugins.milvus.client import MilvusConnection
from vlar.plugins.milvus.recording_record import KIND, RecordingRecord, key_of, text_key
from vlar.plugins.milvus.state import VisibleVersions

_FIELDS = ("video_id", "version", "doc")
_DOC_BYTES = 1024


class Catalog:
    """Reads recordings, a few by key or all of them; what was read is kept as long as the view."""

    def __init__(
        self,
        connection: MilvusConnection,
        view: VisibleVersions,
        changed: Mapping[int, RecordingRecord | None] | None = None,
    ) -> None:
        self._connection, self._view = connection, view
        self._changed = {} if changed is None else changed
        self._known: dict[int, RecordingRecord | None] = {}
        self._all: dict[int, RecordingRecord] | None = None

    def all(self) -> Mapping[int, RecordingRecord]:
        """Every recording by id, in rising order of the ids."""
        if self._all is None:
            where = f'kind == "{KIND}"'
            pages = self._connection.pages(self._connection.records, where, _FIELDS, _DOC_BYTES)
            records = (self._of(entity) for page in pages for entity in page)
            self._all = {record.id: record for record in sorted(records, key=lambda each: each.id)}
        if not self._changed:
            return self._all
        return {
            video_id: record
            for video_id, record in sorted({**self._all, **self._changed}.items())
            if record is not None
        }

    def load(self, video_ids: Collection[int]) -> None:
        """Read some recordings at once."""
        if self._all is not None:
            return
        missing = [i for i in video_ids if i not in self._known and i not in self._changed]
        entities = self._connection.get(
            self._connection.records, list(map(key_of, missing)), _FIELDS
        )
        self._known.update(dict.fromkeys(missing))
        self._known.update((record.id, record) for record in map(self._of, entities))

    def get(self, video_id: int) -> RecordingRecord | None:
        """One recording; None where there is none."""
        if video_id in self._changed:
            return self._changed[video_id]
        if self._all is not None:
            return self._all.get(video_id)
        if video_id not in self._known:
            self.load([video_id])
        return self._known[video_id]

    def some(self, video_ids: Collection[int] | None) -> Mapping[int, RecordingRecord]:
        """Recordings by id, all or some; ids without one are left out."""
        if video_ids is None:
            return self.all()
        self.load(video_ids)
        records = ((video_id, self.get(video_id)) for video_id in video_ids)
        return {video_id: record for video_id, record in records if record is not None}

    def at_path(self, path: str) -> RecordingRecord | None:
        """The recording of a path."""
        where = f'path_key == "{text_key(path)}"'
        entity = self._connection.first(self._connection.records, where, _FIELDS, 2)
        return next((record for record in map(self._of, entity) if record.path == path), None)

    def with_content(self, content_hash: str) -> list[RecordingRecord]:
        """The recordings of one content, oldest first."""
        where = f'content_key == "{text_key(content_hash)}"'
        pages = self._connection.pages(self._connection.records, where, _FIELDS, _DOC_BYTES)
        records = [self._of(entity) for page in pages for entity in page]
        same = [record for record in records if record.content_hash == content_hash]
        return sorted(same, key=lambda each: each.id)

    def _of(self, entity: Mapping[str, Any]) -> RecordingRecord:
        return RecordingRecord.of(entity, str(self._connection.address))
