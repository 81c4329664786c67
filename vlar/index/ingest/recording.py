"""One recording to add, wherever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlar.errors import VlarError
from vlar.index.ingest.remote import file_system, patiently, stamp_of_url
from vlar.index.store.values import Stamp
from vlar.types import Failure


@dataclass(frozen=True)
class Recording:
    """One recording to add.

    Attributes:
        file: For messages and, on this machine, to open.
        path: As the library writes it: absolute, or an address.
        tags: Of this recording alone.
        stamp: Size and time, where a listing said them.
        span: Where its bytes lie in an archive: offset and number.
        failure: Why nothing can be said about it.
    """

    file: Path
    path: str
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    stamp: Stamp | None = None
    span: tuple[int, int] | None = None
    failure: Failure | None = None


def looked_up(recording: Recording) -> Recording:
    """A recording with the size and time that its address has, or why they are not to be had."""
    url = recording.path

    def ask() -> Mapping[str, Any]:
        system, path = file_system(url)
        return system.info(path)

    try:
        return replace(recording, stamp=stamp_of_url(patiently(url, ask)))
    except VlarError as error:
        failure = Failure(recording.file, error.kind, error.message)
        return replace(recording, failure=failure)
