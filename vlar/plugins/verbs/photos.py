"""``vlar index tag``: tags of photo managers, read and written."""

from __future__ import annotations

from typing import Annotated

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError
from vlar.formatting import counted
from vlar.options import Option


def tag(
    library: options.Library,
    paths: Annotated[
        list[str] | None,
        Option("Recordings of the library: files, folders, patterns. Default: all.", "PATH"),
    ] = None,
    /,
    *,
    take: Annotated[
        str | None,
        Option("Tags from 'xmp' (key subject), 'names' (folder, file).", "SOURCE,SOURCE"),
    ] = None,
    labels: Annotated[
        str | None,
        Option(
            "Classify by these; the answer of a recording becomes its tag 'label'.", "-l LABELS"
        ),
    ] = None,
    write_xmp: Annotated[
        bool, Option("Write the tag 'label' into NAME.xmp next to each recording.")
    ] = False,
    remove_xmp: Annotated[bool, Option("Remove what --write-xmp wrote, and nothing else.")] = False,
) -> int:
    """Take tags from sidecars and names, and give found labels back.

    Recordings themselves are never written to. XMP is that of digiKam, Lightroom, darktable and
    Immich.

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
    if not (sources or labels or write_xmp or remove_xmp):
        raise UsageError("nothing to do; give --take, --labels, --write-xmp or --remove-xmp")
    words = parse_labels(labels).labels if labels else ()
    model = None
    with progress("tagging") as shown, Library(library, create=False) as opened:
        if words:
            model = inputs.load_model(inputs.own_model(library), None, None, library)
            shown.stage("classifying")
        result = tag_library(
            opened,
            paths or (),
            take=sources,
            labels=words,
            model=model,
            progress=shown,
            xmp="write" if write_xmp else "remove" if remove_xmp else "",
        )
    for failure in result.failed:
        output.failure(failure)
    output.row(result, *result.lines())
    tagged = counted(len(result.tagged), "recordings")
    output.note(f"vlar: {tagged} tagged; {counted(result.written, 'sidecars')}")
    return exit_code(result.recordings, len(result.failed))
