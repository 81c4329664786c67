"""Verbs about recordings: ``vlar shots``, ``pose``, ``bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from vlar import registry
from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import track
from vlar.errors import UsageError, VlarError
from vlar.formatting import counted
from vlar.options import FILES, Option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vlar.media.skeleton.export import TrackedBodies
    from vlar.pose.attributes.base import Attribute, HandAttribute, HandMeasurements, Measurements
    from vlar.types import Clip, Failure, JsonDict, UInt8, Window

_ROBOTS, _ROS_2_BAG = (".mcap", ".bag"), "metadata.yaml"
_FPS = 10
_FRAMES = 32
_CLEAR = 0.4  # of -1 .. 1, from which an attribute is shown
_SHORTER_SIDE = 720


def shots(paths: options.Paths, /) -> int:
    """Show where the shots of videos begin and end.

    It needs one more network, once: vlar models get shots.

    Examples:
        vlar shots film.mp4
        vlar shots films/ --json
    """
    from vlar.media.lookup import reader
    from vlar.media.shots import require_shots
    from vlar.types import Failure

    require_shots(reader("video"))
    recordings, failures = inputs.recordings(paths, "video")
    good: set[Path] = set()
    for failure in failures:
        output.failure(failure)
    for path, shots in track(_shots(recordings), "finding shots", len(recordings)):
        if isinstance(shots, Failure):
            failures.append(shots)
            output.failure(shots)
            continue
        for number, shot in enumerate(shots, 1):
            good.add(path)
            span = {"start_s": round(shot.start_s, 3), "end_s": round(shot.end_s, 3)}
            row = {"path": str(path), "shot": number, **span}
            output.row(row, f"{path}  {shot.start_s:.3f} to {shot.end_s:.3f} s")
    return exit_code(len(good), len(failures))


def _shots(paths: Iterable[Path]) -> Iterator[tuple[Path, list[Window] | Failure]]:
    from vlar.media.lookup import isolated, reader
    from vlar.media.shots import shots_of
    from vlar.types import Failure

    with isolated(reader("video"), paths, Path) as (source, every):
        for path in every:
            try:
                yield path, shots_of(source, path)
            except VlarError as error:
                yield path, Failure(path, error.kind, error.message)


def require_folder(option: str, file: Path) -> None:
    """Refuse a file whose folder does not exist.

    Raises:
        UsageError: it does not; the message names the option.
    """
    if not file.absolute().parent.is_dir():
        raise UsageError(
            f"{option} {str(file)!r}: the folder {str(file.parent)!r} does not exist; make it"
        )


def bundle(
    rows: Annotated[
        Path,
        Option("CSV: path.SENSOR, offset.SENSOR, label, ...; or a recording of a robot.", "ROWS"),
    ],
    /,
    *,
    out: Annotated[Path, Option("New bundles go here.", "-o DIR")],
    by_share: Annotated[
        bool, Option("Line sensors up by their share of the take: rates are nominal.")
    ] = False,
    topics: Annotated[
        str | None,
        Option("Topics of a robot's recording, those of the bundle first.", "TOPIC,TOPIC"),
    ] = None,
) -> int:
    """Make one recording of what several sensors took of one moment.

    ROWS is a table, or the recording of a robot: an MCAP file, a ROS 1 bag, the folder of a ROS 2
    bag, whose cameras, IMU and joint states become a bundle.

    A column 'path.SENSOR' has the files of a sensor, the one whose clock counts first; an empty
    cell is a sensor that was not recorded. 'offset.SENSOR' has the seconds at which a file begins
    on that clock. Other columns are kept. DIR/rows.csv is a support set of the bundles.

    Examples:
        vlar bundle rows.csv --out pairs/
        vlar bundle takes.csv --out pairs/ --by-share
    """
    from vlar.media.bundle_table import write_bundles

    if rows.suffix.lower() in _ROBOTS or (rows / _ROS_2_BAG).is_file():
        return registry.shelf("plugins.robots.bundle", str(rows)).write(rows, out, topics)
    if topics is not None:
        raise UsageError(f"--topics is for recordings of robots; {rows} is a table")
    bundles = write_bundles(rows, out, by_share=by_share)
    for row in bundles.failed:
        output.failure(row)
    counts = ", ".join(f"{count} with {sensor}" for sensor, count in bundles.parts.items())
    output.row(
        {"rows": str(bundles.table), "bundles": bundles.bundles, "parts": bundles.parts},
        f"{bundles.bundles} bundles ({counts}); their table is {bundles.table}",
    )
    for sensor, count in bundles.parts.items():
        if not count:
            output.note(f"path.{sensor} is empty in every row: this sensor is missing")
    name, count = bundles.uneven
    if count:
        output.note(
            f"{count} of {bundles.bundles} bundles hold recordings whose lengths differ by more "
            f"than a tenth ({name}); what only one of them covers is cut. Where each holds the "
            "whole take, line them up: --by-share"
        )
    return exit_code(bundles.bundles, len(bundles.failed))


def pose(
    video: Annotated[Path, Option("A video file.", "VIDEO")],
    /,
    *,
    out: Annotated[
        Path | None, Option("Write the video with both drawn on it.", group=FILES)
    ] = None,
    skeletons: Annotated[
        Path | None,
        Option(
            "Write the bodies as a skeleton file, for --model skeleton. Of a "
            "skeleton file with many recordings: a folder for a file each.",
            "FILE.npz",
        ),
    ] = None,
) -> int:
    """Show the bodies and hands in a video and how they move.

    Examples:
        vlar pose clip.mp4 --out overlay.mp4
        vlar pose clip.mp4 --skeletons bodies.npz
    """
    from vlar.media.lookup import reader
    from vlar.media.skeleton.export import ROWS, TrackedBodies, unpack

    if skeletons and reader("skeleton").claims(video):
        count = unpack(video, skeletons)
        output.note(f"wrote {counted(count, 'recordings')} and {ROWS} into {skeletons}")
        return 0
    writer = _Writer(out) if out else None
    if skeletons and skeletons.suffix.lower() != ".npz":
        raise UsageError(f"--skeletons is {str(skeletons)!r}; its name must end in .npz")
    bodies = TrackedBodies() if skeletons else None
    try:
        answered, failed = _follow(video, writer, bodies)
    finally:
        if writer:
            writer.close()
    if writer and answered:
        output.note(f"wrote {out}")
    if bodies is not None and skeletons and answered:
        wrote = bodies.write(skeletons)
        output.note(f"wrote {skeletons}" if wrote else f"nobody is seen; {skeletons} not written")
    return exit_code(answered, failed)


def _follow(video: Path, writer: _Writer | None, bodies: TrackedBodies | None) -> tuple[int, int]:
    """Show what each window of a video holds; how many could be read, and how many not."""
    from vlar.media.video.decode import read_windows
    from vlar.media.video.sample import windows
    from vlar.media.video.source import probe
    from vlar.pose import networks
    from vlar.pose.draw import draw_hands, draw_tracks
    from vlar.pose.features import PoseExtractor, measure_features, tracks_from_features
    from vlar.pose.hand_features import HandReader, held_tracks, measure_hand_features
    from vlar.types import Failure

    reader = PoseExtractor(max_people=3)
    hands = HandReader() if networks.has_hands() else None
    spans = windows(probe(video).duration_s, _FRAMES / _FPS, _FRAMES / _FPS)
    clips = read_windows(video, spans, _FRAMES, shorter_side=_SHORTER_SIDE)
    answered = failed = 0
    for clip in track(clips, "reading bodies", None, "windows"):
        if isinstance(clip, Failure):
            output.failure(clip)
            failed += 1
            continue
        features = reader.features(clip.data, clip.times_s)
        tracks = tracks_from_features(features)
        if bodies is not None:
            bodies.add(tracks, clip)
        drawn = draw_tracks(clip.data, tracks) if writer else clip.data
        hand_features = None
        if hands is not None:
            rows = hands.features(clip.data, clip.times_s, features)
            hand_features, held = measure_hand_features(rows), held_tracks(rows)
            drawn = draw_hands(drawn, held) if writer else drawn
        _show(clip, len(tracks.score), measure_features(features), hand_features)
        if writer:
            writer.write(drawn)
        answered += 1
    return answered, failed


def _show(clip: Clip, people: int, bodies: Measurements, hands: HandMeasurements | None) -> None:
    from vlar.pose.attributes.base import attributes, hand_attributes

    shows_hands = hands is not None and hands.visible > 0
    data: JsonDict = {
        "path": str(clip.path),
        "start_s": round(clip.window.start_s, 3),
        "end_s": round(clip.window.end_s, 3),
        "people": people,
        "visible_body": round(bodies.visible_body, 3),
        "attributes": _as_dict(attributes(), bodies),
    }
    shown = f"{clip.path}  {output.span(clip.window)}  people {people}, "
    shown += f"visible body {bodies.visible_body:.0%}"
    lines = _clearest(attributes(), bodies)
    if hands is not None:
        data["visible_hands"] = round(hands.visible, 3)
        data["hand_attributes"] = _as_dict(hand_attributes(), hands) if shows_hands else {}
        shown += f", visible hands {hands.visible:.0%}" if shows_hands else ""
        lines += _clearest(hand_attributes(), hands) if shows_hands else []
    output.row(data, shown, *lines)


def _as_dict(
    rows: Sequence[Attribute | HandAttribute], measured: Measurements | HandMeasurements
) -> JsonDict:
    measures = zip(rows, measured.values, measured.trust, strict=True)
    return {
        row.name: {"value": round(float(x), 3), "unit": row.unit, "trust": round(float(trust), 3)}
        for row, x, trust in measures
    }


def _clearest(
    rows: Sequence[Attribute | HandAttribute], measured: Measurements | HandMeasurements
) -> list[str]:
    """Lines of the ten clearest attributes."""
    measures = zip(rows, measured.values, measured.scaled(), strict=True)
    clear = sorted((r for r in measures if abs(r[2]) >= _CLEAR), key=lambda r: -abs(float(r[2])))
    return [
        f"  {float(scaled):+.2f}  {row.name:<15} {value:.2f} {row.unit}   {row.meaning}"
        for row, value, scaled in clear[:10]
    ]


class _Writer:
    """An MP4 that opens with its first frames, whose size it takes."""

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != ".mp4":
            raise UsageError(f"--out is {str(path)!r}; its name must end in .mp4")
        require_folder("--out", path)
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
