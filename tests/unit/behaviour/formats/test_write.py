# ruff: noqa: E501
"""Writing into files of other programs: their content stays, and every file comes back equal."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import SHARED
from tests.refusals import refused
from tests.unit.segments import samples
from vlar import registry
from vlar.errors import UsageError
from vlar.files.arrays import read_structs
from vlar.segments import Segment as S
from vlar.segments import load, save

WALK = S("day 1", 10.0, 12.5, "walk", "dam", modifiers=("slow",))


def boris(tmp_path: Path) -> Path:
    file = tmp_path / "p.boris"
    file.write_bytes(samples.as_json(samples.BORIS))
    return file


def test_events_are_appended_to_the_named_observation(tmp_path: Path):
    file = boris(tmp_path)
    before = load(file)
    notes = save(file, [WALK, S("b.mp4", 3, 3, "jump"), S("new.mp4", 1, 2, "jump", rater="Ann")])
    project = json.loads(file.read_text())
    assert project["a key of later versions"] == {"x": [1, 2]}
    assert project["observations"]["day 1"]["events"][0] == [
        1.5,
        "pup",
        "sniff",
        "floor",
        "a comment",
    ]
    assert set(project["observations"]) == {"day 1", "day 2", "new.mp4"}
    after = load(file).segments
    assert [row for row in after if row not in before.segments] == [
        S("new.mp4", 1, 1, "jump", tier="move", rater="Ann"), S("day 1", 3, 3, "jump", tier="move"), WALK
    ]  # fmt: skip
    assert any("point event there and loses its end" in note for note in notes)
    assert project["behaviors_conf"]["2"]["type"] == "State event"
    assert project["subjects_conf"]["1"]["name"] == "dam"


MODEL = 'mine, "best" 0123abcd 2026-12-03'
MADE = [
    S("day1", 1, 2, "walk", "m1", "acts", MODEL, (), 0.8712), S("day1", 2, 3, "walk", "m1", "acts", MODEL, (), 1.0),
    S("day1", 3, 3, "jump", "m1", "acts", MODEL, (), 0.5), S("day1", 4, 6, "sit", "m1", "pose", "Ann"), S("day1", 5, 7, "look"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["a.boris", "a.eaf", "a_tabular.csv", "a_aggregated.tsv", "a.csv"])
def test_rater_and_probability_of_each_bout_come_back(name: str, tmp_path: Path):
    file = tmp_path / name
    assert save(file, MADE) == ()
    assert load(file).segments == MADE
    first = file.read_bytes()
    save(file, MADE)  # nothing is added
    assert load(file).segments == MADE
    if name != "a.csv":
        file.write_bytes(first.replace(b"0.8712", b"n/a"))  # a person changed it
        assert [row.probability for row in load(file).segments][:2] == [None, 1.0]
        file.write_bytes(first)
    save(file, [*MADE, S("day1", 8, 9, "walk", "m1", "more", "Bo")])
    assert len(load(file).segments) == len(MADE) + 1


def test_states_that_boris_cannot_hold_are_named(tmp_path: Path):
    file = boris(tmp_path)
    wall = S("day 1", 20, 21, "sniff", "pup", modifiers=("wall",))
    cross = S("day 1", 3, 7, "sniff", "pup", modifiers=("floor",))
    notes = save(file, [wall, cross, S("x", 0, 5, "a"), S("x", 4, 8, "a"), S("x", 6, 6, "a")])
    assert any("'sniff' has an unpaired state" in note for note in notes)
    assert any("'sniff' overlaps a state of the project" in note for note in notes)
    assert any("overlap others of their kind and are joined" in note for note in notes)
    assert [row for row in load(file).segments if row.recording == "x"] == [S("x", 0, 8, "a")]
    assert len(load(file).notes) == 1


def test_rows_are_added_to_exports_of_boris(tmp_path: Path):
    for text, name in ((samples.OLD_TABULAR, "o.csv"), (samples.NEW_TABULAR, "n.csv")):
        file = tmp_path / name
        file.write_text(text)
        rows = load(file).segments
        save(file, [*rows, S("day 1", 30, 31, "sniff", "pup")])
        assert file.read_text().startswith(text.rstrip("\n"))
        assert [row for row in load(file).segments if row not in rows] == [
            S("day 1", 30, 31, "sniff", "pup")
        ]
    refused(
        UsageError,
        "belong to observation 'day 1' alone",
        save,
        tmp_path / "o.csv",
        [S("z", 1, 2, "a")],
    )


def test_tiers_are_added_to_documents_of_elan(tmp_path: Path):
    file = tmp_path / "x.eaf"
    file.write_text(samples.EAF.format(form="3.0", vocabulary=samples.WORDS_30))
    before = load(file).segments
    rows = [
        S("a.mp4", 1, 2, "run", tier="acts", rater="model"), S("a.mp4", 1.5, 3, "sit", tier="acts", rater="model"),
        S("a.mp4", 6, 7, "yes", "Eva", "says", "Bo"), S("a.mp4", 6, 7, "verb", tier="words"),
    ]  # fmt: skip
    notes = save(file, [*before, *rows])
    text = file.read_text()
    assert 'AUTHOR="A. Person"' in text
    assert '<PROPERTY NAME="lastUsedAnnotationId">13</PROPERTY>' in text
    assert text.count("<TIER ") == 4 + 3
    after = load(file).segments
    assert [row for row in after if row not in before] == [
        S("a.mp4", 1, 2, "run", tier="acts", rater="model"),
        S("a.mp4", 1.5, 3, "sit", tier="acts-2", rater="model"),
        S("a.mp4", 6, 7, "verb", tier="words-2"),
        S("a.mp4", 6, 7, "yes", "Eva", "says", "Bo"),
    ]
    assert len(notes) == 2
    slots = [float(part.split('"')[0]) for part in text.split('TIME_VALUE="')[1:]]
    assert slots == sorted(slots)
    refused(UsageError, "control characters", save, file, [S("a.mp4", 1, 2, "a\x01b")])
    assert file.read_text() == text


def test_projects_of_via_and_datavyu_are_added_to(tmp_path: Path):
    file = tmp_path / "p.json"
    file.write_bytes(samples.as_json(samples.VIA))
    before = load(file).segments
    save(file, [*before, S("a.mp4", 8, 9, "hop", tier="acts"), S("c.mp4", 1, 1, "x")])
    project = json.loads(file.read_text())
    assert project["config"] == samples.VIA["config"]
    assert project["attribute"]["1"]["options"] == {"1": "run", "2": "sit", "3": "hop"}
    assert len(project["metadata"]) == 7
    after = load(file).segments
    assert [r for r in after if r not in before] == [
        S("c.mp4", 1, 1, "x"),
        S("a.mp4", 8, 9, "hop", tier="acts"),
    ]
    file = tmp_path / "x.opf"
    file.write_bytes(samples.opf())
    before = load(file).segments
    save(
        file, [*before, S("x", 5, 6, "both", tier="hands.hand"), S("x", 5, 6, "a-(b)", tier="new")]
    )
    after = load(file).segments
    assert [r for r in after if r not in before] == [
        S("x", 5, 6, "a-(b)", tier="new"), S("x", 5, 6, "both", tier="hands.hand")
    ]  # fmt: skip
    archive = zipfile.ZipFile(io.BytesIO(file.read_bytes()))
    assert b"more: kept" in archive.read("project")
    text = file.read_bytes()
    refused(UsageError, "lacks a code", save, file, [S("x", 5, 6, "a", tier="hands.foot")])
    assert file.read_bytes() == text


def test_other_content_of_tables_and_streams_stays(tmp_path: Path):
    file = tmp_path / "s.csv"
    file.write_text(samples.SIMBA)
    notes = save(file, [S("s", 0, 0.1, "Attack"), S("s", 0.2, 0.5, "Mount")], fps=10)
    assert file.read_text().splitlines()[1:] == [
        "0,1,2,0.5,7.5,1,0,0", "1,1,2,1,8,0,0,0", "2,1,2,1,9,0,0,1"
    ]  # fmt: skip
    assert "segments after the last frame, 2, are cut" in notes
    file = tmp_path / "a.annot"
    file.write_text(samples.BENTO.format(stimulus="light", rows="3.0\t 3.5\t 0.53"))
    save(file, [S("a", 1, 2, "sniff", tier="Ch1"), S("a", 1, 1, "attack", tier="Ch2")])
    assert "Stimulus name: light" in file.read_text()
    assert [(r.tier, r.label, round(r.end_s, 3)) for r in load(file).segments] == [
        ("Ch2", "attack", 1.033), ("Ch1", "sniff", 2.0)
    ]  # fmt: skip
    file = tmp_path / "7_annot.txt"
    file.write_text(samples.CALTECH)
    notes = save(
        file, [S("7", 1, 2, "attack", tier="S1"), S("7", 1.5, 3, "bite", tier="S1")], fps=30
    )
    assert "attack\ta" in file.read_text()
    assert [(r.start_s, r.end_s, r.label) for r in load(file, fps=30).segments] == [
        (0, 1, "other"), (1, 1.5, "attack"), (1.5, 3, "bite")
    ]  # fmt: skip
    assert "1 gaps are filled with 'other'" in notes
    file = tmp_path / "j.json"
    file.write_bytes(samples.as_json(samples.JABS))
    save(file, load(file, fps=30).segments, fps=30)
    assert json.loads(file.read_text())["more"] == "kept"


def test_matlab_files_hold_what_matlab_needs(tmp_path: Path):
    scipy_io = pytest.importorskip("scipy.io")
    file = tmp_path / "hB.mat"
    notes = save(file, [S("a.avi", 1, 2, "Freezing"), S("a.avi", 3, 3, "Freezing")], fps=50)
    assert notes == ("behaviordepot holds no points: 1 become one frame long",)
    struct = scipy_io.loadmat(file, simplify_cells=True)["hBehavior"]
    assert (struct["VideoName"], struct["FrameRate"], struct["TotalFrames"]) == ("a.avi", 50, 151)
    assert struct["Freezing"]["Bouts"].tolist() == [[51, 100], [151, 151]]
    assert np.flatnonzero(struct["Freezing"]["Vector"]).tolist() == [*range(50, 100), 150]
    assert load(file).segments == [S("a.avi", 1, 2, "Freezing"), S("a.avi", 3, 3.02, "Freezing")]
    # A file that SciPy writes, compressed, with a cell that is left out.
    cells = np.array([["a", "bc"]], object)
    content = {"hBehavior": {"Rear": {"Bouts": np.array([[1.0, 25.0]])}, "more": cells}}
    scipy_io.savemat(tmp_path / "s.mat", content, do_compression=True)
    assert load(tmp_path / "s.mat", fps=25).segments == [S("s", 0, 1, "Rear")]
    assert read_structs((tmp_path / "s.mat").read_bytes())["hBehavior"]["more"] is None
    refused(
        UsageError,
        "not a name of a field of MATLAB",
        save,
        tmp_path / "n.mat",
        [S("a", 1, 2, "a b")],
    )
    data = file.read_bytes()
    for cut in range(130, len(data), 97):
        file.write_bytes(data[:cut])
        with pytest.raises(UsageError):
            load(file, fps=50)


def test_one_recording_and_one_at_a_time(tmp_path: Path):
    rows = [S("a", 0, 5, "x"), S("b", 0, 5, "x")]
    refused(UsageError, "holds one recording, these are 2", save, tmp_path / "a.eaf", rows)
    rows = [S("a", 0, 5, "x"), S("a", 2, 3, "y"), S("a", 6, 7, "x"), S("a", 6, 6.5, "z")]
    notes = save(tmp_path / "a.dat", rows)
    assert [(r.start_s, r.end_s, r.label) for r in load(tmp_path / "a.dat").segments] == [
        (0, 2, "x"), (2, 3, "y"), (6, 7, "x")
    ]  # fmt: skip
    assert "2 segments overlap others and are cut: one at a time is held" in notes


FILES = sorted((SHARED / "behaviour" / "formats").rglob("*"))


@pytest.mark.parametrize("file", [f for f in FILES if f.is_file()], ids=lambda f: f.name)
@pytest.mark.parametrize("copied", [False, True])
def test_files_of_people_come_back_equal(file: Path, copied: bool, tmp_path: Path):
    if file.suffix in (".faf", ".fmf", ".zip"):
        refused(UsageError, "not of a format of annotations", load, file)
        return
    rows = load(file, fps=30).segments
    again = tmp_path / file.name
    if copied:
        again.write_bytes(file.read_bytes())
    save(again, rows, fps=30)
    back = load(again, fps=30).segments
    assert [_facts(row) for row in _sorted(back)] == [_facts(row) for row in _sorted(rows)]
    times = [np.array([(row.start_s, row.end_s) for row in _sorted(r)]) for r in (back, rows)]
    assert not rows or np.abs(times[0] - times[1]).max() < 1e-3


def _facts(row: S) -> tuple[object, ...]:
    return row.recording, row.label, row.subject, row.tier, row.rater, row.modifiers


def _sorted(rows: list[S]) -> list[S]:
    return sorted(rows, key=lambda row: (*_facts(row), row.start_s, row.end_s))


FPS = 25
names = st.sampled_from(["walk", "rear up", "groom, self", 'a "b"', "été", "x|y"])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    spans=st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 40), names), min_size=1, max_size=8
    ),
    subject=st.sampled_from(["", "m1"]),
)
@pytest.mark.parametrize("form", registry.names("annotation"))
def test_any_bouts_in_a_row_come_back(
    form: str,
    spans: list[tuple[int, int, str]],
    subject: str,
    tmp_path_factory: pytest.TempPathFactory,
):
    """Bouts one after another with gaps, which every format holds, at the borders of frames."""
    part = registry.get("annotation", form)()
    if not part.writes:
        return
    at, rows = 0, []
    for gap, length, name in spans:
        label = name
        if form in ("behaviordepot", "charades", "edl"):  # they do not hold blanks or bars
            label = "rear_up" if "r" in name else "walk"
        at += gap + 1
        rows.append(S("day1", at / FPS, (at + length) / FPS, label, subject))
        at += length
    file = tmp_path_factory.mktemp("any") / f"day1{min(part.default_for or part.endings, key=len)}"
    notes = save(file, rows, fps=FPS, form=form)
    back = load(file, fps=FPS).segments
    fillers = {"background", "other"}
    spans_of = [
        (round(r.start_s, 3), round(r.end_s, 3), r.label) for r in back if r.label not in fillers
    ]
    assert spans_of == [(round(r.start_s, 3), round(r.end_s, 3), r.label) for r in rows]
    if "subject" in part.holds:
        assert {r.subject for r in back if r.label not in fillers} == {subject} or form == "jabs"
    elif subject:
        assert any("holds no subject" in note for note in notes)
    save(file, back, fps=FPS)
    assert load(file, fps=FPS).segments == back


@pytest.mark.skipif(not FILES, reason="files of people are not on this machine")
def test_exports_of_boris_equal_its_project():
    folder = SHARED / "behaviour" / "formats" / "boris"
    rows = load(folder / "test.boris").segments
    first, second = ([r for r in rows if r.recording == f"observation #{n}"] for n in (1, 2))
    assert load(folder / "test_export_events_tabular.tsv").segments == first
    names = [f"test_export_aggregated_events_test_full_{n}.tsv" for n in (1, 3)]
    states = [r for r in second if r.label == "s"]
    assert [load(folder / name).segments for name in names] == [second, states]
