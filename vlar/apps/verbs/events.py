"""``vlar events``: synthetic events of an event camera."""

from __future__ import annotations

from pathlib import Path

from vlar.apps.cli import output
from vlar.apps.cli.recordings import require_folder


def events(video: Path, /, *, out: Path, step: float = 0.2) -> int:
    """Make synthetic events of an event camera from a video.

    To try what reads such cameras. They are marked, and so is every answer about them: they prove
    no accuracy.

    Options:
        video (VIDEO): A video file.
        out (-o): The .npz to write.
        step (LOG): Change of log brightness that gives an event.

    Examples:
        vlar events clip.mp4 --out clip.npz
        vlar events clip.mp4 --out few.npz --step 0.3
    """
    from vlar.methods.events.synthetic import write_events

    require_folder("--out", out)
    count = write_events(video, out, step=step)
    facts = {"path": str(out), "events": count, "synthetic": True}
    output.row(facts, f"{count:,} synthetic events are in {out}")
    return 0
