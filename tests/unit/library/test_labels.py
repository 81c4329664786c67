"""Labels of spans: kept with versions, copied with their recording, refused where they moved."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.refusals import refused
from vlar.errors import LabelConflictError, LibraryError, UsageError
from vlar.library import labels
from vlar.library.connection import LibraryConnection
from vlar.library.library import Library
from vlar.segments import Segment
from vlar.testing.backends import video
from vlar.testing.material import PictureModel

PATH = "/v/a"
WALK = Segment(PATH, 2.0, 4.5, "walk", tier="Ann", rater="Ann")
REST = Segment(PATH, 0.0, 2.0, "rest", modifiers=("left",))


@pytest.fixture
def library(tmp_path: Path):
    with Library(tmp_path / "lib.vlar", PictureModel()) as made:
        made.add_vectors([video(PATH, 3), video("/v/b", 3)])
        yield made


@pytest.fixture
def connection(library: Library) -> LibraryConnection:
    return library._connection


def test_labels_have_versions_and_a_stale_one_changes_nothing(connection: LibraryConnection):
    assert labels.read(connection, PATH) == labels.Labels(PATH)
    first = labels.write(connection, PATH, [WALK, REST], 0)
    assert (first.version, first.segments) == (1, (REST, WALK))
    assert labels.read(connection, PATH) == first
    refused(LabelConflictError, "version 1 by now, not 0", labels.write, connection, PATH, [], 0)
    assert labels.every(connection) == [first]
    assert labels.write(connection, PATH, [], 1).version == 2
    assert labels.every(connection) == []
    refused(LibraryError, "no recording", labels.read, connection, "/v/none")
    most = [WALK] * (labels.MOST_SEGMENTS + 1)
    refused(UsageError, "at most 20,000", labels.write, connection, PATH, most, 2)


def test_labels_go_with_their_recording(library: Library, connection, tmp_path: Path):
    labels.write(connection, PATH, [WALK], 0)
    with Library(tmp_path / "copy.vlar") as copy:
        library.copy_to(copy)
        assert labels.read(copy._connection, PATH) == labels.read(connection, PATH)
    library.compact()
    assert labels.read(connection, PATH).segments == (WALK,)
    library.remove(PATH)
    library.add_vectors([video(PATH, 3)])
    assert labels.read(connection, PATH).version == 0


def test_a_library_is_shown_with_its_path_recordings_and_model(library: Library, tmp_path: Path):
    path = str(tmp_path / "lib.vlar")
    assert repr(library).startswith(f"Library({path!r}, recordings=2, model=")
    library.close()
    assert repr(library) == f"Library({path!r}, closed)"
    with Library(tmp_path / "new.vlar", PictureModel()) as empty:
        assert "recordings=0, model=none yet" in repr(empty)


@pytest.mark.parametrize("text", ["{", '["x"]', '[{"start_s": 2, "end_s": 1, "label": "a"}]'])
def test_damaged_labels_are_named(library: Library, connection, tmp_path: Path, text: str):
    labels.write(connection, PATH, [WALK], 0)
    with closing(sqlite3.connect(tmp_path / "lib.vlar" / "library.sqlite")) as database, database:
        database.execute("UPDATE labels SET text = ?", (text,))
    refused(LibraryError, "damaged", labels.read, connection, PATH)


@pytest.mark.parametrize(
    "change",
    [{"label": 3}, {"start_s": -1}, {"end_s": None}, {"modifiers": [1]}, {"probability": 2}],
)
def test_a_row_that_is_not_a_segment_is_refused(change: dict[str, object]):
    row = {"start_s": 0.0, "end_s": 1.0, "label": "a", **change}
    refused(UsageError, "segment", labels.segment_of, row)
