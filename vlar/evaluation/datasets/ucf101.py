"""``ucf101``: the official lists (Soomro et al. 2012) and the folders of the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import (
    TEST,
    TRAIN,
    Dataset,
    Layout,
    Recordings,
    clip,
    lines_of,
    require_label,
    text_hash,
)
from vlar.fewshot.support import SupportItem
from vlar.registry import register


@register("dataset", "ucf101")
class Ucf101(Layout):
    """``ucfTrainTestlist/{classInd,trainlist0N,testlist0N}.txt``, ``UCF-101/LABEL/v_*.avi``.

    A group is a source video (``g08``). Option ``split``: 1, 2 or 3.
    """

    options = ("split",)
    annotations = ("ucfTrainTestlist", "annotations", "splits", "")
    videos = ("UCF-101", "UCF101", "videos", "")

    def claims(self, root: Path) -> bool:
        """See ``Layout``."""
        return self.annotation(root, "classInd.txt") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> Dataset:
        """See ``Layout``."""
        split = int(options.get("split", 1))
        classes = self.needed(root, "classInd.txt")
        labels = list(_labels(classes))
        recordings = Recordings(root, self.videos)
        subsets, files = {}, {classes.name: text_hash(classes)}
        for name, stem in ((TRAIN, "trainlist"), (TEST, "testlist")):
            file = self.needed(root, f"{stem}{split:02d}.txt")
            files[file.name] = text_hash(file)
            subsets[name] = recordings.subset(_listed(file, labels))
        return Dataset("ucf101", root, tuple(labels), subsets, files)


def _labels(file: Path) -> Iterator[str]:
    for number, line in enumerate(lines_of(file), start=1):
        index, _, label = line.strip().partition(" ")
        if line.strip() and (not index.isdigit() or not label.strip()):
            raise DatasetError(f"{file}, line {number}: {line!r} is not 'NUMBER LABEL'")
        if label.strip():
            yield label.strip()


def _listed(file: Path, labels: list[str]) -> Iterator[tuple[SupportItem, list[str]]]:
    known = {label: number for number, label in enumerate(labels, start=1)}
    for number, line in enumerate(lines_of(file), start=1):
        if not line.strip():
            continue
        path, _, index = line.strip().partition(" ")
        label = require_label(PurePosixPath(path).parent.name, known, file, number)
        if index.strip() and index.strip() != str(known[label]):
            raise DatasetError(
                f"{file}, line {number}: class {index.strip()} is not {label!r}, which is "
                f"{known[label]} in classInd.txt"
            )
        group = PurePosixPath(path).stem.rpartition("_c")[0] or path
        yield clip([label], group), [path, PurePosixPath(path).name]
