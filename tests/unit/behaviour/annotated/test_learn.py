"""Annotated recordings: which span belongs where, and a model of bouts from end to end."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.command_line import invoke
from tests.refusals import refused
from vlar.behaviour.annotated.fit import agreement, evidence
from vlar.behaviour.annotated.forest import Growth
from vlar.behaviour.annotated.head import timeline_of
from vlar.behaviour.annotated.learn import learn, learn_request
from vlar.behaviour.annotated.recordings import bouts, bouts_by
from vlar.behaviour.annotated.request import AnnotatedRequest
from vlar.behaviour.annotated.truth import (
    NOT_ANNOTATED,
    fitting,
    labelled_minutes,
    tracks_of,
    truth_of,
)
from vlar.errors import UsageError
from vlar.segments import Segment, read, write

TIMES = [(np.arange(200) + 0.5) * 0.1]


def recording(path: Path, seed: int) -> list[Segment]:
    """Write 90 s of two animals that rest far apart, or run around each other; its bouts."""
    random = np.random.default_rng(seed)
    spans: list[Segment] = []
    time_s, label = 0.0, "rest"
    while time_s < 90:
        end_s = min(90.0, time_s + float(random.uniform(4, 9)))
        spans.append(Segment(path.name, time_s, end_s, label))
        time_s, label = end_s, "run" if label == "rest" else "rest"
    clock = np.arange(1800) / 20
    fast = np.zeros(len(clock))
    for span in spans:
        fast[(clock >= span.start_s) & (clock < span.end_s)] = span.label == "run"
    phase = np.cumsum(fast) * 0.15
    lines = ["time_s," + ",".join(f"{a}.{p}_{c}" for a in "ab" for p in ("nose", "tail")
                                  for c in "xy")]  # fmt: skip
    for now, turn in zip(clock, phase, strict=True):
        x, y = 300 + 80 * np.cos(turn), 300 + 80 * np.sin(turn)
        noise = random.normal(size=8)
        values = np.array([x, y, x + 40, y, 700 - x, 700 - y, 740 - x, 700 - y]) + noise
        lines.append(f"{now:.2f}," + ",".join(f"{v:.2f}" for v in values))
    path.write_text("\n".join(lines))
    return spans


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few trees are enough for two labels that a speed tells apart."""
    few = Growth(trees=12, columns=60, least=3.0)
    for name in ("_FINAL", "_FOLD", "_CONTEXT"):
        monkeypatch.setattr(f"vlar.behaviour.annotated.fit.{name}", few)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("annotated")
    spans: list[Segment] = []
    for seed in range(3):
        spans += recording(place / f"cage{seed}_dlc.csv", seed)
    write(place / "bouts.csv", [s for s in spans if s.recording != "cage2_dlc.csv"])
    write(place / "held.csv", [s for s in spans if s.recording == "cage2_dlc.csv"])
    return place


