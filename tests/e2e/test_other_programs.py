"""Files to and from other programs, by the programs themselves; one that is absent is skipped.

``VLAR_PROGRAMS=FILE`` keeps a line of JSON for each direction that was tried: the table of
docs/exchange.md (``python benchmarks/exchange_table.py --programs FILE``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import videos
from vlar.behaviour.tracks.recording import read_tracks
from vlar.segments import Segment, load, write

pytestmark = pytest.mark.slow
ROWS = [
    Segment("day", 0.5, 2.25, "grooming & licking", "Pup Ä", "acts"),
    Segment("day", 3.0, 4.125, "rearing", "Pup Ä", "acts"),
]
SPANS = [(row.start_s, row.end_s, row.label) for row in ROWS]
Try = Callable[[str, str, str], None]


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Generator[Try]:
    """Note of a program, a format and a direction; it passed where the test did."""
    notes: list[dict[str, str]] = []

    def note(package: str, form: str, direction: str) -> None:
        pytest.importorskip({"pympi-ling": "pympi", "webvtt-py": "webvtt", "ndx-pose": "ndx_pose",
                             "sleap-io": "sleap_io", "mcap-ros2-support": "mcap_ros2"}.get(package, package))  # fmt: skip  # noqa: E501
        notes.append({"package": package, "version": version(package), "format": form,
                      "direction": direction})  # fmt: skip

    failures = request.session.testsfailed
    yield note
    if "VLAR_PROGRAMS" in os.environ:
        outcome = "pass" if request.session.testsfailed == failures else "fail"
        with Path(os.environ["VLAR_PROGRAMS"]).open("a") as stream:
            stream.writelines(json.dumps({**row, "outcome": outcome}) + "\n" for row in notes)


def spans(file: Path) -> list[tuple[float, float, str]]:
    return [(row.start_s, row.end_s, row.label) for row in load(file).segments]


def test_elan_to_pympi(tmp_path: Path, tried: Try):
    tried("pympi-ling", "`elan`", "out")
    from pympi.Elan import Eaf

    write(tmp_path / "day.eaf", ROWS)
    file = Eaf(str(tmp_path / "day.eaf"))
    (name,) = [n for n in file.get_tier_names() if file.get_annotation_data_for_tier(n)]
    rows = [(s / 1000, e / 1000, v) for s, e, v, *_ in file.get_annotation_data_for_tier(name)]
    assert sorted(rows) == SPANS
    assert file.get_parameters_for_tier(name)["PARTICIPANT"] == "Pup Ä"


def test_elan_of_pympi(tmp_path: Path, tried: Try):
    tried("pympi-ling", "`elan`", "in")
    from pympi.Elan import Eaf

    file = Eaf(author="ann")
    file.add_tier("acts", part="Pup Ä", ann="bo")
    for row in ROWS:
        file.add_annotation("acts", int(row.start_s * 1000), int(row.end_s * 1000), row.label)
    file.to_file(str(tmp_path / "day.eaf"))
    rows = load(tmp_path / "day.eaf").segments
    assert spans(tmp_path / "day.eaf") == SPANS
    assert {(row.subject, row.tier, row.rater) for row in rows} == {("Pup Ä", "acts", "bo")}


@pytest.mark.parametrize("package", ["webvtt-py", "pysubs2"])
def test_captions_to_others(tmp_path: Path, package: str, tried: Try):
    tried(package, "`webvtt`", "out")
    write(tmp_path / "day.vtt", ROWS)
    if package == "pysubs2":
        import pysubs2

        cues = pysubs2.load(str(tmp_path / "day.vtt"))
        rows = [(cue.start / 1000, cue.end / 1000, cue.plaintext) for cue in cues]
    else:
        import webvtt

        rows = [
            (cue.start_in_seconds + cue.start_time.milliseconds / 1000,
             cue.end_in_seconds + cue.end_time.milliseconds / 1000, cue.text)
            for cue in webvtt.read(str(tmp_path / "day.vtt"))
        ]  # fmt: skip
    assert [row[:2] for row in rows] == [row[:2] for row in SPANS]
    for (_, _, text), (_, _, label) in zip(rows, SPANS, strict=True):
        assert label.split()[0] in text


@pytest.mark.parametrize("package", ["webvtt-py", "pysubs2"])
def test_captions_of_others(tmp_path: Path, package: str, tried: Try):
    tried(package, "`webvtt`", "in")
    file = tmp_path / "day.vtt"
    if package == "pysubs2":
        import pysubs2

        cues = pysubs2.SSAFile()
        cues.events = [pysubs2.SSAEvent(int(a * 1000), int(b * 1000), c) for a, b, c in SPANS]
        cues.save(str(file))
    else:
        import webvtt

        captions = webvtt.WebVTT()
        for start_s, end_s, label in SPANS:
            times = (f"00:00:{seconds:06.3f}" for seconds in (start_s, end_s))
            captions.captions.append(webvtt.Caption(*times, label))
        captions.save(str(file))
    assert spans(file) == SPANS


@pytest.mark.parametrize("subject", ["", "mouse 1"])
def test_cvat_to_datumaro(tmp_path: Path, subject: str, tried: Try):
    tried("datumaro", "`cvat`", "out")
    import datumaro

    rows = [Segment("day.mp4", 0.5, 2, "run", subject, "acts")]
    write(tmp_path / "day.xml", rows, fps=10)
    (tmp_path / "images").mkdir()  # tags need the pictures of their frames
    for frame in range(5, 20):
        (tmp_path / "images" / f"frame_{frame:06d}").touch()
    items = datumaro.Dataset.import_from(str(tmp_path), "cvat")
    frames = {
        int(item.id.removeprefix("frame_")): item.annotations[0].attributes["acts"]
        for item in items
        if not item.annotations[0].attributes.get("outside")
    }
    # A track holds until it leaves the picture: datumaro has the frame at which it enters.
    assert frames == dict.fromkeys([5] if subject else range(5, 20), "run")


FRAMES_HZ = 25  # of a made video


def test_labels_are_named_as_fiftyone_looks_them_up(tmp_path: Path):
    """By its importer's rule (``ignore_exts``): a video's name without its ending."""
    write(tmp_path / "labels_fiftyone.json", [Segment("day.mp4", 0.5, 2, "run")])
    content = json.loads((tmp_path / "labels_fiftyone.json").read_text())
    assert list(content["labels"]) == ["day"]
    assert load(tmp_path / "labels_fiftyone.json").segments == [Segment("day.mp4", 0.5, 2, "run")]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="FiftyOne reads videos by ffprobe")
def test_labels_to_fiftyone(tmp_path: Path, tried: Try):
    """Its importer, which needs no database; frames count from 1."""
    tried("fiftyone", "`fiftyone`", "out")
    from fiftyone.utils.data import FiftyOneTemporalDetectionDatasetImporter

    (tmp_path / "data").mkdir()
    videos.make_video(tmp_path / "data" / "day.mp4", 100, fps=FRAMES_HZ)
    rows = [Segment("day.mp4", 0.4, 1.2, "run"), Segment("day.mp4", 2.0, 3.2, "rest")]
    write(tmp_path / "labels_fiftyone.json", rows)
    importer = FiftyOneTemporalDetectionDatasetImporter(
        data_path=str(tmp_path / "data"), labels_path=str(tmp_path / "labels_fiftyone.json")
    )
    with importer:
        ((path, _, label, _),) = list(importer)
    assert path == str(tmp_path / "data" / "day.mp4")
    assert [found.label for found in label.detections] == [row.label for row in rows]
    frames = [number - 1 for found in label.detections for number in found.support]
    times_s = [time_s for row in rows for time_s in (row.start_s, row.end_s)]
    # A frame less where FiftyOne's own rounding of duration and count of frames takes it.
    assert frames == pytest.approx([FRAMES_HZ * time_s for time_s in times_s], abs=1)


def test_labels_of_fiftyone(tmp_path: Path, tried: Try):
    tried("fiftyone", "`fiftyone`", "in")
    from fiftyone import TemporalDetection, TemporalDetections
    from fiftyone.core.metadata import VideoMetadata
    from fiftyone.utils.data import FiftyOneTemporalDetectionDatasetExporter

    file = tmp_path / "labels_fiftyone.json"
    exporter = FiftyOneTemporalDetectionDatasetExporter(
        labels_path=str(file), export_media=False, use_timestamps=True
    )
    metadata = VideoMetadata(total_frame_count=100, duration=4.0, frame_rate=FRAMES_HZ)
    run = TemporalDetection(label="run", support=[11, 31])
    with exporter:
        detections = TemporalDetections(detections=[run])
        exporter.export_sample(str(tmp_path / "day.mp4"), detections, None, metadata=metadata)
    ((start_s, end_s, label),) = spans(file)
    assert label == "run"
    assert (start_s, end_s) == pytest.approx((0.4, 1.2), abs=1 / FRAMES_HZ)


def points(people: int) -> np.ndarray:
    """Points (40, people, 2, 2) whose numbers name their frame, animal, point and axis."""
    frame, person, point, axis = np.ogrid[:40, :people, :2, :2]
    return frame + 100.0 * person + 10 * point + 200 * axis


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("form", ["slp", "nwb", "csv", "h5", "dlc"])
def test_tracks_of_sleap_io(tmp_path: Path, form: str, people: int, tried: Try):
    tried("sleap-io", f"tracks `.{form}`", "in")
    import sleap_io as sio

    skeleton = sio.Skeleton(["nose", "tail"], name="mouse")
    tracks = [sio.Track(f"mouse {n}") for n in range(people)]
    video = sio.Video(filename="mouse.mp4", backend=None)
    frames = [
        sio.LabeledFrame(video=video, frame_idx=n, instances=[
            sio.PredictedInstance.from_numpy(one, skeleton=skeleton, track=track, score=1.0,
                                             point_scores=np.ones(2))
            for one, track in zip(row, tracks, strict=True)])
        for n, row in enumerate(points(people))
    ]  # fmt: skip
    labels = sio.Labels(frames, videos=[video], skeletons=[skeleton], tracks=tracks)
    file = tmp_path / f"mouse.{'csv' if form == 'dlc' else form}"
    if form == "slp":
        sio.save_slp(labels, str(file))
    elif form == "nwb":
        sio.save_nwb(labels, str(file), nwb_format="predictions")
    elif form == "h5":
        sio.save_analysis_h5(labels, str(file))
    else:
        sio.save_csv(labels, str(file), format="dlc" if form == "dlc" else "sleap")
    same(file, people)


def same(file: Path, people: int) -> None:
    """Compare the tracks of a file with ``points``, animals in any order."""
    clip: Any = read_tracks(file, fps=30)
    values = clip.tracks.points[..., :2]
    assert values.shape == (40, people, 2, 2)
    order = np.argsort(values[0, :, 0, 0])
    np.testing.assert_allclose(values[:, order], points(people), atol=1e-3)


@pytest.mark.parametrize("form", ["dlc", "nwb"])
def test_tracks_of_movement(tmp_path: Path, form: str, tried: Try):
    tried("movement", "tracks `.csv` (DeepLabCut)" if form == "dlc" else "tracks `.nwb`", "in")
    from movement.io import load_poses, save_poses

    values = points(1).transpose(0, 3, 2, 1)  # (time, space, keypoints, individuals)
    data = load_poses.from_numpy(values, np.ones((40, 2, 1)), ["mouse"], ["nose", "tail"], fps=30)
    if form == "dlc":
        save_poses.to_dlc_file(data, tmp_path / "mouse.csv", split_individuals=False)
        same(tmp_path / "mouse.csv", 1)
    else:
        from pynwb import NWBHDF5IO

        file = save_poses.to_nwb_file(data)
        with NWBHDF5IO(str(tmp_path / "mouse.nwb"), "w") as stream:
            stream.write(file)
        same(tmp_path / "mouse.nwb", 1)


STAMPED = "std_msgs/Header header\n"
PARTS = {
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
    "geometry_msgs/Quaternion": "float64 x\nfloat64 y\nfloat64 z\nfloat64 w\n",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z\n",
}
IMU = (
    STAMPED
    + """geometry_msgs/Quaternion orientation
