"""``vlar export``: a model as ONNX graphs, for ONNX Runtime here and elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlar.apps.cli import options, output
from vlar.apps.cli.progress import progress


def command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A name from 'vlar models', or an encoder's spec."),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing export.")] = False,
    as_json: options.AsJson = False,
) -> int:
    """Write the towers of a model as ONNX graphs; onnx:OUT runs them.

    Image tower, text tower and pooling stand apart. The graphs are compared with the model. The
    least cosines stand in the folder.

    Examples:
        vlar export clip clip-onnx
        vlar export openclip:ViT-B-16/openai clip-onnx --force
    """
    from vlar.encoders.base import load_encoder
    from vlar.encoders.onnx_export import export

    with progress(f"loading {model}") as shown:
        encoder = load_encoder(model, device="cpu")
        shown.stage(f"exporting {model}")
        written = export(encoder, Path(out), force=force)
    if as_json:
        output.json_line({"folder": out, **written.to_dict()})
        return 0
    cosines = ", ".join(f"{name} {cosine:.5f}" for name, cosine in written.check.items())
    output.line(f"{out}: use it as --model onnx:{out}; least cosines to {model}: {cosines}")
    return 0
