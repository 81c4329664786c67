"""``vlar mcp``: a library as tools for an agent."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from vlar.apps.cli import inputs, options

Root = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="A folder whose files may be read; by default those that hold the library's "
        "recordings. May be given several times.",
    ),
]


def command(
    library: Annotated[str, typer.Argument(metavar="LIBRARY", help="Made by 'vlar index add'.")],
    root: Root = None,
    write: Annotated[
        bool, typer.Option("--write", help="Let it add recordings and cut spans.")
    ] = False,
    cuts: Annotated[
        Path | None,
        typer.Option(
            "--cuts",
            metavar="FOLDER",
            help="Folder for cut spans; by default vlar-cuts in the working folder.",
        ),
    ] = None,
    model: options.LibraryModel = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> int:
    """Let an agent search a library, by the Model Context Protocol.

    It talks over stdin and stdout. Its tools only read: search, classify, tags, persons, pictures.
    With --write it also adds recordings in the background and cuts spans.

    Examples:
        vlar mcp holiday.vlar
        vlar mcp holiday.vlar --write --root videos/ --cuts found
    """
    from vlar.apps.serve.agent import serve_agent
    from vlar.apps.serve.application import Application

    with tempfile.TemporaryDirectory(prefix="vlar-mcp-") as state:
        application = Application(
            library,
            model or inputs.own_model(library),
            Path(state),
            roots=root or (),
            device=device,
            dtype=dtype,
        )
        try:
            serve_agent(application, (cuts or Path("vlar-cuts")).absolute() if write else None)
        finally:
            application.close()
    return 0
