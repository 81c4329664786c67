"""Rows of people: stored, checked, migrated to, and answered with."""

from __future__ import annotations

import math
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.library.fakes import DIM, FakeModel
from tests.unit.library.hostile import box, one_row, person
from vlar.library.library import Library
from vlar.library.rows import RowFilter, RowPerson
from vlar.library.shard_reading import VectorVideo
from vlar.library.store import schema
from vlar.library.store.row_check import person_of, stored_box
from vlar.library.store.sqlite import NO_FILE
from vlar.library.store.writer import SqliteWriter
from vlar.types import Window

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
        store, _ = library._connection.nonempty()
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
