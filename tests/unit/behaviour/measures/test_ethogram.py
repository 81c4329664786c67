"""Ethograms against the exports of BORIS, and their tables, drawings and page."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vlar
from tests.command_line import invoke
from tests.conftest import SHARED
from tests.refusals import refused
from tests.unit.segments import samples
from vlar.behaviour.measures.drawing import Drawing, Shape, marks
from vlar.behaviour.measures.pages import Report, methods
from vlar.errors import UsageError
from vlar.segments import Segment as S
from vlar.segments import save

FORMATS = SHARED / "behaviour" / "formats" / "boris"
real = pytest.mark.skipif(not FORMATS.is_dir(), reason="BORIS' project is not on this machine")

ROWS = [
    S("a", 1, 3, "run", "m1"), S("a", 5, 6, "run", "m1"), S("a", 3, 3, "jump", "m1"),
    S("a", 0.5, 9.5, "run", "m2"), S("b", 2, 4, "sit"),
]  # fmt: skip


def test_rows_by_hand():
    content = vlar.ethogram(ROWS, duration_s=10.0)
    rows = {(r.recording, r.subject, r.label): r for r in content}
    run = rows["a", "m1", "run"]
    assert (run.bouts, run.total_s, run.share, run.mean_s, run.latency_s) == (2, 3, 0.3, 1.5, 1)
    assert run.rate_per_min == 12
    jump = rows["a", "m1", "jump"]
    assert (jump["bouts"], jump["total_s"], jump["share"], jump["mean_s"]) == (1, 0, 0, None)
    refused(KeyError, "seconds", lambda: jump["seconds"])
    assert len(content) == 4
    assert content[0].to_dict()["label"] == "jump"
    assert set(content.to_dict()) == {"rows", "durations", "transitions"}
    overlapping = vlar.ethogram([S("a", 0, 6, "x"), S("a", 4, 8, "x")], duration_s={"a": 10})
    assert (overlapping[0].total_s, overlapping[0].share) == (10, 0.8)
    assert vlar.ethogram([], duration_s=3).rows == ()
    refused(
        UsageError,
        "'a' has the duration 2 s and a segment from 5 s",
        vlar.ethogram,
        ROWS,
        duration_s=2,
    )


def test_bins_transitions_and_conditions():
    content = vlar.ethogram(ROWS, duration_s={"a": 10, "b": 5})
    bins = [(b.start_s, b.end_s, b.starts, b.total_s) for b in content.bins(4) if b.subject == "m2"]
    assert bins == [(0, 4, 1, 3.5), (4, 8, 0, 4), (8, 10, 0, 1.5)]
    refused(UsageError, "bins of 0 s", content.bins, 0)
    steps = [(t.first, t.then, t.count, t.probability) for t in content.transitions()]
    assert steps == [("jump", "run", 1, 1.0), ("run", "jump", 1, 1.0)]
    rows = {(c.value, c.label): c for c in content.conditions({"a": "drug", "b": "none"})}
    drug = rows["drug", "run"]
    assert (drug.n, drug.share_mean, drug.bouts_mean, drug.latency_mean) == (2, 0.6, 1.5, 0.75)
    assert drug.share_sd == pytest.approx(0.424264, abs=1e-6)
    none = rows["none", "run"]
    assert (none.n, none.share_mean, none.share_sd, none.latency_mean) == (1, 0, None, None)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 10), st.sampled_from("ab")), min_size=1)
)
def test_bins_and_shares_add_up(spans: list[tuple[int, int, str]]):
    rows = [S("r", start, start + length, label) for start, length, label in spans]
    content = vlar.ethogram(rows, duration_s=100)
    for row in content:
        bins = [b for b in content.bins(7) if b.label == row.label]
        assert sum(b.starts for b in bins) == row.bouts
        assert sum(b.total_s for b in bins) == pytest.approx(100 * row.share, abs=1e-4)
        assert 0 <= row.share <= 1
    by_label: dict[str, float] = defaultdict(float)
    for step in content.transitions():
        by_label[step.first] += step.probability
    assert all(total == pytest.approx(1, abs=1e-5) for total in by_label.values())


@real
def test_the_aggregated_export_of_boris_is_equal():
    result = invoke(["ethogram", str(FORMATS / "test.boris"), "--json"])
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    own = {(r["subject"], r["label"]): r for r in rows if r["recording"] == "observation #2"}
    bouts: dict[tuple[str, str], list[tuple[float, float, str]]] = defaultdict(list)
    with (FORMATS / "test_export_aggregated_events_test_full_1.tsv").open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            subject = row["Subject"].replace("No focal subject", "")
            times = float(row["Start (s)"]), float(row["Stop (s)"])
            bouts[subject, row["Behavior"]].append((*times, row["Duration (s)"]))
            length = float(row["Total length"])
    assert own.keys() == bouts.keys()
    for key, spans in bouts.items():
        lengths = [float(length_) for *_, length_ in spans if length_ != "NA"]
        row = own[key]
        assert row["bouts"] == len(spans)
        assert row["total_s"] == pytest.approx(sum(lengths), abs=1e-3)
        assert row["share"] == pytest.approx(sum(lengths) / length, abs=1e-5)
        assert row["latency_s"] == pytest.approx(min(start for start, *_ in spans), abs=1e-3)
        if lengths:
            assert row["mean_s"] == pytest.approx(sum(lengths) / len(lengths), abs=1e-3)
        else:
            assert row["mean_s"] is None


def test_the_command_writes_tables_drawings_and_a_page(tmp_path: Path):
    project = json.loads(json.dumps(samples.BORIS))
    file = tmp_path / "in" / "p.boris"
    file.parent.mkdir()
    (tmp_path / "a.mp4").write_bytes(b"")
    project["observations"]["day 1"]["file"]["1"][0] = str(tmp_path / "a.mp4")
    project["observations"]["day 1"]["media_info"]["length"] = {
        str(tmp_path / "a.mp4"): 60,
        "b.mp4": 40.5,
    }
    file.write_text(json.dumps(project))
    (file.parent / "notes.txt").write_text("no annotations")
    out = tmp_path / "out"
    result = invoke(
        ["ethogram", str(file.parent), "--condition", "drug", "--bin", "50s", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "day 1 pup  sniff: 1 x, 2.500 s (2.5%), mean 2.500 s, first at 1.500 s" in result.output
    assert "unpaired state 'sniff'" in result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "actogram.png", "actogram.svg", "bins.csv", "bouts.csv", "budget.csv", "conditions.csv",
        "ethogram.html", "methods.txt", "raster.png", "raster.svg", "transitions.csv",
    ]  # fmt: skip
    with (out / "bins.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 6
    for name in ("raster", "actogram"):
        assert Image.open(out / f"{name}.png").size[0] == 990
        assert ET.fromstring((out / f"{name}.svg").read_text()).tag.endswith("svg")
    page = (out / "ethogram.html").read_text()
    assert '<video controls src="../a.mp4">' in page
    assert 'data-s="1.500"' in page
    text = (out / "methods.txt").read_text()
    assert "We analysed 1 recording (0.0279 h, 2 subjects of recordings)" in text
    assert "1 bout and 1 point event of 2 behaviours (jump, sniff)" in text
    result = invoke(["ethogram", str(file), "--condition", "dose"])
    assert "no recording has it; there are drug" in result.output
    assert result.exit_code == 2


def test_texts_of_others_are_escaped_and_models_are_named(tmp_path: Path):
    rows = [S("<b>a</b>", 0, 2, "<script>x</script>", probability=0.6, rater="Ann & Bo")]
    report = Report(vlar.ethogram(rows, duration_s=4), model="mine", notes=["a note"])
    report.write(tmp_path / "out")
    page = (tmp_path / "out" / "ethogram.html").read_text()
    assert "<script>x" not in page
    assert "<b>a" not in page
    assert "&lt;script&gt;" in page
    text = methods(report)
    assert "1 segments come from a model mine with a mean probability of 0.60 (1 below .7)" in text
    assert "Ann & Bo" in text
    assert "Reading reported: a note." in text
    (tmp_path / "file").write_text("")
    refused(UsageError, "cannot be written", report.write, tmp_path / "file")


def test_durations_and_folders_of_the_command(tmp_path: Path):
    save(tmp_path / "a.csv", [S("r", 1, 2, "x"), S("q", 0, 0, "x")])
    result = invoke(["ethogram", str(tmp_path), "--duration", "8s", "--json"])
    assert [json.loads(line)["share"] for line in result.stdout.splitlines() if line[0] == "{"] == [
        0,
        0.125,
    ]
    result = invoke(["ethogram", str(tmp_path / "a.csv")])
    assert "no duration is stated of 'q'" in result.output
    (tmp_path / "none").mkdir()
    result = invoke(["ethogram", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "holds no annotations" in result.output


def test_drawings(tmp_path: Path):
    drawing = Drawing(
        50, 30, [Shape("rect", 10, 5, 20, 10, "#ff0000", "a & b"), Shape("text", 1, 20, text="<")]
    )
    drawing.axis(5, 25, 40, 10)
    drawing.write(tmp_path / "d.svg")
    drawing.write(tmp_path / "d.png")
    assert "<title>a &amp; b</title>" in (tmp_path / "d.svg").read_text()
    image = Image.open(tmp_path / "d.png")
    assert [image.getpixel((x, 8)) for x in (9, 10, 29, 30)] == [
        (255, 255, 255), (255, 0, 0), (255, 0, 0), (255, 255, 255)
    ]  # fmt: skip
    assert marks(0.5) == [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]


def test_tables_begin_no_formula_and_hold_no_control_character(tmp_path: Path):
    rows = [S("=cmd|calc", 0, 1, "+run", "@pup"), S("b", 0, 2, "a\x1b[2J")]
    Report(vlar.ethogram(rows, duration_s=4)).write(tmp_path / "out")
    tables = list((tmp_path / "out").glob("*.csv"))
    cells = [c for t in tables for row in csv.reader(t.open(newline="")) for c in row]
    assert {"'=cmd|calc", "'+run", "'@pup", "a\\x1b[2J"} <= set(cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@")) or "\x1b" in cell]


def test_a_duration_beyond_all_times_is_refused():
    refused(UsageError, "give its duration", vlar.ethogram, [S("a", 0, 1, "x")], duration_s=1e299)
