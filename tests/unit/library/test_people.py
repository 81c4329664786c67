"""Rows of people: made by ``persons=True``, stored, checked, migrated to, and answered with."""

from __future__ import annotations

import math
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from tests.unit.library.fakes import (
    DIM,
    ConditionedFake,
    FakeCaptioner,
    FakeModel,
    load_fake,
    store_of,
    tiny_video,
)
from tests.unit.library.hostile import box, one_row, person
from tests.unit.library.maintain.test_upgrade import PartModel
from vlar.errors import LibraryError, QueryError, UnknownNameError, UsageError
from vlar.generators.opinions.base import FunctionAnswerer, MediaItem
from vlar.generators.opinions.question import Question
from vlar.library.ingest.runners.processes import ProcessRunner
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.rows import RowFilter, RowPerson
from vlar.library.store import schema
from vlar.library.store.row_check import person_of, stored_box
from vlar.library.store.values import NO_FILE
from vlar.library.store.writer import SqliteWriter
from vlar.people import base
from vlar.people.base import PERSON, Boxes, Detector
from vlar.plugins.second_opinion.reranker import AnswererReranker
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
    store = store_of(library)
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


def test_an_agent_lists_the_people_of_a_recording(tmp_path: Path, clips: list[Path]):
    pytest.importorskip("mcp")
    from vlar.apps.serve.agent_tools import Reading
    from vlar.apps.serve.library import ServedLibrary

    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(clips[0], persons=True)
    with ServedLibrary(tmp_path / "l.vlar") as served:
        rows = {"path": str(clips[0]), "people": served.people(str(clips[0]))}
    found = Reading(SimpleNamespace(rows=lambda video: rows)).persons("id")["persons"]  # type: ignore[arg-type]
    assert [row["person"] for row in found] == [1, 2]
    assert (found[0]["start_s"], found[1]["start_s"]) == (0.0, 2.0)
    assert found[0]["box"][0] < 0.5 < found[1]["box"][0]


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
            answers.append([{**hit.to_dict(), "row": None} for hit in hits])  # rows of people too
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
        refused(LibraryError, "made with rows of people", library.add, clips[2], persons=False)
        refused(LibraryError, "detector 'pose'", library.add, clips[2], detector="motion")
    with Library(tmp_path / "without.vlar", FakeModel()) as library:
        library.add(clips[0])
        refused(LibraryError, "without rows of people", library.add, clips[1], persons=True)
        refused(QueryError, "no rows of people", library.query, "a cat", where=["persons=only"])
        assert library.query("a cat", where=["persons=no"], min_probability=0)


