"""What every registered format of annotations must keep to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.refusals import refused
from vlar import registry
from vlar.errors import UsageError
from vlar.segments import Segment, load, save
from vlar.segments.base import OPTIONAL, AnnotationFormat, Source

ROWS = [
    Segment("day1", 0.0, 2.0, "walking"),
    Segment("day1", 2.0, 4.0, "grooming"),
    Segment("day1", 6.0, 8.0, "walking"),
]
FPS = 25.0


@pytest.fixture(params=registry.names("annotation"))
def part(request: pytest.FixtureRequest) -> AnnotationFormat:
    return registry.get("annotation", request.param)()


def target(part: AnnotationFormat, folder: Path) -> Path:
    """A file that a new one of this format may be named."""
    return folder / f"day1{min(part.default_for or part.endings, key=len)}"


def test_its_description_is_complete(part: AnnotationFormat):
    assert registry.get("annotation", part.name) is type(part)
    assert part.endings
    assert all(ending.startswith(".") for ending in part.endings)
    assert part.holds <= set(OPTIONAL)
    assert (type(part).__doc__ or "").strip()


def test_segments_come_back(part: AnnotationFormat, tmp_path: Path):
    if not part.writes:
        return
    file = target(part, tmp_path)
    notes = save(file, ROWS, fps=FPS, form=part.name)
    rows = load(file, fps=FPS).segments
    spans = [
        (row.start_s, row.end_s, row.label) for row in rows if row.label in ("walking", "grooming")
    ]
    assert spans == [
        pytest.approx(row, abs=1e-3) for row in [(r.start_s, r.end_s, r.label) for r in ROWS]
    ]
    assert all(isinstance(note, str) for note in notes)
    # A second turn changes nothing.
    save(file, rows, fps=FPS)
    assert load(file, fps=FPS).segments == rows


def test_damage_is_one_line_and_nothing_is_written(part: AnnotationFormat, tmp_path: Path):
    for content in (b"\x00\x01\x02", b"nothing to read here", b"{}", b"[1, 2", b"<a/>"):
        file = target(part, tmp_path)
        file.write_bytes(content)
        assert not part.claims(Source(file, content))
        error = refused(UsageError, "", load, file, fps=FPS)
        assert "\n" not in str(error.value)
        refused(UsageError, "", save, file, ROWS, fps=FPS, form=part.name)
        assert file.read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == [file.name]
        file.unlink()
