"""A data set of a folder: by the name of its layout, or by what lies in the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.datasets.base import Dataset, Layout

# A folder of folders fits nearly everything, so it is asked last.
_LAST = "folder"


def read_dataset(
    root: str | Path, layout: str | None = None, options: Mapping[str, Any] | None = None
) -> Dataset:
    """Read the annotations of a data set; recordings are looked for and not opened.

    Args:
        root: The user's folder, or a CSV file.
        layout: Registered name; None finds it by the files in the folder.
        options: Of the layout, such as ``{"split": 2}``.

    Raises:
        UnknownNameError: no layout has this name.
        DatasetError: the folder does not exist, no layout fits, or an annotation is malformed.
        ProtocolError: the layout has no such option.
    """
    place = Path(root)
    if not place.exists():
        raise DatasetError(f"{place}: no such folder or file; give the data set's folder")
    name = layout or detect(place)
    part: type[Layout] = registry.get("dataset", name)
    given = dict(options or {})
    strange = sorted(set(given) - set(part.options))
    if strange:
        raise ProtocolError(
            f"layout {name!r} has no option {strange[0]!r}; it has "
            f"{', '.join(part.options) or 'none'}"
        )
    return part().read(place, given)


def detect(root: Path) -> str:
    """The name of the layout that a folder has.

    Raises:
        DatasetError: none fits.
    """
    names = registry.names("dataset")
    for name in sorted(names, key=lambda name: (name == _LAST, name)):
        if registry.get("dataset", name)().claims(root):
            return name
    raise DatasetError(
        f"{root}: no layout fits ({', '.join(names)}); give a folder with one folder of videos per "
        "label, a CSV with the columns path,label, or name the layout in a protocol file"
    )