def test_a_detector_alone_and_another_sensor_are_refused(tmp_path: Path, clips: list[Path]):
    with (
        Library(tmp_path / "l.vlar", FakeModel()) as library,
        pytest.raises(UsageError, match="give persons=True too"),
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
        store = store_of(library)
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
            refused(QueryError, "", library.query, "a cat", where=[f"who={text}"])
        refused(QueryError, "both, only, no", library.query, "a cat", where=["persons=some"])
        refused(QueryError, "cannot be compared", library.query, "a cat", where=["persons!=no"])


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


SPANS = [Window(0.0, 4.0), Window(2.0, 6.0), Window(4.0, 8.0)]

SHARE = st.floats(0, 1, width=32)

LEFT, RIGHT = (0.0, 0.1, 0.4, 0.9), (0.5, 0.1, 1.0, 0.9)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def made(folder: Path, persons: str = "pose") -> Path:
    """One recording of three windows with two people each: rows 1 to 9, whole frame first."""
    with Library(folder, FakeModel()) as library:
        library.add_vectors([VectorVideo("/v/other.mp4", SPANS[:1], one_row(9))])
        library.remove("/v/other.mp4")
    writer = SqliteWriter.open_to_write(folder)
    try:
        with writer.transaction():
            if persons:
                writer.set_meta({"persons": persons})
            video_id = writer.put_video("/v/two.mp4", "content", NO_FILE, 8.0)
            draw = np.random.default_rng(3)
            for window in SPANS:
                rows = unit(draw.normal(size=(3, DIM)))
                people = [None, RowPerson(1, LEFT), RowPerson(2, RIGHT)]
                writer.insert_rows(video_id, [window] * 3, rows, people)
    finally:
        writer.close()
    return folder


def aimed(folder: Path, texts: dict[tuple[float, int], str]) -> None:
    """Give rows (start, track) the vector of a text."""
    writer = SqliteWriter.open_to_write(folder)
    try:
        (video_id,) = writer.paths()
        batch = writer.rows(writer.row_ids([video_id]).tolist(), DIM)
        vectors, people = batch.vectors.copy(), []
        for at, row_id in enumerate(batch.ids.tolist()):
            who = batch.people.get(row_id)
            people.append(who)
            text = texts.get((batch.spans[at][0], 0 if who is None else who.track))
            if text is not None:
                vectors[at] = FakeModel().encode_queries([text])[0]
        with writer.transaction():
            spans = [Window(*span) for span in batch.spans]
            writer.replace_rows(video_id, spans, vectors, people)
    finally:
        writer.close()


@given(
    track=st.integers(1, 2**53 - 1),
    x=st.tuples(SHARE, SHARE).map(sorted),
    y=st.tuples(SHARE, SHARE).map(sorted),
)
def test_a_person_is_stored_and_found_again(track: int, x: list[float], y: list[float]):
    who = RowPerson(track, (x[0], y[0], x[1], y[1]))
    assert person_of(track, stored_box(who)) == who


@pytest.mark.parametrize(
    ("track", "stored"),
    [
        *((track, box(0, 0, 1, 1)) for track in (0, -1, 1 << 53, 1.5, "1", b"1", None)),
        *((1, sides) for sides in (None, "0 0 1 1", b"", box(0, 0, 1), box(0, 0, 1, 1, 1))),
        *((1, box(*s)) for s in ((-0.1, 0, 1, 1), (0, 0, 1, 1.01), (0.8, 0, 0.2, 1))),
        *((1, box(0, 0, odd, 1)) for odd in (math.nan, math.inf, -math.inf)),
    ],
)
def test_what_is_not_a_person(track: object, stored: object):
    assert person_of(track, stored) is None


@settings(max_examples=8, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 40), st.integers(1, 9), st.integers(0, 99)),
        max_size=12,
        unique_by=lambda row: row[:3],
    )
)
def test_format_2_is_migrated_without_a_change_of_any_row(rows: list[tuple[int, int, int, int]]):
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / schema.FILE_NAME
        with closing(sqlite3.connect(file, isolation_level=None)) as old:
            old.create_function("row_checksum", 3, schema.row_checksum)
            for statement in (*schema.MIGRATIONS[0], *schema.MIGRATIONS[1]):
                old.execute(statement)
            for video_id in (1, 2, 3):
                facts = (video_id, f"/v/{video_id}.mp4", "", 0, 0, 60.0, 0.0)
                old.execute(
                    "INSERT INTO videos (id, path, content_hash, size, mtime_ns, duration_s, "
                    "added_at_s) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    facts,
                )
            for video_id, start_s, length_s, seed in rows:
                blob = one_row(seed)[0].astype("<f2").tobytes()
                old.execute(
                    "INSERT INTO rows (video_id, start_s, end_s, vector, checksum) "
                    "VALUES (?1, ?2, ?3, ?4, row_checksum(?2, ?3, ?4))",
                    (video_id, float(start_s), float(start_s + length_s), blob),
                )
            old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            old.execute("PRAGMA user_version = 2")
            before = old.execute(
                "SELECT id, video_id, start_s, end_s, vector, checksum FROM rows ORDER BY id"
            ).fetchall()
        writer = SqliteWriter.open_to_write(Path(place))
        try:
            found = writer.fetch("SELECT * FROM rows ORDER BY id")
            assert [row[:6] for row in found] == before
            assert {row[6:] for row in found} <= {(0, None)}
            batch = writer.rows([row[0] for row in before], DIM)
            assert (len(batch.ids), batch.people, writer.damaged) == (len(rows), {}, {})
            assert writer.fetch("PRAGMA user_version") == [(schema.SCHEMA_VERSION,)]
        finally:
            writer.close()


