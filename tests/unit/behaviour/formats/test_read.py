# ruff: noqa: E501
"""Every format as its description has it: the segments of a small file."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

import vlar
from tests.refusals import refused
from tests.unit.segments import samples
from vlar.errors import UsageError
from vlar.segments import Segment as S
from vlar.segments import Table, load

FLOOR = ("floor",)


def table(tmp_path: Path, name: str, content: bytes | str, **options: object) -> Table:
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(file, **options)  # pyright: ignore[reportArgumentType]


def test_boris_projects(tmp_path: Path):
    content = table(tmp_path, "p.boris", samples.as_json(samples.BORIS))
    assert content.keys == {"j": ("jump", True), "s": ("sniff", False)}
    assert content.segments == [
        S("day 1", 1.5, 4.0, "sniff", "pup", modifiers=FLOOR),
        S("day 1", 2.0, 2.0, "jump", tier="move"),
    ]
    (note,) = content.notes
    assert "unpaired state 'sniff' (wall) of pup at 5.000 s" in note
    assert content.durations == {"day 1": 100.5}
    assert content.media["day 1"] == ("a.mp4", "b.mp4")
    assert content.conditions["day 1"] == {"drug": "saline"}


def test_boris_events_of_pictures_and_of_other_ethograms(tmp_path: Path):
    project = json.loads(json.dumps(samples.BORIS))
    project["observations"]["day 2"]["events"] = [
        [float("nan"), "", "jump", "", "", 4], [3, "", "dive", "", "", 75]
    ]  # fmt: skip
    content = table(tmp_path, "p.boris", samples.as_json(project))
    assert S("day 2", 3, 3, "dive") in content.segments
    assert any("have no time" in note for note in content.notes)
    assert any("'dive' is not in the ethogram" in note for note in content.notes)


def test_boris_tables(tmp_path: Path):
    old = table(tmp_path, "o.csv", samples.OLD_TABULAR)
    assert old.segments == [
        S("day 1", 1.5, 4.0, "sniff", "pup"),
        S("day 1", 2.0, 2.0, "jump", tier="move"),
    ]
    assert "unpaired state 'sniff' of pup at 5.000" in old.notes[0]
    assert (old.durations, old.conditions) == ({"day 1": 100.5}, {"day 1": {"drug": "saline"}})
    new = table(tmp_path, "n.csv", samples.NEW_TABULAR)
    assert new.segments == [
        S("day 1", 1.5, 4.0, "sniff", "pup", modifiers=FLOOR),
        S("day 2", 2.0, 2.0, "jump", tier="move"),
    ]
    assert new.conditions == {"day 1": {"drug": "saline"}, "day 2": {"drug": "drug"}}
    tabs = table(tmp_path, "o.tsv", samples.OLD_TABULAR.replace(",", "\t"))
    assert tabs.segments == old.segments


@pytest.mark.parametrize(("form", "words"), [("2.7", samples.WORDS_27), ("3.0", samples.WORDS_30)])
def test_elan(tmp_path: Path, form: str, words: str):
    text = samples.EAF.format(form=form, vocabulary=words)
    rows = table(tmp_path, "x.eaf", text).segments
    times = {(r.tier, r.label): (round(r.start_s, 6), round(r.end_s, 6)) for r in rows}
    assert times == {
        ("says", "give me that"): (1, 4), ("says", "says"): (4, 6), ("words", "give"): (1, 2),
        ("words", "me"): (2, 3), ("words", "that"): (3, 4), ("parts", "first"): (1, 2.5),
        ("parts", "second"): (2.5, 4), ("kind", "noun"): (2.5, 4),
    }  # fmt: skip
    assert {(r.recording, r.subject, r.rater) for r in rows if r.tier == "says"} == {
        ("a.mp4", "Eva", "Bo")
    }
    by_tier = load(tmp_path / "x.eaf", label_from="tier").segments
    assert S("a.mp4", 2, 3, "words", tier="words", modifiers=("me",)) in by_tier


def test_elan_refuses_entities(tmp_path: Path):
    text = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><ANNOTATION_DOCUMENT>&a;</ANNOTATION_DOCUMENT>'
    refused(UsageError, "document type or entities", table, tmp_path, "x.eaf", text)
    deep = "<ANNOTATION_DOCUMENT>" + "<a>" * 50 + "</a>" * 50 + "</ANNOTATION_DOCUMENT>"
    refused(UsageError, "more than 40 levels", table, tmp_path, "y.eaf", deep)


def test_via(tmp_path: Path):
    content = table(tmp_path, "p.json", samples.as_json(samples.VIA))
    assert content.segments == [
        S("a.mp4", 1.0, 2.5, "cold", tier="flags"), S("a.mp4", 1.0, 2.5, "run", tier="acts"),
        S("a.mp4", 1.0, 2.5, "wet", tier="flags"), S("a.mp4", 2.0, 2.0, "a word", tier="note"),
        S("a.mp4", 3.0, 4.5, "sit", tier="acts"),
    ]  # fmt: skip
    assert sorted(content.notes) == [
        "1 annotations are regions and left out", "1 annotations are whole files and left out"
    ]  # fmt: skip


def test_datavyu(tmp_path: Path):
    content = table(tmp_path, "x.opf", samples.opf())
    assert content.segments == [
        S("x", 1.5, 2.0, "left", tier="hands.hand"), S("x", 60, 60, "1", tier="hands.look"),
        S("x", 60, 60, "a, b", tier="hands.hand"), S("x", 3600.001, 3602, "child", tier="child"),
    ]  # fmt: skip
    assert "ends before it starts" in content.notes[0]
    rows = "file,column,ordinal,onset,offset,hand,look\nx,hands,1,1500,2000,left,\nx,hands,2,9,8,left,\n"
    content = table(tmp_path, "x.csv", rows)
    assert content.segments == [S("x", 1.5, 2.0, "left", tier="hands.hand")]
    assert content.notes == ("row 3 ends before it starts: left out",)


def test_older_columns_of_datavyu(tmp_path: Path):
    text = "#4\nlook (NOMINAL,true,)\n00:00:01:000,00:00:02:000,left\n00:00:03:000,00:00:04:000,\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("db", text)
    assert table(tmp_path, "x.opf", stream.getvalue()).segments == [
        S("x", 1, 2, "left", tier="look"), S("x", 3, 4, "look", tier="look")
    ]  # fmt: skip


def test_predictions_in_the_form_of_activitynet(tmp_path: Path):
    content = {
        "version": "1",
        "results": {"v": [{"segment": [1, 2], "label": "run", "score": 0.5}]},
    }
    rows = table(tmp_path, "r.json", samples.as_json(content)).segments
    assert rows == [S("v", 1, 2, "run", probability=0.5)]


def test_keys_of_jwatcher(tmp_path: Path):
    assert [r.label for r in table(tmp_path, "p.dat", samples.JWATCHER).segments] == ["s", "j"]
    (tmp_path / "keys.fmf").write_text(samples.KEYS)
    content = load(tmp_path / "p.dat")
    assert content.segments == [S("pup", 1.5, 4.0, "sniff"), S("pup", 4.0, 6.0, "jump")]
    assert content.durations == {"pup": 6.0}


def test_tables_of_frames(tmp_path: Path):
    refused(UsageError, "give fps", table, tmp_path, "a_labels.csv", samples.DEEPETHOGRAM)
    rows = table(tmp_path, "a_labels.csv", samples.DEEPETHOGRAM, fps=10).segments
    assert rows == [
        S("a", 0, 0.1, "background"), S("a", 0.1, 0.3, "walk"), S("a", 0.2, 0.3, "rear"),
        S("a", 0.4, 0.5, "rear"),
    ]  # fmt: skip
    content = table(tmp_path, "s.csv", samples.SIMBA, fps=10)
    assert content.segments == [S("s", 0, 0.2, "Sniff"), S("s", 0.1, 0.3, "Attack")]
    assert "trailing 0/1 columns ['Attack', 'Sniff']" in content.notes[0]
    assert len(load(tmp_path / "s.csv", fps=10, labels=["Sniff"]).segments) == 1
    refused(UsageError, "no column 'x'", load, tmp_path / "s.csv", fps=10, labels=["x"])
    rows = table(tmp_path, "t.csv", samples.SOLOMON).segments
    assert rows == [
        S("t", 0.2, 0.6, "On", tier="Light"), S("t", 0.4, 0.8, "run", tier="Act"),
        S("t", 0.8, 1.0, "sit", tier="Act"),
    ]  # fmt: skip


def test_streams(tmp_path: Path):
    text = samples.BENTO.format(stimulus="", rows="3.0\t 3.9666666667\t 1.0")
    content = table(tmp_path, "a.annot", text)
    assert [(r.start_s, round(r.end_s, 6), r.label, r.tier) for r in content.segments] == [
        (3.0, 4.0, "attack", "Ch1")
    ]
    assert content.durations == {"a": 10.0}
    text = samples.BENTO.format(stimulus="", rows="91\t 120\t 30")
    assert [(r.start_s, r.end_s) for r in table(tmp_path, "b.annot", text).segments] == [(3.0, 4.0)]
    rows = table(tmp_path, "7_annot.txt", samples.CALTECH, fps=30).segments
    assert rows == [
        S("7", 0, 1, "base", tier="S1"), S("7", 0, 2, "base", tier="S2"), S("7", 1, 2, "attack", tier="S1"),
    ]  # fmt: skip
    refused(UsageError, "give fps", load, tmp_path / "7_annot.txt")


def test_json_of_data_sets_and_jabs(tmp_path: Path):
    video = {"duration": 10, "url": "u", "annotations": [{"segment": [1, 2.5], "label": "run"}]}
    forms = (
        {"version": "1", "database": {"v": video}},
        {"v": video},
        [{"id": "v", **video}],
        [{"v": video}],
    )
    for form in forms:
        content = table(tmp_path, "a.json", samples.as_json(form))
        assert content.segments == [S("v", 1, 2.5, "run")]
        assert content.durations == {"v": 10.0}
    rows = table(tmp_path, "j.json", samples.as_json(samples.JABS), fps=30).segments
    assert rows == [
        S("a.avi", 0, 1, "Groom", "0", "Groom"),
        S("a.avi", 2, 3, "not Groom", "0", "Groom"),
    ]


def test_tables_of_bouts(tmp_path: Path):
    content = table(tmp_path, "r.csv", samples.RATERS)
    assert content.segments == [
        S("a", 2, 3.5, "Head Dip", rater="Ann"),
        S("a", 2.1, 3.4, "Head Dip", rater="Bo"),
    ]
    assert content.notes == (
        "1 marks of the session are left out", "1 slips are left out", "1 rows without times are left out"
    )  # fmt: skip
    assert content.durations == {"a": 3.5}
    rows = table(tmp_path, "t.txt", samples.ELAN_TAB).segments
    assert rows == [S("t", 0.1, 0.9, "A", tier="Who"), S("t", 0.2, 0.7, "run", tier="What")]


def test_tracks_and_tags_of_cvat(tmp_path: Path):
    rows = table(tmp_path, "c.xml", samples.CVAT, fps=10).segments
    assert rows == [
        S("clip", 0, 3, "graze", "zebra 3", "acts"), S("clip", 0.7, 0.9, "dust"),
        S("clip", 1, 1.2, "bird", "bird 4", "track"), S("clip", 2, 2.1, "dust"),
        S("clip", 3, 6, "walk", "zebra 3", "acts"),
    ]  # fmt: skip
    vlar.segments.save(tmp_path / "c.xml", [*rows, S("clip", 7, 8, "fly", "m1", "acts")], fps=10)
    assert 'xtl="1"' in (tmp_path / "c.xml").read_text()
    assert load(tmp_path / "c.xml", fps=10).segments == [
        *rows,
        S("clip", 7, 8, "fly", "m1", "acts"),
    ]


def test_cvat_as_json(tmp_path: Path):
    box = {"type": "rectangle", "points": [0, 0, 1, 1], "occluded": False}
    mood = {"name": "mood", "value": "calm"}
    track = {
        "label": "rat", "frame": 0, "attributes": [],
        "shapes": [
            {**box, "frame": 0, "outside": False, "attributes": [mood]},
            {**box, "frame": 5, "outside": False, "attributes": [{**mood, "value": "angry"}]},
            {**box, "frame": 10, "outside": True, "attributes": []},
        ],
    }  # fmt: skip
    tags = [{"frame": n, "label": "light", "attributes": []} for n in (3, 4, 8)]
    job = {"version": 0, "tags": tags, "shapes": [box], "tracks": [track]}
    content = table(tmp_path, "a.json", json.dumps([job]), fps=10)
    assert content.segments == [
        S("a", 0, 0.5, "calm", "rat 0", "mood"),
        S("a", 0.3, 0.5, "light"),
        S("a", 0.5, 1.0, "angry", "rat 0", "mood"),
        S("a", 0.8, 0.9, "light"),
    ]
    assert content.notes == ("1 shapes of single frames are left out",)


def test_a_workbook_of_boris_is_read_and_not_written(tmp_path: Path):
    cells = ["Observation id", "Subject", "Behavior", "Start (s)", "Stop (s)"]
    shared = "".join(f"<si><t>{text}</t></si>" for text in [*cells, "day 1", "pup", "sniff"])
    head = "".join(f'<c r="{"ABCDE"[n]}1" t="s"><v>{n}</v></c>' for n in range(5))
    row = "".join(f'<c r="{"ABC"[n]}2" t="s"><v>{n + 5}</v></c>' for n in range(3))
    row += '<c r="D2"><v>1.5</v></c><c r="E2"><v>4</v></c>'
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {main}>{shared}</sst>")
        rows = f"<row>{head}</row><row>{row}</row>"
        sheet = f"<worksheet {main}><sheetData>{rows}</sheetData></worksheet>"
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
    content = table(tmp_path, "a.xlsx", stream.getvalue())
    assert content.segments == [S("day 1", 1.5, 4.0, "sniff", "pup")]
    refused(UsageError, "not written", vlar.segments.write, tmp_path / "a.xlsx", content.segments)
    refused(UsageError, "archive", table, tmp_path, "b.xlsx", b"PK\x03\x04 cut")
