"""Parses a language model's answer: every JSON object in it, and what is wrong with its texts.

Answers come in code fences, lists or between thoughts, and may end in the middle. Every object
with a ``label`` counts, wherever it stands; whole sentences before a cut are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from vlar.describing.base import LabelRequest
from vlar.text.bank import Description
from vlar.text.check import TokenLimit, n_tokens, same, text_fault

_LONGEST = 2_000_000  # characters of an answer that are parsed
_MOST_REPAIRS = 5  # starts that are tried as an object that was cut
_LONGEST_REPAIR = 100_000  # characters
_MOST_STARTS = 2_000  # braces that are tried as the start of an object
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_MARKERS = re.compile(r"<\|[a-z_]*\|>.*", re.DOTALL)  # of a chat: the answer is over
_HALF_PAIR = re.compile(r',?\s*"(?:[^"\\]|\\.)*"?\s*:?\s*$')
_SENTENCE = re.compile(r".*?[.!?。！？](?=\s|$)", re.DOTALL)


@dataclass
class ParsedDescriptions:
    """What a batch has so far.

    Attributes:
        texts: Usable texts by label and kind.
        faults: What is wrong, by label and kind without a usable text.
        long: Texts above the token limit, by label and kind.
        notes: What was cut, by label.
    """

    texts: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    faults: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    long: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    notes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, content: str, requests: Sequence[LabelRequest], limit: TokenLimit) -> None:
        """Add the texts of an answer for labels and kinds that have none yet."""
        rows = _by_label(content, requests)
        for row in requests:
            for kind in row.kinds:
                key = (row.label, kind)
                if key not in self.texts:
                    self._add_text(key, row.text, rows.get(row.label, {}).get(kind), limit)

    def _add_text(self, key: tuple[str, str], label: str, value: Any, limit: TokenLimit) -> None:
        text = _MARKERS.sub("", value) if isinstance(value, str) else ""
        text = " ".join(text.split())
        text = text.encode("utf-8", "ignore").decode()  # half a surrogate pair cannot be written
        if not text:
            self.faults.setdefault(key, "is missing")
            return
        wrong = text_fault(text, label, limit)
        if wrong is None and any(same(text) == same(other) for other in self.texts.values()):
            wrong = "is the same sentence as another one", ""
        if wrong is None:
            self.texts[key] = text
            self.faults.pop(key, None)
            self.long.pop(key, None)
            return
        self.faults[key] = wrong[0]
        if n_tokens(text, limit) > limit.max_tokens:
            self.long[key] = text

    def truncate_long(self, requests: Sequence[LabelRequest], limit: TokenLimit) -> None:
        """Cut texts above the limit at the end of a sentence, if that leaves a usable text."""
        names = {row.label: row.text for row in requests}
        for key, text in list(self.long.items()):
            short = truncate(text, limit)
            if short and text_fault(short, names[key[0]], limit) is None:
                self.texts[key] = short
                self.faults.pop(key, None)
                what = f"{key[1]} was cut from {n_tokens(text, limit)} tokens at a sentence"
                self.notes.setdefault(key[0], []).append(what)

    def fault_lines(self, requests: Sequence[LabelRequest]) -> list[str]:
        """One line for the model about each label and kind without a usable text."""
        return [
            f"{json.dumps(row.text, ensure_ascii=False)}, {kind}: {self.faults[row.label, kind]}"
            for row in requests
            for kind in row.kinds
            if (row.label, kind) in self.faults
        ]

    def descriptions(self, row: LabelRequest) -> tuple[Description, ...]:
        """The usable descriptions of a label, in the order of its kinds."""
        kinds = [kind for kind in row.kinds if (row.label, kind) in self.texts]
        return tuple(Description(kind, self.texts[row.label, kind]) for kind in kinds)

    def notes_of(self, row: LabelRequest) -> tuple[str, ...]:
        """What was cut or is missing for a label."""
        missing = [
            f"{kind} {self.faults[row.label, kind]}"
            for kind in row.kinds
            if (row.label, kind) in self.faults
        ]
        return (*self.notes.get(row.label, ()), *missing)


def truncate(text: str, limit: TokenLimit) -> str:
    """The longest run of whole sentences from the start that the encoder reads; may be empty."""
    kept = ""
    for match in _SENTENCE.finditer(text):
        longer = text[: match.end()]
        if n_tokens(longer, limit) > limit.max_tokens:
            break
        kept = longer
    return kept.strip()


def labelled_objects(content: str) -> Iterator[Mapping[str, Any]]:
    """Every JSON object with a text ``label`` in an answer, in order."""
    text = _THOUGHTS.sub("", content)[:_LONGEST]
    decoder = json.JSONDecoder()
    position, tries = text.find("{"), 0
    for _ in range(_MOST_STARTS):
        if position < 0:
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except (json.JSONDecodeError, RecursionError):
            tries += 1
            value = _completed(text[position:]) if tries <= _MOST_REPAIRS else None
            if value is not None:
                yield from _labelled(value)
                return
            position = text.find("{", position + 1)
            continue
        yield from _labelled(value)
        position = text.find("{", end)


def _completed(text: str) -> Any:
    """The value of a JSON text that ends in the middle; None for one that is not JSON.

    Of a string that was cut its whole sentences stay.
    """
    if len(text) > _LONGEST_REPAIR:
        return None
    closing: list[str] = []
    opened = -1  # place of the quote of an open string
    escaped = False
    for place, letter in enumerate(text):
        if opened >= 0:
            if not escaped and letter == '"':
                opened = -1
            escaped = not escaped and letter == "\\"
        elif letter == '"':
            opened = place
        elif letter in "{[":
            closing.append("}" if letter == "{" else "]")
        elif letter in "}]" and (not closing or closing.pop() != letter):
            return None
    if not closing:
        return None  # it is complete, and something else is wrong
    if opened >= 0:
        last = _MARKERS.sub("", text[opened + 1 :])
        whole = "".join(match.group() for match in _SENTENCE.finditer(last))
        text = f'{text[: opened + 1]}{whole}"'
    for tried in (text, _HALF_PAIR.sub("", text)):
        try:
            return json.loads(tried + "".join(reversed(closing)))
        except (json.JSONDecodeError, RecursionError):
            continue
    return None


def _labelled(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    if depth > 4:
        return
    if isinstance(value, dict):
        row = cast("dict[str, Any]", value)
        if isinstance(row.get("label"), str):
            yield row
            return
        value = list(row.values())
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _labelled(item, depth + 1)


def _by_label(content: str, requests: Sequence[LabelRequest]) -> dict[str, dict[str, Any]]:
    labels = {same(row.text): row.label for row in requests}
    labels |= {same(row.label): row.label for row in requests}
    found: dict[str, dict[str, Any]] = {}
    for row in labelled_objects(content):
        label = labels.get(same(row["label"]))
        if label is not None:
            found.setdefault(label, {}).update(_kinds(row))
    return found


def _kinds(row: Mapping[str, Any]) -> dict[str, Any]:
    # The question asks for an object of kind to text; a bank's list of kind and text is as clear.
    given = row.get("descriptions", row)
    if isinstance(given, dict):
        return cast("dict[str, Any]", given)
    if not isinstance(given, list):
        return {}
    items = [item for item in cast("list[Any]", given) if isinstance(item, dict)]
    pairs = [cast("dict[str, Any]", item) for item in items]
    return {str(pair.get("kind")): pair.get("text") for pair in pairs}
