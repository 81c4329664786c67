"""Check of a bank that somebody else wrote (``vlar.language.bank`` shows the schema)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from vlar.errors import LabelError

_NAMED = 5  # broken fields that an error names
_MOST_CHARACTERS = 20_000  # of a text

Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_MOST_CHARACTERS)
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _DescriptionModel(_Model):
    kind: Text
    text: Text


class _PartsModel(_Model):
    verb: Text
    object: Text | None = None


class _EntryModel(_Model):
    label: Text
    text: Text | None = None
    descriptions: list[_DescriptionModel] = Field(default_factory=list[_DescriptionModel])
    aliases: list[Text] = Field(default_factory=list[str])
    domain: Text | None = None
    source: Text | None = None
    parts: _PartsModel | None = None


class _BankModel(_Model):
    format: Literal[1]
    name: Text
    licence: Text
    provenance: dict[str, Text] = Field(min_length=1)
    entries: list[_EntryModel] = Field(min_length=1)


def checked(path: Path, data: bytes) -> dict[str, Any]:
    """Content of a bank file; fields without a value are left out.

    Args:
        path: The file, for the error.
        data: Its bytes.

    Raises:
        LabelError: it breaks the schema; the message names the field.
    """
    try:
        return _BankModel.model_validate_json(data).model_dump(exclude_none=True)
    except ValidationError as error:
        raise LabelError(_explain(path, error)) from error


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
