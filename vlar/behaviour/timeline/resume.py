"""Recordings whose timeline is finished, kept in a file so that a run can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlar.behaviour.timeline.decoding import AnswerSegment
from vlar.errors import UsageError
from vlar.files.reading import parse_json
from vlar.library.recording import stamp_of


class FinishedRecordings:
    """JSON lines, one a recording: settings of its run, size and time of the file, segments.

    A line of other settings, of a changed file, or cut off in the middle counts for nothing.

    Args:
        file: Made where it is missing.
        settings: What the segments depend on besides the recording.

    Raises:
        UsageError: the file cannot be read or written.
    """

    def __init__(self, file: Path, settings: Any) -> None:
        text = json.dumps(settings, sort_keys=True, default=str)
        self._file, self._run = file, hashlib.sha256(text.encode()).hexdigest()
        self._known: dict[tuple[str, ...], list[AnswerSegment]] = {}
        try:
            with file.open("a+", encoding="utf-8") as stream:
                stream.seek(0)
                for line in stream:
                    self._read(line)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{file}: cannot resume from it ({error}); choose another --resume"
            ) from error

    def get(self, path: Path) -> list[AnswerSegment] | None:
        """The segments of a recording; None where it is not finished."""
        return self._known.get(self._key(path))

    def put(self, path: Path, segments: Sequence[AnswerSegment]) -> None:
        """Keep the segments of a recording that is finished."""
        row = {"key": self._key(path), "segments": [asdict(segment) for segment in segments]}
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(f"\n{json.dumps(row)}\n")  # a line that was cut off ends here

    def _key(self, path: Path) -> tuple[str, ...]:
        try:
            stamp = stamp_of(path)
        except OSError:
            return ()
        return self._run, str(path), str(stamp.size), str(stamp.mtime_ns)

    def _read(self, line: str) -> None:
        try:
            row = parse_json(line)
            self._known[tuple(row["key"])] = [
                AnswerSegment(**segment) for segment in row["segments"]
            ]
        except (ValueError, TypeError, KeyError):
            return