float64[9] orientation_covariance
geometry_msgs/Vector3 angular_velocity
float64[9] angular_velocity_covariance
geometry_msgs/Vector3 linear_acceleration
float64[9] linear_acceleration_covariance
"""
)


def test_imu_of_mcap_ros2(tmp_path: Path, tried: Try):
    tried("mcap-ros2-support", "MCAP of ROS 2", "in")
    from mcap_ros2.writer import Writer

    from vlar.media.bundle import bundle_parts
    from vlar.media.lookup import read_clip
    from vlar.plugins.robots.unpacking import unpack

    text = "".join([IMU, *(f"{'=' * 80}\nMSG: {name}\n{part}" for name, part in PARTS.items())])
    none = [-1.0, *[0.0] * 8]
    with (tmp_path / "run.mcap").open("wb") as stream:
        writer = Writer(stream)
        schema = writer.register_msgdef("sensor_msgs/msg/Imu", text)
        for n in range(10):
            value = {
                "header": {"stamp": {"sec": 0, "nanosec": n * 10**8}, "frame_id": "imu"},
                "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0},
                "orientation_covariance": none,
                "angular_velocity": {"x": 0.0, "y": 0.5, "z": 0.0},
                "angular_velocity_covariance": [0.0] * 9,
                "linear_acceleration": {"x": float(n), "y": 0.0, "z": 9.81},
                "linear_acceleration_covariance": [0.0] * 9,
            }
            writer.write_message("/imu", schema, value, n * 10**8, n * 10**8, n)
        writer.finish()
    made = unpack(tmp_path / "run.mcap", tmp_path / "out")
    data = read_clip(bundle_parts(made.bundle)["imu"].path).data
    np.testing.assert_allclose(data[:, 0], range(10))
    np.testing.assert_allclose(data[:, 2], 9.81, rtol=1e-5)
    np.testing.assert_allclose(data[:, 4], 0.5)