def test_a_window_has_one_row_of_each_track(tmp_path: Path):
    folder = made(tmp_path / "l.vlar")
    writer = SqliteWriter.open_to_write(folder)
    try:
        with pytest.raises(sqlite3.IntegrityError), schema.transaction(writer.connection):
            writer.insert_rows(1, SPANS[:1], one_row(1), [RowPerson(2, LEFT)])
    finally:
        writer.close()


def test_neighbours_are_of_one_track(tmp_path: Path):
    folder = made(tmp_path / "l.vlar")
    writer = SqliteWriter.open_to_write(folder)
    try:
        (video_id,) = writer.paths()
        for track in (0, 1, 2):
            (batch,) = writer.neighbours(video_id, 0.0, 4.0, DIM, later=True, track=track)
            assert batch.spans == ((2.0, 6.0), (4.0, 8.0))
            whom = [batch.people[i].track if i in batch.people else 0 for i in batch.ids.tolist()]
            assert whom == [track, track]
        assert writer.ids_of(people=True).tolist() == [3, 4, 6, 7, 9, 10]
        assert writer.ids_of(people=False).tolist() == [2, 5, 8]
    finally:
        writer.close()


@pytest.mark.parametrize("query", ["a cat", '"a cat" AND NOT "a dog"'])
def test_a_span_is_one_hit_of_the_best_row(tmp_path: Path, query: str):
    folder = made(tmp_path / "l.vlar")
    aimed(folder, {(0.0, 2): "a cat", (2.0, 2): "a cat", (4.0, 1): "a dog"})
    with Library(folder, FakeModel()) as library:
        best = library.query(query, 10, min_probability=0)[0]
        assert (best.track, best.start_s) == (2, 0.0)
        assert best.end_s <= 6.0  # grown over the rows of the same person alone
        assert best.box == pytest.approx(RIGHT)
        assert best.box_s in (2.0, 4.0)
        facts = best.to_dict()
        assert (facts["track"], facts["box_s"]) == (2, best.box_s)
        hits = library.query(query, 10, min_probability=0)
        starts = [hit.start_s for hit in hits]
        assert len(set(starts)) == len(starts) <= len(SPANS)
        assert library.verify(files=False) == []


def test_whole_frames_have_no_track(tmp_path: Path):
    folder = made(tmp_path / "l.vlar")
    aimed(folder, {(0.0, 0): "a cat"})
    with Library(folder, FakeModel()) as library:
        best = library.query("a cat", min_probability=0)[0]
    assert (best.track, best.box, best.box_s) == (None, None, None)
    assert not {"track", "box", "box_s"} & best.to_dict().keys()


def test_a_filter_of_rows(tmp_path: Path):
    folder = made(tmp_path / "l.vlar")
    with Library(folder, FakeModel()) as library:
        store = store_of(library)
        with store.snapshot():
            engine = library._connection.search_cache(store).engine
            ids = engine.ids(RowFilter(rows=frozenset([3, 6, 99])))
        assert ids.tolist() == [3, 6]


def test_a_changed_box_is_not_drawn(tmp_path: Path):
    folder = made(tmp_path / "l.vlar")
    person(2, box(0, 0, 2, 2), row_id=4)(folder)
    with Library(folder, FakeModel()) as library:
        (fault,) = library.verify(files=False)
        assert (fault.kind, fault.ids) == ("row", (4,))
        hits = library.query("a cat", 50, min_probability=0)
        assert all(hit.box is None or max(hit.box) <= 1 for hit in hits)
