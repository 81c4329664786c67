"""``vlar events``: events of a camera that a video stands in for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlar.apps.cli import options, output
from vlar.errors import UsageError


def command(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The .npz to write.")],
    side: Annotated[
        int, typer.Option(metavar="PIXELS", min=8, help="Shorter side of the sensor, at most.")
    ] = 240,
    step: Annotated[
        float, typer.Option(metavar="LOG", help="Change of log brightness that gives an event.")
    ] = 0.2,
    as_json: options.AsJson = False,
) -> int:
    """Make synthetic events of an event camera from a video.

    To try what reads such cameras. They are marked, and so is every answer about them: they prove
    no accuracy.

    Examples:
        vlar events clip.mp4 --out clip.npz
        vlar events clip.mp4 --out small.npz --side 64 --step 0.3
    """
    from vlar.media.events.synthetic import write_events

    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {str(out)!r}: its folder does not exist; make it")
    count = write_events(video, out, side=side, step=step)
    if as_json:
        output.json_line({"path": str(out), "events": count, "synthetic": True})
    else:
        output.line(f"{count:,} synthetic events are in {out}")
    return 0
