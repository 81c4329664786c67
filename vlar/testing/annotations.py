"""The contract of a format of annotations, as a check: three segments are written and read."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.errors import UsageError
from vlar.segments import Segment, load, save
from vlar.segments.base import OPTIONAL, AnnotationFormat, Source
from vlar.testing.contract import name_of, refused, registered, run

ROWS = (
    Segment("day1", 0.0, 2.0, "walking"),
    Segment("day1", 2.0, 4.0, "grooming"),
    Segment("day1", 6.0, 8.0, "walking"),
)
FPS = 25.0
DAMAGE = (b"\x00\x01\x02", b"nothing to read here", b"{}", b"[1, 2", b"<a/>")


@dataclass
class FormatMaterial:
    """A format and a folder for files.

    Attributes:
        form: The format.
        folder: The folder.
    """

    form: AnnotationFormat
    folder: Path

    @property
    def file(self) -> Path:
        """A file that a new one of this format may be named."""
        return self.folder / f"day1{min(self.form.default_for or self.form.endings, key=len)}"


def check_annotation(part: Any) -> None:
    """Try a format of annotations on three segments, and on damaged files.

    Args:
        part: The format: a class that is made without arguments, or a registered name.

    Raises:
        AssertionError: it breaks the contract of ``vlar.segments.base.AnnotationFormat``.
    """
    part = registry.get("annotation", part) if isinstance(part, str) else part
    cls: type[AnnotationFormat] = part if isinstance(part, type) else type(part)
    name = name_of("annotation", cls)
    with tempfile.TemporaryDirectory() as folder, registered("annotation", name, cls):
        run("annotation", name, STEPS, FormatMaterial(cls(), Path(folder)))


def _description(m: FormatMaterial) -> None:
    """A format states its name, its endings and the fields that it holds, and is documented."""
    assert registry.get("annotation", m.form.name) is type(m.form)
    assert m.form.endings
    assert all(ending.startswith(".") for ending in m.form.endings), m.form.endings
    assert m.form.holds <= set(OPTIONAL)
    assert (type(m.form).__doc__ or "").strip()


def _segments(m: FormatMaterial) -> None:
    """Segments that are written come back, and a second turn changes nothing."""
    if not m.form.writes:
        return
    notes = save(m.file, ROWS, fps=FPS, form=m.form.name)
    rows = load(m.file, fps=FPS).segments
    labels = {row.label for row in ROWS}
    read = [row for row in rows if row.label in labels]
    assert [row.label for row in read] == [row.label for row in ROWS], read
    for one, other in zip(read, ROWS, strict=True):
        assert abs(one.start_s - other.start_s) <= 1e-3, f"{one} for {other}"
        assert abs(one.end_s - other.end_s) <= 1e-3, f"{one} for {other}"
    assert all(isinstance(note, str) for note in notes)
    save(m.file, rows, fps=FPS)
    assert load(m.file, fps=FPS).segments == rows
    m.file.unlink()


def _damage(m: FormatMaterial) -> None:
    """Damage is refused in one line, and a file of something else is not written over."""
    for content in DAMAGE:
        m.file.write_bytes(content)
        assert not m.form.claims(Source(m.file, content)), f"{content!r} is claimed"
        assert "\n" not in str(refused(UsageError, "", load, m.file, fps=FPS))
        refused(UsageError, "", save, m.file, ROWS, fps=FPS, form=m.form.name)
        assert m.file.read_bytes() == content
        assert [path.name for path in m.folder.iterdir()] == [m.file.name]
        m.file.unlink()


STEPS = (_description, _segments, _damage)
