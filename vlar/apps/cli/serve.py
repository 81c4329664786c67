"""``vlar serve``: a page and an HTTP interface for one library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlar.apps.cli import inputs, options, output

_MB = 1 << 20

Root = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="A folder whose files may be read and added; by default those that hold the "
        "library's recordings. May be given several times.",
    ),
]
Host = Annotated[
    str,
    typer.Option("--host", metavar="ADDRESS", help="Where to listen; beyond this machine a token "
                 "is required."),
]  # fmt: skip
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="Holds the token that callers must send; made where it is missing. VLAR_TOKEN does "
        "the same.",
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="A name by which the server may be called."),
]


def command(
    library: Annotated[str, typer.Argument(metavar="LIBRARY", help="Made by 'vlar index add'.")],
    host: Host = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes a free one.")
    ] = 8765,
    token_file: TokenFile = None,
    allow_host: AllowHost = None,
    root: Root = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="FOLDER", help="For jobs, adapted models and uploads."),
    ] = None,
    upload_mb: Annotated[
        int, typer.Option("--upload-mb", metavar="N", min=1, help="Size of the largest upload.")
    ] = 500,
    request_s: Annotated[
        float, typer.Option("--request-time", metavar="S", min=1, help="Seconds of one request.")
    ] = 60.0,
    model: options.LibraryModel = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> int:
    """Serve a page and an HTTP interface for one library.

    It stops with Ctrl-C. GET /openapi.json describes the interface.

    Examples:
        vlar serve holiday.vlar
        vlar serve holiday.vlar --host 0.0.0.0 --token-file token.txt --root videos/
    """
    from vlar.apps.serve.access import Access, is_loopback, token_for
    from vlar.apps.serve.application import Application
    from vlar.apps.serve.errors import ServeLimits
    from vlar.apps.serve.server import ServerFolder, address, bound_socket, run

    token = token_for(host, token_file)
    model = model or inputs.own_model(library)
    own = ServerFolder.named(Path(state)) if state else ServerFolder.for_library(library)
    application = Application(
        library,
        model,
        own.path,
        roots=root or (),
        limits=ServeLimits(upload_bytes=upload_mb * _MB, request_s=request_s),
        device=device,
        dtype=dtype,
    )
    server = bound_socket(host, port)
    output.line(address(server), flush=True)
    reach = "only this machine" if is_loopback(host) else "other machines, without encryption"
    key = "a token is required" if token else "no token is needed"
    output.note(f"vlar: {reach} can reach it; {key}; Ctrl-C stops it")
    folders = ", ".join(map(str, application.sources.roots.folders)) or "none (use --root FOLDER)"
    output.note(f"vlar: folders that it may read: {folders}")
    run(application, Access(token, allow_host or ()), server)
    own.close()
    output.note("vlar: stopped; unfinished jobs resume with the next start")
    return 0
