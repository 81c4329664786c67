"""``vlar watch``: index recordings as they arrive in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import inputs, options, output
from vlar.formatting import counted

if TYPE_CHECKING:
    from vlar.library.rows import AddEvent


def command(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where recordings arrive.")],
    library: Annotated[
        str, typer.Option("--library", metavar="LIBRARY", help="A folder, such as gym.vlar.")
    ],
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY=VALUE", help="Attach key=value to these recordings."),
    ] = None,
    settle: Annotated[
        str, typer.Option("--settle", metavar="SPAN", help="A file must stay as it is so long.")
    ] = "3s",
    once: Annotated[
        bool, typer.Option("--once", help="End when all that is there has been added.")
    ] = False,
    model: options.LibraryModel = None,
    as_json: options.AsJson = False,
) -> int:
    """Add new recordings of a folder to a library as they arrive.

    Files that are still being written wait until they have not changed for a while. Stop it with
    Ctrl-C; nothing is lost, and it resumes when it is started again.

    Examples:
        vlar watch videos/ --library holiday.vlar --once
        vlar watch videos/ --library holiday.vlar --tag place=gym --settle 100ms --once
    """
    from vlar.apps.live import require_folder, watch_folder
    from vlar.library.library import Library
    from vlar.model.model import load

    require_folder(folder)
    settle_s = inputs.seconds(settle, "--settle")
    tags = inputs.pairs(tag or [], "--tag")
    name = model or inputs.own_model(library)
    loaded = load(name)
    failed = 0
    with Library(library, loaded) as opened:
        output.note(f"vlar: watching {folder}; stop with Ctrl-C")
        reports = watch_folder(
            *(opened, folder), modality=loaded.modality, tags=tags, settle_s=settle_s, once=once,
            progress=lambda event: _show(event, as_json), poll_s=min(1.0, settle_s),
            note=lambda text: output.note(f"vlar: {text}"),
        )  # fmt: skip
        for report in reports:
            failed += len(report.failed)
    return 1 if failed else 0


def _show(event: AddEvent, as_json: bool) -> None:
    if event.path is None:
        return
    if event.failure is not None:
        output.failure(event.failure, as_json)
    elif as_json:
        output.json_line(event)
    elif event.status != "unchanged":
        output.line(f"{event.status}  {event.path}  {counted(event.rows, 'windows')}", flush=True)
