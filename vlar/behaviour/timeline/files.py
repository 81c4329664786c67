"""Segments and figures of work as files: JSON, tables, subtitles, pictures."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vlar.apps.answers import rate_of
from vlar.apps.otio import Take, otio, otio_module
from vlar.behaviour.timeline.decoding import UNKNOWN, AnswerSegment
from vlar.errors import UsageError, explained
from vlar.results import arrow, cell
from vlar.segments.tables import text_of
from vlar.version import pip_install

ENDINGS = (".json", ".csv", ".srt", ".vtt", ".otio", ".lerobot", ".png")
_HEADER = "path,start_s,end_s,label,probability,lost"


def checked_file(path: str, option: str, endings: Sequence[str] = ENDINGS) -> Path:
    """The file to write, refused before anything is classified if that cannot be done.

    Raises:
        UsageError: another ending, no such folder, or no matplotlib for a picture.
    """
    file = Path(path)
    if file.suffix.lower() not in endings:
        raise UsageError(f"{option} {path!r}: the ending is none of {', '.join(endings)}")
    if not file.absolute().parent.is_dir():
        raise UsageError(
            f"{option} {path!r}: the folder {str(file.parent)!r} does not exist; make it"
        )
    needs = {".png": _pyplot, ".otio": otio_module, ".lerobot": arrow}
    needs.get(file.suffix.lower(), lambda: None)()
    return file


def write(file: Path, rows: Sequence[AnswerSegment]) -> None:
    """Write segments in the format of the file's ending.

    Raises:
        UsageError: subtitles of several videos, or the file cannot be written.
    """
    ending = file.suffix.lower()
    paths = sorted({row.path for row in rows})
    if ending in (".srt", ".vtt") and len(paths) > 1:
        raise UsageError(
            f"{str(file)!r}: subtitles belong to one video, these are {len(paths)}; "
            "classify one at a time, or write .json"
        )
    texts: dict[str, Callable[[Sequence[AnswerSegment]], str]] = {
        ".json": _json,
        ".csv": _csv,
        ".srt": srt,
        ".vtt": vtt,
        ".otio": _otio,
    }
    with explained(UsageError, f"{str(file)!r} cannot be written"):
        if ending in texts:
            file.write_text(texts[ending](rows), encoding="utf-8")
        elif ending == ".lerobot":
            write_subtasks(file, rows, rate_of(paths))
        else:
            _draw(file, rows, paths)


def _json(rows: Sequence[AnswerSegment]) -> str:
    return json.dumps([row.to_dict() for row in rows], ensure_ascii=False, indent=1) + "\n"


def _csv(rows: Sequence[AnswerSegment]) -> str:
    names = _HEADER.split(",")
    values = [row.to_dict() | {"label": row.label or UNKNOWN} for row in rows]
    return text_of([names, *([cell(_short(row[name])) for name in names] for row in values)])


def _short(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value


def srt(rows: Sequence[AnswerSegment]) -> str:
    """SubRip subtitles: numbered cues, times as ``hh:mm:ss,mmm``."""
    return "\n".join(
        f"{number}\n{_stamp(row.start_s, ',')} --> {_stamp(row.end_s, ',')}\n{_line(row)}\n"
        for number, row in enumerate(rows, 1)
    )


def vtt(rows: Sequence[AnswerSegment]) -> str:
    """WebVTT subtitles (W3C): ``&``, ``<`` and ``>`` escaped, so no label is a tag or an arrow."""
    cues = [
        f"{_stamp(row.start_s, '.')} --> {_stamp(row.end_s, '.')}\n"
        f"{html.escape(_line(row), quote=False)}\n"
        for row in rows
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _otio(rows: Sequence[AnswerSegment]) -> str:
    """A track a recording, on which every segment has its own time."""
    tracks: dict[str, list[Take]] = {}
    for row in rows:
        facts = {"probability": round(row.probability, 6), "lost": round(row.lost, 4)}
        take = Take(row.path, row.start_s, row.end_s, row.label or UNKNOWN, facts)
        tracks.setdefault(row.path, []).append(take)
    return otio("vlar timeline", tracks, rate_of(tracks), in_place=True)


def write_subtasks(folder: Path, rows: Sequence[AnswerSegment], fps: float) -> None:
    """Write subtasks as data sets of lerobot hold them (0.4.4 to 0.5).

    ``meta/subtasks.parquet`` has the texts with their ``subtask_index``, as ``tasks.parquet`` has
    those of tasks. ``data/subtask_index.parquet`` has the column of every frame, which joins the
    data of an episode by ``episode_index`` and ``frame_index``; -1 where no segment lies.

    Args:
        folder: It is made.
        rows: Segments; each recording is an episode, in the order of the first segments.
        fps: Frames a second of the data set.
    """
    import pandas as pd

    texts = sorted({row.label or UNKNOWN for row in rows})
    frames: list[pd.DataFrame] = []
    for episode, path in enumerate(dict.fromkeys(row.path for row in rows)):
        rows_of_path = [row for row in rows if row.path == path]
        index = np.full(max(round(row.end_s * fps) for row in rows_of_path), -1, np.int64)
        for row in rows_of_path:
            index[round(row.start_s * fps) : round(row.end_s * fps)] = texts.index(
                row.label or UNKNOWN
            )
        ticks = np.arange(len(index))
        columns = {"episode_index": episode, "frame_index": ticks, "timestamp": ticks / fps}
        frames.append(pd.DataFrame({**columns, "subtask_index": index}))
    for name in ("meta", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    named = pd.DataFrame({"subtask_index": range(len(texts))}, pd.Index(texts, name="subtask"))
    named.to_parquet(folder / "meta" / "subtasks.parquet")
    pd.concat(frames).to_parquet(folder / "data" / "subtask_index.parquet", index=False)


def _line(row: AnswerSegment) -> str:
    # One line a cue: an empty line would end it. An arrow in SubRip text would look like times.
    text = " ".join((row.label or UNKNOWN).split()).replace("-->", "->")
    return f"{text} ({row.probability:.0%})"


def _stamp(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, remainder = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{remainder // 1000:02d}{point}{remainder % 1000:03d}"


def _draw(file: Path, rows: Sequence[AnswerSegment], paths: Sequence[str]) -> None:
    """One strip a video; a label has one colour and one line; darker is more probable."""
    pyplot = _pyplot()
    labels = list(dict.fromkeys(row.label or UNKNOWN for row in rows))
    height = 0.8 + (0.35 * len(labels) + 0.7) * max(len(paths), 1)
    figure, axes = pyplot.subplots(
        max(len(paths), 1), 1, figsize=(10, height), squeeze=False, layout="constrained"
    )
    for path, axis in zip(paths, axes[:, 0], strict=False):
        for row in (row for row in rows if row.path == path):
            row_index = labels.index(row.label or UNKNOWN)
            colour = "0.6" if row.label is None else f"C{row_index % 10}"
            axis.broken_barh(
                [(row.start_s, row.end_s - row.start_s)],
                (row_index - 0.4, 0.8),
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
            "a picture of a timeline needs matplotlib, which is not installed; "
            f"{pip_install('eval')}, or write .json, .srt or .vtt"
        ) from None
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
