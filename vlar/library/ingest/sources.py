"""Sources that the arguments of an ``add`` name: files and folders, and data sets.

Addresses, lists and archives have names of another form; a plugin (``vlar.plugins.sources``) finds
the recordings in them.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.errors import UsageError, VlarError
from vlar.files.opening import allowed_roots, open_input
from vlar.files.reading import MOST_MEMORY
from vlar.formatting import as_url
from vlar.library.recording import ListedRecording, checked_tags
from vlar.library.store.paths import absolute
from vlar.library.store.values import NO_FILE
from vlar.media.base import Reader
from vlar.media.dataset_rows import DataSet, rows
from vlar.media.video.files import is_folder

MOST_TEXT = 1 << 16  # characters of a text in a list or an archive
ROW_BYTES = 1000  # of a recording that is held, without its texts
COLUMN = "path"
_LISTS = frozenset({".parquet", ".csv"})
_ARCHIVE = ".tar"
_ASKING = 16  # addresses whose size and time are asked for at a time
_FILE = "file://"


@dataclass(frozen=True)
class SourceName:
    """The place that an argument or a row of a list names, decided once by its name.

    Attributes:
        text: A path as it was written, or the address.
        is_remote: Whether it is an address that ``fsspec`` opens.
        ending: Ending without what is asked of an address; lower case.
    """

    text: str
    is_remote: bool
    ending: str

    @classmethod
    def parse(cls, path: str | Path) -> SourceName:
        """The place of a text; ``file://`` addresses are paths of this machine."""
        url = as_url(path)
        is_remote = url is not None and not url.startswith(_FILE)
        text = (url or str(path)) if is_remote else (url or str(path)).removeprefix(_FILE)
        name = text.partition("?")[0] if is_remote else text
        ending = os.path.splitext(name.rstrip("/"))[1].lower()  # noqa: PTH122 - a list has 300,000
        return cls(text, is_remote, ending)

    @property
    def path(self) -> str:
        """The path as a library writes it."""
        return self.text if self.is_remote else absolute(self.text)

    @property
    def is_archive(self) -> bool:
        """Whether it is a tar, by its ending."""
        return self.ending == _ARCHIVE and (self.is_remote or not is_folder(Path(self.text)))

    @property
    def is_list(self) -> bool:
        """Whether it names other places; a CSV file does where it has a column ``path``."""
        if self.ending == ".csv" and not self.is_remote:
            return _has_paths(self.text)
        return self.ending in _LISTS and (self.is_remote or not is_folder(Path(self.text)))


def recordings(
    paths: str | Path | Sequence[str | Path] | DataSet, source: Reader, *, remote: bool = False
) -> list[ListedRecording]:
    """The recordings that an ``add`` names, each place once; the first mention counts.

    Args:
        paths: As ``Library.add`` takes them.
        source: The reader of their sensor.
        remote: Lists may name addresses, besides the arguments themselves.
    """
    by_path: dict[str, ListedRecording] = {}
    n_bytes = 0
    listing = of_dataset(paths) if isinstance(paths, DataSet) else _of_all(paths, source, remote)
    for recording in listing:
        by_path.setdefault(recording.path, recording)
        n_bytes += ROW_BYTES + 2 * len(recording.path) + sum(map(len, recording.tags.values()))
        if n_bytes > MOST_MEMORY:
            raise UsageError(
                f"{recording.path:.200}: is one of over {len(by_path):,} recordings, which take "
                f"{MOST_MEMORY / 1e9:g} GB of memory; split it"
            )
    unknown = [row for row in by_path.values() if row.is_remote and row.stamp == NO_FILE]
    if unknown:
        with ThreadPoolExecutor(_ASKING) as threads:
            looked_up = plugin("remote", unknown[0].path).looked_up
            by_path |= {row.path: row for row in threads.map(looked_up, unknown)}
    return list(by_path.values())


def plugin(module: str, path: str) -> Any:
    """A module of the plugin that finds and fetches what addresses, lists and archives name.

    Raises:
        PackageError: this installation lacks it.
    """
    return registry.shelf(f"plugins.sources.{module}", path)


def _of_all(
    paths: str | Path | Sequence[str | Path], source: Reader, remote: bool
) -> Iterator[ListedRecording]:
    """Recordings of each argument, in order."""
    for path in [paths] if isinstance(paths, str | Path) else paths:
        yield from _named(SourceName.parse(path), source, remote)


def of_dataset(dataset: DataSet) -> Iterator[ListedRecording]:
    """The files of a data set's rows; its other columns become tags.

    Raises:
        UsageError: it has no column of videos, or holds bytes instead of files.
    """
    for number, row in enumerate(rows(dataset)):
        if row.path is None:
            raise UsageError(
                f"row {number} of the data set holds the bytes of a video, and a library needs its "
                "file; write the files, or add vectors: Library.add_vectors"
            )
        yield ListedRecording.of(row.path, checked_tags(row.cells))


def require_here(place: SourceName) -> None:
    """Refuse an address or an archive where folders are named that may be read.

    Raises:
        UsageError: it is one.
    """
    if allowed_roots() is not None and (place.is_remote or place.ending == _ARCHIVE):
        raise UsageError(
            f"{place.text[:200]}: a server reads files and folders, no addresses or archives"
        )


def _named(place: SourceName, source: Reader, remote: bool) -> Iterator[ListedRecording]:
    """Recordings that one argument names; a failure where it cannot be looked into."""
    try:
        require_here(place)
        if place.is_list:
            yield from plugin("lists", place.text).of_list(place, source, remote)
        else:
            yield from of_place(place, source)
    except VlarError as error:
        yield ListedRecording.failed(place.text, error)


def of_place(place: SourceName, source: Reader) -> Iterator[ListedRecording]:
    """Recordings of an archive, an address, a folder or a file."""
    if place.is_archive:
        yield from plugin("remote", place.text).archived(place.path, place.is_remote, source)
    elif place.is_remote:
        yield from plugin("remote", place.text).listed(place.text, source)
    else:
        yield from (ListedRecording.of(file) for file in source.find([place.text]))


def _has_paths(path: str) -> bool:
    """Return whether the header of a CSV file has a column ``path``."""
    try:
        with open_input(path, recording=True) as file:
            line = file.readline(MOST_TEXT).decode("utf-8-sig")
        return COLUMN in next(csv.reader([line]), [])
    except (OSError, ValueError, csv.Error):
        return False
