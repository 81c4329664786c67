"""Sets of descriptions: many texts a label, from files that are not banks.

ActionHub (Zhou et al. 2024) has thousands of descriptions an action. Such a file is read as a bank
whose descriptions are of the kind ``sentence``:

- ``.json``: an object of label to a list of texts, ``{"archery": ["A man draws a bow.", ...]}``;
- ``.jsonl``: an object a line, ``{"label": "archery", "description": "A man draws a bow."}``;
- ``.csv``, ``.tsv``: columns ``label`` and ``description`` (or ``text``, ``caption``).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from vlar.errors import LabelError
from vlar.files import resources
from vlar.files.reading import MB, parse_json, read_file
from vlar.language.bank import Bank, Description, Entry, load_bank
from vlar.language.clean import base_forms, clean_label

Described = Mapping[str, tuple[str, ...]]
_NOT_ACTIONS = "imagenet_objects"  # names of things, for the encoder 'lite'
_LITTLE = frozenset({"a", "an", "the", "of", "do", "doing"})
_WORDS, _LETTERS = re.compile(r"\w+"), re.compile(r"[^\W\d_]+")


def descriptions_of(
    texts: Sequence[str], own: Sequence[Entry] = (), *, only_own: bool = False
) -> list[Described]:
    """Descriptions of labels, by kind.

    Args:
        texts: C cleaned label texts.
        own: Entries of the bank that the labels come from, if it is not a packaged one.
        only_own: Leave the packaged banks out.

    Returns:
        C mappings of kind to descriptions; empty for a label that no bank has.
    """
    banks = [_index(own)] if own else []
    banks += [] if only_own else [_packaged()]
    return [_pooled(_entries(text, banks)) for text in texts]


def described_share(described: Sequence[Described]) -> float:
    """Share of the labels with a description, 0 to 1."""
    return sum(bool(kinds) for kinds in described) / max(len(described), 1)


def _entries(text: str, banks: Sequence[Mapping[str, Mapping[str, list[Entry]]]]) -> list[Entry]:
    keys = {way: key_of(text) for way, key_of in _WAYS.items()}
    for by in _BY:
        entries = [
            entry
            for bank in banks
            for way, key in keys.items()
            for entry in bank[by + way].get(key, ())
        ]
        if entries:
            return entries
    return []


def _pooled(entries: Iterable[Entry]) -> Described:
    kinds: dict[str, dict[str, None]] = {}
    for entry in entries:
        for description in entry.descriptions:
            kinds.setdefault(description.kind, {})[description.text] = None
    return {kind: tuple(texts) for kind, texts in kinds.items()}


@lru_cache(maxsize=1)
def _packaged() -> Mapping[str, Mapping[str, list[Entry]]]:
    names = [name for name in resources.names("text_banks", ".json") if name != _NOT_ACTIONS]
    return _index([entry for name in names for entry in load_bank(name).entries])


def _index(entries: Sequence[Entry]) -> Mapping[str, Mapping[str, list[Entry]]]:
    index: dict[str, dict[str, list[Entry]]] = {by + way: {} for by in _BY for way in _WAYS}
    for entry in entries:
        names = {entry.label, entry.text, clean_label(entry.label)}
        for by, texts in zip(_BY, (names, entry.aliases), strict=True):
            for way, key_of in _WAYS.items():
                for key in {key_of(text) for text in texts}:
                    index[by + way].setdefault(key, []).append(entry)
    return index


def _plain(text: str) -> str:
    return " ".join(_WORDS.findall(text.casefold()))


def _forms(text: str) -> str:
    """The different words without articles and the like, each in its shortest base form, in order.

    >>> _forms("doing push-ups") == _forms("a push up")
    True
    """
    words = _LETTERS.findall(text.lower())
    content = [word for word in words if word not in _LITTLE] or words
    return " ".join(sorted({_shortest_form(word) for word in content}))


@lru_cache(maxsize=1 << 14)
def _shortest_form(word: str) -> str:
    return min(base_forms(word), key=lambda form: (len(form), form))


_BY = ("name", "alias")
_WAYS: dict[str, Callable[[str], str]] = {"": _plain, " forms": _forms}


KIND = "sentence"
#: Endings of files that are read here; ``.json`` may be a bank as well.
ENDINGS = (".json", ".jsonl", ".csv", ".tsv")
_TEXTS = ("description", "text", "caption", "sentence")
_MOST_BYTES = 2048 * MB
_MOST_CHARACTERS = 20_000


def load_descriptions(name_or_path: str | Path) -> Bank:
    """A bank by name or file, or a set of descriptions as one.

    Raises:
        UnknownNameError: no bank has this name.
        LabelError: the file cannot be read, is of neither form, or has a label without description
            or a description without label; the message names the place.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return load_bank(name_or_path)
    try:
        data = read_file(path, _MOST_BYTES)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    if path.suffix.lower() == ".json":
        value = _json(path, text)
        if not is_description_set(value):
            return load_bank(path)
        rows = _of_object(path, cast("dict[str, Any]", value))
    elif path.suffix.lower() == ".jsonl":
        rows = _of_lines(path, text)
    else:
        rows = _of_table(path, text)
    return _bank(path, data, rows)


