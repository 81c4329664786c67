"""The contract of a layout of a data set, as a check, on a small data set in that layout."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.datasets.base import DatasetLayout, DatasetSplit, detect, read_dataset
from vlar.testing.contract import name_of, refused, registered, run, skip

_TEXTS = (".txt", ".csv", ".json")


@dataclass
class DataMaterial:
    """A layout and a data set.

    Attributes:
        name: Registered name of the layout.
        root: Folder of the data set.
        folder: A folder for copies of it.
    """

    name: str
    root: Path
    folder: Path

    def read(self, root: Path | None = None) -> DatasetSplit:
        """Read the data set, or a copy of it."""
        return read_dataset(root or self.root, self.name)

    def copy(self, name: str) -> Path:
        """A copy of the data set."""
        return Path(shutil.copytree(self.root, self.folder / name))


def check_dataset(part: Any, *, folder: str | Path | None = None) -> None:
    """Try a layout on a small data set.

    Args:
        part: The layout: a class, or a registered name.
        folder: A small data set in the layout, at least two labels; default the one that
            ``DatasetLayout.example`` writes.

    Raises:
        AssertionError: it breaks the contract of ``vlar.evaluation.datasets.base.DatasetLayout``.
        unittest.SkipTest: it writes no example, and no folder is given.
    """
    part = registry.get("dataset", part) if isinstance(part, str) else part
    cls: type[DatasetLayout] = part if isinstance(part, type) else type(part)
    name = name_of("dataset", cls)
    with tempfile.TemporaryDirectory() as scratch, registered("dataset", name, cls):
        root = Path(folder) if folder is not None else Path(scratch) / "example"
        if folder is None:
            try:
                cls().example(root)
            except NotImplementedError as error:
                raise skip(f"layout {name!r} writes no example; give the check a folder") from error
        run("dataset", name, STEPS, DataMaterial(name, root, Path(scratch)))


def _claims(m: DataMaterial) -> None:
    """The folder is recognised, and by no other layout first, since users name no layout."""
    assert detect(m.root) == m.name, f"it is taken for {detect(m.root)!r}"


def _clips(m: DataMaterial) -> None:
    """All listed clips are there, with labels of the list and a group, which splits respect."""
    data = m.read()
    assert data.layout == m.name
    assert data.subsets
    assert len(set(data.labels)) == len(data.labels) >= 2
    for subset in data.subsets.values():
        assert subset.items
        assert not subset.missing, f"missing: {subset.missing[:1]}"
        for item in subset.items:
            assert item.path.is_file(), item.path
            assert item.labels
            assert set(item.labels) <= set(data.labels)
            assert item.group


def _splits(m: DataMaterial) -> None:
    """Subsets share no recording, or test data reaches the training."""
    subsets = list(m.read().subsets.values())
    paths = [{item.path for item in subset.items} for subset in subsets]
    assert sum(map(len, paths)) == len(set().union(*paths))


def _missing(m: DataMaterial) -> None:
    """A missing recording is listed where it was looked for, and ends nothing."""
    root = m.copy("incomplete")
    before = m.read(root)
    n_rows = sum(map(len, before.subsets.values()))
    lost = min(item.path for subset in before.subsets.values() for item in subset.items)
    lost.unlink()
    data = m.read(root)
    missing = [item for subset in data.subsets.values() for item in subset.missing]
    if not before.files:  # without annotations the files are the list
        assert sum(map(len, data.subsets.values())) == n_rows - 1
        return
    assert sum(map(len, data.subsets.values())) == n_rows
    assert {item.path.stem for item in missing} == {lost.stem}
    assert data.labels == before.labels
    assert data.files == before.files


def _hashes(m: DataMaterial) -> None:
    """Hashes follow the content of annotations and not their line ends."""
    root = m.copy("other line ends")
    data = m.read(root)
    texts = [file for file in root.rglob("*") if file.suffix in _TEXTS]
    assert bool(data.files) == bool(texts)
    for file in texts:
        file.write_bytes(file.read_bytes().replace(b"\n", b" \r\n"))
    assert m.read(root).files == data.files


def _refusals(m: DataMaterial) -> None:
    """An unknown option and a missing folder are named."""
    option = "no_such_option"
    refused(ProtocolError, option, read_dataset, m.root, m.name, {option: 1})
    nowhere = m.folder / "nowhere"
    refused(DatasetError, "no such folder", read_dataset, nowhere, m.name)


STEPS = (_claims, _clips, _splits, _missing, _hashes, _refusals)
