"""``vlar export``: a model as ONNX: its towers, an adapted one as one file, or a page."""

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
        str | None,
        Option("Folder to write; of an adapted model a file that ends in .onnx.", "OUT"),
    ] = None,
    /,
    *,
    web: Annotated[
        Path | None,
        Option("Write a folder of static files that answers in a browser.", "FOLDER", FILES),
    ] = None,
    labels: Annotated[
        str | None,
        Option("With --web, of a zero-shot model: 'a, b, c', a file, or bank:NAME.", "-l LABELS"),
    ] = None,
    force: Annotated[bool, Option("Replace an existing export.", group=FILES)] = False,
) -> int:
    """Write a model as ONNX: its towers, or an adapted one as one file.

    Towers: image, text and pooling stand apart in a folder that onnx:OUT runs; the least cosines to
    the model stand there too. One file: frames in, probabilities of its labels and of unknown out;
    it runs without vlar. With --web a page: video or camera in, answer out, nothing is uploaded.

    Examples:
        vlar export clip clip-onnx
        vlar export mine mine.onnx
        vlar export lite --web page --labels "riding a bike, hugging"
    """
    if (out is None) == (web is None) or (labels is not None and web is None):
        raise UsageError("give OUT, or --web FOLDER with --labels of a zero-shot model")
    if out is not None and out.endswith(".onnx"):
        return _export_file(model, Path(out), force)
    if not (is_installed("torch") or is_installed("onnx")):  # one of them is named where it lacks
        raise UsageError(f"an export needs torch and onnx; run: {pip_install('clip,export')}")
    if web is not None:
        return _export_web(model, web, labels, force)
    from vlar.encoders.base import load_encoder
    from vlar.plugins.export.towers import export as exported

    with progress(f"loading {model}") as shown:
        encoder = load_encoder(model, device="cpu")
        shown.stage(f"exporting {model}")
        written = exported(encoder, Path(out or ""), force=force)
    cosines = ", ".join(f"{name} {cosine:.5f}" for name, cosine in written.check.items())
    output.row(
        {"folder": out, **written.to_dict()},
        f"{out}: use it as --model onnx:{out}; least cosines to {model}: {cosines}",
    )
    return 0


def _export_web(model: str, out: Path, labels: str | None, force: bool) -> int:
    from vlar.plugins.export.web import export_web

    with progress(f"loading {model}") as shown:
        loaded = inputs.load_model(model, "cpu", None)
        shown.stage(f"exporting {model}")
        card = export_web(loaded, out, labels, force=force)
    if card["model"] != loaded.name:
        output.note(
            f"vlar: {model} is written as {card['model']}: the networks of lite-motion (bodies) do "
            "not run in a browser"
        )
    first = sum(size for name, size in card["bytes"].items() if "asyncify" not in name) / 1e6
    output.row(
        {"folder": str(out), **card},
        f"{out}: {len(card['labels'])} labels and unknown of {card['model']}; "
        f"{sum(card['bytes'].values()) / 1e6:.0f} MB, of which a browser fetches {first:.0f} once",
        f"see it: python -m http.server -d {out}; the same answers: {card['command']}",
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
