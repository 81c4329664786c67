"""Tags of a library from sidecars and names, and found labels given back to sidecars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from vlar.errors import LibraryError, UsageError
from vlar.library.library import Library
from vlar.library.store.paths import place
from vlar.plugins.photos.sidecars import keywords, remove_keywords, write_keywords
from vlar.types import Failure, JsonDict

LABEL, SUBJECT, FOLDER, FILE = "label", "subject", "folder", "file"
SEPARATOR = "|"  # between labels of one recording
_MOST_HITS = 100_000
_MOST_LETTERS = 1000


@dataclass(frozen=True)
class Tagged:
    """Result of ``tag_library``.

    Attributes:
        recordings: Those that were looked at.
        tagged: Tags that are set by now, by recording and key.
        written: Sidecars that got labels, or lost those of before.
        failed: Recordings whose sidecar could not be used.
    """

    recordings: int
    tagged: Mapping[str, Mapping[str, str]]
    written: int
    failed: tuple[Failure, ...]

    def to_dict(self) -> JsonDict:
        """JSON object."""
        tags = {path: dict(row) for path, row in self.tagged.items()}
        failed = [row.to_dict() for row in self.failed]
        return {"recordings": self.recordings, "tags": tags, "written": self.written,
                "failed": failed}  # fmt: skip

    def lines(self) -> list[str]:
        """Lines for a person: each recording with its tags."""
        texts = {path: "  ".join(map("=".join, row.items())) for path, row in self.tagged.items()}
        return [f"{path}  {text}" for path, text in texts.items()]


def tag_library(
    library: Library,
    paths: Sequence[str] = (),
    *,
    take: Sequence[str] = (),
    labels: Sequence[str] = (),
    least: float = 0.5,
    xmp: str = "",
) -> Tagged:
    """Set tags of recordings, and write found labels where they are asked for.

    Args:
        library: The library.
        paths: Files, folders or patterns; empty for all recordings.
        take: Sources of tags: ``xmp``, ``names``.
        labels: Labels that are searched for; those of a recording become its tag ``label``.
        least: Least probability of a label.
        xmp: ``write`` the tag ``label`` into sidecars, ``remove`` what was written; empty: neither.

    Raises:
        UsageError: no recording is meant.
        LibraryError: the library cannot be used.
    """
    rows = [row for row in library.videos() if not paths or _is_meant(row.path, paths)]
    if not rows:
        raise UsageError(f"no recording of the library matches {', '.join(paths)[:200]!r}")
    found = _found(library, labels, least)
    tags: dict[str, dict[str, str]] = {}
    failed: list[Failure] = []
    written = 0
    for row in rows:
        path = Path(row.path)
        new = {key: text for key, text in _names(path).items() if "names" in take}
        if labels:
            new[LABEL] = SEPARATOR.join(found.get(row.path, ()))
        shown = [each for each in new.get(LABEL, row.tags.get(LABEL, "")).split(SEPARATOR) if each]
        try:
            if "://" not in row.path:
                if "xmp" in take and (texts := keywords(path)):
                    new[SUBJECT] = _joined(texts)
                if xmp == "remove":
                    written += remove_keywords(path)
                elif xmp and shown and path.is_file():
                    written += bool(write_keywords(path, shown))
        except LibraryError as error:
            failed.append(Failure(path, error.kind, error.message))
        if new:
            tags[row.path] = new
    if tags:
        library.tag({path: {k: v or None for k, v in new.items()} for path, new in tags.items()})
    return Tagged(len(rows), tags, written, tuple(failed))


def _is_meant(path: str, patterns: Sequence[str]) -> bool:
    whole = [place(pattern) for pattern in patterns]
    below = any(path == name or path.startswith(f"{name}/") for name in whole)
    return below or any(fnmatch(path, pattern) for pattern in patterns)


def _names(path: Path) -> dict[str, str]:
    return {FOLDER: path.parent.name[:_MOST_LETTERS], FILE: path.stem[:_MOST_LETTERS]}


def _joined(texts: Sequence[str]) -> str:
    """Texts that fit into a tag, with ``|`` between them."""
    text = SEPARATOR.join(text.replace(SEPARATOR, "/") for text in texts)
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS].rpartition(SEPARATOR)[0]


def _found(library: Library, labels: Sequence[str], least: float) -> dict[str, list[str]]:
    """Labels of each recording that a query finds."""
    found: dict[str, list[str]] = {}
    for label in labels:
        for hit in library.query(label, _MOST_HITS, min_probability=least, rerank=None):
            if label not in found.setdefault(str(hit.path), []):
                found[str(hit.path)].append(label)
    return found
