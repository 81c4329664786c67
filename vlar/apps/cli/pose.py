"""``vlar pose``: bodies and hands of a video, drawn on it, and what they do in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlar.apps.cli import options, output
from vlar.apps.cli.progress import track
from vlar.apps.cli.verb import exit_code
from vlar.errors import UsageError, VlarError
from vlar.formatting import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vlar.media.skeleton.export import TrackedBodies
    from vlar.pose.attributes.base import Attribute, HandAttribute, HandMeasurements, Measurements
    from vlar.types import Clip, Failure, JsonDict, UInt8

_FPS = 10
_FRAMES = 32
_CLEAR = 0.4  # of -1 .. 1, from which an attribute is shown
_SHORTER_SIDE = 720


def command(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Write the video with both drawn on it."),
    ] = None,
    skeletons: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.npz",
            help="Write the bodies as a skeleton file, for --model skeleton. Of a skeleton file "
            "with many recordings: a folder for a file each.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Show the bodies and hands in a video and how they move.

    Examples:
        vlar pose clip.mp4 --out overlay.mp4
        vlar pose clip.mp4 --skeletons bodies.npz
    """
    from vlar.media.lookup import reader
    from vlar.media.skeleton.export import ROWS, unpack

    if skeletons and reader("skeleton").claims(Path(video)):
        count = unpack(Path(video), Path(skeletons))
        output.note(f"wrote {counted(count, 'recordings')} and {ROWS} into {skeletons}")
        return 0
    writer = _Writer(Path(out)) if out else None
    bodies = _bodies_file(skeletons)
    try:
        answered, failed = _follow(Path(video), writer, bodies, as_json)
    finally:
        if writer:
            writer.close()
    if writer and answered:
        output.note(f"wrote {out}")
    if bodies is not None and skeletons and answered:
        wrote = bodies.write(Path(skeletons))
        output.note(f"wrote {skeletons}" if wrote else f"nobody is seen; {skeletons} not written")
    return exit_code(answered, failed)


def _follow(
    video: Path, writer: _Writer | None, bodies: TrackedBodies | None, as_json: bool
) -> tuple[int, int]:
    """Show what each window of a video holds; how many could be read, and how many not."""
    from vlar.pose import networks
    from vlar.pose.draw import draw_hands, draw_tracks
    from vlar.pose.features import PoseExtractor, measure_features, tracks_from_features
    from vlar.pose.hand_features import HandReader, held_tracks, measure_hand_features
    from vlar.types import Failure

    reader = PoseExtractor(max_people=3)
    hands = HandReader() if networks.has_hands() else None
    answered = failed = 0
    for clip in track(_windows(video), "reading bodies", None, "windows"):
        if isinstance(clip, Failure):
            output.failure(clip, as_json)
            failed += 1
            continue
        features = reader.features(clip.data, clip.times_s)
        tracks = tracks_from_features(features)
        if bodies is not None:
            bodies.add(tracks, clip)
        drawn = draw_tracks(clip.data, tracks) if writer else clip.data
        seen = None
        if hands is not None:
            rows = hands.features(clip.data, clip.times_s, features)
            seen, held = measure_hand_features(rows), held_tracks(rows)
            drawn = draw_hands(drawn, held) if writer else drawn
        _show(clip, len(tracks.score), measure_features(features), seen, as_json)
        if writer:
            writer.write(drawn)
        answered += 1
    return answered, failed


def _bodies_file(name: str | None) -> TrackedBodies | None:
    if name is None:
        return None
    from vlar.media.skeleton.export import TrackedBodies

    if Path(name).suffix.lower() != ".npz":
        raise UsageError(f"--skeletons is {name!r}; its name must end in .npz")
    return TrackedBodies()


def _windows(video: Path) -> Iterator[Clip | Failure]:
    from vlar.media.video.decode import read_windows
    from vlar.media.video.sample import windows
    from vlar.media.video.source import probe

    length_s = _FRAMES / _FPS
    spans = windows(probe(video).duration_s, length_s, length_s)
    return read_windows(video, spans, _FRAMES, shorter_side=_SHORTER_SIDE)


def _show(
    clip: Clip,
    people: int,
    bodies: Measurements,
    hands: HandMeasurements | None,
    as_json: bool,
) -> None:
    from vlar.pose.attributes.base import attributes, hand_attributes

    seen = hands is not None and hands.visible > 0
    if as_json:
        data: JsonDict = {
            "path": str(clip.path),
            "start_s": round(clip.window.start_s, 3),
            "end_s": round(clip.window.end_s, 3),
            "people": people,
            "visible_body": round(bodies.visible_body, 3),
            "attributes": _as_dict(attributes(), bodies),
        }
        if hands is not None:
            data["visible_hands"] = round(hands.visible, 3)
            data["hand_attributes"] = _as_dict(hand_attributes(), hands) if seen else {}
        output.json_line(data)
        return
    span = f"{output.clock(clip.window.start_s)} to {output.clock(clip.window.end_s)}"
    shown = f", visible hands {hands.visible:.0%}" if hands is not None and seen else ""
    output.line(
        f"{clip.path}  {span}  people {people}, visible body {bodies.visible_body:.0%}{shown}"
    )
    _lines(attributes(), bodies)
    if hands is not None and seen:
        _lines(hand_attributes(), hands)


def _as_dict(
    rows: Sequence[Attribute | HandAttribute], measured: Measurements | HandMeasurements
) -> JsonDict:
    return {
        row.name: {
            "value": round(float(value), 3),
            "unit": row.unit,
            "trust": round(float(trust), 3),
        }
        for row, value, trust in zip(rows, measured.values, measured.trust, strict=True)
    }


def _lines(
    rows: Sequence[Attribute | HandAttribute], measured: Measurements | HandMeasurements
) -> None:
    """The ten clearest attributes."""
    found = zip(rows, measured.values, measured.scaled(), strict=True)
    clear = sorted((r for r in found if abs(r[2]) >= _CLEAR), key=lambda r: -abs(float(r[2])))
    for row, value, scaled in clear[:10]:
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