def test_a_model_of_bouts_from_end_to_end(folder: Path, tmp_path: Path):
    paths = [str(folder / f"cage{n}_dlc.csv") for n in (0, 1)]
    model, out = str(tmp_path / "model"), str(tmp_path / "x.csv")
    learning = [*paths, "--model", "tracks", "--truth", str(folder / "bouts.csv")]
    assert invoke(["adapt", *learning, "--out", model]).exit_code == 0
    held = str(folder / "cage2_dlc.csv")
    wrong = invoke(["timeline", held, "--model", model, "--out", f"{out}.xyz"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")  # before any work
    assert "no format of annotations has the ending '.xyz'" in wrong.stderr
    assert invoke(["timeline", held, "--model", model, "--out", out]).exit_code == 0
    header = Path(out).read_text().partition("\n")[0]
    assert header == "recording,start_s,end_s,label,probability,rater"
    found = read(out)
    assert {bout.label for bout in found} == {"rest", "run"}
    times = (np.arange(900) + 0.5) * 0.1
    answers, labels = (np.array(["rest"] * 900) for _ in range(2))
    for spans, steps in ((found, answers), (read(folder / "held.csv"), labels)):
        for span in spans:
            steps[(times >= span.start_s) & (times < span.end_s)] = span.label
    assert (answers == labels).mean() > 0.9
    states_model(str(tmp_path), held, model)
    made = ["ethogram", out, "--model", model, "--out", str(tmp_path / "e"), "--duration", "90s"]
    assert invoke(made).exit_code == 0
    assert (
        "Each recording held out in learning, it had kappa"
        in (tmp_path / "e" / "methods.txt").read_text()
    )


def states_model(folder: str, recording: str, model: str) -> None:
    """Files of BORIS and ELAN that are read again still state which model made their bouts."""
    rater = bouts(vlar.load(model), recording)[0].rater
    for ending in ("boris", "eaf", "csv"):
        out, made = f"{folder}/bouts.{ending}", f"{folder}/{ending}"
        answer = invoke(["timeline", recording, "--model", model, "--out", out, "--json"])
        assert answer.exit_code == 0
        assert rater not in answer.stdout  # it has the date
        assert invoke(["ethogram", out, "--out", made, "--duration", "90s"]).exit_code == 0
        text = Path(made, "methods.txt").read_text()
        assert f"{len(read(out))} segments come from a model {rater} with a mean" in text
        assert "The annotations are by" not in text
        people = [replace(row, probability=None, rater="Ann") for row in read(out)]
        write(f"{folder}/people.{ending}", people)
        assert read(f"{folder}/people.{ending}") == people
        people = ["ethogram", f"{folder}/people.{ending}", "--out", made, "--duration", "90s"]
        assert invoke(people).exit_code == 0
        assert "come from a model" not in Path(made, "methods.txt").read_text()


def test_regions_in_centimetres_need_a_scale_that_the_model_keeps(folder: Path, tmp_path: Path):
    paths = [shutil.copy(folder / f"cage{n}_dlc.csv", tmp_path) for n in range(3)]
    regions = '[nest]\ncircle = [30, 30, 9]\nunit = "cm"\n'
    (tmp_path / "regions.toml").write_text(regions)
    model, truth = str(tmp_path / "m"), str(folder / "bouts.csv")
    learning = ["adapt", *map(str, paths[:2]), "--model", "tracks", "--truth", truth]
    refusal = invoke([*learning, "--out", model])
    assert refusal.exit_code == 2
    assert "px_per_cm" in refusal.output
    learn(paths[:2], truth, px_per_cm=10).save(model)
    in_cm = invoke(["timeline", str(paths[2]), "--model", model, "--json"])
    (tmp_path / "regions.toml").write_text("[nest]\ncircle = [300, 300, 90]\n")
    in_pixels = invoke(["timeline", str(paths[2]), "--model", model, "--json"])
    assert in_cm.exit_code == in_pixels.exit_code == 0
    assert in_cm.stdout == in_pixels.stdout
    (tmp_path / "regions.toml").write_text(regions)
    source = timeline_of(learn(paths[:2], truth, add=model)).source
    assert source["asked"]["px_per_cm"] == 10
    assert source["regions"] == ["nest"]
    for scale in (0.0, -1.0, np.nan, 1e9):
        refused(UsageError, "above 0", learn, paths, truth, px_per_cm=scale)


def right(spans: list[Segment], truth: list[Segment]) -> float:
    """Cohen's kappa of answers with true bouts of 90 s, at the same steps."""
    times = (np.arange(900) + 0.5) * 0.1
    rows = [np.zeros(900, np.int64) for _ in range(2)]
    for steps, part in zip(rows, (spans, truth), strict=True):
        for span in part:
            steps[(times >= span.start_s) & (times < span.end_s)] = span.label == "run"
    return agreement([rows[1]], [rows[0]], 2)[0]


def exchanged(spans: list[Segment], seed: int) -> list[Segment]:
    """Every second bout of each label and recording, in a random order, has the other label."""
    random = np.random.default_rng(seed)
    result = list(spans)
    for key in sorted({(span.recording, span.label) for span in spans}):
        places = [n for n, span in enumerate(spans) if (span.recording, span.label) == key]
        for n in random.permutation(places)[::2]:
            result[n] = replace(spans[n], label="run" if spans[n].label == "rest" else "rest")
    return result


@pytest.mark.parametrize("least", [None, -np.inf])
def test_exchanged_labels_teach_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, least: float | None
):
    """The control. Without the evidence of recordings held out it would fail, so it can.

    A draw of labels from all bouts is no control here: of few bouts it may leave most as they were.
    """
    if least is not None:
        monkeypatch.setattr("vlar.behaviour.annotated.fit._LEAST_EVIDENCE", least)
    paths = [folder / f"cage{n}_dlc.csv" for n in (0, 1)]
    wrong = exchanged(read(folder / "bouts.csv"), 1)
    head, report = learn_request(AnnotatedRequest(paths, wrong))
    assert report.held_out == "recording"
    kappa = right(bouts_by(head, folder / "cage2_dlc.csv"), read(folder / "held.csv"))
    if least is None:
        assert abs(kappa) <= 0.05
        assert not report.tracks[0]["learned"]
        assert "show nothing" in report.notes[-1]
    else:
        assert abs(kappa) > 0.05


def test_evidence_counts_bouts_and_not_steps():
    """Of shuffled bouts it is about 0 with a deviation of 1; of right answers it grows."""
    random = np.random.default_rng(0)
    values: list[float] = []
    for _ in range(200):
        truth = np.repeat(random.integers(0, 2, 40), 25)
        answers = np.repeat(random.integers(0, 2, 40), 25)
        rows = np.stack([1 - answers, answers], axis=1).astype(np.float32)
        values.append(evidence([rows[:500], rows[500:]], [truth[:500], truth[500:]], [0, 1]))
    assert abs(np.mean(values)) < 0.3
    assert 0.7 < np.std(values) < 1.4
    rows = np.stack([1 - truth, truth], axis=1).astype(np.float32)
    assert evidence([rows[:500], rows[500:]], [truth[:500], truth[500:]], [0, 1]) > 3


def test_minutes_to_review_are_added_to_what_was_learned(folder: Path, tmp_path: Path):
    spans = read(folder / "bouts.csv")
    paths = [folder / f"cage{n}_dlc.csv" for n in (0, 1)]
    first = str(tmp_path / "first")
    write(tmp_path / "one.csv", [s for s in spans if s.recording == "cage0_dlc.csv"])
    learning = ["adapt", str(paths[0]), "--truth", str(tmp_path / "one.csv"), "--minutes", "1"]
    assert invoke([*learning, "--model", "tracks", "--out", first]).exit_code == 0
    todo = str(tmp_path / "next.csv")
    asked = ["review", first, *map(str, paths), "--minutes", "1", "--out", todo]
    assert invoke(asked).exit_code == 0
    rows = read(todo)
    assert len(rows) == 3
    assert sum(row.duration_s for row in rows) == pytest.approx(60, abs=10)
    assert rows == sorted(vlar.review(first, paths, minutes=1), key=lambda row: row.start_s)
    adding = ["adapt", *map(str, paths), "--truth", str(folder / "bouts.csv"), "--within", todo]
    done = invoke([*adding, "--add", first, "--out", str(tmp_path / "better"), "--json"])
    assert done.exit_code == 0
    facts = json.loads(done.stdout)
    assert facts["recordings"] == 2
    assert facts["minutes"] == pytest.approx(2, abs=0.4)
    held = bouts(vlar.load(tmp_path / "better"), folder / "cage2_dlc.csv")
    assert right(held, read(folder / "held.csv")) > 0.8
    refused(UsageError, "did not learn", learn, paths, spans, add=vlar.load("tracks"))


def test_spans_belong_by_name_or_by_the_longest_common_stem(tmp_path: Path):
    paths = [tmp_path / name for name in ("1_dlc.csv.xz", "12_dlc.csv.xz", "demo1_dlc.csv")]
    for name, label in (("1_annot", "a"), ("12_annot", "b"), ("demo1_hB", "c"), ("2_annot", "d")):
        write(tmp_path / f"{name}.csv", [Segment("x", 0.0, 1.0, label)])
    found = truth_of(paths, tmp_path)
    assert [[span.label for span in spans] for spans in found] == [["a"], ["b"], ["c"]]
    named = [Segment(str(paths[1]), 0, 1, "b"), Segment("1_dlc", 0, 1, "a")]
    found = truth_of(paths, named)
    assert [[span.label for span in spans] for spans in found] == [["a"], ["b"], []]
    refused(UsageError, "no span belongs", truth_of, paths, [Segment("other", 0, 1, "a")])
    days = [Segment("day2_annot", 0, 1, "a")]
    assert truth_of([tmp_path / "day2_dlc.csv", tmp_path / "day1_dlc.csv"], days) == [days, []]
    refused(UsageError, "no span", truth_of, [tmp_path / "day1.csv", tmp_path / "b.csv"], days)


def test_background_and_what_is_not_annotated_are_two_things():
    spans = [[Segment("r", 2, 4, "run"), Segment("r", 6, 8, "rest"), Segment("r", 8, 9, "base")]]
    (track,) = tracks_of(spans, TIMES, background=False, ignore=("base",))
    assert track.labels == ("rest", "run")
    assert (track.steps[0] == NOT_ANNOTATED).sum() == 160
    (track,) = tracks_of(spans, TIMES, background=True, ignore=("base",))
    assert track.labels == ("rest", "run", "")
    assert (track.steps[0] == NOT_ANNOTATED).sum() == 10
    refused(UsageError, "state background", tracks_of, [[Segment("r", 2, 4, "run")]], TIMES,
            background=False)  # fmt: skip
    refused(UsageError, "'bse'", tracks_of, spans, TIMES, background=True, ignore=("bse",))
    refused(UsageError, "no tier", tracks_of, spans, TIMES, background=True, tier="S1")


def test_labels_that_go_on_at_once_are_tracks_of_their_own():
    spans = [
        [Segment("r", 0, 10, "groom"), Segment("r", 5, 15, "rear"), Segment("r", 18, 18, "jump")]
    ]
    tracks = tracks_of(spans, TIMES, background=True)
    assert [track.labels for track in tracks] == [("groom", ""), ("jump", ""), ("rear", "")]
    assert [track.points for track in tracks] == [(), ("jump",), ()]
    assert (tracks[1].steps[0] == 0).sum() == 5


def test_minutes_are_drawn_evenly():
    spans = [[Segment("r", 0, 10, "a"), Segment("r", 10, 20, "b")]]
    tracks = tracks_of(spans, TIMES, background=False)
    (mask,) = labelled_minutes(tracks, 5 / 60, 0.1, block_s=1.0)
    assert mask.sum() == pytest.approx(50, abs=5)
    assert mask[:100].sum() == pytest.approx(25, abs=6)
    (mask,) = labelled_minutes(tracks, None, 0.1)
    assert mask.all()


def test_spans_are_cut_and_moved_to_the_clock_of_the_recording():
    spans = [Segment("r", 4, 7, "a"), Segment("r", 9, 30, "b")]
    assert [(s.start_s, s.end_s) for s in fitting(spans, 10.0, 0.0)] == [(4, 7), (9, 10)]
    assert [(s.start_s, s.end_s) for s in fitting(spans, 10.0, 5.0)] == [(0, 2), (4, 10)]


def test_agreement_by_hand():
    truth = [np.array([0, 0, 0, 0, 1, 1, 1, 1])]
    kappa, f1 = agreement(truth, [np.array([0, 0, 0, 1, 1, 1, 1, 1])], 2)
    assert kappa == pytest.approx(0.75)
    assert f1 == [1, 1]
    kappa, f1 = agreement(truth, [np.zeros(8, int)], 2)
    assert kappa == 0
    assert f1 == [1, 0]


def test_one_call_makes_a_model_that_can_be_saved(folder: Path, tmp_path: Path):
    paths = [folder / f"cage{n}_dlc.csv" for n in (0, 1)]
    model = vlar.behaviour.learn(paths, read(folder / "bouts.csv"), minutes=1)
    rows = bouts(model, folder / "cage2_dlc.csv")
    model.with_calibration(None).save(tmp_path / "mine")
    again = bouts(vlar.load(tmp_path / "mine"), folder / "cage2_dlc.csv")
    fingerprint = timeline_of(model).fingerprint
    day = time.strftime("%Y-%m-%d")
    assert {row.rater for row in rows} == {f"tracks {fingerprint} {day}"}
    assert again == [replace(row, rater=f"mine {fingerprint} {day}") for row in rows]
    refused(UsageError, "--truth", bouts, vlar.load("tracks"), folder / "cage2_dlc.csv")


def test_a_learning_takes_what_it_uses_and_nothing_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    requests: list[AnnotatedRequest] = []

    def remember(request: AnnotatedRequest) -> None:
        requests.append(request)
        raise UsageError("enough")

    monkeypatch.setattr("vlar.behaviour.annotated.learn.learn_request", remember)
    paths, truth = [folder / "cage0_dlc.csv"], folder / "bouts.csv"
    refused(UsageError, "enough", learn, paths, truth, seed=7)
    command = ["adapt", *map(str, paths), "--model", "tracks", "--truth", str(truth)]
    command += ["--out", str(tmp_path / "m")]
    assert invoke([*command, "--seed", "5"]).exit_code == 2
    assert [request.seed for request in requests] == [7, 5]
    refused(TypeError, "shots", learn, paths, truth, shots=3)
    refused(TypeError, "truth", vlar.load("tracks").adapt, paths, truth=truth)
    for option, value in (("--shots", "3"), ("--method", "ridge"), ("--from", "x")):
        refusal = invoke([*command, option, value])
        assert refusal.exit_code == 2
        assert f"{option} belongs to examples" in refusal.output
    assert len(requests) == 2
