"""Files of annotations: read and written in the format of their ending and content."""

from __future__ import annotations

import gzip
import logging
import lzma
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vlar import registry
from vlar.errors import UsageError, explained
from vlar.files.compressed import ENDINGS, read_plain
from vlar.files.reading import parse_json, require_few_lines
from vlar.files.replacing import replacing
from vlar.segments.base import MOST, OPTIONAL, SHEET, AnnotationFormat, Options, Source, Table
from vlar.segments.segment import Segment, in_order

_log = logging.getLogger("vlar")
_FAULTS = (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError)


def read(path: str | Path, *, fps: float | None = None) -> list[Segment]:
    """Segments of a file of annotations, in the order of start, then label.

    The format is found by ending and content. ``load`` also gives notes, media and durations; here
    the notes, such as unpaired states, go to the log ``vlar``.

    Args:
        path: The file; any text form may be compressed as ``.gz`` or ``.xz``.
        fps: Frames a second, for formats that count frames.

    Raises:
        UsageError: it cannot be read, is not of a known format, or needs ``fps``.
    """
    table = load(path, fps=fps)
    for note in table.notes:
        _log.warning("%s: %s", path, note)
    return table.segments


def write(path: str | Path, segments: Sequence[Segment], *, fps: float | None = None) -> None:
    """Write segments in the format of the existing file, else of the ending.

    What the format cannot hold goes to the log ``vlar``; ``save`` returns it.

    Args:
        path: The file. A project of BORIS, ELAN, VIA or Datavyu that exists is added to.
        segments: The segments.
        fps: Frames a second, for formats that count frames.

    Raises:
        UsageError: the format cannot hold them, or the file cannot be written; nothing is changed.
    """
    for note in save(path, segments, fps=fps):
        _log.warning("%s: %s", path, note)


def load(
    path: str | Path,
    *,
    fps: float | None = None,
    form: str | None = None,
    label_from: Literal["value", "tier"] = "value",
    labels: Sequence[str] = (),
) -> Table:
    """Content of a file of annotations: segments, notes, media, durations and conditions.

    Args:
        path: The file.
        fps: Frames a second, for formats that count frames.
        form: Name of the format (``vlar.parts("annotation")``); None finds it.
        label_from: ``tier`` takes the name of a tier as label and the value as modifier.
        labels: Columns that are behaviours, for tables that do not name them.

    Raises:
        UsageError: it cannot be read, is not of a known format, or needs ``fps``.
    """
    source = _source(Path(path))
    part = _named(form) if form else _format_of(source)
    try:
        table = part.read(source, Options(fps, label_from, labels))
        table = replace(table, segments=in_order(table.segments))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except _FAULTS as error:
        raise UsageError(f"{path}: {_sentence(error, part)}") from error
    return table


def save(
    path: str | Path,
    segments: Sequence[Segment],
    *,
    fps: float | None = None,
    form: str | None = None,
) -> tuple[str, ...]:
    """Write segments as ``write`` does.

    Args:
        path: The file; it is replaced as a whole or not at all.
        segments: The segments.
        fps: Frames a second, for formats that count frames.
        form: Name of the format; None takes that of the existing file, else of the ending.

    Returns:
        What the format cannot hold, a sentence each.

    Raises:
        UsageError: the format cannot hold them, or the file cannot be written; nothing is changed.
    """
    file = Path(path)
    existing = _source(file) if file.is_file() and file.stat().st_size else None
    target = Source(file, b"")
    part = _chosen(target, existing, form)
    rows = in_order(list(segments))
    recordings = sorted({row.recording for row in rows})
    if len(recordings) > 1 and not part.several:
        raise UsageError(
            f"{path}: a file of {part.name} holds one recording, these are {len(recordings)}; "
            "write one file each, or .csv"
        )
    try:
        data, notes = part.write(rows, existing, Options(fps, target=target.name))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except _FAULTS as error:
        raise UsageError(f"{path}: {_sentence(error, part)}") from error
    _replace(file, _packed(file, data))
    return (*_lost(part, rows, target.stem), *notes)


