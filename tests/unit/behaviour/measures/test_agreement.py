"""Agreement of raters against published values, scikit-learn and statsmodels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command_line import invoke
from tests.conftest import SHARED
from tests.refusals import refused
from vlar.behaviour.measures.agreement import (
    agreement,
    bout_f1,
    event_f1,
    fleiss,
    kappa,
    matches,
    on_grid,
)
from vlar.errors import MetricError, UsageError
from vlar.segments import Segment as S
from vlar.segments import save

REAL = SHARED / "behaviour"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the labelled behaviour is not on this machine")


def bouts(*spans: tuple[float, float], label: str = "x", recording: str = "r") -> list[S]:
    return [S(recording, a, b, label) for a, b in spans]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=60))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]):
    metrics = pytest.importorskip("sklearn.metrics")
    a, b = zip(*pairs, strict=True)
    if len({*a, *b}) == 1:
        assert kappa(a, b) == 1.0
        return
    assert kappa(a, b) == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)
    assert kappa(a, b) == kappa(b, a)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(2, 4), st.integers(2, 30), st.integers(0, 1000))
def test_fleiss_kappa_is_that_of_statsmodels(raters: int, labels: int, n: int, seed: int):
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    random = np.random.default_rng(seed)
    votes = random.integers(labels, size=(n, raters))
    counts = np.stack([(votes == label).sum(1) for label in range(labels)], 1)
    if (counts.max(0) == raters).any() and len(np.unique(votes)) == 1:
        assert fleiss(counts) == 1.0
        return
    assert fleiss(counts) == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-12)


def test_kappa_by_hand_and_its_refusals():
    # Cohen's own table of two raters: 45 + 15, 25 + 15 of 100.
    a = ["y"] * 60 + ["n"] * 40
    b = ["y"] * 45 + ["n"] * 15 + ["y"] * 25 + ["n"] * 15
    assert kappa(a, b) == pytest.approx(0.1304, abs=1e-4)
    assert (kappa("aa", "aa"), kappa("aa", "bb")) == (1.0, 0.0)
    # Fleiss, 1971, in the version of 14 raters, 10 subjects and 5 categories: .210.
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss(table) == pytest.approx(0.210, abs=5e-4)
    assert fleiss([[2, 0], [2, 0]]) == 1.0
    refused(MetricError, "equal length, not 1 and 2", kappa, "a", "ab")
    refused(MetricError, "equal length, not 0 and 0", kappa, "", "")
    refused(MetricError, "same number of raters", fleiss, [[2, 0], [1, 0]])
    refused(MetricError, "same number of raters", fleiss, [[1, 0], [1, 0]])


def test_bouts_are_matched_once_the_greatest_overlap_first():
    assert bout_f1(bouts((0, 10), (20, 30)), bouts((0, 6), (50, 60))) == {"x": 0.5}
    # The second of b overlaps the bout of a more, and takes it.
    assert matches(bouts((0, 10)), bouts((0, 6), (1, 10))) == [(0, 1, pytest.approx(0.9))]
    assert bout_f1(bouts((0, 10)), bouts((0, 5))) == {"x": 1.0}
    assert bout_f1(bouts((0, 10)), bouts((0, 4.9))) == {"x": 0.0}
    assert bout_f1(bouts((0, 1)), bouts((0, 1), label="y")) == {"x": 0.0, "y": 0.0}
    assert bout_f1(bouts((0, 1)), bouts((0, 1), recording="q")) == {"x": 0.0}
    assert bout_f1(bouts((2, 2)), bouts((2, 2))) == {"x": 1.0}
    assert bout_f1([], []) == {}
    one, two = [S("r", 0, 1, "x", "m1")], [S("r", 0, 1, "x", "m2")]
    assert (bout_f1(one, two), bout_f1(one, bouts((0, 1)))) == ({"x": 0.0}, {"x": 1.0})
    refused(MetricError, "the overlap of a match is 0", bout_f1, one, two, iou=0)


def test_events_are_matched_within_a_tolerance():
    a, b = bouts((1, 1), (5, 5), (9, 9)), bouts((1.4, 1.4), (4, 4), (5.2, 5.2))
    assert event_f1(a, b, tolerance_s=0.5) == {"x": pytest.approx(4 / 6)}
    assert event_f1(a, b, tolerance_s=0.1) == {"x": 0.0}


def test_steps_that_a_segment_covers():
    assert np.flatnonzero(on_grid(bouts((0.1, 0.3), (0.55, 0.55)), 10, 0.1)).tolist() == [1, 2, 5]
    assert on_grid(bouts((-1, 0.1), (0.9, 7)), 10, 0.1).tolist() == [True, *[False] * 8, True]


def test_agreement_of_three_raters():
    a = [*bouts((0, 4), (6, 8)), S("q", 0, 5, "y")]
    b = [*bouts((0, 4), (6, 8)), S("q", 0, 5, "y")]
    c = [*bouts((0, 4)), S("q", 2.5, 5, "y")]
    result = agreement({"a": a, "b": b, "c": c}, durations={"r": 10.0, "q": 10.0}, step_s=0.5)
    assert result.recordings == ("q", "r")
    assert result.labels["x"].bouts == [2, 2, 1]
    assert result.labels["x"].bout_f1 == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert result.labels["y"].total_s == [5.0, 5.0, 2.5]
    steps = [["x" if 0 <= t < 4 or 6 <= t < 8 else "" for t in np.arange(0, 10, 0.5)]]
    steps += [["x" if 0 <= t < 4 else "" for t in np.arange(0, 10, 0.5)]]
    y = [["y" if lo <= t < 5 else "" for t in np.arange(0, 10, 0.5)] for lo in (0, 2.5)]
    expected = (1 + 2 * kappa(steps[0] + y[0], steps[1] + y[1])) / 3
    assert result.kappa == pytest.approx(expected)
    assert result.fleiss is not None
    assert result.interval is None
    assert result.confusion[""] == {"": 9.0}
    assert [(d.recording, d.start_s, d.rater, d.other) for d in result.differences] == [
        ("r", 6, "a", "c"), ("r", 6, "b", "c")
    ]  # fmt: skip
    budget = result.labels["y"].budget
    assert budget["bias"] == pytest.approx((0 + 0 - 0.25 - 0 - 0.25 - 0) / 6)
    refused(MetricError, "no recording in common", agreement, {"a": bouts((0, 1)), "b": []})
    refused(MetricError, "the step is 0 s", agreement, {"a": a, "b": b}, step_s=0)


def test_a_page_shows_the_bouts_that_differ_with_their_video(tmp_path: Path):
    (tmp_path / "r.mp4").write_bytes(b"")
    video = str(tmp_path / "r.mp4")
    save(tmp_path / "ann.csv", [S(video, 0, 4, "</script>"), S(video, 6, 8, "x")])
    save(tmp_path / "bo.csv", [S(video, 0, 4, "</script>")])
    page = tmp_path / "out.html"
    files = [str(tmp_path / "ann.csv"), str(tmp_path / "bo.csv")]
    result = invoke(["agreement", *files, "--html", str(page)])
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert text.count("</script>") == 1  # texts of others are escaped
    assert '<tr data-s="6.000" data-r="r"><td>r</td><td>6.000</td>' in text
    assert 'media = {"r": "r.mp4"}' in text
    assert invoke(["agreement", *files, "--html", str(tmp_path / "no" / "x.html")]).exit_code == 2


def test_intervals_come_from_recordings_and_a_random_rater_agrees_by_chance():
    random = np.random.default_rng(0)
    a, b, c = list[S](), list[S](), list[S]()
    for recording in "klmnop":
        for start in range(0, 100, 5):
            spans = bouts((start, start + 2.5), recording=recording)
            a += spans
            b += spans if random.random() < 0.9 else []
            shifted = start + random.uniform(-2.5, 2.5)
            c += bouts((shifted, shifted + 2.5), recording=recording)
    both = agreement({"a": a, "b": b}, draws=100)
    assert both.interval is not None
    assert both.interval.low < both.kappa < both.interval.high
    assert both.kappa > 0.8
    other = agreement({"a": a, "c": c}, draws=100)
    assert abs(other.kappa) < 0.15  # the control


@real
@pytest.mark.parametrize(
    ("file", "figures"),
    [
        (
            "open_field.csv.xz",
            {"Supported": (0.864, 0.887, 0.914), "Unsupported": (0.710, 0.739, 0.727),
             "Grooming": (0.718, 0.726, 0.468)},
        ),
        ("plus_maze.csv", {"Grooming": (0.915, None, None), "Head Dip": (0.788, None, None)}),
        ("forced_swim.csv", {"Floating": (0.564, 0.641, 0.395)}),
    ],
)  # fmt: skip
def test_published_agreement_of_people(file: str, figures: dict[str, tuple[float | None, ...]]):
    from vlar.behaviour.verbs.agreement import raters_of
    from vlar.segments import load

    tables, _ = raters_of({file: load(REAL / "agreement/three_assays" / file)}, None, ())
    result = agreement(tables, draws=2)
    for label, (steps, frames, spans) in figures.items():
        row = result.labels[label]
        for value, stated in ((row.kappa, steps), (row.frame_f1, frames), (row.bout_f1, spans)):
            assert stated is None or value == pytest.approx(stated, abs=0.0011)


@real
def test_published_agreement_on_freezing_and_a_pair_of_mice():
    folder = REAL / "agreement/freezing_4_raters"
    names = [str(folder / f"hB_{name}.mat") for name in ("expert1", "expert2", "expert3", "novice")]
    figures: list[tuple[float, float]] = []
    for a, b in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)):
        row = json_of(["agreement", names[a], names[b], "--step", "0.02"])["labels"]["Freezing"]
        figures.append((row["kappa"], row["bout_f1"]))
    experts, novice = figures[:3], figures[3:]
    assert 0.9085 < min(k for k, _ in experts) < max(k for k, _ in experts) < 0.9415
    assert 0.5965 < min(k for k, _ in novice) < max(k for k, _ in novice) < 0.6175
    assert 0.825 < min(f for _, f in experts) < max(f for _, f in experts) < 0.915
    assert 0.235 < min(f for _, f in novice) < max(f for _, f in novice) < 0.275
    pair = [
        str(REAL / "labelled/mouse_pair" / f"DLC3_rater{n}") for n in ("1_boris.csv", "2.boris")
    ]
    row = json_of(["agreement", *pair, "--step", str(1 / 30)])["labels"]["interact"]
    assert row["bouts"] == [10, 14]
    assert (row["kappa"], row["frame_f1"], row["bout_f1"]) == pytest.approx(
        (0.771, 0.797, 0.667), abs=0.001
    )


def json_of(arguments: list[str]) -> dict[str, object]:
    import json

    result = invoke([*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_command_line_compares_files(tmp_path: Path):
    save(
        tmp_path / "ann.csv",
        [S("a.mp4", 0, 4, "run"), S("b.mp4", 0, 2, "run"), S("z", 0, 1, "run")],
    )
    save(tmp_path / "bo.eaf", [S("a.mp4", 0, 4, "run")])
    rows = [S("v/a.avi", 0, 3, "run"), S("v/b.avi", 1, 2, "run"), S("v/b.avi", 4, 5, "sit")]
    save(tmp_path / "bo.csv", rows)
    files = [str(tmp_path / "ann.csv"), str(tmp_path / "bo.csv")]
    content = json_of(["agreement", *files, "--ignore", "sit"])
    assert content["recordings"] == ["a", "b"]
    assert list(content["labels"]) == ["run"]  # pyright: ignore
    result = invoke(["agreement", *files, "--out", str(tmp_path / "worst.csv")])
    assert "one rater alone has z: left out" in result.output
    assert "sit" in (tmp_path / "worst.csv").read_text()
    result = invoke(["agreement", files[0]])
    assert result.exit_code == 2
    assert "there is one rater" in result.output
    refused(UsageError, "not of a format", save, __file__, [])


def test_names_are_matched_as_truth_is_and_a_folder_is_one_rater(tmp_path: Path):
    """Files that ``adapt --truth`` matches: annotations by name, answers by recording."""
    folder = tmp_path / "people"
    folder.mkdir()
    for name in ("20", "24"):
        spans = [S(f"{name}_annot", 0, 4, "rest"), S(f"{name}_annot", 6, 8, "run")]
        save(folder / f"{name}_annot.csv", spans)
    (folder / "notes.txt").write_text("no annotations")
    rows = [S(f"/d/{n}_dlc.csv.xz", a, b, "rest") for n in (20, 24, 27) for a, b in ((0, 4),)]
    save(tmp_path / "bouts.csv", rows)
    done = invoke(["agreement", str(folder), str(tmp_path / "bouts.csv"), "--json"])
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["recordings"] == ["20_annot", "24_annot"]
    assert facts["labels"]["rest"]["kappa"] == 1.0
    assert facts["labels"]["run"]["kappa"] == 0.0
    assert "20_dlc and 20_annot are taken for one recording" in done.stderr
    assert "one rater alone has 27_dlc" in done.stderr
    one = ["agreement", str(folder / "20_annot.csv"), str(tmp_path / "bouts.csv"), "--json"]
    assert json.loads(invoke(one).stdout)["recordings"] == ["20_annot"]
    save(folder / "again.csv", [S("24_annot", 0, 4, "rest")])
    done = invoke(["agreement", str(folder), str(tmp_path / "bouts.csv")])
    assert done.exit_code == 2
    assert "both annotate '24_annot'; give raters as two folders" in done.stderr


def test_two_recordings_are_not_compared_as_one(tmp_path: Path):
    def compared(first: str, second: str) -> Any:
        save(tmp_path / "ann.csv", [S(first, 0, 4, "rest")])
        save(tmp_path / "bo.csv", [S(second, 0, 4, "rest")])
        return invoke(["agreement", str(tmp_path / "ann.csv"), str(tmp_path / "bo.csv")])

    done = compared("mouse1.mp4", "day2/20_dlc.csv.xz")
    assert done.exit_code == 2
    assert "different recordings (" in done.stderr
    assert "'mouse1'" in done.stderr
    assert "'20_dlc'" in done.stderr
    assert compared("day1.mp4", "day2.mp4").exit_code == 2
    done = compared("ann", "bo")  # names of the files, where the format has none of recordings
    assert done.exit_code == 0
    assert "bo and ann are taken for one recording" in done.stderr
    assert compared("mouse1.mp4", "c:\\x\\mouse1.avi").stderr == ""  # the control


def test_labels_that_are_ignored_do_not_count():
    ann = [S("a", 0, 4, "run"), S("a", 6, 8, "sit")]
    bo = [S("a", 0, 4, "run"), S("a", 6, 7, "sit")]
    both = agreement({"ann": ann, "bo": bo})
    run = agreement({"ann": ann, "bo": bo}, ignore=["sit"], durations={"a": 8})
    assert both.kappa < 1.0
    assert (run.kappa, list(run.labels)) == (1.0, ["run"])
