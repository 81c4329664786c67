"""Lists that data sets come with: ``lists``, ``hmdb51``, ``ucf101``, ``dailydvs200``, ``ssv2``.

``lists`` reads files of ``PATH [FRAMES] NUMBER``, as BEAR, TC-CLIP and FROSTER use them; ``hmdb51``
(Kuehne et al., 2011) and ``ucf101`` read the official splits, ``ssv2`` and ``sth-com`` the JSON
lists of Something-Something V2, ``dailydvs200`` (Wang et al., 2024) those of an event camera.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.datasets.base import (
    MOST_LIST,
    TEST,
    TRAIN,
    VALIDATION,
    DatasetLayout,
    DatasetSplit,
    Recordings,
    Subset,
    clip,
    lines_of,
    numbered_lines,
    require_label,
    text_hash,
)
from vlar.files.reading import read_file
from vlar.heads.support import SupportItem
from vlar.language.labels import parse_labels
from vlar.language.pairs import pair_label
from vlar.registry import register

_Row = tuple[SupportItem, list[str]]  # an item, and the names that its recording may have
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
        file_sets = {str(name): (str(file),) for name, file in chosen.items()} or _DEFAULTS
        for name, names in file_sets.items():
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
            column = header.index("name")
            return tuple(line.split(",", column + 1)[column].strip() for line in lines[1:] if line)
    if file.suffix.lower() == ".txt":
        return tuple(line.strip() for line in lines if line.strip() and line[0] != "#")
    return parse_labels(file).keys


def _listed(file: Path, labels: tuple[str, ...]) -> Iterator[_Row]:
    for number, line in numbered_lines(file):
        path, index = _path_and_index(line)
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
            for use, item, names in _hmdb51_listed(file, label):
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


def _hmdb51_listed(file: Path, label: str) -> Iterator[tuple[str | None, SupportItem, list[str]]]:
    for number, line in numbered_lines(file):
        name, _, use = line.rpartition(" ")
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
        labels = list(_ucf101_labels(classes))
        recordings = Recordings(root, self.videos)
        stems = {TRAIN: "trainlist", TEST: "testlist"}
        lists = {k: self.needed(root, f"{stem}{split:02d}.txt") for k, stem in stems.items()}
        subsets = {k: recordings.subset(_ucf101_listed(f, labels)) for k, f in lists.items()}
        files = {file.name: text_hash(file) for file in (classes, *lists.values())}
        return DatasetSplit("ucf101", root, tuple(labels), subsets, files)


def _ucf101_labels(file: Path) -> Iterator[str]:
    for number, line in numbered_lines(file):
        index, _, label = line.partition(" ")
        if not index.isdigit() or not label.strip():
            raise DatasetError(f"{file}, line {number}: {line!r} is not 'NUMBER LABEL'")
        yield label.strip()


def _ucf101_listed(file: Path, labels: list[str]) -> Iterator[_Row]:
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    for number, line in numbered_lines(file):
        path, _, index = line.partition(" ")
        label = require_label(PurePosixPath(path).parent.name, numbers, file, number)
        if index.strip() and index.strip() != str(numbers[label]):
            raise DatasetError(
                f"{file}, line {number}: class {index.strip()} is not {label!r}, which is "
                f"{numbers[label]} in classInd.txt"
            )
        group = PurePosixPath(path).stem.rpartition("_c")[0] or path
        yield clip([label], group), [path, PurePosixPath(path).name]


_SUBJECT = re.compile(r"C(\d+)P(\d+)")
_DAILYDVS = (TRAIN, VALIDATION, TEST)


@register("dataset", "dailydvs200")
class DailyDvs200(DatasetLayout):
    """``{train,val,test}.txt`` with a recording a line, ``action_description.csv``; AEDAT 4.

    The name of a recording has its class and its subject: ``C12P3M0S1_...aedat4``. A group is a
    subject; subjects of more than one list are noted, and recordings of ``test`` are left out of
    the other lists. Classes of one name are told apart by their numbers.
    """

    videos = ("aedat4", "videos", "")

    def claims(self, root: Path) -> bool:
        return self.annotation(root, "action_description.csv") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        described = self.needed(root, "action_description.csv")
        labels = tuple(label for label, _ in descriptions(described))
        self.needed(root, *(f"{name}.txt" for name in _DAILYDVS))
        subsets, files, people = {}, {described.name: text_hash(described)}, {}
        test_names, doubles = set[str](), list[str]()
        for name in reversed(_DAILYDVS):
            file = self.annotation(root, f"{name}.txt")
            if file is None:
                continue
            rows = list(_dailydvs_listed(file, labels))
            fresh = [row for row in rows if row[1][-1] not in test_names]
            if len(fresh) < len(rows):
                doubles.append(f"{len(rows) - len(fresh)} recordings of {name} are in test too")
            if name == TEST:
                test_names = {names[-1] for _, names in rows}
            files[file.name] = text_hash(file)
            people[name] = {item.group for item, _ in fresh}
            subsets[name] = Recordings(root, self.videos).subset(fresh)
        subsets, people = ({n: of[n] for n in _DAILYDVS if n in of} for of in (subsets, people))
        notes = tuple(f"{line}: left out of it" for line in doubles) + tuple(
            f"{', '.join(sorted(shared))}: in {one} and in {other}, so these are not other people"
            for number, one in enumerate(people)
            for other in list(people)[number + 1 :]
            if (shared := people[one] & people[other])
        )
        return DatasetSplit("dailydvs200", root, labels, subsets, files, notes)


def descriptions(file: Path) -> list[tuple[str, str]]:
    """Name and sentence of each class of a CSV ``[NUMBER,]NAME[,SENTENCE]``, in its order.

    A name that several classes have is followed by the number of the class, from 0 without one.

    Raises:
        DatasetError: it cannot be read, or a name is empty.
    """
    rows = list(csv.reader(io.StringIO("\n".join(lines_of(file)), newline="")))
    cells = [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))]
    numbered = len(cells) > 1 and cells[1][0].isdigit()
    if cells and (numbered and not cells[0][0].isdigit()):
        del cells[0]  # the names of the columns
    rows = [row for row in cells if len(row) > numbered]
    names = [row[numbered] for row in rows]
    if len(rows) < len(cells) or not names or not all(names):
        raise DatasetError(f"{file}: a class has an empty name")
    numbers = [row[0] if numbered else str(number) for number, row in enumerate(rows)]
    return [
        (f"{name} ({number})" if names.count(name) > 1 else name, row[-1])
        for name, number, row in zip(names, numbers, rows, strict=True)
    ]


def _dailydvs_listed(file: Path, labels: tuple[str, ...]) -> Iterator[_Row]:
    for number, line in numbered_lines(file):
        path = re.split(r"[,\s]", line, maxsplit=1)[0]
        match = _SUBJECT.search(PurePosixPath(path).name)
        if match is None or int(match[1]) >= len(labels):
            raise DatasetError(
                f"{file}, line {number}: {path!r} does not name a class below {len(labels)} and a "
                "subject, as C12P3M0S1_20231111.aedat4 does"
            )
        item = clip([labels[int(match[1])]], f"subject {int(match[2])}")
        name = PurePosixPath(path.lstrip("/"))
        yield item, [str(name), name.name, f"{name.name}.aedat4", f"{name.stem}.aedat4"]


_PREFIX = "something-something-v2-"
_SOMETHING = {TRAIN: ("train",), VALIDATION: ("validation", "val"), TEST: ("test",)}
_VIDEOS = ("20bn-something-something-v2", "videos", "frames", "")


@register("dataset", "ssv2")
class SomethingV2(DatasetLayout):
    """``something-something-v2-{labels,train,validation}.json`` or ``{labels,train,..}.json``.

    Recordings are ``ID.webm``. The official test list has no labels and is not read: ``test`` is
    not there, protocols use ``val``.
    """

    videos = _VIDEOS

    def claims(self, root: Path) -> bool:
        return self._file(root, "labels") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        listed = self.needed(root, f"{_PREFIX}labels.json", "labels.json")
        numbers = cast("dict[str, Any]", _json(listed, dict))
        labels = sorted(numbers, key=lambda label: int(numbers[label]))
        recordings, subsets = Recordings(root, self.videos), {}
        files = {listed.name: text_hash(listed)}
        for name in (TRAIN, VALIDATION):
            file = next((f for s in _SOMETHING[name] if (f := self._file(root, s))), None)
            if file is not None:
                files[file.name] = text_hash(file)
                subsets[name] = recordings.subset(_templates(file, set(labels)))
        return DatasetSplit("ssv2", root, tuple(labels), subsets, files)

    def _file(self, root: Path, stem: str) -> Path | None:
        return self.annotation(root, f"{_PREFIX}{stem}.json", f"{stem}.json")


@register("dataset", "sth-com")
class SthCom(DatasetLayout):
    """``{train,val,test}_pairs.json`` (or ``.json.gz``): ``id, action, verb, object``.

    Clips have parts: the verb (a template of Something-Something V2) and the object. The label is
    the template with the object in its first place.
    """

    videos = _VIDEOS

    def claims(self, root: Path) -> bool:
        return self._file(root, TEST) is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        recordings, subsets, files = Recordings(root, self.videos), {}, {}
        for name in _SOMETHING:
            file = self._file(root, name)
            if file is not None:
                files[file.name.removesuffix(".gz")] = _json_hash(file)
                subsets[name] = recordings.subset(_pairs(file))
        if not subsets:
            raise DatasetError(f"{root}: no test_pairs.json; put the three lists of Sth-com there")
        every = (item for subset in subsets.values() for item in (*subset.items, *subset.missing))
        labels = sorted({item.label for item in every})
        return DatasetSplit("sth-com", root, tuple(labels), subsets, files)

    def _file(self, root: Path, name: str) -> Path | None:
        return self.annotation(root, f"{name}_pairs.json", f"{name}_pairs.json.gz")


def _templates(file: Path, labels: set[str]) -> Iterator[_Row]:
    for number, row in _json_rows(file, ("id", "template")):
        label = str(row["template"]).replace("[", "").replace("]", "")
        yield clip([require_label(label, labels, file, number)], str(row["id"])), [str(row["id"])]


def _pairs(file: Path) -> Iterator[_Row]:
    for _, row in _json_rows(file, ("id", "verb", "object")):
        verb, noun = str(row["verb"]), str(row["object"])
        item = clip([pair_label(verb, noun)], str(row["id"]), None, {"verb": verb, "object": noun})
        yield item, [str(row["id"])]


def _json_rows(file: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(cast("list[Any]", _json(file, list)), start=1):
        cells = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
        lacking = [name for name in needed if name not in cells]
        if lacking:
            raise DatasetError(f"{file}, entry {number}: no {lacking[0]!r}")
        yield number, cells


def _text(file: Path) -> bytes:
    try:
        content = read_file(file, MOST_LIST)
        if file.suffix != ".gz":
            return content
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            content = packed.read(MOST_LIST + 1)
    except (OSError, EOFError) as error:
        raise DatasetError(f"{file}: cannot be read ({error})") from error
    if len(content) > MOST_LIST:
        raise DatasetError(f"{file}: unpacks to over {MOST_LIST >> 20} MB")
    return content


def _json(file: Path, kind: type) -> Any:
    try:
        data = json.loads(_text(file).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(data, kind):
        raise DatasetError(f"{file}: holds a {type(data).__name__}, not a {kind.__name__}")
    return data


def _json_hash(file: Path) -> str:
    import hashlib

    lines = [line.rstrip() for line in _text(file).decode("utf-8-sig").splitlines()]
    return hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