def check_target(path: str | Path) -> None:
    """Refuse, before any work, a file that ``save`` has no format or folder for.

    Raises:
        UsageError: its ending is that of no format, or its folder does not exist.
    """
    file = Path(path)
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{path}: the folder {str(file.parent)!r} does not exist")
    existing = _source(file) if file.is_file() and file.stat().st_size else None
    _chosen(Source(file, b""), existing, None)


def is_annotation(path: Path) -> bool:
    """Return whether the ending and the content of a file are those of a format."""
    source = _source(path)
    return any(source.suffix in part.endings and part.claims(source) for part in every_format())


def every_format() -> list[AnnotationFormat]:
    """Every format, by name."""
    return [_named(name) for name in registry.names("annotation")]


def _named(name: str) -> AnnotationFormat:
    return registry.get("annotation", name)()


def _format_of(source: Source) -> AnnotationFormat:
    for part in every_format():
        if source.suffix in part.endings and part.claims(source):
            return part
    for part in every_format():
        if source.suffix not in part.endings and part.claims(source):
            return part
    fault = "not of a format of annotations that vlar reads; docs/exchange.md lists them"
    if source.is_json("{ ["):
        try:
            parse_json(source.data)
        except ValueError as error:
            fault = f"not whole JSON ({error}); write it again, or take a copy"
    raise UsageError(f"{source.path}: it is {fault}")


def _chosen(target: Source, existing: Source | None, form: str | None) -> AnnotationFormat:
    part = None
    if existing is not None:
        part = _format_of(existing)
        if form and part.name != form:
            raise UsageError(
                f"{target.path}: the file that exists is of {part.name}, not of {form}; choose "
                "another name"
            )
    elif form:
        part = _named(form)
    else:
        candidates = [p for p in every_format() if p.writes and _ends(target.name, p.default_for)]
        # The longest ending: "_annot.txt" before ".txt".
        longest = sorted(
            candidates, key=lambda p: max(len(e) for e in p.default_for if _ends(target.name, [e]))
        )
        part = longest[-1] if longest else None
    if part is None:
        raise UsageError(
            f"{target.path}: no format of annotations has the ending {target.suffix!r}; use .csv"
        )
    if not part.writes:
        raise UsageError(f"{target.path}: {part.name} is read and not written; choose another name")
    return part


def _ends(name: str, endings: Sequence[str] | frozenset[str]) -> bool:
    return name.lower().endswith(tuple(endings)) if endings else False


def _source(path: Path) -> Source:
    """The content of a file, unpacked.

    Raises:
        UsageError: it cannot be read, or is too large.
    """
    try:
        source = Source(path, read_plain(path, MOST, recording=False))
        require_few_lines(source.text)
        return source if source.suffix != SHEET or source.text else Source(path, b"")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UsageError(f"{path}: cannot be unpacked ({error}); write it again") from error


def _packed(path: Path, data: bytes) -> bytes:
    if path.suffix.lower() not in ENDINGS:
        return data
    return gzip.compress(data, mtime=0) if path.suffix.lower() == ".gz" else lzma.compress(data)


def _replace(path: Path, data: bytes) -> None:
    """Write a file as a whole: what stands there stays until the new content is complete."""
    with (
        explained(UsageError, f"{path}: cannot be written", "choose another name"),
        replacing(path.resolve()) as part,
    ):
        part.write_bytes(data)


def _lost(part: AnnotationFormat, rows: Sequence[Segment], stem: str) -> list[str]:
    """Fields of segments that a format does not hold, a sentence each."""
    notes: list[str] = []
    for name in OPTIONAL:
        if name in part.holds:
            continue
        if name == "recording":
            lost = sum(Path(row.recording).stem != stem for row in rows)
        else:
            lost = sum(getattr(row, name) not in ("", (), None) for row in rows)
        if lost:
            notes.append(f"{part.name} holds no {name}: {lost} segments lose it")
    return notes


def _sentence(error: Exception, part: AnnotationFormat) -> str:
    if type(error) is ValueError and str(error):
        return f"as {part.name}, {' '.join(str(error).split())[:300]}"
    return f"it is a damaged file of {part.name} ({type(error).__name__}: {str(error)[:80]})"
