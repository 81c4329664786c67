"""Tags of a library from sidecars and names, and found labels given back to sidecars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import LibraryError, UsageError
from vlar.library.library import Library
from vlar.library.store.paths import place
from vlar.plugins.photos.sidecars import keywords, remove_keywords, write_keywords
from vlar.types import Classification, Failure, JsonDict, ProgressCallback

if TYPE_CHECKING:
    from vlar.model.model import Model

LABEL, SUBJECT, FOLDER, FILE = "label", "subject", "folder", "file"
SEPARATOR = "|"  # between labels of one recording
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
        texts = {
            path: "  ".join(f"{key}={text}" for key, text in row.items())
            for path, row in self.tagged.items()
        }
        return [f"{path}  {text}" for path, text in texts.items()]


def tag_library(
    library: Library,
    paths: Sequence[str] = (),
    *,
    take: Sequence[str] = (),
    labels: Sequence[str] = (),
    model: Model | None = None,
    least: float = 0.5,
    xmp: str = "",
    progress: ProgressCallback | None = None,
) -> Tagged:
    """Set tags of recordings, and write their labels where that is asked for.

    Args:
        library: The library.
        paths: Files, folders or patterns; empty for all recordings.
        take: Sources of tags: ``xmp``, ``names``.
        labels: Labels to choose from; the answer of ``Model.classify`` for a recording becomes its
            tag ``label``, and one that is unknown, or not sure, takes the tag away.
        model: Answers about labels; None is the library's own.
        least: Least probability of a label.
        xmp: ``write`` the tag ``label`` into sidecars, ``remove`` what was written; empty: neither.
        progress: Called with 1 after each recording that was classified; None for none.

    Raises:
        UsageError: no recording is meant, or the labels cannot be used.
        LibraryError: the library cannot be used.
    """
    rows = [row for row in library.videos() if not paths or _is_meant(row.path, paths)]
    if not rows:
        raise UsageError(f"no recording of the library matches {', '.join(paths)[:200]!r}")
    answers = _answers(library, [row.path for row in rows], labels, model) if labels else None
    tags: dict[str, dict[str, str]] = {}
    failed: list[Failure] = []
    written = 0
    for row in rows:
        path = Path(row.path)
        new = {key: text for key, text in _names(path).items() if "names" in take}
        answer = next(answers) if answers else None
        if isinstance(answer, Failure):
            failed.append(answer)
        elif answer is not None:
            new[LABEL] = _label(answer, least)
        if answers and progress is not None:
            progress(1)
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
    texts = {path: {k: v for k, v in new.items() if v} for path, new in tags.items()}
    return Tagged(len(rows), {p: new for p, new in texts.items() if new}, written, tuple(failed))


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


def _answers(
    library: Library, paths: Sequence[str], labels: Sequence[str], model: Model | None
) -> Iterator[Classification | Failure]:
    """Answers of the model about recordings, as ``vlar classify`` gives them."""
    from vlar.model.model import load

    chosen = model or load(str(library.info().model))
    answers = chosen.classify((Path(path) for path in paths if "://" not in path), labels)
    for path in paths:
        if "://" in path:
            yield Failure(Path(path), "remote", f"{path}: not on this machine, so not classified")
        else:
            yield next(answers)


def _label(answer: Classification, least: float) -> str:
    is_sure = answer.verdict in (None, "yes") and answer.predictions[0].probability >= least
    return answer.label or "" if is_sure else ""
