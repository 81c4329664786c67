"""``kinetics``: the CSV files of Kinetics-400, -600 and -700 (Kay et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlar.evaluation.datasets.base import (
    TEST,
    TRAIN,
    VALIDATION,
    Dataset,
    Layout,
    Recordings,
    clip,
    number_of,
    text_hash,
)
from vlar.evaluation.datasets.table import rows_of
from vlar.fewshot.support import SupportItem
from vlar.registry import register

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_FILES = {
    TRAIN: ("train.csv", "kinetics_train.csv"),
    VALIDATION: ("val.csv", "validate.csv", "validation.csv", "kinetics_val.csv"),
    TEST: ("test.csv", "kinetics_test.csv"),
}


@register("dataset", "kinetics")
class Kinetics(Layout):
    """``{train,val,test}.csv`` with ``label,youtube_id,time_start,time_end,split``.

    Recordings are ``ID_000010_000020.mp4`` or ``ID.mp4`` in ``videos/``, a folder of the subset,
    or a folder of the label in it. A group is a source video. A test file without labels is left
    out with a note.
    """

    videos = ("videos", "{subset}", "videos_{subset}", "")

    def claims(self, root: Path) -> bool:
        """See ``Layout``."""
        files = (self.annotation(root, *names) for names in _FILES.values())
        first = next((file for file in files if file is not None), None)
        return first is not None and "youtube_id" in first.open(encoding="utf-8").readline()

    def read(self, root: Path, options: Mapping[str, Any]) -> Dataset:
        """See ``Layout``."""
        del options
        self.needed(root, *(name for names in _FILES.values() for name in names))
        subsets, files, notes = {}, {}, []
        labels: set[str] = set()
        for name, choices in _FILES.items():
            file = self.annotation(root, *choices)
            if file is None:
                continue
            files[file.name] = text_hash(file)
            rows = list(rows_of(file, _COLUMNS[1:]))
            if rows and "label" not in rows[0][1]:
                notes.append(f"{file.name} has no labels and was left out")
                continue
            labels |= {row["label"] for _, row in rows}
            folders = [folder.format(subset=name) for folder in self.videos]
            subsets[name] = Recordings(root, folders).subset(_listed(file, rows))
        return Dataset("kinetics", root, tuple(sorted(labels)), subsets, files, tuple(notes))


def _listed(
    file: Path, rows: list[tuple[int, dict[str, str]]]
) -> Iterator[tuple[SupportItem, list[str]]]:
    for number, row in rows:
        start, end = (
            round(number_of(row[name], file, number, name)) for name in ("time_start", "time_end")
        )
        stem, label = row["youtube_id"], row["label"]
        cut = f"{stem}_{start:06d}_{end:06d}"
        names = [f"{label}/{cut}.mp4", f"{cut}.mp4", f"{label}/{stem}.mp4", f"{stem}.mp4"]
        yield clip([label], stem), [*names, f"{label.replace(' ', '_')}/{cut}.mp4"]
