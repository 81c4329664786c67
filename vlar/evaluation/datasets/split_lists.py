"""``hmdb51``: the official lists (Kuehne et al. 2011) and the folders of the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import (
    TEST,
    TRAIN,
    DatasetLayout,
    DatasetSplit,
    Recordings,
    clip,
    lines_of,
    require_label,
    text_hash,
)
from vlar.heads.support import SupportItem
from vlar.registry import register

_USES = {"1": TRAIN, "2": TEST, "0": None}  # None: in neither subset of this split


@register("dataset", "hmdb51")
class Hmdb51(DatasetLayout):
    """``testTrainMulti_7030_splits/LABEL_test_splitN.txt``, ``hmdb51_org/LABEL/*.avi``.

    A group is a source film: the file's name up to its label. Option ``split``: 1, 2 or 3.
    """

    options = ("split",)
    annotations = ("testTrainMulti_7030_splits", "annotations", "splits", "")
    videos = ("hmdb51_org", "HMDB51", "videos", "")

    def claims(self, root: Path) -> bool:
        return bool(self._files(root, 1))

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        split = int(options.get("split", 1))
        ending = f"_test_split{split}.txt"
        files = self._files(root, split)
        if not files:
            raise DatasetError(f"{root}: no LABEL{ending}; put the official split files there")
        rows: dict[str, list[tuple[SupportItem, list[str]]]] = {TRAIN: [], TEST: []}
        unused = 0
        for file in files:
            label = file.name.removesuffix(ending)
            for use, item, names in _listed(file, label):
                if use is None:
                    unused += 1
                else:
                    rows[use].append((item, names))
        recordings = Recordings(root, self.videos)
        labels = tuple(file.name.removesuffix(ending) for file in files)
        subsets = {name: recordings.subset(listed) for name, listed in rows.items()}
        notes = (f"{unused} clips are in neither subset of split {split}",) if unused else ()
        return DatasetSplit(
            "hmdb51", root, labels, subsets, {f"*{ending}": text_hash(*files)}, notes
        )

    def _files(self, root: Path, split: int) -> list[Path]:
        for folder in self.annotations:
            if files := sorted((root / folder).glob(f"*_test_split{split}.txt")):
                return files
        return []


def _listed(file: Path, label: str) -> Iterator[tuple[str | None, SupportItem, list[str]]]:
    for number, line in enumerate(lines_of(file), start=1):
        if not line.strip():
            continue
        name, _, use = line.strip().rpartition(" ")
        if use not in _USES or not name.strip():
            raise DatasetError(
                f"{file}, line {number}: {line!r} is not 'FILE USE' with use 0, 1 or 2"
            )
        film = name.strip().partition(f"_{label}_")[0]
        yield _USES[use], clip([label], film), [f"{label}/{name.strip()}", name.strip()]


@register("dataset", "ucf101")
class Ucf101(DatasetLayout):
    """``ucfTrainTestlist/{classInd,trainlist0N,testlist0N}.txt``, ``UCF-101/LABEL/v_*.avi``.

    A group is a source video (``g08``). Option ``split``: 1, 2 or 3.
    """

    options = ("split",)
    annotations = ("ucfTrainTestlist", "annotations", "splits", "")
    videos = ("UCF-101", "UCF101", "videos", "")

    def claims(self, root: Path) -> bool:
        return self.annotation(root, "classInd.txt") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        split = int(options.get("split", 1))
        classes = self.needed(root, "classInd.txt")
        labels = list(_labels(classes))
        recordings = Recordings(root, self.videos)
        subsets, files = {}, {classes.name: text_hash(classes)}
        for name, stem in ((TRAIN, "trainlist"), (TEST, "testlist")):
            file = self.needed(root, f"{stem}{split:02d}.txt")
            files[file.name] = text_hash(file)
            subsets[name] = recordings.subset(_ucf101_listed(file, labels))
        return DatasetSplit("ucf101", root, tuple(labels), subsets, files)


def _labels(file: Path) -> Iterator[str]:
    for number, line in enumerate(lines_of(file), start=1):
        index, _, label = line.strip().partition(" ")
        if line.strip() and (not index.isdigit() or not label.strip()):
            raise DatasetError(f"{file}, line {number}: {line!r} is not 'NUMBER LABEL'")
        if label.strip():
            yield label.strip()


def _ucf101_listed(file: Path, labels: list[str]) -> Iterator[tuple[SupportItem, list[str]]]:
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
