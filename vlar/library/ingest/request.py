"""The request of an ``add``: made at the edge (Python, command line, HTTP) and passed whole.

As ``vlar.model.requests``, it imports nothing heavy, and its annotations are objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlar.options import COMMON, FILES, Choices, Option

if TYPE_CHECKING:
    from vlar.encoders.captions import Captioner
    from vlar.library.ingest.runners.base import Runner
    from vlar.library.ingest.writer import IngestProgress
    from vlar.media.dataset_rows import DataSet


@dataclass(frozen=True)
class AddRequest:
    """One ``add``: the recordings and how they are indexed; ``Library.add`` has every field.

    Attributes:
        served: Whether a server asks, which stays inside its roots.
    """

    paths: "str | Path | Sequence[str | Path] | DataSet"
    tags: Mapping[str, str] | None = None
    window_s: float | None = None
    stride_s: float | None = None
    long_times: float | None = None
    shots: Annotated[
        bool | None,
        Option(
            "Let no window cross a cut (once before: vlar models get shots). Default: the "
            "library's own; off in a new library.",
            remote=False,
        ),
    ] = None
    keep_context: bool = True
    keep: Annotated[
        str,
        Option(
            "What to keep of each window of video, so that another model can index it without its "
            "file: frames (four small pictures, 8 kB), records (bodies too, 13 kB), none.",
            "WHAT",
            choices=Choices.of_kinds("record", also=("frames", "records", "none")),
            remote=False,
        ),
    ] = "none"
    retry: Annotated[
        bool,
        Option("Read files again that failed before; otherwise they are skipped and named."),
    ] = False
    skip_still: Annotated[
        bool,
        Option("Leave windows of video out in which nothing moves (docs/library.md).", "rare"),
    ] = False
    captions: Annotated[
        "str | Captioner | None",
        Option(
            "Keep what each window is said to show: concepts, file:FILE.json, hf:FOLDER.",
            "NAME",
            choices="captioner",
            type=str | None,
            remote=False,
        ),
    ] = None
    persons: Annotated[
        bool | None,
        Option(
            "Next to each window, a row for each person in it. Default: the library's own; off in "
            "a new library.",
            remote=False,
        ),
    ] = None
    detector: Annotated[
        str | None,
        Option(
            "What finds people for --persons: pose, motion, hf:FOLDER, rfdetr:FILE.",
            "rare NAME",
            remote=False,
        ),
    ] = None
    runner: "Runner | None" = None
    shards: Annotated[
        str | Path | None,
        Option(
            "Write the rows there, as Parquet for 'index import'.",
            "rare FOLDER",
            FILES,
            type=str | None,
            remote=False,
        ),
    ] = None
    remote: Annotated[
        bool,
        Option(
            "Fetch the addresses too that lists name, besides those of PATH.",
            "rare",
            COMMON,
            remote=False,
        ),
    ] = False
    served: bool = False
    progress: "IngestProgress | None" = None

    def __post_init__(self) -> None:
        """Check the tags, and make the path of a detector absolute.

        Raises:
            UsageError: a tag cannot be used.
        """
        from vlar.library.recording import checked_tags, lasting

        object.__setattr__(self, "tags", checked_tags(self.tags or {}))
        object.__setattr__(self, "detector", self.detector and lasting(self.detector))
