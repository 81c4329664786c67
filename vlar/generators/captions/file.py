"""``file:FILE``: captions that were written elsewhere, by a person or by another program.

Rows of ``path``, ``sentence`` (or ``caption``, ``text``) and, for a part of a recording,
``start_s`` and ``end_s``; as a JSON list, JSON Lines or CSV. A JSON object of path to sentences, or
to rows with ``sentence`` and ``timestamp`` (ActivityNet Captions), is read as well. Relative paths
count from the folder of the file; a path that is not there is compared by its file name.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vlar.encoders.captions import Captioner, Captions
from vlar.errors import UsageError
from vlar.files.reading import MB, parse_json, read_file
from vlar.registry import register
from vlar.types import Clip, Sampling

_MOST_BYTES = 512 * MB
_SENTENCES = ("sentence", "caption", "text")


@dataclass(frozen=True)
class WrittenCaption:
    """A sentence about a span of a recording; both times are None for all of it."""

    sentence: str
    start_s: float | None = None
    end_s: float | None = None


@register("captioner", "file")
class FileCaptioner(Captioner):
    """Looks captions up by recording and time."""

    licence = "as its source states"

    def __init__(self, name: str, by_path: Mapping[str, list[WrittenCaption]], digest: str) -> None:
        self.name, self._by_path, self.fingerprint = name, by_path, digest

    @classmethod
    def from_spec(cls, argument: str) -> FileCaptioner:
        if not argument:
            raise UsageError("the captioner 'file' needs a file: file:captions.json")
        path = Path(argument).expanduser()
        try:
            data = read_file(path, _MOST_BYTES)
            text = data.decode("utf-8-sig")
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
        except UnicodeDecodeError:
            raise UsageError(f"{path}: not UTF-8 text; save it as UTF-8") from None
        captions: dict[str, list[WrittenCaption]] = {}
        for name, caption in _rows(path, text):
            captions.setdefault(_key(path.parent, name), []).append(caption)
        if not captions:
            raise UsageError(f"{path}: holds no caption; give rows of path and sentence")
        return cls(f"file:{argument}", captions, hashlib.sha256(data).hexdigest())

    @property
    def paths(self) -> tuple[str, ...]:
        """The recordings that have captions, as absolute paths or file names."""
        return tuple(self._by_path)

    @property
    def sampling(self) -> Sampling:
        return Sampling(1)

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        return [self._of(clip) for clip in clips]

    def _of(self, clip: Clip) -> Captions:
        path = Path(clip.path)
        captions = self._by_path.get(str(path.absolute())) or self._by_path.get(path.name) or []
        start_s, end_s = clip.window.start_s, clip.window.end_s
        return tuple(
            row.sentence
            for row in captions
            if row.start_s is None
            or row.end_s is None
            or (row.start_s < end_s and row.end_s > start_s)
        )


def _key(folder: Path, name: str) -> str:
    path = folder / Path(name).expanduser()
    return str(path.absolute()) if path.exists() else Path(name).name


def _rows(path: Path, text: str) -> Iterator[tuple[str, WrittenCaption]]:
    if path.suffix.lower() == ".csv":
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise UsageError(f"{path}: not a readable CSV file ({error})") from error
        for number, row in enumerate(rows, 2):
            yield _row(path, f"line {number}", dict(row))
        return
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _row(path, f"line {number}", _json(path, line))
        return
    value = _json(path, text)
    if isinstance(value, list):
        for number, row in enumerate(cast("list[Any]", value), 1):
            yield _row(path, f"row {number}", row)
    elif isinstance(value, dict):
        yield from _by_recording(path, cast("dict[str, Any]", value))
    else:
        raise UsageError(f"{path}: neither a list of rows nor an object of path to sentences")


def _by_recording(path: Path, value: dict[str, Any]) -> Iterator[tuple[str, WrittenCaption]]:
    results = value.get("results", value)  # the form of ActivityNet Captions
    for name, several in cast("dict[str, Any]", results).items():
        if not isinstance(several, list):
            continue  # "version" and the like
        for number, row in enumerate(cast("list[Any]", several), 1):
            where = f"{name!r:.80}, caption {number}"
            fields = {"sentence": row} if isinstance(row, str) else row
            if isinstance(fields, dict) and isinstance(fields.get("timestamp"), list):
                times = cast("list[Any]", fields["timestamp"])
                fields = {**fields, "start_s": times[0], "end_s": times[-1]} if times else fields
            yield _row(path, where, {"path": name, **fields} if isinstance(fields, dict) else row)


def _row(path: Path, where: str, row: Any) -> tuple[str, WrittenCaption]:
    if not isinstance(row, dict):
        raise UsageError(f"{path}, {where}: {row!r:.80} is not an object with path and sentence")
    fields = cast("dict[str, Any]", row)
    name = fields.get("path")
    sentence = next((fields[key] for key in _SENTENCES if fields.get(key)), None)
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"{path}, {where}: names no recording; give it a 'path'")
    if not isinstance(sentence, str) or not sentence.strip():
        raise UsageError(f"{path}, {where}: has no sentence; give it a 'sentence'")
    start_s, end_s = (_seconds(path, where, fields.get(key)) for key in ("start_s", "end_s"))
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise UsageError(f"{path}, {where}: ends at {end_s:g} s, before it starts ({start_s:g} s)")
    return name.strip(), WrittenCaption(" ".join(sentence.split()), start_s, end_s)


def _seconds(path: Path, where: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{path}, {where}: {value!r:.40} is not a number of seconds from 0")
    return seconds


def _json(path: Path, text: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid JSON ({error})") from error
