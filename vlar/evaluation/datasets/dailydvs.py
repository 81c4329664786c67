"""``dailydvs200``: DailyDVS-200 (Wang et al., 2024), actions before an event camera."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import (
    TEST,
    TRAIN,
    VALIDATION,
    DatasetLayout,
    DatasetSplit,
    Recordings,
    clip,
    lines_of,
    text_hash,
)
from vlar.heads.support import SupportItem
from vlar.registry import register

_NAME = re.compile(r"C(\d+)P(\d+)")
_LISTS = (TRAIN, VALIDATION, TEST)


@register("dataset", "dailydvs200")
class DailyDvs200(DatasetLayout):
    """``{train,val,test}.txt`` with a recording a line, ``action_description.csv``; AEDAT 4.

    The name of a recording has its class and its subject: ``C12P3M0S1_...aedat4``. A group is a
    subject; subjects of more than one list are noted.
    """

    videos = ("aedat4", "videos", "")

    def claims(self, root: Path) -> bool:
        return self.annotation(root, "action_description.csv") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        del options
        described = self.needed(root, "action_description.csv")
        labels = tuple(label for label, _ in descriptions(described))
        self.needed(root, *(f"{name}.txt" for name in _LISTS))
        subsets, files, people = {}, {described.name: text_hash(described)}, {}
        for name in _LISTS:
            file = self.annotation(root, f"{name}.txt")
            if file is not None:
                rows = list(_listed(file, labels))
                files[file.name] = text_hash(file)
                people[name] = {item.group for item, _ in rows}
                subsets[name] = Recordings(root, self.videos).subset(rows)
        notes = tuple(
            f"{', '.join(sorted(shared))}: in {one} and in {other}, so these are not other people"
            for at, one in enumerate(people)
            for other in list(people)[at + 1 :]
            if (shared := people[one] & people[other])
        )
        return DatasetSplit("dailydvs200", root, labels, subsets, files, notes)


def descriptions(file: Path) -> list[tuple[str, str]]:
    """Name and sentence of each class of a CSV ``[NUMBER,]NAME[,SENTENCE]``, in its order.

    Raises:
        DatasetError: it cannot be read, or a name is empty or comes twice.
    """
    rows = list(csv.reader(io.StringIO("\n".join(lines_of(file)), newline="")))
    cells = [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))]
    numbered = len(cells) > 1 and cells[1][0].isdigit()
    if cells and (numbered and not cells[0][0].isdigit()):
        del cells[0]  # the names of the columns
    found = [(row[numbered], row[-1]) for row in cells if len(row) > numbered]
    names = [name for name, _ in found]
    if len(found) < len(cells) or not names or not all(names) or len(set(names)) < len(names):
        raise DatasetError(f"{file}: a class has an empty name, or one that another class has")
    return found


def _listed(file: Path, labels: tuple[str, ...]) -> Iterator[tuple[SupportItem, list[str]]]:
    for number, line in enumerate(lines_of(file), start=1):
        path = re.split(r"[,\s]", line.strip(), maxsplit=1)[0]
        found = _NAME.search(PurePosixPath(path).name)
        if not path:
            continue
        if found is None or int(found[1]) >= len(labels):
            raise DatasetError(
                f"{file}, line {number}: {path!r} does not name a class below {len(labels)} and a "
                "subject, as C12P3M0S1_20231111.aedat4 does"
            )
        item = clip([labels[int(found[1])]], f"subject {int(found[2])}")
        name = PurePosixPath(path.lstrip("/"))
        yield item, [str(name), name.name, f"{name.name}.aedat4", f"{name.stem}.aedat4"]
