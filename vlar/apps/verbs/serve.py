"""Verbs that go on: ``vlar serve``, ``mcp``, ``watch``; and ``skill``, which teaches agents."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import inputs, options, output
from vlar.errors import UsageError
from vlar.formatting import counted
from vlar.options import TIME, Option

if TYPE_CHECKING:
    from vlar.apps.publish.watch import Receivers, Watch
    from vlar.library.rows import AddEvent

_OFF = 0.7  # of the probability that turns a label on: below this share it turns off


def serve(
    library: options.Library,
    /,
    *,
    host: Annotated[
        str, Option("Where to listen; beyond this machine a token is required.", "ADDRESS")
    ] = "127.0.0.1",
    port: Annotated[int, Option("0 takes a free one.", "0..65535")] = 8765,
    token_file: Annotated[
        str | None,
        Option(
            "Holds the token that callers must send; made where it is missing. "
            "VLAR_TOKEN does the same.",
            "FILE",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None, Option("A name by which the server may be called.", "rare NAME")
    ] = None,
    root: Annotated[
        list[str] | None,
        Option(
            "A folder whose files may be read and added; by default those that "
            "hold the library's recordings. May be given several times.",
            "FOLDER",
        ),
    ] = None,
    keys: Annotated[
        Path | None, Option("A BORIS project: its keys set its behaviours in the player.", "FILE")
    ] = None,
    state: Annotated[
        Path | None, Option("For jobs, adapted models and uploads.", "rare FOLDER")
    ] = None,
    model: options.OwnModel = None,
    device: Annotated[str | None, options.DEVICE] = None,
) -> int:
    """Serve a page and an HTTP interface for one library.

    It stops with Ctrl-C. GET /openapi.json describes the interface. A name that ends in .vlar and
    does not exist becomes an empty library, for videos that are dropped on the page.

    Examples:
        vlar serve holiday.vlar
        vlar serve holiday.vlar --host 0.0.0.0 --token-file token.txt --root videos/
    """
    from vlar.apps.serve.access import Access, is_loopback, token_for
    from vlar.apps.serve.application import Application
    from vlar.apps.serve.server import ServerFolder, address, bound_socket, run
    from vlar.files.opening import restrict
    from vlar.segments import load

    bound = load(keys).keys if keys else {}
    if keys and not bound:
        raise UsageError(f"--keys {keys}: it binds no key; give a project of BORIS with keys")
    token = token_for(host, token_file)
    model = model or inputs.own_model(library)
    folder = ServerFolder.named(state) if state else ServerFolder.for_library(library)
    server = bound_socket(host, port)
    _make_where_absent(library, model)  # after all that may be refused
    application = Application(
        library, model, folder.path, roots=root or (), device=device, keys=bound
    )
    restrict(application.readable)
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


def _make_where_absent(library: str, model: str) -> None:
    """Make an empty library of a new name ``NAME.vlar``, and state that it is a new one."""
    from vlar.apps.serve.library import ServedLibrary
    from vlar.encoders.model_spec import ModelSpec

    folder = Path(library)
    is_new = folder.suffix == ".vlar" and not folder.exists() and folder.parent.is_dir()
    # A mistyped model leaves no library behind: asking for the kind of an unknown part raises.
    if not is_new or not all(part.kind for part in ModelSpec.parse(model).parts):
        return
    inputs.require_torch(model)
    with ServedLibrary(folder) as made:
        made.make()
    output.note(
        f"vlar: {library} did not exist: a new, empty library was made for the model {model}; "
        "if the name is mistyped, stop and delete that folder"
    )


def mcp(
    library: options.Library,
    /,
    *,
    root: Annotated[
        list[str] | None,
        Option(
            "A folder whose files may be read; by default those that hold the "
            "library's recordings. May be given several times.",
            "FOLDER",
        ),
    ] = None,
    write: Annotated[bool, Option("Let it add recordings and cut spans.")] = False,
    cuts: Annotated[
        Path | None,
        Option("Folder for cut spans; by default vlar-cuts in the working folder.", "rare FOLDER"),
    ] = None,
    model: options.OwnModel = None,
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
    from vlar.files.opening import restrict

    with tempfile.TemporaryDirectory(prefix="vlar-mcp-") as state:
        model = model or inputs.own_model(library)
        application = Application(library, model, Path(state), roots=root or ())
        restrict(application.readable)
        try:
            serve_agent(application, (cuts or Path("vlar-cuts")).absolute() if write else None)
        finally:
            application.close()
    return 0


@dataclass(frozen=True)
class PublishOptions:
    """Labels that a watch sends out, and who gets them."""

    labels: Annotated[str | None, Option("As for classify.", "LABELS")] = None
    concepts: Annotated[str | None, Option("As for classify.", "LIBRARY")] = None
    every: Annotated[
        str | None, Option("Answer for each span of this length; 2s of a stream.", "SPAN", TIME)
    ] = None
    on: Annotated[float, Option("Probability from which a label turns on.", "rare SHARE")] = 0.5
    mqtt: Annotated[
        str | None,
        Option("mqtt://USER@HOST:1883; the password is in VLAR_MQTT_PASSWORD.", "ADDRESS"),
    ] = None
    webhook: Annotated[str | None, Option("Each change is posted there as JSON.", "URL")] = None
    secret: Annotated[
        Path | None, Option("Its first line signs what is posted (X-Vlar-Signature).", "rare FILE")
    ] = None
    name: Annotated[str, Option("Name of this watch, in topics.", "rare NAME")] = "watch"


def watch(
    source: Annotated[
        str, Option("A folder, a stream (rtsp://...), or frigate+http://HOST:5000.", "SOURCE")
    ],
    /,
    *,
    library: Annotated[str | None, Option("A folder, such as gym.vlar.", "LIBRARY")] = None,
    tag: options.Tag = None,
    settle: Annotated[str, Option("A file must stay as it is so long.", "rare SPAN")] = "3s",
    once: Annotated[bool, Option("End when all that is there has been done.")] = False,
    model: options.OwnModel = None,
    flags: PublishOptions,
) -> int:
    """Add new recordings to a library, or send out which labels turn on.

    With --library, recordings of a folder are added as they arrive. With --labels, or a model that
    has its own, a stream, a folder or a Frigate is answered, and each label that turns on or off
    goes out by MQTT (found by Home Assistant) and by webhook. What cannot be delivered waits on
    disk. Stop it with Ctrl-C; it resumes when it is started again.

    Examples:
        vlar watch videos/ --library holiday.vlar --once
        vlar watch videos/ --library holiday.vlar --tag place=gym --settle 100ms --once
        vlar watch videos/ --labels "cooking, sleeping" --settle 100ms --once
    """
    settle_s = inputs.seconds(settle, "--settle")
    if library is not None:
        if flags.labels or flags.mqtt or flags.webhook:
            raise UsageError("--library adds recordings; leave out --labels, --mqtt and --webhook")
        return _index(source, library, inputs.pairs(tag or [], "--tag"), settle_s, once, model)
    from vlar.apps.publish.mqtt import Broker
    from vlar.apps.publish.watch import Receivers, Watch
    from vlar.language.labels import LabelSet
    from vlar.model.requests import ClassifyRequest

    every_s = inputs.seconds(flags.every, "--every") if flags.every else None
    label_set = LabelSet.read(flags.labels, concepts=inputs.concepts(flags.concepts))
    request = ClassifyRequest(label_set, top=100_000, every_s=every_s)
    asked = Watch(source, request, flags.on, flags.on * _OFF, settle_s=settle_s, once=once)
    broker = Broker.parse(flags.mqtt, flags.name) if flags.mqtt else None
    receivers = Receivers(broker, flags.webhook, _secret(flags.secret))
    return _publish(model or "lite", asked, receivers)


def _secret(file: Path | None) -> str:
    """The first line of a file of ``--secret``; empty for none."""
    from vlar.files.reading import read_file

    if file is None:
        return ""
    try:
        return read_file(file, 4096).decode().partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--secret {file}: cannot be read ({error})") from error


def _index(
    folder: str, library: str, tags: dict[str, str], settle_s: float, once: bool, model: str | None
) -> int:
    """Add the recordings of a folder to a library as they arrive."""
    from vlar.apps.live import require_folder, watch_folder
    from vlar.library.library import Library

    require_folder(folder)
    loaded = inputs.load_model(model or inputs.own_model(library), None, None, library)
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


def _publish(model: str, asked: Watch, receivers: Receivers) -> int:
    """Watch a source and send out the changes of its labels."""
    from vlar.apps.publish.watch import run_watch
    from vlar.model.model import load
    from vlar.types import Classification, Failure

    failed = 0
    receivers.note = lambda text: output.note(f"vlar: {text}")
    rows = run_watch(load(model), asked, receivers)
    output.note(f"vlar: watching {asked.source}; stop with Ctrl-C")
    for row in rows:
        if isinstance(row, Failure):
            failed += 1
            output.failure(row)
        elif not isinstance(row, Classification):
            state = "on" if row.on else "off"
            output.row(row, f"{state}  {row.label}  {row.probability:.0%}  {row.source}")
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
