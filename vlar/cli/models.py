"""``vlar models``: which models and methods are there, and what they cost."""

from __future__ import annotations

from typing import Annotated

import typer

from vlar.cli import output


def command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """List the encoders and the few-shot methods of this installation."""
    from vlar import registry

    for kind in ("encoder", "fewshot"):
        rows = [registry.get(kind, name) for name in registry.names(kind)]
        if not as_json:
            print({"encoder": "encoders (--model)", "fewshot": "few-shot (--method)"}[kind])
        for name, part in zip(registry.names(kind), rows, strict=True):
            summary = first_line(part.__doc__)
            facts = part.describe() if hasattr(part, "describe") else {}
            if as_json:
                output.json_line({"kind": kind, "name": name, "summary": summary, **facts})
                continue
            details = "".join(f"; {key.replace('_', ' ')}: {value}" for key, value in facts.items())
            print(f"  {name:<12} {summary}{details}")
    if not as_json:
        print("A folder made by 'vlar adapt' is a model too: --model FOLDER.")
    return 0


def first_line(text: str | None) -> str:
    """The first line of a docstring."""
    return (text or "").strip().partition("\n")[0]