def is_description_set(value: Any) -> bool:
    """Return whether a JSON value is an object of label to texts, and not a bank."""
    if not isinstance(value, dict) or not value or "entries" in value or "format" in value:
        return False
    return all(isinstance(texts, list) for texts in cast("dict[str, Any]", value).values())


def _bank(path: Path, data: bytes, rows: Iterable[tuple[str, str, str]]) -> Bank:
    texts_of: dict[str, dict[str, None]] = {}
    for where, label, text in rows:
        if not label.strip():
            raise LabelError(f"{path}, {where}: a description without a label; name its action")
        if not text.strip():
            raise LabelError(f"{path}, {where}: label {label!r:.80} has no description here")
        if len(text) > _MOST_CHARACTERS:
            raise LabelError(
                f"{path}, {where}: a description of {len(text):,} characters; at most "
                f"{_MOST_CHARACTERS:,} are read"
            )
        texts_of.setdefault(label.strip(), {})[" ".join(text.split())] = None
    if not texts_of:
        raise LabelError(f"{path}: holds no description; give a label and a text a row")
    entries = tuple(
        Entry(label, clean_label(label), tuple(Description(KIND, text) for text in texts))
        for label, texts in texts_of.items()
    )
    digest = hashlib.sha256(data).hexdigest()
    provenance = {"source": path.name, "made": "read as a set of descriptions", "sha256": digest}
    return Bank(path.stem, "not stated: see the source of the descriptions", provenance, entries)


def _json(path: Path, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise LabelError(f"{path}: not valid JSON ({error})") from error


def _of_object(path: Path, value: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for label, texts in value.items():
        if not texts:
            raise LabelError(
                f"{path}, label {label!r:.80}: has no description; add some or drop it"
            )
        for number, text in enumerate(texts, 1):
            where = f"label {label!r:.80}, description {number}"
            yield where, label, _text(path, where, text)


def _of_lines(path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LabelError(f"{path}, {where}: not valid JSON ({error})") from error
        if not isinstance(row, dict) or "label" not in row:
            raise LabelError(f"{path}, {where}: no object with 'label' and 'description'")
        fields = cast("dict[str, Any]", row)
        value = next((fields[name] for name in _TEXTS if name in fields), "")
        label = _text(path, where, fields["label"])
        several = cast("list[Any]", value) if isinstance(value, list) else [value]
        for one in several or [""]:
            yield where, label, _text(path, where, one)


def _of_table(path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    mark = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
    try:
        columns = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
        column = next((columns[name] for name in _TEXTS if name in columns), None)
        if "label" not in columns or column is None:
            names = ", ".join(repr(name) for name in columns) or "none"
            raise LabelError(
                f"{path}: no columns 'label' and 'description' (columns found: {names}); name them "
                "in the first line"
            )
        for row in reader:
            yield f"line {reader.line_num}", row[columns["label"]] or "", row[column] or ""
    except csv.Error as error:
        raise LabelError(f"{path}: not a readable table ({error})") from error


def _text(path: Path, where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise LabelError(f"{path}, {where}: {value!r:.80} is not a text")
    return value
