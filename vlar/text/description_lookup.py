"""Descriptions of a label from the banks, found by name in any inflection and word order.

A label may be in several banks ("archery" is in three); the descriptions of all entries with its
name are pooled. Aliases are less exact, so they count only if no name matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from vlar import resources
from vlar.text.bank import Entry, load_bank
from vlar.text.clean import clean_label
from vlar.text.inflection import base_forms

Described = Mapping[str, tuple[str, ...]]
_NOT_ACTIONS = "imagenet_objects"  # names of things, for the encoder 'lite'
_LITTLE = frozenset({"a", "an", "the", "of", "do", "doing"})
_Key = str | frozenset[str]


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


def _entries(text: str, banks: Sequence[Mapping[str, Mapping[_Key, list[Entry]]]]) -> list[Entry]:
    for by in ("name", "alias"):
        keys: tuple[tuple[str, _Key], ...] = ((by, _plain(text)), (f"{by} forms", _forms(text)))
        found = [
            entry for bank in banks for table, key in keys for entry in bank[table].get(key, ())
        ]
        if found:
            return found
    return []


def _pooled(entries: Iterable[Entry]) -> Described:
    kinds: dict[str, dict[str, None]] = {}
    for entry in entries:
        for description in entry.descriptions:
            kinds.setdefault(description.kind, {})[description.text] = None
    return {kind: tuple(texts) for kind, texts in kinds.items()}


@lru_cache(maxsize=1)
def _packaged() -> Mapping[str, Mapping[_Key, list[Entry]]]:
    names = [name for name in resources.names("text_banks", ".json") if name != _NOT_ACTIONS]
    return _index([entry for name in names for entry in load_bank(name).entries])


def _index(entries: Sequence[Entry]) -> Mapping[str, Mapping[_Key, list[Entry]]]:
    index: dict[str, dict[_Key, list[Entry]]] = {}
    ways: tuple[tuple[str, Callable[[str], _Key]], ...] = (("", _plain), (" forms", _forms))
    for ending, key_of in ways:
        names, aliases = (
            index.setdefault(f"name{ending}", {}),
            index.setdefault(f"alias{ending}", {}),
        )
        for entry in entries:
            for name in {key_of(t) for t in (entry.label, entry.text, clean_label(entry.label))}:
                names.setdefault(name, []).append(entry)
            for alias in {key_of(alias) for alias in entry.aliases}:
                aliases.setdefault(alias, []).append(entry)
    return index


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _forms(text: str) -> frozenset[str]:
    """The set of words without articles and the like, each in its shortest base form.

    >>> _forms("doing push-ups") == _forms("a push up")
    True
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    kept = [word for word in words if word not in _LITTLE] or words
    return frozenset(min(base_forms(word), key=lambda form: (len(form), form)) for word in kept)
