"""What a file of annotations may cost: counted before it is made, and linear in its rows."""

from __future__ import annotations

import io
import lzma
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.segments import Segment, load, save
from vlar.segments.files import every_format
from vlar.segments.xml import parse

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
MB = 1 << 20
CELL = '<c r="ALL1"><v>1</v></c>'


def workbook(path: Path, shared: str, rows: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {MAIN}>{shared}</sst>")
        body = f"<worksheet {MAIN}><sheetData>{rows}</sheetData></worksheet>"
        archive.writestr("xl/worksheets/sheet1.xml", body)
    return path


def understated(path: Path, member: str, data: bytes, method: int) -> Path:
    """An archive whose list of entries states 100 bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(member, data)
    content = bytearray(stream.getvalue())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = content.find(mark) + offset
        content[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(content)
    return path


def peak_of(call: Callable[[], object]) -> int:
    """The most bytes that Python holds during a call that is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(UsageError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_cells_that_share_a_text_are_counted_before_they_are_joined(tmp_path: Path):
    cells = '<c t="s"><v>0</v></c>' * 40
    text = f"<si><t>{'x' * 200_000}</t></si>"
    book = workbook(tmp_path / "a.xlsx", text, f"<row>{cells}</row>" * 40)
    assert peak_of(lambda: load(book)) < 120 * MB  # joined they have 320 MB
    refused(UsageError, "more than 50 MB of text", load, book)


@pytest.mark.slow
def test_empty_cells_are_counted_too(tmp_path: Path):
    wide = workbook(tmp_path / "b.xlsx", "", f"<row>{CELL}</row>" * 60_000)
    refused(UsageError, "more than 50 MB of text", load, wide)


@pytest.mark.parametrize("number", ["1", "-1", "x", ""])
def test_a_shared_text_that_is_absent_is_named(tmp_path: Path, number: str):
    row = f'<row><c r="B2" t="s"><v>{number}</v></c></row>'
    book = workbook(tmp_path / "a.xlsx", "<si><t>a</t></si>", row)
    refused(UsageError, f"cell 'B2' has the text {number!r} of 1", load, book)


@pytest.mark.parametrize(
    ("name", "member"), [("a.opf", "db"), ("a.xlsx", "xl/worksheets/sheet1.xml")]
)
def test_an_entry_unpacks_to_no_more_than_it_states(tmp_path: Path, name: str, member: str):
    path = understated(tmp_path / name, member, bytes(40 * MB), zipfile.ZIP_DEFLATED)
    assert peak_of(lambda: load(path)) < 5 * MB
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = understated(tmp_path / name, member, bytes(4 * MB), method)
        refused(UsageError, "not packed by deflate", load, path)


@pytest.mark.parametrize("head", ["recording,start_s,end_s,label\n", "from\tto\ttype\n"])
def test_rows_are_counted_before_they_are_made(tmp_path: Path, head: str):
    path = tmp_path / "a.csv.xz"
    path.write_bytes(lzma.compress(head.encode() + b"1\n" * 6_000_000, preset=0))
    assert peak_of(lambda: load(path)) < 60 * MB
    path = tmp_path / "b.txt.xz"
    path.write_bytes(lzma.compress(b"0\t1\ta\n" + b"\x0c" * 6_000_000, preset=0))
    refused(UsageError, "GB of memory", load, path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_in_every_encoding(encoding: str):
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    refused(ValueError, "document type", parse, text.encode(encoding))
    assert parse(text.replace("&b;", "c").partition("]>")[2].encode()).text == "c"


@pytest.mark.parametrize("form", ["simba", "deepethogram", "cvat", "solomon", "behaviordepot"])
def test_a_table_of_frames_is_counted_before_it_is_written(tmp_path: Path, form: str):
    ending = {"cvat": ".xml", "behaviordepot": ".mat"}.get(form, ".csv")
    rows = [Segment("a", 0.0, 190_000.0, "sleep"), Segment("a", 190_000.01, 190_001.0, "run")]
    path = tmp_path / f"a{ending}"
    assert peak_of(lambda: save(path, rows, fps=100, form=form)) < 5 * MB
    assert not path.exists()


@pytest.mark.parametrize("part", every_format(), ids=lambda part: part.name)
def test_time_is_linear_in_rows(tmp_path: Path, part):
    if not part.writes:
        pytest.skip("is read alone")

    def seconds(count: int) -> float:
        """CPU time to write and read rows, each of a tier, label and recording of its own."""
        rows = [
            Segment(f"r{n}" if part.several else "a", n, n + 0.5, f"l{n}", tier=f"S{n % 50}")
            for n in range(count)
        ]
        path = tmp_path / f"{count}{min(part.default_for or part.endings)}"
        begin_s = time.process_time()
        save(path, rows, fps=2, form=part.name)
        assert len(load(path, fps=2, form=part.name).segments) >= count
        return time.process_time() - begin_s

    size = 100 if part.name in FRAME_BY_FRAME else 1000
    seconds(size)
    small, large = (min(seconds(n) for _ in range(2)) for n in (size, 2 * size))
    # A table with a column a label has four times the cells.
    assert large < (5.0 if part.name in FRAME_BY_FRAME else 3.0) * small + 0.02


FRAME_BY_FRAME = ("deepethogram", "simba", "behaviordepot")


def elan(path: Path, count: int, shape: str) -> Path:
    """Words with a translation each, or a chain in which each refers to the one before."""
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="s{n}" TIME_VALUE="{n}"/>' for n in range(count + 1))
    parents = 1 if shape == "chain" else count
    words = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{n}" TIME_SLOT_REF1="s{n}" '
        f'TIME_SLOT_REF2="s{n + 1}"/></ANNOTATION>'
        for n in range(parents)
    )
    letter = "a" if shape == "chain" else "b"
    refers = "".join(
        f'<TIER TIER_ID="t{n}"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{letter}{n + 1}" '
        f'ANNOTATION_REF="a{n}"/></ANNOTATION></TIER>'
        for n in reversed(range(count))
    )
    path.write_text(
        f"<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER><TIER TIER_ID='w'>{words}</TIER>"
        f"{refers}</ANNOTATION_DOCUMENT>"
    )
    return path


@pytest.mark.parametrize("shape", ["chain", "translations"])
def test_elan_visits_each_parent_once(tmp_path: Path, shape: str):
    def seconds(count: int) -> float:
        path = elan(tmp_path / f"{count}.eaf", count, shape)
        begin_s = time.process_time()
        assert len(load(path).segments) == count + (1 if shape == "chain" else count)
        return time.process_time() - begin_s

    small, large = (min(seconds(n) for _ in range(2)) for n in (1000, 2000))
    assert large < 3.0 * small + 0.02


def test_a_table_of_many_columns_is_searched_once_a_column(tmp_path: Path):
    def seconds(columns: int) -> float:
        path = tmp_path / f"{columns}_targets.csv"
        header = ["", "a_x", "a_y", "a_p", *(f"l{n}" for n in range(columns))]
        rows = "".join(f"{n},.5,.5,.5{',1' * columns}\n" for n in range(20))
        path.write_text(",".join(header) + "\n" + rows)
        begin_s = time.process_time()
        assert len(load(path, fps=1).segments) == columns
        return time.process_time() - begin_s

    small, large = (min(seconds(n) for _ in range(2)) for n in (1000, 2000))
    assert large < 3.0 * small + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("part", every_format(), ids=lambda part: part.name)
def test_a_hundred_thousand_rows_take_seconds(tmp_path: Path, part):
    if not part.writes or part.name == "charades":
        pytest.skip("is read alone, or has one line a recording")
    rows = [Segment("a", n / 2, n / 2 + 0.25, f"l{n % 7}") for n in range(100_000)]
    path = tmp_path / f"a{min(part.default_for or part.endings)}"
    save(path, rows, fps=4, form=part.name)
    begin_s = time.process_time()
    assert len(load(path, fps=4, form=part.name).segments) >= len(rows)
    assert time.process_time() - begin_s < 4.0  # 2 s on a machine that does nothing else


@pytest.mark.parametrize("time_s", [1e299, -1e12, float("nan"), float("inf")])
def test_a_time_is_below_1e12_seconds(time_s: float):
    refused(UsageError, "not finite or beyond 1e12 s", Segment, "a", time_s, time_s, "x")
