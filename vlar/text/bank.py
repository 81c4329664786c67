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
          "text": "apply eye makeup",            optional; else the cleaned label
          "domain": "hygiene",                   optional
          "aliases": ["put on mascara"],         optional
          "source": "composed from ...",         optional; where this entry's texts come from
          "descriptions": [                      optional
            {"kind": "sentence", "text": "A person draws a brush along the lashes."}
          ]
        }
      ]
    }

``kind`` names what a description speaks of, so that several can stand side by side; ``KINDS`` are
those of an action, and docs/text.md says what belongs in each. ``vlar.text.check`` looks at what
the schema cannot see.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from vlar import resources
from vlar.errors import LabelError
from vlar.text.clean import clean_label
from vlar.types import JsonDict

#: What descriptions of an action speak of.
KINDS = ("scene", "motion", "phases", "contrast", "sentence")
_NAMED = 5  # broken fields an error spells out

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True)
class Description:
    """One text about a label; ``kind`` says what it speaks of."""

    kind: str
    text: str


@dataclass(frozen=True)
class Entry:
    """A label of a bank. ``text`` is what the text tower reads."""

    label: str
    text: str
    descriptions: tuple[Description, ...] = ()
    aliases: tuple[str, ...] = ()
    domain: str | None = None
    source: str | None = None

    def describe(self, kind: str) -> tuple[str, ...]:
        """The descriptions of one kind, in file order."""
        return tuple(d.text for d in self.descriptions if d.kind == kind)

    def to_dict(self) -> JsonDict:
        """The entry as a bank file holds it; fields without a value are left out."""
        data: JsonDict = {"label": self.label, "text": self.text}
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
        """The bank as a file: one entry a line, so that two versions can be compared."""
        head = {
            "format": 1,
            "name": self.name,
            "licence": self.licence,
            "provenance": self.provenance,
        }
        lines = [f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in head.items()]
        rows = [json.dumps(entry.to_dict(), ensure_ascii=False) for entry in self.entries]
        return "{\n" + ",\n".join(lines) + ',\n"entries": [\n' + ",\n".join(rows) + "\n]\n}\n"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _DescriptionModel(_Model):
    kind: Text
    text: Text


class _EntryModel(_Model):
    label: Text
    text: Text | None = None
    descriptions: list[_DescriptionModel] = Field(default_factory=list[_DescriptionModel])
    aliases: list[Text] = Field(default_factory=list[str])
    domain: Text | None = None
    source: Text | None = None


class _BankModel(_Model):
    format: Literal[1]
    name: Text
    licence: Text
    provenance: dict[str, Text] = Field(min_length=1)
    entries: list[_EntryModel] = Field(min_length=1)


def load_bank(name_or_path: str | Path) -> Bank:
    """Read a bank by name (``text_banks/NAME.json``) or from a file.

    Raises:
        UnknownNameError: no bank has this name.
        LabelError: the file cannot be read or breaks the schema; the message names the field.
    """
    path = _locate(name_or_path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"the bank {str(path)!r} cannot be read: {error.strerror}") from error
    try:
        model = _BankModel.model_validate_json(data.removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        raise LabelError(_explain(path, error)) from error
    return Bank(
        name=model.name,
        licence=model.licence,
        provenance=dict(model.provenance),
        entries=tuple(_entry(entry) for entry in model.entries),
    )


def write_bank(bank: Bank, path: Path) -> None:
    """Write a bank as one step: whoever reads or is killed meanwhile finds the old or the new.

    Raises:
        LabelError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(bank.to_json().encode("utf-8", "replace"))
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise LabelError(
            f"the bank {str(path)!r} cannot be written: {error.strerror or error}; "
            "choose another file"
        ) from error


def _entry(model: _EntryModel) -> Entry:
    return Entry(
        label=model.label,
        text=model.text or clean_label(model.label),
        descriptions=tuple(Description(d.kind, d.text) for d in model.descriptions),
        aliases=tuple(model.aliases),
        domain=model.domain,
        source=model.source,
    )


def _explain(path: Path, error: ValidationError) -> str:
    errors = error.errors()
    named = [
        f"{'.'.join(str(part) for part in row['loc']) or 'the file'}: {row['msg']}"
        for row in errors[:_NAMED]
    ]
    more = f" ({len(errors) - _NAMED} more)" if len(errors) > _NAMED else ""
    return (
        f"the bank {str(path)!r} breaks the schema at {'; at '.join(named)}{more}; "
        "see text_banks/README.md"
    )


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, Path):
        return name_or_path
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(".json"):
        return Path(name_or_path).expanduser()
    return resources.find("text_banks", name_or_path, ".json")
