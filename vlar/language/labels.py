"""Label lists: read from a string, a file, a bank or a sequence.

How a string is understood, in this order:

1. ``bank:NAME`` or ``bank:FILE``: the labels of a bank (:mod:`vlar.language.bank`), or of a set of
   descriptions (:mod:`vlar.language.descriptions`).
2. The path of an existing file, read by its ending. ``.csv`` has a column ``label``, or ``verb``
   and ``object`` for labels in parts, or all three; ``.json`` is a list of strings, a bank or a set
   of descriptions; any other file has one label per line, and ``#`` starts a comment line.
3. No separator, and the ending ``.txt``, ``.csv`` or ``.json``: a missing file, which is an error.
4. Otherwise labels separated by commas or line breaks; a label that holds a comma stands in double
   quotes, or the comma after a backslash. Without a comma, the full-width ``，`` and ``、`` and the
   Arabic ``،`` separate.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, cast

from vlar.errors import LabelError
from vlar.files.opening import special_kind
from vlar.files.reading import MB, parse_json, read_file
from vlar.formatting import counted, without
from vlar.language.bank import Entry
from vlar.language.clean import check_sizes, clean_label
from vlar.language.concept import Concept
from vlar.language.descriptions import is_description_set, load_descriptions
from vlar.language.foreign import english_of, foreign_labels
from vlar.language.negation import affirmed
from vlar.language.tree import TreeSource, read_tree_source

_log = logging.getLogger("vlar")

_NUMBERED = re.compile(r"^(\d+)[\s.:,)]+(\S.*)$")
_SUFFIXES = (".txt", ".csv", ".json")
_SEPARATORS = (",", "，", "、", "،")
_NAMED = 5  # labels that a message names
_KEPT = "\ue000"  # stands for an escaped separator while a list is split
# A label does not begin with these words, the rest of a sentence does.
_CONTINUES = re.compile(
    r"(?:in|on|at|with|without|from|to|into|onto|of|by|and|or|while|then|who|which|before|after)\s",
    re.IGNORECASE,
)
_MOST_BYTES = 64 * MB
#: Columns of a CSV file, and keys of a bank entry, for labels in parts.
PARTS = ("verb", "object")


@dataclass(frozen=True)
class LabelList:
    """Labels in order, without duplicates.

    Attributes:
        labels: C labels for people; answers carry these. Those of a bank are cleaned, all others
            are as the user spells them.
        texts: C cleaned texts that the text encoder reads.
        keys: C labels as the source spells them, such as ``PlayingGuitar``; for matching.
        source: Where the labels come from, for messages and manifests.
        notes: What was left out or changed, one sentence each.
        entries: Entries of the bank; empty if the labels come from elsewhere.
        parts: C parts of the labels, such as ``{"verb": "open", "object": "door"}``; empty if the
            source has no parts.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    keys: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = field(default=(), repr=False, compare=False)
    parts: tuple[Mapping[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sha256(self) -> str:
        """Hash of the texts in order: two lists with the same hash score the same."""
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()

    @staticmethod
    def of_model(labels: tuple[str, ...], parts: tuple[Mapping[str, str], ...] = ()) -> LabelList:
        """The list of a model's own labels, which are keys and texts as they are."""
        return LabelList(labels, labels, labels, "the model", parts=parts)

    def spelled_as(self, known: Collection[str]) -> tuple[str, ...]:
        """The labels in the spelling of ``known``: the key if ``known`` has it, else the label."""
        pairs = zip(self.labels, self.keys, strict=True)
        return tuple(key if key in known else label for label, key in pairs)


#: What a label list is read from.
Labels: TypeAlias = str | Path | Sequence[str] | LabelList
#: ``auto``, ``none``, or kinds of descriptions, as text or one by one.
Descriptions: TypeAlias = str | Sequence[str]


@dataclass(frozen=True)
class LabelSet:
    """Labels of one request with all settings of their scoring, read once at the edge.

    Attributes:
        listed: The labels; None for the model's own.
        mode: ``one`` label fits or none, or ``multi``: each label for itself.
        descriptions: ``auto``, ``none`` or kinds, see ``vlar.model.label_vectors.label_vectors``.
        tree: Coarse labels above the labels; None takes those of an adapted model.
        concepts: What judgements taught about the labels that are names of concepts, by label.
    """

    listed: LabelList | None = None
    mode: str = "one"
    descriptions: Descriptions = "auto"
    tree: TreeSource | None = None
    concepts: Mapping[str, Concept] = field(default_factory=dict[str, Concept])

    @staticmethod
    def read(
        labels: Labels | None = None,
        mode: str = "one",
        descriptions: Descriptions = "auto",
        tree: TreeSource | None = None,
        concepts: Mapping[str, Concept] | None = None,
    ) -> LabelSet:
        """The set of labels and of a tree that are texts or files.

        Raises:
            LabelError: the list or the tree cannot be used, or no label is one of the concepts.
            UnknownNameError: no bank has this name.
        """
        listed = None if labels is None else parse_labels(labels)
        source = None if tree is None else read_tree_source(tree)
        plain = LabelSet(listed, mode, descriptions, source)
        taught = plain.taught_by(concepts or {})
        if concepts is not None and not taught.concepts:
            names = ", ".join(repr(each.name) for each in concepts.values()) or "none"
            raise LabelError(f"no label is the name of a concept; the concepts are: {names:.200}")
        return taught

    def taught_by(self, concepts: Mapping[str, Concept]) -> LabelSet:
        """The set in which labels that are names of concepts stand for their words.

        Args:
            concepts: By their names in small letters.
        """
        if self.listed is None or not concepts:
            return self
        named = {label: concepts.get(label.casefold()) for label in self.listed.labels}
        taught = {label: concept for label, concept in named.items() if concept is not None}
        texts = tuple(
            clean_label(taught[label].text) if label in taught else text
            for label, text in zip(self.listed.labels, self.listed.texts, strict=True)
        )
        return replace(self, listed=replace(self.listed, texts=texts), concepts=taught)


def parse_labels(spec: Labels) -> LabelList:
    """Read a label list from a string, a file, a bank or a sequence.

    Labels that do not look English are named in one warning of the logger ``vlar``.

    Args:
        spec: A label list, or a string as the documentation of this module describes it.

    Returns:
        The labels. Of labels that are equal after cleaning (ignoring case and spaces) the first is
        kept, and a note names the others.

    Raises:
        LabelError: no label, an unreadable file, or an entry that is not a text.
        UnknownNameError: no bank has this name.
    """
    if isinstance(spec, LabelList):
        return spec
    listed = _parsed(spec)
    if not listed.entries:
        _warn_of_other_languages(listed.texts)
        _check_negations(listed.texts)
    return listed


def _parsed(spec: str | Path | Sequence[str]) -> LabelList:
    if isinstance(spec, Path):
        return _from_file(spec)
    if isinstance(spec, bytes) or not isinstance(cast("object", spec), Iterable):
        raise LabelError(
            f"cannot read a {type(spec).__name__} as labels; give 'a, b, c', a list of texts, a "
            "file or bank:NAME"
        )
    if not isinstance(spec, str):
        return _finish(_strings(spec, "the list of labels"), "a list of labels")
    if spec.startswith("bank:"):
        return _from_bank(spec.removeprefix("bank:"))
    path = _existing_file(spec)
    if path is not None:
        return _from_file(path)
    if _means_a_file(spec):
        raise LabelError(
            f"the label file {spec!r} does not exist; give an existing file or labels separated "
            "by commas"
        )
    labels = _split(spec)
    return _finish(labels, "the given labels", _split_sentence(labels))


@lru_cache(maxsize=64)
def _warn_of_other_languages(texts: tuple[str, ...]) -> None:
    """Warn once per list."""
    foreign = [texts[index] for index in foreign_labels(texts) if not english_of(texts[index])]
    if foreign:
        named = ", ".join(repr(text) for text in foreign[:_NAMED])
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        _log.warning(
            "the labels %s%s do not look English; most models, 'lite' among them, read only "
            "English: translate the labels, or use a model that reads them (--model siglip2)",
            named,
            more,
        )


def _means_a_file(spec: str) -> bool:
    if any(s in spec for s in _SEPARATORS) or "\n" in spec:
        return False
    return spec.strip().lower().endswith(_SUFFIXES)


def _existing_file(spec: str) -> Path | None:
    if not spec.strip() or "\n" in spec or "\0" in spec:
        return None
    path = Path(spec.strip()).expanduser()
    try:
        kind = special_kind(path)
    except (OSError, ValueError):  # nothing lies there, or no file name: it is a label
        return None
    if kind is None:
        return path
    if kind == "a folder" and path.suffix not in _SUFFIXES:
        return None  # a label may be called as a folder
    raise LabelError(f"the label file {spec!r} cannot be read: it is {kind}, not a file")


@lru_cache(maxsize=64)
def _check_negations(texts: tuple[str, ...]) -> None:
    """Warn once per list that has negations."""
    affirmations = {text: positive for text in texts if (positive := affirmed(text))}
    if not affirmations:
        return
    text, positive = next(iter(affirmations.items()))
    instead = (
        f"ask for {positive!r} and take 'no' for your answer"
        if len(texts) == 1
        else "leave it out: the answer 'unknown' stands for clips that show none of the labels"
    )
    _log.warning("the label %r is a negation, which is not read; %s", text, instead)


def _split(spec: str) -> list[str]:
    delimiter = next((s for s in _SEPARATORS if s in spec), ",")
    lines = spec.replace(f"\\{delimiter}", _KEPT).splitlines()
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        return [cell.replace(_KEPT, delimiter) for line in reader for cell in line]
    except csv.Error as error:
        raise LabelError(f"the given labels cannot be split at commas: {error}") from error


def _split_sentence(labels: Sequence[str]) -> tuple[str, ...]:
    """A remark where a later label looks like the rest of a sentence; else none."""
    tail = next((label for label in labels[1:] if _CONTINUES.match(label.strip())), None)
    if tail is None:
        return ()
    what = f"these are {len(labels)} labels, and {tail.strip()!r} looks like a part of a sentence"
    return (f"{what}; write \\, for a comma inside a label",)


def _from_bank(name: str | Path) -> LabelList:
    bank = load_descriptions(name)
    texts = [entry.text for entry in bank.entries]
    parts = [entry.parts for entry in bank.entries]
    keys = [entry.label for entry in bank.entries]
    listed = _finish(keys, f"bank:{bank.name}", texts=texts, parts=parts)
    readable = tuple(clean_label(key) for key in listed.keys)
    return replace(listed, labels=readable, entries=bank.entries)


def _from_file(path: Path) -> LabelList:
    content = _read(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _from_csv(content, path)
    if suffix == ".json":
        return _from_json(content, path)
    lines = [line.strip() for line in content.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    labels, notes = _without_numbers(lines)
    return _finish([_unquoted(label) for label in labels], str(path), notes)


def _read(path: Path) -> str:
    try:
        data = read_file(path, _MOST_BYTES)
    except OSError as error:
        raise LabelError(
            f"the label file {str(path)!r} cannot be read: {error.strerror or error}"
        ) from error
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(
            f"the label file {str(path)!r} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def _from_csv(content: str, path: Path) -> LabelList:
    header = content.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter)
        columns = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
        named = [name for name in PARTS if name in columns]
        if "label" not in columns and "verb" not in columns:
            listed = ", ".join(repr(name) for name in columns) or "none"
            raise LabelError(
                f"{str(path)!r} has no column 'label' (columns found: {listed}); name the column "
                "'label' in the first line, or use a .txt file with one label per line"
            )
        rows = list(reader)
    except csv.Error as error:
        raise LabelError(f"{str(path)!r} is not a readable CSV file: {error}") from error
    cells = [{name: (row[columns[name]] or "").strip() for name in named} for row in rows]
    parts = [{name: text for name, text in row.items() if text} for row in cells]
    if "label" in columns:
        labels = [row[columns["label"]] or "" for row in rows]
    else:
        labels = [" ".join(row.values()) for row in parts]
    return _finish(labels, str(path), parts=parts)


def _from_json(content: str, path: Path) -> LabelList:
    try:
        data: Any = parse_json(content)
    except ValueError as error:
        raise LabelError(f"{str(path)!r} is not valid JSON: {error}") from error
    if isinstance(data, list):
        return _finish(_strings(cast("list[Any]", data), str(path)), str(path))
    if (isinstance(data, dict) and "entries" in data) or is_description_set(data):
        return _from_bank(path)
    raise LabelError(
        f"{str(path)!r} holds neither a list of labels, nor a bank (an object with 'entries'), nor "
        "descriptions (an object of label to texts)"
    )


def _strings(items: Iterable[Any], where: str) -> list[str]:
    labels: list[str] = []
    for number, item in enumerate(items, start=1):
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise LabelError(f"{where}: entry {number} is {item!r}, not a text; labels are strings")
        labels.append(str(item))
    return labels


def _without_numbers(lines: list[str]) -> tuple[list[str], list[str]]:
    # "1 ApplyEyeMakeup", "2 ...": only a complete count from 0 or 1 is a numbering.
    matches = [_NUMBERED.match(line) for line in lines]
    numbered = [m for m in matches if m is not None]
    if len(numbered) < max(len(lines), 2):
        return lines, []
    numbers = [int(m[1]) for m in numbered]
    if numbers[0] not in (0, 1) or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return lines, []
    return [m[2] for m in numbered], ["the numbers at the line starts were read as a numbering"]


def _unquoted(label: str) -> str:
    quoted = len(label) > 2 and label[0] == label[-1] == '"'
    return label[1:-1] if quoted else label


def _finish(
    labels: Sequence[str],
    source: str,
    notes: Sequence[str] = (),
    *,
    texts: Sequence[str] | None = None,
    parts: Sequence[Mapping[str, str]] = (),
) -> LabelList:
    rows: dict[str, tuple[str, str, Mapping[str, str]]] = {}
    dropped: list[str] = []
    n_empty = 0
    check_sizes(labels, source)
    for position, entry in enumerate(labels):
        # Labels are printed: none of their characters may act on a terminal.
        label = without(entry).strip()
        text = texts[position] if texts is not None else clean_label(label)
        if not text:
            n_empty += 1
            continue
        key = " ".join(text.casefold().split())
        if key in rows:
            dropped.append(label)
        else:
            rows[key] = (label, text, parts[position] if parts else {})
    if not rows:
        raise LabelError(f"{source}: the list holds no label; give at least one, as in 'run, jump'")
    names, cleaned, in_parts = zip(*rows.values(), strict=True)
    return LabelList(
        labels=names,
        texts=cleaned,
        keys=names,
        source=source,
        notes=(*notes, *_left_out(dropped, n_empty)),
        parts=in_parts if any(in_parts) else (),
    )


def _left_out(dropped: list[str], n_empty: int) -> tuple[str, ...]:
    empty = (f"{counted(n_empty, 'empty labels')} left out; write 'a, b, c'",) if n_empty else ()
    if not dropped:
        return empty
    named = ", ".join(repr(label) for label in list(dict.fromkeys(dropped))[:_NAMED])
    more = ", ..." if len(set(dropped)) > _NAMED else ""
    what = "1 label reads" if len(dropped) == 1 else f"{len(dropped)} labels read"
    return (*empty, f"{what} the same as an earlier one, left out: {named}{more}")
