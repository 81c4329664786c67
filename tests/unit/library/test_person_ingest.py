"""``Library.add(persons=True)``: a row for each person, with one number over all windows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import (
    ConditionedFake,
    FakeCaptioner,
    FakeModel,
    load_fake,
    tiny_video,
)
from tests.unit.library.test_upgrade import PartModel
from vlar.errors import LibraryError, QueryError, UnknownNameError, UsageError
from vlar.generators.opinions.base import FunctionAnswerer, MediaItem
from vlar.generators.opinions.question import Question
from vlar.library.ingest.runners.processes import ProcessRunner
from vlar.library.library import Library
from vlar.library.query.second_opinion import AnswererReranker
from vlar.people import base
from vlar.people.base import PERSON, Boxes, Detector
from vlar.pose import networks
from vlar.types import Clip, Float64, UInt8, Window


class TwoPeople(Detector):
    """One person on the left who moves a little, one on the right who is there from 3 s on."""

    name = "pose"
    rate_hz = 0.1

    def detect(self, frames: UInt8, times_s: Float64, prompt: str = PERSON) -> Boxes:
        height, width = frames.shape[1:3]
        rows, tracks = [], []
        for time_s in np.linspace(times_s[0], times_s[-1], 9).tolist():
            left = 0.1 + 0.01 * time_s
            rows.append([time_s, left * width, 0.2 * height, (left + 0.3) * width, height])
            tracks.append(0)
            if time_s >= 3.0:
                rows.append([time_s, 0.6 * width, 0.1 * height, 0.9 * width, height])
                tracks.append(1)
        score = np.ones(len(rows), np.float32)
        return Boxes(np.array(rows, np.float32), score, np.array(tracks))


@pytest.fixture(autouse=True)
def detectors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def load(spec: str) -> Detector:
        asked.append(spec)
        return TwoPeople()

    monkeypatch.setattr(base, "load_detector", load)
    monkeypatch.setattr(networks, "is_installed", lambda: True)
    return asked


def rows_of(library: Library) -> list[tuple[str, float, float, int]]:
    store, _ = library._connection.nonempty()
    query = (
        "SELECT path, start_s, end_s, track FROM rows JOIN videos ON videos.id = video_id "
        "ORDER BY path, start_s, end_s, track"
    )
    return [(Path(path).name, *rest) for path, *rest in store.fetch(query)]  # type: ignore[attr-defined]


def test_every_person_has_a_row_and_one_number(tmp_path: Path, clips: list[Path]):
    model = FakeModel()
    with Library(tmp_path / "l.vlar", model) as library:
        report = library.add(clips[0], persons=True)
        rows = rows_of(library)
        # Nobody is on the right before 3 s: the first window has one frame of them and no track.
        assert {row[3] for row in rows} == {0, 1, 2}
        for start_s in (0.0, 2.0, 4.0):
            tracks = [track for _, start, _, track in rows if start == start_s]
            assert tracks == [0, 1] if start_s == 0 else [0, 1, 2]
        assert (report.rows, report.person_rows) == (len(rows), len(rows) - 3)
        assert library.videos()[0].windows == 3
        info = library.info()
        assert (info.persons, info.rows, info.person_rows) == ("pose", len(rows), len(rows) - 3)
        assert library.verify() == []
        hit = library.query("a cat", where=["persons=only"], min_probability=0)[0]
        assert hit.track in (1, 2)
        assert hit.box == pytest.approx(
            (0.6, 0.1, 0.9, 1.0) if hit.track == 2 else hit.box, abs=0.03
        )
    assert model.encoded == len(rows)


def test_another_runner_gives_the_same_rows(tmp_path: Path, clips: list[Path]):
    found = []
    for name, runner in (("plain", None), ("other", ProcessRunner(("cpu",), load_fake))):
        with Library(tmp_path / f"{name}.vlar", FakeModel()) as library:
            report = library.add(clips, persons=True, runner=runner)
            found.append((rows_of(library), report.to_dict()))
    assert found[0] == found[1]


def test_whole_frames_are_as_without_people(tmp_path: Path, clips: list[Path]):
    for name, persons in (("a", None), ("b", True)):
        with Library(tmp_path / f"{name}.vlar", FakeModel()) as library:
            library.add(clips, persons=persons)
    answers = []
    for name in "ab":
        with Library(tmp_path / f"{name}.vlar", create=False, model=FakeModel()) as library:
            hits = library.query("a cat", 50, where=["persons=no"], min_probability=0)
            answers.append([hit.to_dict() for hit in hits])
            assert {row.windows for row in library.videos()} == {3}
            found = library.unusual(20)
            answers[-1] += [row.to_dict() for row in found]
    assert answers[0] == answers[1]


def test_a_library_keeps_to_what_it_was_made_with(
    tmp_path: Path, clips: list[Path], detectors: list[str]
):
    with Library(tmp_path / "with.vlar", FakeModel()) as library:
        library.add(clips[0], persons=True)
        asked = len(detectors)
        assert library.add(clips[0]).unchanged == 1
        assert len(detectors) == asked  # nothing was decoded: no detector is loaded
        assert library.add(clips[1]).person_rows > 0
        with pytest.raises(LibraryError, match="made with rows of people"):
            library.add(clips[2], persons=False)
        with pytest.raises(LibraryError, match="detector 'pose'"):
            library.add(clips[2], detector="motion")
    with Library(tmp_path / "without.vlar", FakeModel()) as library:
        library.add(clips[0])
        with pytest.raises(LibraryError, match="without rows of people"):
            library.add(clips[1], persons=True)
        with pytest.raises(QueryError, match="no rows of people"):
            library.query("a cat", where=["persons=only"])
        assert library.query("a cat", where=["persons=no"], min_probability=0)


def test_a_detector_alone_and_another_sensor_are_refused(tmp_path: Path, clips: list[Path]):
    with (
        Library(tmp_path / "l.vlar", FakeModel()) as library,
        pytest.raises(UsageError, match="give --persons too"),
    ):
        library.add(clips[0], detector="motion")
    other = FakeModel()
    other.modality = "imu"
    with (
        Library(tmp_path / "imu.vlar", other) as library,
        pytest.raises(UsageError, match="needs video"),
    ):
        library.add(tmp_path, persons=True)


def test_without_networks_of_bodies_movement_finds_people(
    tmp_path: Path,
    clips: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(networks, "is_installed", lambda: False)
    with caplog.at_level("INFO", "vlar"), Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(clips[0], persons=True)
        assert library.info().persons == "motion"
    assert "by their movement alone" in caplog.text


def test_an_unknown_detector_is_named(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.undo()
    with (
        Library(tmp_path / "l.vlar", FakeModel()) as library,
        pytest.raises(UnknownNameError, match="poze"),
    ):
        library.add(clips[0], persons=True, detector="poze")


def test_a_path_of_a_stranger_is_not_opened(
    tmp_path: Path, clips: list[Path], detectors: list[str]
):
    from tests.unit.library.hostile import new_meta

    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(clips[0], persons=True)
    new_meta("persons", "hf:/tmp/strange")(tmp_path / "l.vlar")
    detectors.clear()
    with (
        Library(tmp_path / "l.vlar", FakeModel()) as library,
        pytest.raises(UsageError, match="only you can allow"),
    ):
        library.add(clips[1])
    assert detectors == []


def test_copies_and_renamed_files_keep_their_people(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "l.vlar", ConditionedFake()) as library:
        library.add(clips[0], persons=True)
        before = [row[1:] for row in rows_of(library)]
        copy = clips[0].with_name("copy.mp4")
        shutil.copy(clips[0], copy)
        assert library.add(copy).moved == 1
        assert [row[1:] for row in rows_of(library) if row[0] == "copy.mp4"] == before
        clips[0].rename(clips[0].with_name("renamed.mp4"))
        library.add(clips[0].parent)
        assert [row[1:] for row in rows_of(library) if row[0] == "renamed.mp4"] == before
        info = library.info()
        assert info.context_rows == info.rows
        assert library.verify() == []
        hits = library.query("a cat", 10, where=["persons=only"], min_probability=0)
        copies = [hit for hit in hits if Path(hit.path).stem in ("copy", "renamed")]
        assert copies
        assert all(len(hit.also) == 1 for hit in copies)  # a copy is no answer of its own
        library.compact()
        assert library.query("a cat", 10, where=["persons=only"], min_probability=0) == hits


def test_captions_are_of_windows(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        captioner = FakeCaptioner()
        library.add(clips[0], persons=True, captions=captioner)
        store, _ = library._connection.nonempty()
        assert store.fetch("SELECT count(*) FROM captions") == [(3,)]  # type: ignore[attr-defined]
        hits = library.query("a cat", 10, where=["persons=only"], min_probability=0)
        assert all(hit.caption.startswith("video no from second") for hit in hits)


def test_who_goes_by_the_boxes_of_a_window(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(clips, persons=True)
        for text, track in (
            ("the person on the left", 1),
            ("the person on the right", 2),
            ("person 2", 2),
            ("the last person", 2),
        ):
            hits = library.query("a cat", 50, where={"who": text}, min_probability=0)
            assert {hit.track for hit in hits} == {track}, text
            assert all(hit.start_s >= 2.0 for hit in hits)  # before, there is one person
        assert library.query("a cat", where={"who": "person 3"}, min_probability=0) == []
        for text in ("the man in red", "the person holding a bat", "the dog", "the person", ""):
            with pytest.raises(QueryError):
                library.query("a cat", where=[f"who={text}"])
        with pytest.raises(QueryError, match="both, only, no"):
            library.query("a cat", where=["persons=some"])
        with pytest.raises(QueryError, match="cannot be compared"):
            library.query("a cat", where=["persons!=no"])


def test_rows_of_people_in_tables_and_nearest(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(clips[0], persons=True)
        vector = FakeModel().encode_queries(["a cat"])[0]
        rows = library.nearest(vector, 20)
        assert {row.track for row in rows} == {None, 1, 2}
        assert all((row.track is None) == ("box" not in row.to_dict()) for row in rows)
        only = library.nearest(vector, 20, where=["persons=only"])
        assert only == [row for row in rows if row.track is not None]
        items = [library.dataset()[at] for at in range(len(rows))]
        assert sorted(item.get("track", 0) for item in items) == sorted(r.track or 0 for r in rows)
        pytest.importorskip("pyarrow")
        table = library.to_arrow()
        assert sorted(each or 0 for each in table["track"].to_pylist()) == sorted(
            row.track or 0 for row in rows
        )
        assert {len(box) for box in table["box"].to_pylist() if box is not None} == {4}


def test_still_windows_have_no_people(tmp_path: Path, clips: list[Path]):
    still = tiny_video(tmp_path / "videos" / "still.mp4", 7, seconds=1)
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        report = library.add(still, persons=True, skip_still=True)
    assert report.added == 1


def test_an_upgrade_computes_people_from_their_cuts(tmp_path: Path, clips: list[Path]):
    folder = tmp_path / "l.vlar"
    with Library(folder, PartModel(1)) as library:
        library.add(clips[:2], persons=True)
        before = rows_of(library)
        boxes = [row.box for row in library.nearest(PartModel(1).encode_queries(["x"])[0], 50)]
    with Library(folder, PartModel(2)) as library:
        report = library.upgrade()
        assert (report.failed, report.rows) == ((), len(before))
        assert rows_of(library) == before
        assert library.verify() == []
        found = library.nearest(PartModel(2).encode_queries(["x"])[0], 50)
        assert sorted(map(str, boxes)) == sorted(str(row.box) for row in found)
        store, manifest = library._connection.nonempty()
        assert manifest.persons == "pose"
        upgraded = store.rows(range(1, 200), manifest.dim)
    with Library(tmp_path / "new.vlar", PartModel(2)) as library:
        library.add(clips[:2], persons=True)
        store, manifest = library._connection.nonempty()
        fresh = store.rows(range(1, 200), manifest.dim)
    assert np.allclose(upgraded.vectors, fresh.vectors, atol=2e-3)


def test_a_second_opinion_is_shown_the_person(tmp_path: Path, clips: list[Path]):
    widths: list[int] = []

    def looks(clip: Clip, question: Question) -> np.ndarray:
        widths.append(clip.data.shape[2])
        return np.ones(len(question))

    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(clips[0], persons=True)
        info = library.info()
        judge = AnswererReranker(FunctionAnswerer(looks), "looks")
        library.query("a cat", 50, min_probability=0, rerank=judge)
    whole = widths.count(48)
    asked = len(widths) // info.rows  # each question is asked in several orders
    assert (len(widths), whole) == (asked * info.rows, asked * (info.rows - info.person_rows))


def test_what_is_shown_of_a_person_has_a_key_of_its_own(clips: list[Path]):
    def read() -> Clip:
        raise AssertionError("nobody asked for the frames")

    whole, part = (MediaItem(clips[0], Window(0, 4), read, text) for text in ("", "left"))
    assert whole.key != part.key
    assert (whole.is_file, part.is_file) == (True, False)
