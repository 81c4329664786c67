"""Recordings inside an archive of the WebDataset format: a tar with a few files a recording."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vlar.errors import UsageError
from vlar.index.ingest.recording import Recording, looked_up
from vlar.index.ingest.remote import opened
from vlar.index.store.values import Stamp, is_path
from vlar.index.validation import checked_tags
from vlar.sensors import Reader
from vlar.types import Failure
from vlar.urls import as_url

if TYPE_CHECKING:
    from tarfile import TarInfo

_TEXTS = (".cls", ".txt")  # next to a recording: each is a tag of its ending
_MOST_TEXT = 1 << 16


def archived(path: str, source: Reader) -> Iterator[Recording]:
    """The recordings of a tar, with the texts next to them as tags.

    Raises:
        UsageError: it is not a whole uncompressed tar, or holds none.
    """
    import tarfile

    version = _version(path)
    members: dict[str, Recording] = {}
    texts: dict[str, dict[str, str]] = {}
    try:
        with opened(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, ending = _split(member.name)
                if not member.isfile():
                    continue
                if source.claims(Path(PurePosixPath(member.name))):
                    members[key] = _member(path, member, version)
                elif ending in (*_TEXTS, ".json") and member.size <= _MOST_TEXT:
                    content = tar.extractfile(member)
                    told = _told(ending, content.read() if content else b"")
                    texts.setdefault(key, {}).update(told)
    except tarfile.TarError as error:
        raise UsageError(
            f"{path}: is not a whole uncompressed tar ({error}); unpack it, or write it again"
        ) from error
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    if not members:
        raise UsageError(f"{path}: no {source.modality} in this archive; check its endings")
    for key, recording in members.items():
        yield replace(recording, tags=texts.get(key, {}))


def _member(path: str, member: TarInfo, version: str) -> Recording:
    address = f"tar://{member.name}::{path}"
    digits = hashlib.sha256(f"{version} {member.offset_data}".encode()).hexdigest()[:12]
    stamp = Stamp(member.size, int(member.mtime) * 10**9 + int(digits, 16) % 10**9)
    span = member.offset_data, member.size
    if not is_path(address):
        failure = Failure(
            Path(path), "usage", f"{path}: the name {member.name!r:.80} is not a path"
        )
        return Recording(Path(path), f"{path}#{member.offset_data}", failure=failure)
    return Recording(Path(address), address, stamp=stamp, span=span)


def _version(path: str) -> str:
    """State of an archive."""
    if as_url(path) is None:
        try:
            status = Path(path).stat()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from None
        return f"{status.st_size} {status.st_mtime_ns}"
    asked = looked_up(Recording(Path(path), path))
    if asked.failure is not None:
        raise UsageError(asked.failure.message)
    return str(asked.stamp)


def _split(name: str) -> tuple[str, str]:
    """The key of a member, by which it belongs to a recording, and its ending.

    >>> _split("train/0001.mp4"), _split("train/0001.json")
    (('train/0001', '.mp4'), ('train/0001', '.json'))
    """
    folder, slash, last = name.rpartition("/")
    stem, dot, ending = last.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{ending}".lower()


def _told(ending: str, content: bytes) -> dict[str, str]:
    """The tags that a text next to a recording gives; none where it cannot be read."""
    try:
        text = content.decode().strip()
        if ending != ".json":
            return checked_tags({ending[1:]: text}) if text else {}
        facts = json.loads(text)
        plain = (str, int, float, bool)
        return checked_tags(
            {str(k): str(v) for k, v in facts.items() if isinstance(v, plain)}
            if isinstance(facts, dict)
            else {}
        )
    except (ValueError, RecursionError, UsageError):
        return {}
