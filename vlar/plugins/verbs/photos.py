"""``vlar index tag``: tags of photo managers, read and written."""

from __future__ import annotations

from vlar.apps.cli import output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError
from vlar.formatting import counted


def tag(
    library: str,
    paths: list[str] | None = None,
    /,
    *,
    take: str | None = None,
    labels: str | None = None,
    least: float = 0.5,
    write_xmp: bool = False,
    remove_xmp: bool = False,
) -> int:
    """Take tags from sidecars and names, and give found labels back.

    Recordings themselves are never written to. XMP is that of digiKam, Lightroom, darktable and
    Immich.

    Options:
        paths (PATH): Recordings of the library: files, folders, patterns. Default: all.
        take (SOURCE,SOURCE): Tags from 'xmp' (key subject), 'names' (folder, file).
        labels (-l LABELS): Find these; those of a recording become its tag 'label'.
        least (0..1): Least probability of a label.
        write_xmp: Write the tag 'label' into NAME.xmp next to each recording.
        remove_xmp: Remove what --write-xmp wrote, and nothing else.

    Examples:
        vlar index tag holiday.vlar --take xmp,names
        vlar index tag holiday.vlar --labels "cooking, riding a bike" --write-xmp
    """
    from vlar.language.labels import parse_labels
    from vlar.library.library import Library
    from vlar.plugins.photos.tagging import tag_library

    sources = [name.strip() for name in (take or "").split(",") if name.strip()]
    if unknown := [name for name in sources if name not in ("xmp", "names")]:
        raise UsageError(f"--take {unknown[0]!r} is not a source; use xmp or names")
    if write_xmp and remove_xmp:
        raise UsageError("--write-xmp and --remove-xmp exclude each other; choose one")
    words = parse_labels(labels).labels if labels else ()
    with progress("tagging"), Library(library, create=False) as opened:
        result = tag_library(
            opened,
            paths or (),
            take=sources,
            labels=words,
            least=least,
            xmp="write" if write_xmp else "remove" if remove_xmp else "",
        )
    for failure in result.failed:
        output.failure(failure)
    output.row(result, *result.lines())
    tagged = counted(len(result.tagged), "recordings")
    output.note(f"vlar: {tagged} tagged; {counted(result.written, 'sidecars')}")
    return exit_code(result.recordings, len(result.failed))
