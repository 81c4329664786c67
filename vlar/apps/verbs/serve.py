"""Verbs that go on: ``vlar serve``, ``mcp``, ``watch``; and ``skill``, which teaches agents."""

from __future__ import annotations

import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.apps.cli import inputs, options, output
from vlar.formatting import counted

if TYPE_CHECKING:
    from vlar.library.rows import AddEvent

_MB = 1 << 20


def serve(
    library: str,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token_file: str | None = None,
    allow_host: list[str] | None = None,
    root: list[str] | None = None,
    state: Path | None = None,
    upload_mb: int = 500,
    request_s: float = 60.0,
    model: str | None = None,
    device: str | None = None,
    dtype: options.Dtype = None,
) -> int:
    """Serve a page and an HTTP interface for one library.

    It stops with Ctrl-C. GET /openapi.json describes the interface.

    Options:
        host (ADDRESS): Where to listen; beyond this machine a token is required.
        port (0..65535): 0 takes a free one.
        token_file (FILE): Holds the token that callers must send; made where it is missing.
            VLAR_TOKEN does the same.
        allow_host (rare NAME): A name by which the server may be called.
        root (FOLDER): A folder whose files may be read and added; by default those that hold the
            library's recordings. May be given several times.
        state (FOLDER): For jobs, adapted models and uploads.
        upload_mb (rare 1..): Size of the largest upload.
        request_s (rare --request-time S 1..): Seconds of one request.

    Examples:
        vlar serve holiday.vlar
        vlar serve holiday.vlar --host 0.0.0.0 --token-file token.txt --root videos/
    """
    from vlar.apps.serve.access import Access, is_loopback, token_for
    from vlar.apps.serve.application import Application
    from vlar.apps.serve.errors import ServeLimits
    from vlar.apps.serve.server import ServerFolder, address, bound_socket, run
    from vlar.files.opening import restrict

    token = token_for(host, token_file)
    model = model or inputs.own_model(library)
    folder = ServerFolder.named(state) if state else ServerFolder.for_library(library)
    limits = ServeLimits(upload_bytes=upload_mb * _MB, request_s=request_s)
    application = Application(
        library, model, folder.path, roots=root or (), limits=limits, device=device, dtype=dtype
    )
    restrict(application.readable)
    server = bound_socket(host, port)
    output.line(address(server), flush=True)
    reach = "only this machine" if is_loopback(host) else "other machines, without encryption"
    key = "a token is required" if token else "no token is needed"
    output.note(f"vlar: {reach} can reach it; {key}; Ctrl-C stops it")
    folders = ", ".join(map(str, application.sources.roots.folders)) or "none (use --root FOLDER)"
    output.note(f"vlar: folders that it may read: {folders}")
    run(application, Access(token, allow_host or ()), server)
    folder.close()
    output.note("vlar: stopped; unfinished jobs resume with the next start")
    return 0


def mcp(
    library: str,
    /,
    *,
    root: list[str] | None = None,
    write: bool = False,
    cuts: Path | None = None,
    model: str | None = None,
    device: str | None = None,
    dtype: options.Dtype = None,
) -> int:
    """Let an agent search a library, by the Model Context Protocol.

    It talks over stdin and stdout. Its tools only read: search, classify, tags, persons, pictures.
    With --write it also adds recordings in the background and cuts spans.

    Options:
        root (FOLDER): A folder whose files may be read; by default those that hold the library's
            recordings. May be given several times.
        write: Let it add recordings and cut spans.
        cuts (FOLDER): Folder for cut spans; by default vlar-cuts in the working folder.

    Examples:
        vlar mcp holiday.vlar
        vlar mcp holiday.vlar --write --root videos/ --cuts found
    """
    from vlar.apps.serve.agent import serve_agent
    from vlar.apps.serve.application import Application
    from vlar.files.opening import restrict

    with tempfile.TemporaryDirectory(prefix="vlar-mcp-") as state:
        model = model or inputs.own_model(library)
        application = Application(
            library, model, Path(state), roots=root or (), device=device, dtype=dtype
        )
        restrict(application.readable)
        try:
            serve_agent(application, (cuts or Path("vlar-cuts")).absolute() if write else None)
        finally:
            application.close()
    return 0


def watch(
    folder: str,
    /,
    *,
    library: str,
    tag: list[str] | None = None,
    settle: str = "3s",
    once: bool = False,
    model: str | None = None,
) -> int:
    """Add new recordings of a folder to a library as they arrive.

    Files that are still being written wait until they have not changed for a while. Stop it with
    Ctrl-C; nothing is lost, and it resumes when it is started again.

    Options:
        folder (FOLDER): Where recordings arrive.
        library (LIBRARY): A folder, such as gym.vlar.
        settle (SPAN): A file must stay as it is so long.
        once: End when all that is there has been added.

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
    loaded = load(model or inputs.own_model(library))
    failed = 0
    with Library(library, loaded) as opened:
        output.note(f"vlar: watching {folder}; stop with Ctrl-C")
        reports = watch_folder(
            *(opened, folder),
            modality=loaded.modality,
            tags=tags,
            settle_s=settle_s,
            once=once,
            progress=_show,
            poll_s=min(1.0, settle_s),
            note=lambda text: output.note(f"vlar: {text}"),
        )
        for report in reports:
            failed += len(report.failed)
    return 1 if failed else 0


def _show(event: AddEvent) -> None:
    if event.path is None:
        return
    if event.failure is not None:
        output.failure(event.failure)
        return
    changed = event.status != "unchanged"
    text = f"{event.status}  {event.path}  {counted(event.rows, 'windows')}"
    output.row(event, *([text] if changed else []))


def skill() -> int:
    """Print a skill file for agents: which verb answers which wish.

    Write it where an agent looks for skills: vlar skill > SKILL.md

    Examples:
        vlar skill
        vlar skill --quiet
    """
    output.block(resources.files("vlar.apps.cli").joinpath("skill.md").read_text("utf-8").rstrip())
    return 0


NEEDS = "vlar.apps.serve"
VERBS = (watch, serve, mcp, skill)
