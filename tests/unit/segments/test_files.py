"""Segments, and the files that they are read from and written into."""

from __future__ import annotations

import gzip
import importlib.util
import lzma
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vlar
from tests.refusals import refused
from vlar.behaviour.formats.own import modifiers_of
from vlar.errors import UsageError
from vlar.segments import Segment, load, save

ROWS = [
    Segment("a.mp4", 0.5, 2.0, "walking", subject="m1"),
    Segment("a.mp4", 0.5, 0.5, "jump", modifiers=("high", "left|right"), rater="Ann"),
    Segment("b.mp4", 3.0, 4.25, "walking", tier="body", probability=0.25),
]


def test_fields_and_kinds():
    point, state = Segment("a", 2, 2, "x"), Segment("a", 1, 2.5, "y")
    assert (point.is_point, state.is_point, state.duration_s) == (True, False, 1.5)
    assert state.to_dict() == {"recording": "a", "start_s": 1, "end_s": 2.5, "label": "y"}
    refused(UsageError, "ends at 1 s before it starts at 2 s", Segment, "a", 2, 1, "x")
    refused(UsageError, "not finite", Segment, "a", float("nan"), 1, "x")


def test_rows_come_back_in_order(tmp_path: Path):
    for name in ("a.csv", "a.tsv", "a.csv.xz", "a.csv.gz"):
        vlar.segments.write(tmp_path / name, ROWS[::-1])
        assert vlar.segments.read(tmp_path / name) == [ROWS[1], ROWS[0], ROWS[2]]
    plain = (tmp_path / "a.csv").read_bytes()
    assert lzma.decompress((tmp_path / "a.csv.xz").read_bytes()) == plain
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == plain
    assert "\t" in (tmp_path / "a.tsv").read_text()


def test_a_timeline_of_vlar_is_read(tmp_path: Path):
    file = tmp_path / "t.csv"
    file.write_text("path,start_s,end_s,label,probability,lost\nx.mp4,0,1.5,run,0.75,0\n")
    assert load(file).segments == [Segment("x.mp4", 0, 1.5, "run", probability=0.75)]
    file.write_text('"start_s";"end_s";"label"\n"0,5";"1,5";"run"\n')
    assert load(file).segments == [Segment("t", 0.5, 1.5, "run")]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("start_s,end_s,label\n1,x,a\n", "row 2 has 'x' for a time"),
        ("start_s,end_s,label\n2,1,a\n", "ends at 1 s before it starts"),
        ("start_s,end_s,label\n1,2,a,b\n", "row 2 has 4 cells"),
        ("start_s,end_s\n1,2\n", "not of a format of annotations"),
    ],
)
def test_bad_tables_are_one_line(tmp_path: Path, text: str, part: str):
    file = tmp_path / "t.csv"
    file.write_text(text)
    refused(UsageError, part, load, file)


def test_json_that_is_broken_is_named_as_that_and_whole_json_is_not(tmp_path: Path):
    file = tmp_path / "project.boris"
    file.write_text('{"behaviors_conf": {}, "observ')
    refused(UsageError, r"not whole JSON \(.*line 1 column 24", load, file)
    file.write_text('{"behaviors_conf": {}, "observations": {"a": ')
    refused(UsageError, "damaged file of boris .*line 1 column 46", load, file)
    file.write_text('{"other": 1}')
    refused(UsageError, "not of a format of annotations", load, file)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path):
    file = tmp_path / "settings.json"
    file.write_text("[1]")
    refused(UsageError, "not of a format", save, file, ROWS)
    refused(UsageError, "cannot be written", save, tmp_path / "no" / "a.csv", ROWS)
    refused(UsageError, "no format of annotations has the ending '.docx'", save, "a.docx", ROWS)
    refused(UsageError, "cannot be read", load, tmp_path)
    (tmp_path / "a.csv.xz").write_bytes(b"no xz")
    refused(UsageError, "cannot be unpacked", load, tmp_path / "a.csv.xz")
    assert file.read_text() == "[1]"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv.xz", "settings.json"]


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda a, n, label, mods, p: Segment(
                "r",
                a,
                round(a + n, 3),
                label or "x",
                modifiers=tuple(m or "m" for m in mods),
                probability=p,
            ),
            st.integers(0, 10**6).map(lambda ms: ms / 1000),
            st.integers(0, 10**5).map(lambda ms: ms / 1000),
            texts,
            st.lists(texts, max_size=3),
            st.none() | st.integers(0, 100).map(lambda n: n / 100),
        ),
        max_size=8,
    )
)
def test_any_segments_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Segment]):
    file = tmp_path_factory.mktemp("any") / "a.csv"
    save(file, rows)
    again = load(file).segments
    assert sorted(map(repr, again)) == sorted(map(repr, rows))
    save(file, again)
    assert load(file).segments == again


def test_modifiers_have_one_reading():
    assert modifiers_of("") == ()
    assert modifiers_of(r"a\|b|c\\|") == ("a|b", "c\\", "")


def test_the_page_has_the_table_of_the_script():
    root = Path(vlar.__file__).parents[1]
    spec = importlib.util.spec_from_file_location("t", root / "benchmarks/exchange_table.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = (root / "docs/exchange.md").read_text("utf-8")
    assert script.page(text) == text, "run python benchmarks/exchange_table.py --write"
