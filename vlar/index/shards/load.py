"""``vlar index import``: the rows of shards into a library."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlar.errors import EncoderMismatchError, LibraryError, UsageError, VlarError
from vlar.index.ingest.encode import EncodedWindow
from vlar.index.ingest.reader import FileRecord
from vlar.index.ingest.writer import IngestProgress, write_windows
from vlar.index.manifest import LibraryManifest
from vlar.index.model_provider import LazyModel
from vlar.index.report import AddReport
from vlar.index.shards.read import Shard, shard_files
from vlar.index.store.base import LibraryWriter
from vlar.types import Failure

_MOST_FACTS = 1 << 20


def import_shards(
    writer: LibraryWriter,
    given: Sequence[str | Path],
    models: LazyModel,
    progress: IngestProgress | None = None,
) -> AddReport:
    """Write the rows of shards, each recording whole or not at all; what is known stays.

    Args:
        writer: The library, with the writer's lock held.
        given: Files and folders.
        models: The model that the library was opened with, if any.
        progress: Called after the commit of each recording.

    Returns:
        What was done. Files that are half-written or not for this library are among ``failed``.

    Raises:
        UsageError: no file can be used.
        LibraryError: the library cannot be written to.
    """
    files, failures = shard_files(given)
    manifest = LibraryManifest.of(writer)
    is_new = manifest is None
    shards: list[Shard] = []
    for file in files:
        try:
            shard = Shard.open(file)
            manifest = _fitting(manifest, shard, writer.address, models, is_new and not shards)
            shards.append(shard)
        except (UsageError, LibraryError) as error:
            failures.append(Failure(file, "shard", error.message))
    if not shards or manifest is None:
        why = failures[0].message if failures else "name files or folders"
        raise UsageError(f"no shard can be imported: {why}")
    known = {video.path: video for video in writer.recordings()}

    def stream() -> Iterator[FileRecord | EncodedWindow | Failure]:
        for shard in shards:
            try:
                yield from shard.stream(manifest.dim, known)
            except VlarError as error:  # damage behind the header; what was whole is kept
                failures.append(Failure(shard.path, "shard", error.message))
            known.update({video.path: video for video in writer.recordings()})

    captioners = {shard.facts.get("captioner", "") for shard in shards} - {""}
    report = write_windows(
        writer,
        stream(),
        manifest,
        total=sum(shard.recordings for shard in shards),
        progress=progress,
        captioner=next(iter(sorted(captioners)), ""),
    )
    return replace(report, failed=(*failures, *report.failed))


def _fitting(
    manifest: LibraryManifest | None, shard: Shard, address: str, models: LazyModel, first: bool
) -> LibraryManifest:
    """The manifest of the library, with which a shard agrees; that of the first one for a new one.

    Raises:
        UsageError: nothing says which model made the vectors.
        EncoderMismatchError: another one did.
        LibraryError: the windows are others.
    """
    own = _manifest_of(shard)
    if manifest is None or first:
        given = models.given()
        if own is None and given is None:
            raise UsageError(
                f"{shard.path}: nothing in it says which model made its vectors; import it with "
                "--model NAME"
            )
        manifest = own or models.new_manifest()
        models.require(manifest)
    fingerprint = shard.facts.get("fingerprint", manifest.fingerprint)
    if fingerprint != manifest.fingerprint:
        made = shard.facts.get("model", "another model")
        raise EncoderMismatchError(
            f"{shard.path}: was made by {made[:80]!r} (fingerprint {fingerprint[:12]!r}), library "
            f"{address} by {manifest.model!r} ({manifest.fingerprint[:12]}); embed it again with "
            "the library's model, or import it into a library of its own"
        )
    if shard.dim not in (None, manifest.dim):
        raise UsageError(
            f"{shard.path}: vectors of {shard.dim} numbers, library {address} has {manifest.dim}"
        )
    if own is not None and (own.spec, own.persons) != (manifest.spec, manifest.persons):
        raise LibraryError(
            f"{shard.path}: has other windows, or other rows of people, than library {address}; "
            "import it into a library of its own"
        )
    return manifest


@dataclass(frozen=True)
class _Facts:
    """The metadata of a shard, where a manifest looks for a library's."""

    address: str
    facts: Mapping[str, str]

    def meta(self) -> Mapping[str, str]:
        """The manifest."""
        return self.facts

    def has_rows(self) -> bool:
        """Only a manifest is wanted."""
        return False


def _manifest_of(shard: Shard) -> LibraryManifest | None:
    """The manifest in the metadata of a shard; None in a file that others made.

    Raises:
        LibraryError: it holds values that no library has.
    """
    text = shard.facts.get("manifest")
    if text is None:
        return None
    try:
        facts: Any = json.loads(text[:_MOST_FACTS])
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise UsageError(f"{shard.path}: its manifest is not JSON; write it again")
    plain = {str(key): str(value) for key, value in facts.items()}
    return LibraryManifest.of(_Facts(str(shard.path), plain))
