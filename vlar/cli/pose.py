"""``vlar pose``: the bodies of a video, drawn on it, and what they do in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlar.cli import options, output
from vlar.cli.progress import track
from vlar.cli.verb import exit_code
from vlar.errors import UsageError, VlarError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlar.pose.attributes.base import Measurements
    from vlar.types import Clip, Failure, JsonDict, UInt8

_FPS = 10
_FRAMES = 32
_CLEAR = 0.4  # of -1 .. 1, from which an attribute is shown
_SHORTER_SIDE = 720


def command(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Write the video with the bodies drawn on it."),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Show the bodies in a video and how they move.

    Examples:
        vlar pose clip.mp4
        vlar pose clip.mp4 --out overlay.mp4
    """
    from vlar.pose.draw import draw_tracks
    from vlar.pose.features import PoseExtractor, measure_features, tracks_from_features
    from vlar.types import Failure

    reader = PoseExtractor(max_people=3)
    writer = _Writer(Path(out)) if out else None
    answered = failed = 0
    try:
        for clip in track(_windows(Path(video)), "reading bodies", None, "windows"):
            if isinstance(clip, Failure):
                output.failure(clip, as_json)
                failed += 1
                continue
            features = reader.features(clip.data, clip.times_s)
            tracks = tracks_from_features(features)
            _show(clip, len(tracks.score), measure_features(features), as_json)
            if writer:
                writer.write(draw_tracks(clip.data, tracks))
            answered += 1
    finally:
        if writer:
            writer.close()
    if writer and answered:
        output.note(f"wrote {out}")
    return exit_code(answered, failed)


def _windows(video: Path) -> Iterator[Clip | Failure]:
    from vlar.video import probe, read_windows, windows

    length_s = _FRAMES / _FPS
    spans = windows(probe(video).duration_s, length_s, length_s)
    return read_windows(video, spans, _FRAMES, shorter_side=_SHORTER_SIDE)


def _show(clip: Clip, people: int, measured: Measurements, as_json: bool) -> None:
    from vlar.pose.attributes.base import attributes

    rows = list(zip(attributes(), measured.values, measured.trust, measured.scaled(), strict=True))
    if as_json:
        data: JsonDict = {
            "path": str(clip.path),
            "start_s": round(clip.window.start_s, 3),
            "end_s": round(clip.window.end_s, 3),
            "people": people,
            "visible_body": round(measured.visible_body, 3),
            "attributes": {
                row.name: {
                    "value": round(float(value), 3),
                    "unit": row.unit,
                    "trust": round(float(trust), 3),
                }
                for row, value, trust, _ in rows
            },
        }
        output.json_line(data)
        return
    span = f"{output.clock(clip.window.start_s)} to {output.clock(clip.window.end_s)}"
    output.line(f"{clip.path}  {span}  people {people}, visible body {measured.visible_body:.0%}")
    clear = sorted((r for r in rows if abs(r[3]) >= _CLEAR), key=lambda r: -abs(float(r[3])))
    for row, value, _, scaled in clear[:10]:
        output.line(
            f"  {float(scaled):+.2f}  {row.name:<15} {value:.2f} {row.unit}   {row.meaning}"
        )


class _Writer:
    """An MP4 that opens with its first frames, whose size it takes."""

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != ".mp4":
            raise UsageError(f"--out is {str(path)!r}; its name must end in .mp4")
        if not path.parent.is_dir():
            raise UsageError(f"--out: the folder {str(path.parent)!r} does not exist; make it")
        self._path = path
        self._container: Any = None
        self._stream: Any = None

    def write(self, frames: UInt8) -> None:
        """Append frames (T, H, W, 3); odd sizes lose their last row or column."""
        import av

        height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
        try:
            if self._container is None:
                self._container = av.open(str(self._path), "w")
                codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
                self._stream = self._container.add_stream(codec, rate=_FPS)
                self._stream.width, self._stream.height = width, height
                self._stream.pix_fmt = "yuv420p"
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(frame[:height, :width].copy(), format="rgb24")
                self._container.mux(self._stream.encode(picture))
        except (OSError, ValueError) as error:
            raise VlarError(f"cannot write {str(self._path)!r} ({error})") from error

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
