"""``csv``: one table of clips. Other columns are ignored."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.datasets.base import (
    TEST,
    TRAIN,
    VALIDATION,
    DatasetLayout,
    DatasetSplit,
    Recordings,
    Subset,
    clip,
    lines_of,
    number_of,
    text_hash,
)
from vlar.files.opening import open_input
from vlar.heads.support import SEPARATOR, SupportItem
from vlar.language.labels import PARTS
from vlar.registry import register
from vlar.types import Window

OPTIONS = ("halves", "least", "left_out", "parts", "parts_are_labels", "unseen")
Items = Sequence[SupportItem]


def arranged(data: DatasetSplit, options: Mapping[str, Any]) -> DatasetSplit:
    """The same clips in the arrangement that options ask for.

    Args:
        data: As the table lists them.
        options: ``halves``: ``train`` is every second group by name, ``test`` the others.
            ``least``: labels with fewer clips in ``train``, or none in ``test``, are left out.
            ``left_out``: column to value; ``test`` has the clips with all of these cells,
            ``train`` those with none of them, and the others are in neither.
            ``parts``: label to ``[verb, object]``; other labels are left out.
            ``parts_are_labels``: a clip shows its verb and its object. ``unseen``: labels that
            ``train`` does not hold.

    Raises:
        DatasetError: no clip is left, or parts that are not a verb and an object.
    """
    if not any(options.get(name) for name in OPTIONS):
        return data
    parts, both = dict(options.get("parts", {})), bool(options.get("parts_are_labels"))
    subsets = {
        name: Subset(
            _with_parts(subset.items, parts, both), _with_parts(subset.missing, parts, both)
        )
        for name, subset in data.subsets.items()
    }
    if options.get("halves"):
        subsets = _halved(subsets)
    if options.get("left_out"):
        subsets = _left_out(subsets, {k: str(v) for k, v in options["left_out"].items()})
    subsets = _without_unseen(subsets, set(options.get("unseen", ())))
    labels = sorted({x for s in subsets.values() for i in (*s.items, *s.missing) for x in i.labels})
    least = int(options.get("least", 0))
    frequent = [label for label in labels if not least or _enough(label, subsets, least)]
    if not frequent:
        raise DatasetError(f"{data.root}: no clip is left of {len(data.labels)} labels")
    dropped = len(labels) - len(frequent)
    note = f"{dropped} labels have fewer than {least} clips to learn from, or none to test"
    return replace(
        data,
        labels=tuple(frequent),
        subsets={name: subset.of(frequent) for name, subset in subsets.items()},
        notes=(*data.notes, note) if dropped else data.notes,
    )


def _with_parts(
    items: Items, parts: Mapping[str, Sequence[str]], as_labels: bool
) -> tuple[SupportItem, ...]:
    if not parts:
        return tuple(items)
    with_parts: list[SupportItem] = []
    for item in items:
        pair = parts.get(item.labels[0])
        if pair is None:
            continue
        if len(pair) != len(PARTS):
            raise DatasetError(
                f"label {item.labels[0]!r} has the parts {list(pair)}; give a verb and an object"
            )
        labels = tuple(dict.fromkeys(pair)) if as_labels else item.labels
        with_parts.append(replace(item, labels=labels, parts=dict(zip(PARTS, pair, strict=True))))
    return tuple(with_parts)


def _halved(subsets: Mapping[str, Subset]) -> dict[str, Subset]:
    pooled = [item for subset in subsets.values() for item in subset.items]
    lost = [item for subset in subsets.values() for item in subset.missing]
    groups = sorted({item.group for item in (*pooled, *lost)})
    half = {group: (TRAIN, TEST)[number % 2] for number, group in enumerate(groups)}

    def of(items: Items, name: str) -> tuple[SupportItem, ...]:
        return tuple(item for item in items if half[item.group] == name)

    return {name: Subset(of(pooled, name), of(lost, name)) for name in (TRAIN, TEST)}


def _left_out(subsets: Mapping[str, Subset], cells: Mapping[str, str]) -> dict[str, Subset]:
    """Clips of one place to ask, and clips that share no cell with it to learn from."""

    def of(items: Items, shared: int) -> tuple[SupportItem, ...]:
        return tuple(
            item
            for item in items
            if sum(item.facts.get(name) == cell for name, cell in cells.items()) == shared
        )

    every = [item for subset in subsets.values() for item in subset.items]
    lost = [item for subset in subsets.values() for item in subset.missing]
    shared = {TRAIN: 0, TEST: len(cells)}
    return {name: Subset(of(every, n), of(lost, n)) for name, n in shared.items()}


def _without_unseen(subsets: Mapping[str, Subset], unseen: set[str]) -> dict[str, Subset]:
    def seen(items: Items) -> tuple[SupportItem, ...]:
        return tuple(item for item in items if not unseen.intersection(item.labels))

    rest_subsets = dict(subsets)
    if unseen and TRAIN in rest_subsets:
        rest_subsets[TRAIN] = Subset(
            seen(rest_subsets[TRAIN].items), seen(rest_subsets[TRAIN].missing)
        )
    return rest_subsets


def _enough(label: str, subsets: Mapping[str, Subset], least: int) -> bool:
    learned = len(subsets[TRAIN].of([label]).items) if TRAIN in subsets else least
    return learned >= least and bool(TEST in subsets and subsets[TEST].of([label]).items)


_LONGEST_LINE = 1 << 16
_NAMES = ("clips.csv", "labels.csv", "manifest.csv")
_SUBSETS = ("split", "subset")
_USED = {"path", "label", "labels", "start_s", "end_s", *PARTS, *_SUBSETS}


@register("dataset", "csv")
class ListTable(DatasetLayout):
    """``path,label`` and, where there are any, ``labels,verb,object,start_s,end_s,group,split``.

    Further columns are facts of the clips, which ``slices`` reads.

    ``labels`` holds several labels of a clip, separated by ``|``. ``split`` names the subset of a
    row; without it all rows are ``test``. Paths count from the file's folder. Options: ``file`` (a
    name in the folder), ``label`` (another column for labels), ``where`` (column to value: only
    these rows), ``without`` (column to value: not these), and those of
    ``vlar.evaluation.datasets.tables``.
    """

    options = ("file", "label", "where", "without", *OPTIONS)
    annotations = ("", "annotations")

    def claims(self, root: Path) -> bool:
        file = root if root.is_file() else self.annotation(root, *_NAMES)
        if file is None or file.suffix.lower() != ".csv":
            return False
        columns = _header(file)
        return "path" in columns and bool({"label", "labels", "verb"} & set(columns))

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        names = [str(options["file"])] if "file" in options else list(_NAMES)
        file = root if root.is_file() else self.needed(root, *names)
        column, where = str(options.get("label", "label")), dict(options.get("where", {}))
        without = dict(options.get("without", {}))
        left_out = dict(options.get("left_out", {}))
        by_subset: dict[str, list[SupportItem]] = {}
        lost: dict[str, list[SupportItem]] = {}
        for number, row in rows_of(file, ("path", *where, *without, *left_out)):
            if any(row[name] != str(value) for name, value in where.items()):
                continue
            if any(row[name] == str(value) for name, value in without.items()):
                continue
            subset = next((row[name] for name in _SUBSETS if row.get(name)), TEST)
            item = _item(file, number, row, column)
            by_subset.setdefault(subset, [])
            (by_subset if item.path.exists() else lost).setdefault(subset, []).append(item)
        if not by_subset:
            chosen = f" with {where}" if where else ""
            raise DatasetError(f"{file}: no row{chosen}; the table lists no clip")
        every = [item for rows in (by_subset, lost) for items in rows.values() for item in items]
        labels = sorted({label for item in every for label in item.labels})
        subsets = {
            name: Subset(tuple(items), tuple(lost.get(name, ())))
            for name, items in by_subset.items()
        }
        files = {file.name: text_hash(file)}
        return arranged(DatasetSplit("csv", file.parent, tuple(labels), subsets, files), options)


def rows_of(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header: line, and cells by column in lower case.

    Raises:
        DatasetError: it cannot be read, has no column ``needed``, or a row has another length.
    """
    reader = csv.reader(io.StringIO("\n".join(lines_of(file)), newline=""))
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in needed if name not in header]
    if missing:
        raise DatasetError(
            f"{file}, line 1: no column {missing[0]!r} (there are {', '.join(header) or 'none'})"
        )
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise DatasetError(
                f"{file}, line {reader.line_num}: {len(cells)} fields for {len(header)} columns; "
                "quote fields that hold commas"
            )
        yield (
            reader.line_num,
            {name: cell.strip() for name, cell in zip(header, cells, strict=True)},
        )


