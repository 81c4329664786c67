"""``vlar events``: synthetic events of an event camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vlar.apps.cli import output
from vlar.apps.cli.recordings import require_folder
from vlar.options import Option


def events(
    video: Annotated[Path, Option("A video file.", "VIDEO")],
    /,
    *,
    out: Annotated[Path, Option("The .npz to write.", "-o")],
) -> int:
    """Make synthetic events of an event camera from a video.

    To try what reads such cameras. They are marked, and so is every answer about them: they prove
    no accuracy.

    Examples:
        vlar events clip.mp4 --out clip.npz
        vlar events clip.mp4 --out clip.npz --json
    """
    from vlar.methods.events.synthetic import write_events

    require_folder("--out", out)
    count = write_events(video, out)
    facts = {"path": str(out), "events": count, "synthetic": True}
    output.row(facts, f"{count:,} synthetic events are in {out}")
    return 0
