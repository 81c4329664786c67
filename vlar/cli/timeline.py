"""What a video shows when: answers over time as segments, in JSON, subtitles or a picture."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.cli import output
from vlar.errors import UsageError

if TYPE_CHECKING:
    from vlar.types import Classification, JsonDict

ENDINGS = (".json", ".srt", ".vtt", ".png")
UNKNOWN = "unknown"
_TOUCH_S = 1e-3


@dataclass(frozen=True)
class Segment:
    """Windows of one video that follow each other with one answer; ``label`` None is unknown.

    ``probability`` is the mean of theirs, weighted by time. ``lost`` is the greatest share (0 to 1)
    of frames that are lost in one of them.
    """

    path: str
    start_s: float
    end_s: float
    label: str | None
    probability: float
    lost: float = 0.0

    def to_dict(self) -> JsonDict:
        """The JSON object of the file."""
        return {
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "label": self.label,
            "probability": round(self.probability, 6),
            "lost": round(self.lost, 4),
        }


def file_of(path: str | None, every_s: float | None) -> Path | None:
    """The file to write, refused before anything is classified if that cannot be done.

    Raises:
        UsageError: one answer a video only, another ending, no such folder, or no matplotlib for a
            picture.
    """
    if path is None:
        return None
    if every_s is None:
        raise UsageError("--timeline needs --every, such as --every 2s: one answer has no timeline")
    file = Path(path)
    if file.suffix.lower() not in ENDINGS:
        raise UsageError(f"--timeline {path!r}: the ending is none of {', '.join(ENDINGS)}")
    if not file.absolute().parent.is_dir():
        raise UsageError(
            f"--timeline {path!r}: the folder {str(file.parent)!r} does not exist; make it"
        )
    if file.suffix.lower() == ".png":
        _pyplot()
    return file


def segments(rows: Sequence[Classification]) -> list[Segment]:
    """Answers in the order of time, those of one label joined.

    Where windows overlap (the last one of a video ends with it), the later one begins where the
    earlier one ends.
    """
    found: list[Segment] = []
    for row in sorted(rows, key=lambda r: (str(r.path), r.start_s)):
        label = row.label
        probability = row.unknown_probability if label is None else row.predictions[0].probability
        new = Segment(str(row.path), row.start_s, row.end_s, label, probability, row.lost)
        last = found[-1] if found else None
        if last is None or last.path != new.path or last.end_s < new.start_s - _TOUCH_S:
            found.append(new)
            continue
        start_s = max(new.start_s, last.end_s)
        if new.end_s <= start_s:
            continue
        if last.label == label:
            found[-1] = _joined(last, start_s, new)
        else:
            found.append(replace(new, start_s=start_s))
    return found


def _joined(last: Segment, start_s: float, new: Segment) -> Segment:
    before_s, after_s = last.end_s - last.start_s, new.end_s - start_s
    total = before_s * last.probability + after_s * new.probability
    mean = total / (before_s + after_s)
    lost = max(last.lost, new.lost)
    return replace(last, end_s=new.end_s, probability=mean, lost=lost)


def write(file: Path, rows: Sequence[Segment]) -> None:
    """Write segments as the ending of the file says; a note tells where, or that there is none.

    Raises:
        UsageError: subtitles of several videos, or the file cannot be written.
    """
    if not rows:
        output.note("vlar: nothing was classified, no timeline is written")
        return
    ending = file.suffix.lower()
    paths = sorted({row.path for row in rows})
    if ending in (".srt", ".vtt") and len(paths) > 1:
        raise UsageError(
            f"--timeline {str(file)!r}: subtitles belong to one video, these are {len(paths)}; "
            "classify one at a time, or write .json"
        )
    try:
        if ending == ".png":
            _draw(file, rows, paths)
        elif ending == ".json":
            content = json.dumps([row.to_dict() for row in rows], ensure_ascii=False, indent=1)
            file.write_text(content + "\n", encoding="utf-8")
        else:
            file.write_text(srt(rows) if ending == ".srt" else vtt(rows), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"--timeline {str(file)!r} cannot be written ({reason})") from error
    output.note(f"vlar: timeline written to {file}")


def srt(rows: Sequence[Segment]) -> str:
    """SubRip subtitles: numbered cues, times as ``hh:mm:ss,mmm``."""
    return "\n".join(
        f"{number}\n{_stamp(row.start_s, ',')} --> {_stamp(row.end_s, ',')}\n{_line(row)}\n"
        for number, row in enumerate(rows, 1)
    )


def vtt(rows: Sequence[Segment]) -> str:
    """WebVTT subtitles (W3C): ``&``, ``<`` and ``>`` escaped, so no label is a tag or an arrow."""
    cues = [
        f"{_stamp(row.start_s, '.')} --> {_stamp(row.end_s, '.')}\n"
        f"{html.escape(_line(row), quote=False)}\n"
        for row in rows
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _line(row: Segment) -> str:
    # One line a cue: an empty line would end it. An arrow in SubRip text would look like times.
    text = " ".join((row.label or UNKNOWN).split()).replace("-->", "->")
    return f"{text} ({row.probability:.0%})"


def _stamp(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _draw(file: Path, rows: Sequence[Segment], paths: Sequence[str]) -> None:
    """One strip a video; a label has one colour and one line; darker is more probable."""
    pyplot = _pyplot()
    labels = list(dict.fromkeys(row.label or UNKNOWN for row in rows))
    height = 0.8 + (0.35 * len(labels) + 0.7) * max(len(paths), 1)
    figure, axes = pyplot.subplots(
        max(len(paths), 1), 1, figsize=(10, height), squeeze=False, layout="constrained"
    )
    for path, axis in zip(paths, axes[:, 0], strict=False):
        for row in (row for row in rows if row.path == path):
            place = labels.index(row.label or UNKNOWN)
            colour = "0.6" if row.label is None else f"C{place % 10}"
            axis.broken_barh(
                [(row.start_s, row.end_s - row.start_s)],
                (place - 0.4, 0.8),
                facecolors=colour,
                alpha=0.3 + 0.7 * row.probability,
            )
        axis.set_yticks(range(len(labels)), labels, parse_math=False)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.set_title(Path(path).name, fontsize="medium", loc="left", parse_math=False)
    axes[-1, 0].set_xlabel("seconds")
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def _pyplot():
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError(
            "--timeline FILE.png draws with matplotlib, which is not installed; "
            "pip install 'vlar[eval]', or write .json, .srt or .vtt"
        ) from None
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