def _header(file: Path) -> list[str]:
    line = _first_line(file)
    return [name.strip().lower() for name in line.split(",")]


def _first_line(file: Path) -> str:
    with open_input(file) as stream:
        return stream.readline(_LONGEST_LINE).decode("utf-8-sig", "replace")


def _item(file: Path, line: int, row: dict[str, str], column: str) -> SupportItem:
    parts = {name: row[name] for name in PARTS if row.get(name)}
    if row.get("labels"):
        labels = [label.strip() for label in row["labels"].split(SEPARATOR)]
    else:
        labels = [row.get(column.lower()) or " ".join(parts.values())]
    if not all(labels):
        raise DatasetError(f"{file}, line {line}: no label in column {column!r}; fill it in")
    path = file.parent / row["path"]
    window = None
    if row.get("start_s") and row.get("end_s"):
        start, end = (number_of(row[name], file, line, name) for name in ("start_s", "end_s"))
        if end <= start:
            raise DatasetError(f"{file}, line {line}: end_s {end:g} is not after start_s {start:g}")
        window = Window(start, end)
    item_labels = tuple(dict.fromkeys(labels))
    facts = {name: cell for name, cell in row.items() if name not in _USED}
    return SupportItem(path, window, item_labels, row.get("group") or str(path), parts, facts=facts)


_Row = tuple[SupportItem, list[str]]


