"""Rows of a data set of ``datasets`` with a column of videos, and decoders of torchcodec.

A row is a file of this disk, or the bytes of one; nothing is decoded here, and neither library is
imported: a data set is recognised by its form.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vlar.errors import UsageError
from vlar.files.reading import require_memory
from vlar.types import Float64, UInt8

_LABELS = ("label", "labels", "action", "class")
_MEMORY = Path("/dev/shm")
_PLAIN = (str, int, float, bool)


@runtime_checkable
class DataSet(Protocol):
    """A data set of ``datasets``, whose features state what its columns hold."""

    @property
    def features(self) -> Mapping[str, Any]:
        """Type of each column."""
        ...

    def cast_column(self, column: str, feature: Any) -> Any:
        """The same data with another type of a column."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """A decoder of torchcodec, such as a column of videos gives."""

    @property
    def metadata(self) -> Any:
        """Facts of the stream: ``begin_stream_seconds``, ``duration_seconds``."""
        ...

    def get_frames_played_at(self, seconds: Any) -> Any:
        """Frames that are shown at some times."""
        ...


@dataclass(frozen=True)
class DataSetRow:
    """A row with a video.

    Attributes:
        path: Its file; None where the data set holds the bytes.
        data: Bytes of the file; None where it is on disk.
        ending: Ending of the file's name, such as ``.mp4``.
        label: Text of the label column; empty without one.
        cells: The other columns with one value a row, as texts.
    """

    path: Path | None
    data: bytes | None
    ending: str
    label: str
    cells: Mapping[str, str]


def rows(dataset: DataSet) -> Iterator[DataSetRow]:
    """The rows of a data set, one after the other.

    Raises:
        UsageError: it has no column of videos, or a row has no video.
    """
    columns = {name: type(feature).__name__ for name, feature in dataset.features.items()}
    videos = [name for name, kind in columns.items() if kind == "Video"]
    if not videos:
        raise UsageError(
            f"the data set has no column of the type Video, only {', '.join(columns)!r:.200}; "
            "cast one: dataset.cast_column(NAME, datasets.Video())"
        )
    column, feature = videos[0], dataset.features[videos[0]]
    stored = dataset.cast_column(column, type(feature)(decode=False))
    for number, row in enumerate(stored):
        video = row.pop(column) or {}
        path, data = video.get("path"), video.get("bytes")
        if data is None and not path:
            raise UsageError(f"row {number} of the data set has no video; filter it out")
        cells = {name: _text(dataset, name, value) for name, value in row.items()}
        cells = {name: text for name, text in cells.items() if text}
        label = next((cells[name] for name in _LABELS if name in cells), "")
        ending = Path(path or ".mp4").suffix or ".mp4"
        file = Path(path) if data is None and path else None
        yield DataSetRow(file, data, ending, label, cells)


def _text(dataset: DataSet, name: str, value: object) -> str:
    names = getattr(dataset.features[name], "names", None)
    if names and isinstance(value, int) and 0 <= value < len(names):
        return str(names[value])
    return str(value) if isinstance(value, _PLAIN) else ""


@contextmanager
def labelled_files(dataset: DataSet) -> Generator[list[tuple[Path, str]]]:
    """File and label of each row; bytes are files of memory (tmpfs) until the block ends.

    Raises:
        UsageError: it has no column of videos or of labels, or its bytes do not fit into memory.
    """
    folder = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vlar-rows-", dir=folder) as memory:
        pairs: list[tuple[Path, str]] = []
        n_bytes = 0
        for number, row in enumerate(rows(dataset)):
            if not row.label:
                raise UsageError(
                    f"row {number} of the data set has no label; name the column 'label'"
                )
            path = row.path
            if path is None:
                data = row.data or b""
                require_memory(n_bytes := n_bytes + len(data))
                path = Path(memory, f"{number:06d}{row.ending}")
                path.write_bytes(data)
            pairs.append((path, row.label))
        yield pairs


def span_of(decoder: Decoder) -> tuple[float, float]:
    """First time and length of a decoder's stream, in seconds."""
    facts = decoder.metadata
    begin_s = float(getattr(facts, "begin_stream_seconds", None) or 0.0)
    return begin_s, float(facts.duration_seconds or 0.0)


def decoded(decoder: Decoder, times_s: Float64) -> UInt8:
    """The frames (T, H, W, 3) that a decoder shows at T times, in seconds from its start."""
    begin_s, duration_s = span_of(decoder)
    latest_s = begin_s + max(duration_s - 1e-3, 0.0)
    times = np.minimum(begin_s + times_s, latest_s).tolist()
    data = decoder.get_frames_played_at(times).data  # on the card where it is a decoder of one
    frames = np.asarray(data.cpu() if hasattr(data, "cpu") else data)
    return np.ascontiguousarray(frames if frames.shape[-1] == 3 else frames.transpose(0, 2, 3, 1))
