"""Interface of a layout: labels, and the clips that each subset lists, there or missing."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from vlar import registry
from vlar.errors import DatasetError, ProtocolError
from vlar.files.reading import MB, read_file
from vlar.heads.support import SupportItem
from vlar.media.lookup import reader
from vlar.registry import register
from vlar.types import Window

TRAIN, VALIDATION, TEST = "train", "val", "test"
_ENDINGS = (".mp4", ".avi", ".webm", ".mkv", ".mov", ".MP4", ".AVI")
_NAMED = 3


@dataclass(frozen=True)
class Subset:
    """The clips that one part of a split lists.

    Attributes:
        items: Those whose recording is there. Several items of one path are several spans.
        missing: Those whose recording is not; ``path`` is where it was first looked for.
    """

    items: tuple[SupportItem, ...]
    missing: tuple[SupportItem, ...] = ()

    def __len__(self) -> int:
        return len(self.items) + len(self.missing)

    @property
    def labels(self) -> set[str]:
        """Labels of the clips whose recording is there."""
        return {label for item in self.items for label in item.labels}

    def of(self, labels: Iterable[str]) -> Subset:
        """The clips that show one of some labels."""
        label_set = set(labels)
        return Subset(
            tuple(item for item in self.items if label_set.intersection(item.labels)),
            tuple(item for item in self.missing if label_set.intersection(item.labels)),
        )


@dataclass(frozen=True)
class DatasetSplit:
    """One split of a data set.

    Attributes:
        layout: Registered name of the layout.
        root: The user's folder.
        labels: C labels as the data set spells them, in its order.
        subsets: ``train``, ``val``, ``test``; a layout without a division has ``test`` alone.
        files: SHA-256 of each annotation file by its name, line ends and trailing blanks aside.
        notes: What was left out or is odd, one sentence each.
    """

    layout: str
    root: Path
    labels: tuple[str, ...]
    subsets: Mapping[str, Subset]
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()

    def subset(self, name: str) -> Subset:
        """One subset.

        Raises:
            DatasetError: the data set has none of this name.
        """
        if name not in self.subsets:
            raise DatasetError(
                f"{self.root}: layout {self.layout!r} found no {name!r} clips here (there are "
                f"{', '.join(self.subsets) or 'none'}); check the annotation files"
            )
        return self.subsets[name]


class DatasetLayout(ABC):
    """The files of one data set. Registered as ``@register("dataset", NAME)``.

    Attributes:
        options: Names of the options that ``read`` takes.
        annotations: Folders, below the data set's, that annotation files are looked for in.
        videos: The same for recordings; ``{subset}`` stands for the name of a subset.
    """

    options: ClassVar[tuple[str, ...]] = ()
    annotations: ClassVar[tuple[str, ...]] = ("annotations", "splits", "labels", "")
    videos: ClassVar[tuple[str, ...]] = ("videos", "")

    @abstractmethod
    def claims(self, root: Path) -> bool:
        """Return whether a folder (or file) looks like this layout."""

    @abstractmethod
    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        """Read the annotations, and look for every recording that they list.

        Args:
            root: The user's folder.
            options: Some of ``options``.

        Raises:
            DatasetError: an annotation file is missing or malformed; the message names file and
                line. A missing recording raises nothing.
        """

    def example(self, root: Path) -> None:
        """Write a small data set in this layout into a new folder, which ``vlar.testing`` reads.

        Two labels or more, and a short recording of its own for each listed clip. Without it the
        check needs a folder (``check_dataset(part, folder=PATH)``).
        """
        raise NotImplementedError(f"{type(self).__name__} writes no example of its layout")

    def annotation(self, root: Path, *names: str) -> Path | None:
        """The first file of these names below ``annotations``; None if there is none."""
        for folder in self.annotations:
            for name in names:
                if (file := root / folder / name).is_file():
                    return file
        return None

    def needed(self, root: Path, *names: str) -> Path:
        """``annotation`` that must be there.

        Raises:
            DatasetError: it is not.
        """
        file = self.annotation(root, *names)
        if file is None:
            places = ", ".join(str(root / folder) for folder in self.annotations)
            raise DatasetError(f"{root}: no {' or '.join(names)} (looked in {places})")
        return file


class Recordings:
    """Looks for recordings in a few folders; each folder is listed once.

    Args:
        root: The user's folder.
        folders: Below it; the first that holds a recording wins.
    """

    def __init__(self, root: Path, folders: Sequence[str]) -> None:
        self._bases = [root / folder for folder in folders]
        self._listed: dict[Path, dict[str, str]] = {}

    def find(self, *names: str) -> tuple[Path, bool]:
        """The recording of a name, and whether it is there.

        Args:
            names: Paths below the folders, with or without an ending, most likely first. The same
                name with another ending counts, and so does a folder of frames.
        """
        for base in self._bases:
            for name in names:
                path = base / name
                listing = self._list(path.parent)
                if path.name in listing.values():
                    return path, True
                stem = path.stem if path.suffix in _ENDINGS else path.name
                if stem in listing:
                    return path.parent / listing[stem], True
        return self._bases[0] / names[0], False

    def subset(self, listed: Iterable[tuple[SupportItem, Sequence[str]]]) -> Subset:
        """A subset of items, each with the names its recording may have."""
        items: list[SupportItem] = []
        missing: list[SupportItem] = []
        for item, names in listed:
            path, listing = self.find(*names)
            located = replace(item, path=path)
            (items if listing else missing).append(located)
        return Subset(tuple(items), tuple(missing))

    def _list(self, folder: Path) -> dict[str, str]:
        """Names in a folder by their stem; folders stand for their frames."""
        if folder not in self._listed:
            paths: dict[str, str] = {}
            try:
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        stem, ending = Path(entry.name).stem, Path(entry.name).suffix
                        if ending in _ENDINGS:
                            paths.setdefault(stem, entry.name)
                        else:
                            paths[entry.name] = entry.name
            except OSError:  # a folder that is not there holds nothing
                pass
            self._listed[folder] = paths
        return self._listed[folder]


def clip(
    labels: Iterable[str],
    group: str,
    window: Window | None = None,
    parts: Mapping[str, str] | None = None,
) -> SupportItem:
    """An item whose recording is looked for later."""
    return SupportItem(Path(), window, tuple(dict.fromkeys(labels)), group, dict(parts or {}))


MOST_LIST = 512 * MB  # of a list of a data set


def lines_of(file: Path) -> list[str]:
    """The lines of a text file, without trailing blanks, empty lines left in.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        return [
            line.rstrip() for line in read_file(file, MOST_LIST).decode("utf-8-sig").splitlines()
        ]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror}); check the path") from error


def numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not empty, each with its number, from 1.

    Raises:
        DatasetError: it cannot be read.
    """
    lines = enumerate(lines_of(file), start=1)
    return ((number, line.strip()) for number, line in lines if line.strip())


def text_hash(*files: Path) -> str:
    """SHA-256 of the lines of text files; their order, line ends and trailing blanks do not count.

    Copies of a list differ in line ends from one archive to the next; what is listed is the same.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        lines = lines_of(file)
        while lines and not lines[-1]:
            lines.pop()
        digest.update(("\n".join(lines) + "\n").encode())
    return digest.hexdigest()


def require_label(label: str, known: Iterable[str], file: Path, line: int) -> str:
    """The label, if the list has it.

    Raises:
        DatasetError: it does not.
    """
    listed = known if isinstance(known, (set, dict, frozenset)) else list(known)
    if label not in listed:
        some = ", ".join(repr(one) for one in list(listed)[:_NAMED])
        raise DatasetError(
            f"{file}, line {line}: label {label!r} is not in the list of {len(listed)} labels "
            f"({some}, ...); is it the list of another data set?"
        )
    return label


def number_of(text: str, file: Path, line: int, what: str) -> float:
    """A number in an annotation file.

    Raises:
        DatasetError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise DatasetError(f"{file}, line {line}: {what} {text!r} is not a number from 0 on")
    return value


_SUBSETS = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST}


@register("dataset", "folder")
class FolderPerLabel(DatasetLayout):
    """``LABEL/*.mp4``, or ``{train,val,test}/LABEL/*.mp4``; without a division all is ``test``.

    Option ``modality``: name of the reader whose recordings are looked for; default ``video``.
    """

    options = ("modality",)

    def claims(self, root: Path) -> bool:
        return root.is_dir() and bool(_folders(root))

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        modality = str(options.get("modality", "video"))
        divided = {f.name: f for f in _folders(root) if f.name.lower() in _SUBSETS}
        places = {_SUBSETS[name.lower()]: f for name, f in divided.items()} or {TEST: root}
        subsets = {name: _subset(folder_path, modality) for name, folder_path in places.items()}
        labels = sorted(set().union(*(subset.labels for subset in subsets.values())))
        if not labels:
            raise DatasetError(
                f"{root}: no recording in a folder of its label; see docs/datasets.md"
            )
        return DatasetSplit("folder", root, tuple(labels), subsets)


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))


def _subset(place: Path, modality: str) -> Subset:
    items: list[SupportItem] = []
    for folder in _folders(place):
        recordings = reader(modality).find([folder])
        if not recordings or recordings == [folder]:
            raise DatasetError(
                f"{folder}: label {folder.name!r} is an empty class; put recordings into it or "
                "remove it"
            )
        items += [SupportItem(path, None, (folder.name,), str(path)) for path in recordings]
    return Subset(tuple(items))


# A folder of folders fits nearly everything, so it is asked last.
_LAST = "folder"


def read_dataset(
    root: str | Path, layout: str | None = None, options: Mapping[str, Any] | None = None
) -> DatasetSplit:
    """Read the annotations of a data set; recordings are looked for and not opened.

    Args:
        root: The user's folder, or a CSV file.
        layout: Registered name; None finds it by the files in the folder.
        options: Options of the layout, such as ``{"split": 2}``.

    Raises:
        UnknownNameError: no layout has this name.
        DatasetError: the folder does not exist, no layout fits, or an annotation is malformed.
        ProtocolError: the layout has no such option.
    """
    folder = Path(root)
    if not folder.exists():
        raise DatasetError(f"{folder}: no such folder or file; give the data set's folder")
    name = layout or detect(folder)
    part: type[DatasetLayout] = registry.get("dataset", name)
    settings = dict(options or {})
    strange = sorted(set(settings) - set(part.options))
    if strange:
        raise ProtocolError(
            f"layout {name!r} has no option {strange[0]!r}; it has "
            f"{', '.join(part.options) or 'none'}"
        )
    return part().read(folder, settings)


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
