"""A library as a map-style data set: each item is a row, its frames decoded when asked for.

It fits ``torch.utils.data.DataLoader`` without importing torch: items hold arrays, numbers and
texts. An item is read by the process that asks for it, so workers share no connection.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import LibraryError, UsageError, VlarError
from vlar.index.backends import backend_of
from vlar.index.manifest import LibraryManifest
from vlar.index.rows import Int64, RowFilter
from vlar.index.store.base import LibraryStore
from vlar.sensors import reader
from vlar.types import Sampling, UInt8, Window


class LibraryDataset:
    """The rows of a library, in rising order of their ids.

    An item has ``row_id``, ``vector`` (D,) float32, ``path``, ``start_s``, ``end_s``, ``tags`` (a
    dict of the keys that were asked for) and, with ``clips``, ``clip`` (T, H, W, 3) uint8 and
    ``lost`` (0 to 1). A clip that cannot be read is black, and its ``lost`` is 1. The item of a
    person's row also has ``track`` and ``box`` (``vlar.index.rows.RowPerson``); its clip is the
    whole picture.

    Args:
        path: The library.
        tags: Keys of tags that items carry.
        clips: Whether items carry frames.
        n_frames: T.
        size: (H, W) in pixels.
    """

    def __init__(
        self,
        path: str | Path,
        tags: tuple[str, ...] = (),
        clips: bool = False,
        n_frames: int = 8,
        size: tuple[int, int] = (224, 224),
    ) -> None:
        if n_frames < 1 or min(size) < 1:
            raise UsageError(f"n_frames {n_frames} and size {size} must be at least 1")
        self.path, self.tags, self.clips = str(path), tags, clips
        self._sampling, self._size = Sampling(n_frames, shorter_side=min(size)), size
        self._opened: tuple[int, LibraryStore, LibraryManifest] | None = None

    def __len__(self) -> int:
        """N, the number of rows when the data set was first used."""
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several items, read together.

        Raises:
            IndexError: an index outside the data set.
            LibraryError: a row was deleted or damaged since the data set was first used.
        """
        ids = [int(self._ids[index]) for index in indices]
        _, store, manifest = self._connection()
        rows = store.rows(sorted(set(ids)), manifest.dim)
        videos = sorted(set(rows.video_ids.tolist()))
        paths, tags = store.paths(videos), store.tags(videos)
        items: dict[int, dict[str, Any]] = {}
        for place, row_id in enumerate(rows.ids.tolist()):
            video_id = int(rows.video_ids[place])
            start_s, end_s = rows.spans[place]
            own = tags.get(video_id, {})
            items[row_id] = {
                "row_id": row_id,
                "vector": rows.vectors[place],
                "path": paths[video_id],
                "start_s": start_s,
                "end_s": end_s,
                "tags": {key: own.get(key, "") for key in self.tags},
            }
            if (person := rows.people.get(row_id)) is not None:
                items[row_id] |= {"track": person.track, "box": person.box}
        if missing := set(ids) - items.keys():
            raise LibraryError(
                f"library {self.path}: row {min(missing)} is gone or damaged; make the data set "
                "again"
            )
        if self.clips:
            for item in items.values():
                item["clip"], item["lost"] = self._clip(item, manifest.modality)
        return [dict(items[row_id]) for row_id in ids]

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes, which open the library themselves."""
        return {**self.__dict__, "_opened": None}

    def _connection(self) -> tuple[int, LibraryStore, LibraryManifest]:
        # A connection of SQLite must not cross a fork.
        if self._opened is None or self._opened[0] != os.getpid():
            store = backend_of(self.path).reader()
            manifest = None if store is None else LibraryManifest.of(store)
            if store is None or manifest is None:
                raise LibraryError(f"library {self.path} is empty; add recordings first")
            self._opened = os.getpid(), store, manifest
        return self._opened

    @cached_property
    def _ids(self) -> Int64:
        _, store, manifest = self._connection()
        found = (rows.ids for rows in store.scan(manifest.dim, RowFilter()))
        return np.sort(np.concatenate([np.empty(0, np.int64), *found]))

    def _clip(self, item: dict[str, Any], modality: str) -> tuple[UInt8, float]:
        from PIL import Image

        height, width = self._size
        try:
            window = Window(item["start_s"], item["end_s"])
            clip = reader(modality).read_clip(Path(item["path"]), window, self._sampling)
        except VlarError:
            return np.zeros((self._sampling.n_frames, height, width, 3), np.uint8), 1.0
        frames = [
            np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
            for frame in clip.data
        ]
        return np.stack(frames), clip.lost
