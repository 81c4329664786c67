"""Checks of a bank beyond its schema: duplicates, empty phrases, texts above the token limit.

The same rules apply to texts of a language model (``vlar.generators.descriptions``) and of a
person.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from vlar.errors import UsageError
from vlar.language.bank import KINDS, PART_KINDS, Bank, Entry, load_bank
from vlar.types import JsonDict

FEW = 3  # descriptions; a label with fewer gets a remark
_PROVENANCE = ("source", "date", "made")
_PLACEHOLDER = re.compile(
    r"\b(todo|tbd|fixme|lorem ipsum|placeholder|as an ai|i cannot|i can't|description of the)\b"
    r"|\{\}|\{\w+\}|<[^<>]+>|\[[^\[\]]+\]|(\.\.\.|…)$",
    re.IGNORECASE,
)
_SENTENCE_END = (".", "!", "?", "。", "！", "？", "।")
_EMPTY_TEXT = """a an the is are be being of in on at to with by and or his her their its this that
it person people someone somebody man woman human video clip footage shown showing shows show seen
action activity doing does do performing performs perform"""
_EMPTY = frozenset(_EMPTY_TEXT.split())


class TokenLimit(Protocol):
    """The reader of the texts, usually an encoder."""

    @property
    def name(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...

    def count_tokens(self, text: str) -> int: ...


@dataclass(frozen=True)
class Fault:
    """Fault of a bank.

    Attributes:
        file: The bank as the user named it.
        label: The label at fault; None for the file as a whole.
        kind: The kind of the description, or ``alias``; None for the label itself.
        value: The offending text, number or name.
        what: Fault of the value.
        advice: What to do.
        severe: False for a remark: the bank works but could be better.
    """

    file: str
    label: str | None
    kind: str | None
    value: str
    what: str
    advice: str
    severe: bool = True

    @property
    def message(self) -> str:
        """One line: file, label, kind, value, what is wrong, what to do."""
        parts = [self.file]
        parts += [f"label {self.label!r}"] if self.label is not None else []
        parts += [self.kind] if self.kind else []
        return f"{', '.join(parts)}: {_short(self.value)!r} {self.what}; {self.advice}"

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {
            "file": self.file,
            "label": self.label,
            "kind": self.kind,
            "value": self.value,
            "what": self.what,
            "advice": self.advice,
            "severity": "error" if self.severe else "remark",
        }


def check_bank(name_or_path: str | Path, limit: TokenLimit | None = None) -> tuple[Fault, ...]:
    """All faults of a bank.

    Args:
        name_or_path: A bank's name or file.
        limit: The encoder that will read the texts; None leaves their length unchecked.
    """
    file = str(name_or_path)
    try:
        bank = load_bank(name_or_path)
    except UsageError as error:
        what = f"is not a usable bank ({error})"
        return (Fault(file, None, None, file, what, "repair the file"),)
    faults = [*_provenance(file, bank), *_labels(file, bank), *_aliases(file, bank)]
    faults += _doubles(file, bank)
    for entry in bank.entries:
        faults += _entry(file, entry, limit)
    return tuple(faults)


def text_fault(
    text: str, label: str | None, limit: TokenLimit | None = None
) -> tuple[str, str] | None:
    """Fault of one description, and the remedy; None for a usable text.

    Args:
        text: The description.
        label: The action it describes, in plain words; None if the label is not an action (an
            object's "opening a can" adds to "can opener").
        limit: The encoder that will read it; None leaves its length unchecked.
    """
    if not any(c.isalpha() for c in text):
        return "has no words", "write what a viewer can see"
    if match := _PLACEHOLDER.search(text):
        return f"holds the placeholder {match[0]!r}", "write what a viewer can see"
    if label is not None and _repeats(text, label):
        return "only repeats the label", "write what a viewer can see, beyond the label's own words"
    tokens = n_tokens(text, limit)
    if limit is not None and tokens > limit.max_tokens:
        what = f"has {tokens} tokens; {limit.name} reads the first {limit.max_tokens}"
        return what, "shorten it"
    return None


def n_tokens(text: str, limit: TokenLimit | None) -> int:
    """Number of tokens of a text for an encoder; 0 if the text is certainly short enough."""
    # A token is at least one byte, so short texts need no count.
    if limit is None or len(text.encode("utf-8", "replace")) + 2 <= limit.max_tokens:
        return 0
    return limit.count_tokens(text)


def same(text: str) -> str:
    """A text without case, repeated spaces and final punctuation, for comparison."""
    return " ".join(text.casefold().split()).rstrip(".!?。 ")


def _provenance(file: str, bank: Bank) -> Iterator[Fault]:
    for key in _PROVENANCE:
        if key not in bank.provenance:
            advice = "state where the texts come from, when and how they were made"
            yield Fault(file, None, "provenance", key, "is missing", advice)
    written = bank.provenance.get("date")
    if written is not None and not _is_date(written):
        advice = "write it as 2026-11-24"
        yield Fault(file, None, "provenance", written, "is not a date", advice)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _labels(file: str, bank: Bank) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for entry in bank.entries:
        key = same(entry.text)
        if key in first:
            what = f"reads the same as the label {first[key]!r}"
            yield Fault(file, entry.label, None, entry.text, what, "keep one of the two")
        first.setdefault(key, entry.label)


def _aliases(file: str, bank: Bank) -> Iterator[Fault]:
    texts = {same(entry.text): entry.label for entry in bank.entries}
    owners: dict[str, str] = {}
    for entry in bank.entries:
        for alias in entry.aliases:
            key = same(alias)
            if key == same(entry.text):
                advice = "leave it out"
                yield Fault(file, entry.label, "alias", alias, "is the label itself", advice)
            elif key in texts:
                what = f"is the label {texts[key]!r}"
                advice = "leave it out or name it more closely"
                yield Fault(file, entry.label, "alias", alias, what, advice)
            elif key in owners:
                whose = owners[key]
                what = "comes twice" if whose == entry.label else f"is an alias of {whose!r} too"
                yield Fault(file, entry.label, "alias", alias, what, "keep it at one label only")
            owners.setdefault(key, entry.label)


def _doubles(file: str, bank: Bank) -> Iterator[Fault]:
    # Only sentences must be unique: several objects may share a phrase such as "a lawn".
    first: dict[str, str] = {}
    for entry in bank.entries:
        for row in entry.descriptions:
            if not row.text.endswith(_SENTENCE_END):
                continue
            key = same(row.text)
            if key in first:
                whose = first[key]
                other = "comes twice" if whose == entry.label else f"also describes {whose!r}"
                advice = "write what is true of this label only"
                yield Fault(file, entry.label, row.kind, row.text, other, advice)
            first.setdefault(key, entry.label)


def _entry(file: str, entry: Entry, limit: TokenLimit | None) -> Iterator[Fault]:
    n = len(entry.descriptions)
    if n < FEW:
        what = f"description{'s are' if n != 1 else ' is'} there"
        advice = f"write {FEW} to 6 of different kinds ({', '.join(KINDS)})"
        yield Fault(file, entry.label, None, str(n), what, advice, severe=n == 0)
    for row in entry.descriptions:
        if near := _misspelt(row.kind, (*KINDS, *PART_KINDS)):
            what = f"is an unknown kind, close to {near!r}"
            yield Fault(file, entry.label, row.kind, row.kind, what, f"write {near!r}")
        label = entry.text if row.kind in KINDS else None
        if wrong := text_fault(row.text, label, limit):
            yield Fault(file, entry.label, row.kind, row.text, *wrong)
    for alias in entry.aliases:
        if limit is not None and (tokens := n_tokens(alias, limit)) > limit.max_tokens:
            what = f"has {tokens} tokens; {limit.name} reads the first {limit.max_tokens}"
            yield Fault(file, entry.label, "alias", alias, what, "shorten it")


def _repeats(text: str, label: str) -> bool:
    text_stems, label_stems = _stems(text), _stems(label)
    # A lone word of the label may be its place ("leaf" of a leaf beetle); a sentence should not.
    return text_stems == label_stems or (text_stems <= label_stems and text.endswith(_SENTENCE_END))


def _misspelt(kind: str, known: Sequence[str]) -> str | None:
    if kind in known:
        return None
    near = difflib.get_close_matches(kind, known, n=1, cutoff=0.75)
    return near[0] if near else None


def _stems(text: str) -> set[str]:
    return set(_stemmed(re.findall(r"[^\W\d_]+", text.casefold())))


def _stemmed(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        if word in _EMPTY:
            continue
        stem = word
        for ending in ("ing", "ed", "es", "s", "er"):
            if word.endswith(ending) and len(word) - len(ending) >= 3:
                stem = word[: -len(ending)]
                break
        stem = stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem
        yield stem[:-1] if len(stem) > 3 and stem.endswith("e") else stem


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
