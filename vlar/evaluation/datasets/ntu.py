"""NTU RGB+D 60 and 120, and the 26 actions of two people among them.

Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2020. A recording's name states all that splits go
by: ``S001C002P003R002A013.skeleton`` is setup 1, camera 2, subject 3, repetition 2, action 13.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
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
    text_hash,
)
from vlar.registry import register
from vlar.toml import read_toml

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R\d{3}A(\d{3})")
#: Subjects and cameras that teach, names of the actions, and which a list of classes has.
FACTS = read_toml(Path(__file__).with_name("ntu.toml").read_text("utf-8"))
_SPLITS = ("subject", "view", "setup")


@register("dataset", "ntu")
class Ntu(DatasetLayout):
    """``S001C002P003R002A013.skeleton`` (or a video of that name), all in one folder.

    Options: ``classes``, 60, 120 or 26 (those of two people among the 120); ``split``, ``subject``
    (X-Sub), ``view`` (X-View) or ``setup`` (X-Set). A group is a subject. Names in a list
    ``*missing_skeletons.txt``, which the authors give, are left out.
    """

    options = ("classes", "split")
    videos = ("nturgb+d_skeletons", "nturgbd_skeletons", "videos", "")

    def claims(self, root: Path) -> bool:
        return any(True for _ in self._names(root))

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        classes, split = str(options.get("classes", 60)), options.get("split", "subject")
        if classes not in FACTS["classes"] or split not in _SPLITS:
            raise DatasetError(
                f"{root}: classes {classes}, split {split!r}: classes are "
                f"{', '.join(FACTS['classes'])}, splits {', '.join(_SPLITS)}"
            )
        spans = FACTS["classes"][classes]
        actions = {n for first, last in spans for n in range(first, last + 1)}
        labels = {n: FACTS["names"]["labels"][n - 1] for n in sorted(actions)}
        lists = sorted(root.glob("*missing_skeletons.txt"))
        empty = {line.strip() for file in lists for line in lines_of(file)}
        rows: dict[str, list[Any]] = {TRAIN: [], TEST: []}
        omitted = 0
        for name, setup, camera, subject, action in self._names(root):
            if action not in labels:
                continue
            if name[: len("S001C001P001R001A001")] in empty:
                omitted += 1
                continue
            teaches = {
                "subject": subject in FACTS["subjects"],
                "view": camera in FACTS["cameras"],
                "setup": setup % 2 == 0,
            }[split]
            item = clip([labels[action]], f"subject {subject}")
            rows[TRAIN if teaches else TEST].append((item, [name]))
        if not any(rows.values()):
            raise DatasetError(
                f"{root}: no recording of these {len(labels)} actions; names are like "
                "S001C002P003R002A013.skeleton"
            )
        recordings = Recordings(root, self.videos)
        subsets = {name: recordings.subset(listed) for name, listed in rows.items() if listed}
        files = {file.name: text_hash(file) for file in lists}
        notes = (f"{omitted} recordings without a body are left out",) if omitted else ()
        return DatasetSplit("ntu", root, tuple(labels.values()), subsets, files, notes)

    def _names(self, root: Path) -> Iterator[tuple[str, int, int, int, int]]:
        """Name, setup, camera, subject and action of each recording."""
        for folder in self.videos:
            paths = sorted((root / folder).iterdir()) if (root / folder).is_dir() else []
            matches = [(path.name, _NAME.match(path.name)) for path in paths]
            if any(match for _, match in matches):
                for name, match in matches:
                    if match:
                        setup, camera, subject, action = map(int, match.groups())
                        yield name, setup, camera, subject, action
                return
