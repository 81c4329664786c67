"""``lists``: files of ``PATH [FRAMES] NUMBER``, as BEAR, TC-CLIP and FROSTER use them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.datasets.base import (
    TEST,
    TRAIN,
    VALIDATION,
    DatasetLayout,
    DatasetSplit,
    Recordings,
    Subset,
    clip,
    lines_of,
    text_hash,
)
from vlar.heads.support import SupportItem
from vlar.language.labels import parse_labels
from vlar.registry import register

_DEFAULTS = {
    TRAIN: ("train.txt", "train.csv"),
    VALIDATION: ("val.txt", "val.csv"),
    TEST: ("test.txt", "test.csv"),
}


@register("dataset", "lists")
class Lists(DatasetLayout):
    """``train.csv``, ``test.csv`` (``PATH NUMBER``, blanks or commas), ``labels.txt`` in order.

    Options: ``files`` (subset to file name), ``labels`` (file with one label a line, or a CSV with
    a column ``label`` or ``name``).
    """

    options = ("files", "labels")
    videos = ("videos", "rawframes", "")

    def claims(self, root: Path) -> bool:
        return (
            self.annotation(root, "labels.txt") is not None
            and self.annotation(root, *(n for names in _DEFAULTS.values() for n in names))
            is not None
        )

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        listed = self.needed(root, str(options.get("labels", "labels.txt")))
        labels = label_names(listed)
        chosen = cast("Mapping[str, Any]", options.get("files", {}))
        if not isinstance(options.get("files", {}), dict):
            raise ProtocolError("layout 'lists': files is not a table such as {test = 'val.csv'}")
        recordings, subsets = Recordings(root, self.videos), {}
        files = {listed.name: text_hash(listed)}
        wanted = {str(name): (str(file),) for name, file in chosen.items()} or _DEFAULTS
        for name, names in wanted.items():
            file = self.needed(root, *names) if chosen else self.annotation(root, *names)
            if file is not None:
                files[file.name] = text_hash(file)
                subsets[name] = recordings.subset(_listed(file, labels))
        return DatasetSplit("lists", root, labels, subsets, files)

    def read_list(self, data: DatasetSplit, name: str, labels: Sequence[str]) -> Subset:
        """The clips of one more list of a data set, such as that of a few-shot draw.

        Raises:
            DatasetError: it is not there, or malformed.
        """
        file = self.needed(data.root, name)
        return Recordings(data.root, self.videos).subset(_listed(file, tuple(labels)))


def label_names(file: Path) -> tuple[str, ...]:
    """The labels of a file in order; a CSV may call its column ``name``.

    Raises:
        DatasetError: it cannot be read.
    """
    lines = lines_of(file)
    if file.suffix.lower() == ".csv" and lines:
        header = [cell.strip().lower() for cell in lines[0].split(",")]
        if "name" in header and "label" not in header:
            at = header.index("name")
            return tuple(line.split(",", at + 1)[at].strip() for line in lines[1:] if line)
    if file.suffix.lower() == ".txt":
        return tuple(line.strip() for line in lines if line.strip() and line[0] != "#")
    return parse_labels(file).keys


def _listed(file: Path, labels: tuple[str, ...]) -> Iterator[tuple[SupportItem, list[str]]]:
    for number, line in enumerate(lines_of(file), start=1):
        if not line.strip():
            continue
        path, index = _path_and_index(line.strip())
        if not index.isdigit() or int(index) >= len(labels):
            raise DatasetError(
                f"{file}, line {number}: class {index!r} is not a number below {len(labels)}, the "
                "number of labels"
            )
        name = PurePosixPath(path)
        yield clip([labels[int(index)]], str(name)), [path.lstrip("/"), name.name]


def _path_and_index(line: str) -> tuple[str, str]:
    separator = "," if "," in line else None
    cells = [cell.strip() for cell in line.rsplit(separator, 1)]
    if len(cells) < 2:
        return line, ""
    path, index = cells
    # "PATH FRAMES NUMBER": the number of frames stands between, and is measured here.
    before = path.rsplit(separator, 1)
    if len(before) == 2 and before[1].strip().isdigit():
        path = before[0].strip()
    return path, index
