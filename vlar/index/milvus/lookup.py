"""Recordings by path and by content, for a writer: in memory, read once.

A writer asks for every file. One call each would cost more than the rest of a small recording, so
the keys of all recordings are read at the first question: some 200 bytes a recording.
"""

from __future__ import annotations

from vlar.index.milvus.client import MilvusConnection
from vlar.index.milvus.layout import Layout
from vlar.index.milvus.recording import KIND, Recording, text_key

_FIELDS = ("video_id", "path_key", "content_key")


class Lookup:
    """Ids of recordings by path and by content.

    Args:
        connection: To Milvus.
        layout: Of the library.
    """

    def __init__(self, connection: MilvusConnection, layout: Layout) -> None:
        self._by_path: dict[int, int] = {}
        self._by_content: dict[int, list[int]] = {}
        self._keys: dict[int, tuple[int, int]] = {}
        where = f'kind == "{KIND}"'
        for page in connection.pages(layout.records, where, _FIELDS):
            for each in page:
                keys = _short(each["path_key"]), _short(each["content_key"])
                self._add(int(each["video_id"]), keys)

    def at_path(self, path: str) -> int | None:
        """The recording of a path; its path must be compared."""
        return self._by_path.get(_short(text_key(path)))

    def with_content(self, content_hash: str) -> list[int]:
        """The recordings of a content, oldest first; their contents must be compared."""
        return sorted(self._by_content.get(_short(text_key(content_hash)), ()))

    def put(self, recording: Recording) -> None:
        """Add a recording, or change what is known of it."""
        self.drop(recording.id)
        keys = _short(text_key(recording.path)), _short(text_key(recording.content_hash))
        self._add(recording.id, keys)

    def drop(self, video_id: int) -> None:
        """Forget a recording."""
        if video_id not in self._keys:
            return
        path, content = self._keys.pop(video_id)
        if self._by_path.get(path) == video_id:
            del self._by_path[path]
        self._by_content[content].remove(video_id)

    def _add(self, video_id: int, keys: tuple[int, int]) -> None:
        self._keys[video_id] = keys
        self._by_path[keys[0]] = video_id
        self._by_content.setdefault(keys[1], []).append(video_id)


def _short(key: str) -> int:
    return int(key[:15], 16)
