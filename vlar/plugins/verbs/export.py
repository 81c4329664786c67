"""``vlar export``: a model as ONNX, its towers or an adapted one as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vlar.apps.cli import inputs, output
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError
from vlar.options import FILES, Option
from vlar.version import is_installed, pip_install


def export(
    model: Annotated[
        str, Option("A name from 'vlar models', or the folder of an adapted model.", "MODEL")
    ],
    out: Annotated[
        str, Option("Folder to write; of an adapted model a file that ends in .onnx.", "OUT")
    ],
    /,
    *,
    force: Annotated[bool, Option("Replace an existing export.", group=FILES)] = False,
) -> int:
    """Write a model as ONNX: its towers, or an adapted one as one file.

    Towers: image, text and pooling stand apart in a folder that onnx:OUT runs; the least cosines to
    the model stand there too. One file: frames in, probabilities of its labels and of unknown out;
    it runs without vlar.

    Examples:
        vlar export clip clip-onnx
        vlar export openclip:ViT-B-16/openai clip-onnx --force
        vlar export mine mine.onnx
    """
    if out.endswith(".onnx"):
        return _export_file(model, Path(out), force)
    if not (is_installed("torch") or is_installed("onnx")):  # one of them is named where it lacks
        raise UsageError(f"an export needs torch and onnx; run: {pip_install('clip,export')}")
    from vlar.encoders.base import load_encoder
    from vlar.plugins.export.towers import export as exported

    with progress(f"loading {model}") as shown:
        encoder = load_encoder(model, device="cpu")
        shown.stage(f"exporting {model}")
        written = exported(encoder, Path(out), force=force)
    cosines = ", ".join(f"{name} {cosine:.5f}" for name, cosine in written.check.items())
    output.row(
        {"folder": out, **written.to_dict()},
        f"{out}: use it as --model onnx:{out}; least cosines to {model}: {cosines}",
    )
    return 0


def _export_file(model: str, out: Path, force: bool) -> int:
    from vlar.plugins.export.model_file import export_model

    with progress(f"loading {model}") as shown:
        loaded = inputs.load_model(model, "cpu", None)
        shown.stage(f"exporting {model}")
        difference = export_model(loaded, out, force=force)
    output.row(
        {"file": str(out), "labels": list(loaded.labels or ()), "difference": difference},
        f"{out}: {len(loaded.labels or ())} labels and unknown; probabilities differ by at most "
        f"{difference:.1g} from those of {model}",
    )
    return 0
