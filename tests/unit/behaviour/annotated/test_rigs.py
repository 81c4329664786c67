"""A model of one rig answers recordings of another: names, points, frame rates, pixels, jitter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import invoke
from tests.refusals import refused
from vlar.behaviour.annotated.fit import agreement
from vlar.behaviour.annotated.forest import Growth
from vlar.behaviour.annotated.learn import learn
from vlar.behaviour.annotated.recordings import AnswerReport, bouts
from vlar.behaviour.tracks.features import FeaturePlan
from vlar.behaviour.tracks.recording import read_tracks
from vlar.behaviour.tracks.shape import completed, products_of
from vlar.errors import UsageError
from vlar.model.model import Model
from vlar.segments import Segment, write

POINTS = {
    "Nose": (40.0, 0.0),
    "Left Ear": (28.0, 9.0),
    "Right Ear": (28.0, -9.0),
    "Mid-Back": (0.0, 0.0),
    "Tailbase": (-36.0, 0.0),
}
THEIRS = dict(zip(POINTS, ("snout", "l_ear", "r_ear", "centroid", "tail_base"), strict=True))
LENGTH_S, LEARNED_HZ = 80.0, 50.0


def spans(seed: int) -> list[Segment]:
    """Bouts of freezing, and of walking between them."""
    random = np.random.default_rng(seed)
    rows: list[Segment] = []
    time_s, label = 0.0, "walk"
    while time_s < LENGTH_S:
        end_s = min(LENGTH_S, time_s + float(random.uniform(3, 8)))
        rows.append(Segment(f"mouse{seed}.csv", time_s, end_s, label))
        time_s, label = end_s, "freeze" if label == "walk" else "walk"
    return rows


def mouse(
    path: Path,
    seed: int,
    rate_hz: float = LEARNED_HZ,
    *,
    scale: float = 1.0,
    names: dict[str, str] | None = None,
    without: tuple[str, ...] = (),
) -> Path:
    """A mouse that walks in circles or freezes, as a camera of a rate and a scale shows it."""
    random = np.random.default_rng(seed)
    fine = np.arange(round(LENGTH_S * 200)) / 200
    walks = np.zeros(len(fine))
    for span in spans(seed):
        walks[(fine >= span.start_s) & (fine < span.end_s)] = span.label == "walk"
    walks = np.convolve(walks, np.ones(20) / 20, "same")
    turn = np.cumsum(walks * random.uniform(0.6, 1.4)) / 200
    wag = np.cumsum(walks) / 200 * 8
    clock = np.arange(round(LENGTH_S * rate_hz)) / rate_hz
    columns = {"time_s": clock}
    for name, (x, y) in POINTS.items():
        if name in without:
            continue
        angle = turn + np.pi / 2 + 0.12 * np.sin(wag + x / 20)
        place = 150 * np.exp(1j * turn) + (x + 1j * y) * np.exp(1j * angle) + 300 + 300j
        jitter = 0.3 * random.normal(size=(2, len(clock)))
        shown = (names or {}).get(name, name)
        columns[f"{shown}_x"] = scale * (np.interp(clock, fine, place.real) + jitter[0])
        columns[f"{shown}_y"] = scale * (np.interp(clock, fine, place.imag) + jitter[1])
    rows = np.stack(list(columns.values()), axis=1)
    np.savetxt(path, rows, "%.4f", ",", header=",".join(columns), comments="")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("rig")
    few = Growth(trees=16, columns=60, least=3.0)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_FINAL", "_FOLD", "_CONTEXT"):
            patch.setattr(f"vlar.behaviour.annotated.fit.{name}", few)
        paths = [mouse(folder / f"mouse{seed}.csv", seed) for seed in (0, 1)]
        return learn(paths, spans(0) + spans(1))


def steps(rows: list[Segment]) -> np.ndarray:
    """Labels by steps of .1 s: 1 is freezing."""
    times_s = (np.arange(round(LENGTH_S * 10)) + 0.5) / 10
    labels = np.zeros(len(times_s), np.int64)
    for row in rows:
        labels[(times_s >= row.start_s) & (times_s < row.end_s)] = row.label == "freeze"
    return labels


def kappa(one: list[Segment], other: list[Segment]) -> float:
    return agreement([steps(one)], [steps(other)], 2)[0]


@pytest.mark.parametrize(
    ("rate_hz", "scale"), [(15, 1), (25, 1), (30, 1), (100, 1), (50, 0.5), (50, 2)]
)
def test_bouts_depend_neither_on_the_rate_nor_on_the_pixels(
    model: Model, tmp_path: Path, rate_hz: float, scale: float
):
    answer = bouts(model, mouse(tmp_path / "mouse2.csv", 2))
    again = bouts(model, mouse(tmp_path / "again.csv", 2, rate_hz, scale=scale))
    assert kappa(answer, again) >= 0.95
    assert kappa(answer, spans(2)) > 0.85


def test_another_laboratory_is_answered_and_its_points_are_reported(model: Model, tmp_path: Path):
    reports: list[AnswerReport] = []
    theirs = mouse(tmp_path / "theirs.csv", 2, 30, scale=0.7, names=THEIRS)
    answer = bouts(model, theirs, report=reports.append)
    assert kappa(answer, spans(2)) > 0.85
    points = reports[0].to_dict()["points"]
    assert points == {"matched": {v: k for k, v in THEIRS.items()}, "missing": [], "extra": []}
    fewer = mouse(tmp_path / "f.csv", 2, 30, scale=0.7, names=THEIRS, without=("Left Ear", "Nose"))
    less = bouts(model, fewer, report=reports.append)
    assert kappa(less, spans(2)) > 0.8
    assert reports[1].to_dict()["points"]["missing"] == ["Nose", "Left Ear"]
    assert "missing: Nose, Left Ear" in reports[1].summary()
    stated = [np.mean([row.probability or 0 for row in rows]) for rows in (answer, less)]
    assert stated[1] < stated[0] - 0.1
    assert kappa(answer, spans(5)) < 0.5  # the control


def test_few_points_are_refused_unless_forced(model: Model, tmp_path: Path):
    others = {"Nose": "a", "Left Ear": "b", "Right Ear": "c", "Mid-Back": "d"}
    path = mouse(tmp_path / "strange.csv", 2, names=others)
    folder = str(model.save(tmp_path / "model"))
    for verb in ("timeline", "ethogram"):
        refusal = invoke([verb, str(path), "--model", folder])
        assert refusal.exit_code == 2
        assert "Left Ear" in refusal.output
        assert "a, b, c, d" in refusal.output
        done = invoke([verb, str(path), "--model", folder, "--force", "--json"])
        assert done.exit_code == 0
        points = json.loads(done.stdout.splitlines()[0])["report"]["points"]
        assert points["extra"] == ["a", "b", "c", "d"]
        assert points["matched"] == {"Tailbase": "Tailbase"}
    refused(UsageError, "layout.toml", bouts, model, path)
    write(tmp_path / "truth.csv", [replace(s, recording=path.name) for s in spans(2)])
    for command in (
        ["review", folder, str(path), "--minutes", "1"],
        ["evaluate", folder, str(path), "--truth", str(tmp_path / "truth.csv")],
    ):
        assert "Left Ear" in (refusal := invoke(command)).output
        assert refusal.exit_code == 2
        assert invoke([*command, "--force"]).exit_code == 0
    names = "\n".join(f'{theirs} = "{ours}"' for ours, theirs in others.items())
    (tmp_path / "strange.toml").write_text(f"[names]\n{names}\n")
    assert kappa(bouts(model, path), spans(2)) > 0.85


def test_centimetres_take_the_place_of_body_lengths_where_all_state_a_scale(tmp_path: Path):
    paths = [mouse(tmp_path / f"mouse{seed}.csv", seed) for seed in (0, 1)]
    recordings = [read_tracks(path, px_per_cm=10) for path in paths]
    plan = FeaturePlan.of(recordings)
    assert plan.length_cm == pytest.approx(10, abs=3)
    one = np.concatenate([*plan.features(recordings[0], 0.1)])
    twice = read_tracks(mouse(tmp_path / "twice.csv", 0, scale=2), px_per_cm=20)
    np.testing.assert_allclose(np.concatenate([*plan.features(twice, 0.1)]), one, atol=0.02)
    write(tmp_path / "bouts.csv", spans(0))
    assert FeaturePlan.of([read_tracks(paths[0])]).length_cm is None


def test_the_place_of_a_missing_point_follows_the_body(tmp_path: Path):
    points = read_tracks(mouse(tmp_path / "mouse0.csv", 0)).tracks.points
    products = products_of(points[::5])
    for lacking in ([0], [1, 2], [0, 1, 3]):
        places = completed(np.where(np.isin(range(5), lacking)[:, None], np.nan, points), products,
                           lacking)  # fmt: skip
        errors = np.linalg.norm(places - points, axis=-1)[:, 0, lacking]
        assert np.median(errors) < 4  # of a body of 76 pixels
        shuffled = completed(points, products[::-1, ::-1], lacking)
        assert np.median(np.linalg.norm(shuffled - points, axis=-1)[:, 0, lacking]) > 4


def test_an_animal_that_rests_to_the_digit_has_the_same_features_as_its_copies(tmp_path: Path):
    rows = ["time_s,nose_x,nose_y,tail_x,tail_y"]
    rows += [f"{n / 10},{n if n < 30 else 30},5,{n - 9 if n < 30 else 21},5" for n in range(200)]
    file = tmp_path / "resting.csv"
    file.write_text("\n".join(rows) + "\n")
    recording = read_tracks(file)
    plan = FeaturePlan.of([recording])
    widths = {
        rows.shape[1]
        for random in (None, np.random.default_rng(1))
        for rows in plan.features(recording, 0.1, random)
    }
    assert len(widths) == 1
