"""Request to learn from annotated recordings; it imports nothing heavy, as every help reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlar.options import Option

if TYPE_CHECKING:
    from vlar.behaviour.annotated.support import Taught
    from vlar.encoders.base import Encoder
    from vlar.segments import Segment
    from vlar.types import ProgressCallback


@dataclass(frozen=True)
class AnnotatedRequest:
    """A request to learn from annotated recordings.

    Attributes:
        recordings: Paths.
        seed: Seed of all draws.
        progress: Called with the total, then with the work done since; None for none.
        px_per_cm: Pixels a centimetre of tracks that state none, for regions in cm.
        layout: Layout of tracks; None for layout.toml next to them.
        support: Recordings of the model to go on from.
        encoder: Encoder of the recordings' sensor; None for tracks.
    """

    recordings: "Sequence[Path]" = ()
    truth: Annotated[
        "str | Path | Sequence[Segment] | None",
        Option(
            "Annotations of whole recordings: a file of any format, or a folder of them. The model "
            "then answers 'vlar timeline'.",
            "FILE",
            type=str | None,
        ),
    ] = None
    minutes: Annotated[
        float | None, Option("With --truth: minutes of annotated time to learn from, evenly drawn.")
    ] = None
    ignore: Annotated[
        Sequence[str],
        Option(
            "With --truth: spans with this label are not annotated; may be given several times.",
            "--ignore LABEL",
            type=list[str] | None,
        ),
    ] = ()
    tier: Annotated[str | None, Option("With --truth: the tier or stream to learn.", "NAME")] = None
    background: Annotated[
        bool, Option("With --truth: time outside every span shows none of the labels.", "rare")
    ] = False
    fps: Annotated[float | None, Option("Frames a second of tracks that state none.", "rare")] = (
        None
    )
    px_per_cm: float | None = None
    layout: Path | None = None
    within: Annotated[
        Path | None,
        Option(
            "With --truth: only what the spans of this file cover is annotated, such as the "
            "minutes of 'vlar review'.",
            "rare FILE",
        ),
    ] = None
    add: Annotated[
        Path | None,
        Option(
            "With --truth: a model; what it learned from is learned again with this.", "rare MODEL"
        ),
    ] = None
    seed: int = 0
    progress: "ProgressCallback | None" = None
    support: "Sequence[Taught]" = ()
    encoder: "Encoder | None" = None
