"""``vlar query``: find spans of a library by words."""

from __future__ import annotations

from typing import Annotated

import typer

from vlar.cli import output


def command(
    library: Annotated[str, typer.Argument(metavar="LIBRARY", help="Made by 'vlar index add'.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for.")],
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="A filter: place=gym, path=GLOB, 'start_s>=10', 'added>=DATE'."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Answers to show.")] = 10,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Default: the library's own.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="Where to search: cpu, or cuda with faiss-gpu.")
    ] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Search a library in plain language; answers carry start and end times.

    Example: vlar query holiday.vlar "people riding bikes"
    """
    from vlar.index.library import Library

    with Library(library, model, create=False, device=device) as opened:
        hits = opened.query(text, k, where=where)
    for row in hits:
        if as_json:
            output.json_line(row)
        else:
            output.hit(row)
    if not hits:
        output.note("vlar: no window of the library matches; loosen --where or add videos")
    return 0
