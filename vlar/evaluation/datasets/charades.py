"""``charades``: several labels a video, with their times (Sigurdsson et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
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
    number_of,
    text_hash,
)
from vlar.evaluation.datasets.table import rows_of
from vlar.fewshot.support import SupportItem
from vlar.registry import register
from vlar.types import Window

_Row = tuple[SupportItem, list[str]]


@register("dataset", "charades")
class Charades(Layout):
    """``Charades_v1_{classes.txt,train.csv,test.csv}``, ``Charades_v1[_480]/ID.mp4``.

    A clip is a video with all its labels; with the option ``spans = true`` each action is a clip of
    its own with its time. A group is a person (``subject``). Videos without an action are noted.
    """

    options = ("spans",)
    annotations = ("Charades", "annotations", "")
    videos = ("Charades_v1_480", "Charades_v1", "videos", "")

    def claims(self, root: Path) -> bool:
        """See ``Layout``."""
        return self.annotation(root, "Charades_v1_classes.txt") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> Dataset:
        """See ``Layout``."""
        classes = self.needed(root, "Charades_v1_classes.txt")
        names = {code: label for code, _, label in (s.partition(" ") for s in lines_of(classes))}
        names.pop("", None)
        subsets, files, notes = {}, {classes.name: text_hash(classes)}, []
        for name in (TRAIN, TEST):
            file = self.annotation(root, f"Charades_v1_{name}.csv")
            if file is None:
                continue
            files[file.name] = text_hash(file)
            rows = [_row(file, line, row, names) for line, row in rows_of(file, ("id", "actions"))]
            empty = sum(not actions for _, _, actions in rows)
            if empty:
                notes.append(f"{name}: {empty} videos show no action and are left out")
            listed = [r for row in rows for r in _clips(row, bool(options.get("spans", False)))]
            subsets[name] = Recordings(root, self.videos).subset(listed)
        if not subsets:
            raise DatasetError(f"{root}: no Charades_v1_train.csv or Charades_v1_test.csv")
        return Dataset("charades", root, tuple(names.values()), subsets, files, tuple(notes))


def _row(
    file: Path, line: int, row: dict[str, str], names: dict[str, str]
) -> tuple[str, str, list[tuple[str, Window]]]:
    actions: list[tuple[str, Window]] = []
    for text in filter(None, (part.strip() for part in row["actions"].split(";"))):
        code, *times = text.split()
        if code not in names or len(times) != 2:
            raise DatasetError(
                f"{file}, line {line}: {text!r} is not 'CODE START END' with a code of the classes"
            )
        start, end = (number_of(time, file, line, "time") for time in times)
        actions.append((names[code], Window(start, max(start, end))))
    return row["id"], row.get("subject") or row["id"], actions


def _clips(row: tuple[str, str, list[tuple[str, Window]]], spans: bool) -> Iterator[_Row]:
    name, group, actions = row
    if spans:
        for label, window in actions:
            yield clip([label], group, window), [f"{name}.mp4"]
    elif actions:
        yield clip([label for label, _ in actions], group), [f"{name}.mp4"]