@register("dataset", "charades")
class CharadesLists(DatasetLayout):
    """``Charades_v1_{classes.txt,train.csv,test.csv}``, ``Charades_v1[_480]/ID.mp4``.

    A clip is a video with all its labels; with the option ``spans = true`` each action is a clip of
    its own with its time. A group is a person (``subject``). Videos without an action are noted.
    """

    options = ("spans",)
    annotations = ("Charades", "annotations", "")
    videos = ("Charades_v1_480", "Charades_v1", "videos", "")

    def claims(self, root: Path) -> bool:
        return self.annotation(root, "Charades_v1_classes.txt") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
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
        return DatasetSplit("charades", root, tuple(names.values()), subsets, files, tuple(notes))


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


_NEEDED = ("participant_id", "video_id", "start_timestamp", "stop_timestamp", "verb_class")
_KINDS = ("action", "verb", "noun")


@register("dataset", "epic-kitchens")
class EpicKitchens(DatasetLayout):
    """``EPIC_100_{train,validation}.csv``, ``EPIC_100_{verb,noun}_classes.csv``.

    Recordings are ``P01/videos/P01_01.MP4``, ``P01/P01_01.MP4`` or ``P01_01.MP4``. A clip is an
    action's span with the parts verb and object; a group is a participant. Option ``label``:
    ``action`` (verb and noun), ``verb`` or ``noun``.
    """

    options = ("label",)
    videos = ("videos", "EPIC-KITCHENS", "")

    def claims(self, root: Path) -> bool:
        return self.annotation(root, "EPIC_100_validation.csv", "EPIC_100_train.csv") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        kind = str(options.get("label", "action"))
        if kind not in _KINDS:
            raise ProtocolError(f"layout 'epic-kitchens': label {kind!r} is not one of {_KINDS}")
        verbs = self._names(root, "EPIC_100_verb_classes.csv")
        nouns = self._names(root, "EPIC_100_noun_classes_v2.csv", "EPIC_100_noun_classes.csv")
        recordings, subsets, files = Recordings(root, self.videos), {}, {}
        for name, stem in ((TRAIN, "train"), (VALIDATION, "validation")):
            file = self.annotation(root, f"EPIC_100_{stem}.csv")
            if file is not None:
                files[file.name] = text_hash(file)
                subsets[name] = recordings.subset(_listed(file, verbs, nouns, kind))
        every = [i for subset in subsets.values() for i in (*subset.items, *subset.missing)]
        labels = tuple(sorted({item.label for item in every}))
        return DatasetSplit("epic-kitchens", root, labels, subsets, files)

    def _names(self, root: Path, *names: str) -> dict[str, str]:
        file = self.needed(root, *names)
        return {row["id"]: row["key"] for _, row in rows_of(file, ("id", "key"))}


def _listed(
    file: Path, verbs: dict[str, str], nouns: dict[str, str], kind: str
) -> Iterator[tuple[SupportItem, list[str]]]:
    for line, row in rows_of(file, (*_NEEDED, "noun_class")):
        if row["verb_class"] not in verbs or row["noun_class"] not in nouns:
            raise DatasetError(
                f"{file}, line {line}: class {row['verb_class']}, {row['noun_class']} is not in "
                "the lists of verbs and nouns"
            )
        verb, noun = verbs[row["verb_class"]], nouns[row["noun_class"]]
        label = {"verb": verb, "noun": noun, "action": f"{verb} {noun}"}[kind]
        start, end = (_seconds(row[f"{key}_timestamp"], file, line) for key in ("start", "stop"))
        person, name = row["participant_id"], f"{row['video_id']}.MP4"
        item = clip([label], person, Window(start, end), {"verb": verb, "object": noun})
        yield item, [f"{person}/videos/{name}", f"{person}/{name}", name]


def _seconds(text: str, file: Path, line: int) -> float:
    """``00:01:02.30`` in seconds."""
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + number_of(part, file, line, "time")
    return total


_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_FILES = {
    TRAIN: ("train.csv", "kinetics_train.csv"),
    VALIDATION: ("val.csv", "validate.csv", "validation.csv", "kinetics_val.csv"),
    TEST: ("test.csv", "kinetics_test.csv"),
}


@register("dataset", "kinetics")
class Kinetics(DatasetLayout):
    """``{train,val,test}.csv`` with ``label,youtube_id,time_start,time_end,split``.

    Recordings are ``ID_000010_000020.mp4`` or ``ID.mp4`` in ``videos/``, a folder of the subset,
    or a folder of the label in it. A group is a source video. A test file without labels is left
    out with a note.
    """

    videos = ("videos", "{subset}", "videos_{subset}", "")

    def claims(self, root: Path) -> bool:
        files = (self.annotation(root, *names) for names in _FILES.values())
        first = next((file for file in files if file is not None), None)
        return first is not None and "youtube_id" in _first_line(first)

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
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
            subsets[name] = Recordings(root, folders).subset(_kinetics_listed(file, rows))
        return DatasetSplit("kinetics", root, tuple(sorted(labels)), subsets, files, tuple(notes))


def _kinetics_listed(
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
