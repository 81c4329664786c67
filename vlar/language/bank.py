"""Banks: labels with their descriptions, one JSON file each.

The schema (format 1; unknown fields are refused, so that a misspelt one is not lost)::

    {
      "format": 1,
      "name": "everyday_actions",
      "licence": "Apache-2.0",
      "provenance": {"source": "...", "date": "2026-11-24", "made": "..."},
      "entries": [
        {
          "label": "ApplyEyeMakeup",             the class name as its data set spells it
          "text": "apply eye makeup",            optional; default: the cleaned label
          "parts": {"verb": "apply", "object": "eye makeup"},   optional
          "domain": "hygiene",                   optional
          "aliases": ["put on mascara"],         optional
          "source": "composed from ...",         optional; where this entry's texts come from
          "descriptions": [                      optional
            {"kind": "sentence", "text": "A person draws a brush along the lashes."}
          ]
        }
      ]
    }

``kind`` names the aspect that a description covers, so that a label can have several. ``KINDS`` are
the kinds of an action, and docs/text.md explains them. The faults that the schema cannot express
are found by ``vlar.generators.descriptions.bank_validation``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlar.errors import LabelError
from vlar.files import resources
from vlar.files.reading import MB, read_file
from vlar.files.replacing import replacing
from vlar.language.clean import clean_label
from vlar.types import JsonDict

#: Kinds of description of an action.
KINDS = ("scene", "motion", "phases", "contrast", "sentence")
#: Kinds of description of one part of the body during an action; asked for by name.
PART_KINDS = ("part:head", "part:hand", "part:hip", "part:foot")
_MOST_BYTES = 256 * MB


@dataclass(frozen=True, slots=True)
class Description:
    """One text about a label; ``kind`` is the aspect that it covers."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A label of a bank.

    Attributes:
        label: The class name as its data set spells it.
        text: The text that a text encoder reads.
        descriptions: Texts about the label, in file order.
        aliases: Other names of the same class.
        domain: The group it belongs to.
        source: Origin of the texts, if that differs from entry to entry.
        parts: Value of each part of the label, such as ``{"verb": "open", "object": "door"}``.
    """

    label: str
    text: str
    descriptions: tuple[Description, ...] = ()
    aliases: tuple[str, ...] = ()
    domain: str | None = None
    source: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict[str, str])

    def describe(self, kind: str) -> tuple[str, ...]:
        """The descriptions of one kind, in file order."""
        return tuple(d.text for d in self.descriptions if d.kind == kind)

    def to_dict(self) -> JsonDict:
        """The entry as in a bank file; fields without a value are left out."""
        data: JsonDict = {"label": self.label, "text": self.text}
        data |= {"parts": dict(self.parts)} if self.parts else {}
        data |= {"domain": self.domain} if self.domain else {}
        data |= {"aliases": list(self.aliases)} if self.aliases else {}
        data |= {"source": self.source} if self.source else {}
        if self.descriptions:
            data["descriptions"] = [{"kind": d.kind, "text": d.text} for d in self.descriptions]
        return data


@dataclass(frozen=True)
class Bank:
    """Labels with their descriptions, and where they come from."""

    name: str
    licence: str
    provenance: dict[str, str]
    entries: tuple[Entry, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The C texts, in file order."""
        return tuple(entry.text for entry in self.entries)

    def to_json(self) -> str:
        """The content of the bank's file, one entry per line, so that a diff is readable."""
        head = {
            "format": 1,
            "name": self.name,
            "licence": self.licence,
            "provenance": self.provenance,
        }
        lines = [f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in head.items()]
        rows = [json.dumps(entry.to_dict(), ensure_ascii=False) for entry in self.entries]
        return "{\n" + ",\n".join(lines) + ',\n"entries": [\n' + ",\n".join(rows) + "\n]\n}\n"


def load_bank(name_or_path: str | Path) -> Bank:
    """Read a bank by name (``text_banks/NAME.json``) or from a file.

    Raises:
        UnknownNameError: no bank has this name.
        LabelError: the file cannot be read or breaks the schema; the message names the field.
    """
    path = _locate(name_or_path)
    if path.parent == resources.folder("text_banks"):
        return _packaged(path)
    from vlar.language.bank_schema import checked

    return _bank(checked(path, _read(path)))


@lru_cache(maxsize=16)  # several parts of an answer ask for the same one
def _packaged(path: Path) -> Bank:
    return _bank(json.loads(_read(path)))  # its tests check it against the schema


def _read(path: Path) -> bytes:
    try:
        return read_file(path, _MOST_BYTES).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise LabelError(f"the bank {str(path)!r} cannot be read: {error.strerror}") from error


def _bank(content: Mapping[str, Any]) -> Bank:
    entries = tuple(_entry(row) for row in content["entries"])
    return Bank(content["name"], content["licence"], dict(content["provenance"]), entries)


def write_bank(bank: Bank, path: Path) -> None:
    """Write a bank atomically: a reader or a killed process finds the old file or the new one.

    Raises:
        LabelError: the file cannot be written.
    """
    _packaged.cache_clear()
    try:
        with replacing(path) as part:
            part.write_bytes(bank.to_json().encode("utf-8", "replace"))
    except OSError as error:
        raise LabelError(
            f"the bank {str(path)!r} cannot be written: {error.strerror or error}; "
            "choose another file"
        ) from error


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(
        label=row["label"],
        text=row.get("text") or clean_label(row["label"]),
        descriptions=tuple(Description(d["kind"], d["text"]) for d in row.get("descriptions", ())),
        aliases=tuple(row.get("aliases", ())),
        domain=row.get("domain"),
        source=row.get("source"),
        parts=row.get("parts", {}),
    )


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, Path):
        return name_or_path
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(".json"):
        return Path(name_or_path).expanduser()
    return resources.find("text_banks", name_or_path, ".json")
