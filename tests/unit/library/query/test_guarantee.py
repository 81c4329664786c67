"""Lists with a stated chance of a miss: the promise holds, and its calibration is checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import FakeModel
from tests.unit.library.query.test_figures_of_hits import AskedFake
from tests.unit.library.query.test_newcomer_errors import library_of
from vlar.errors import QueryError, UsageError
from vlar.library.library import Library
from vlar.library.query import guarantee
from vlar.library.query.calibrate import calibrate
from vlar.library.query.guarantee import MissCalibration, least_probability, scores_of
from vlar.numeric import unit


def test_the_promise_holds_for_queries_like_those_of_the_calibration():
    draw = np.random.default_rng(0)

    def queries(count: int) -> tuple[np.ndarray, np.ndarray]:
        odds = draw.normal(size=(count, 20))
        odds[:, 0] += 1.0
        probability = 1 / (1 + np.exp(-odds))
        return probability, probability.max(axis=1)

    fitted, best = queries(400)
    made = MissCalibration("c", "f", {20: tuple(np.sort(scores_of(fitted[:, 0], best)).tolist())})
    tried, best = queries(4000)
    lengths = []
    for alpha in (0.05, 0.1, 0.2):
        promise = made.guarantee(alpha, 25)
        least = np.array([least_probability(promise, float(p)) for p in best])
        assert float((tried[:, 0] < least).mean()) == pytest.approx(alpha, abs=0.03)
        lengths.append(float((tried >= least[:, None]).mean()))
    assert lengths == sorted(lengths, reverse=True)


def test_too_few_queries_promise_nothing_but_the_whole_library():
    made = MissCalibration("c", "f", {4: (0.0,) * 8, 400: (1.0,) * 8})
    assert made.guarantee(0.1, 4).least == -np.inf
    assert least_probability(made.guarantee(0.1, 4), 0.9) == 0.0
    assert made.guarantee(0.12, 5).recordings == 4
    assert made.guarantee(0.12, 300).recordings == 400


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"name": "c"}', '{"name": "c", "fingerprint": "f", "scores": {}}',
        '{"name": "c", "fingerprint": "f", "scores": {"4": []}}',
        '{"name": "c", "fingerprint": "f", "scores": {"0": [1]}}',
        '{"name": "c", "fingerprint": "f", "scores": {"4": [NaN]}}',
        '{"name": "c", "fingerprint": "f", "scores": {"4": ["x"]}}',
    ],
)  # fmt: skip
def test_a_text_that_is_not_a_calibration_is_none(text: str):
    assert MissCalibration.from_json(text) is None


def test_a_calibration_survives_its_text():
    made = MissCalibration("c", "f", {4: (0.5, 1.0)})
    assert MissCalibration.from_json(made.to_json()) == made


def test_a_library_without_a_calibration_names_the_command(tmp_path: Path):
    with library_of(tmp_path, FakeModel(), 3) as library:
        refused(UsageError, r"vlar calibrate .*l\.vlar labelled/", library.query, "a cat", miss=0.1)
        for wrong in (0, 1, -0.1, float("nan"), True):
            refused(QueryError, "a chance above 0 and below 1", library.query, "a cat", miss=wrong)
        refused(QueryError, "one phrase", library.query, '"a" AND "b"', miss=0.1)


def test_a_library_is_calibrated_by_labelled_clips_and_answers_with_a_promise(tmp_path: Path):
    model, draw = AskedFake(), np.random.default_rng(0)
    with library_of(tmp_path, model, 12) as library:
        everything = library.query("a cat", 1000, min_probability=0)
        labels = [f"label {n}" for n in range(40)]
        words = model.encode_queries(labels)
        vectors = unit(words + 0.5 * draw.normal(size=words.shape) / 5).astype(np.float32)
        made = calibrate(library._connection, labels, vectors, "forty clips")
        assert sorted(made.scores) == [12]
        hits = {alpha: library.query("a cat", miss=alpha) for alpha in (0.05, 0.1, 0.5)}
    assert {len(found) for found in hits.values()} != {len(everything)}
    assert [len(hits[a]) for a in (0.05, 0.1, 0.5)] == sorted(map(len, hits.values()))[::-1]
    promise = hits[0.1].guarantee
    assert promise is not None
    assert (promise.alpha, promise.calibration, promise.size) == (0.1, "forty clips", 40)
    assert "90%" in promise.sentence(3)
    assert json.loads(json.dumps(promise.to_dict()))["recordings"] == 12


def test_an_empty_list_is_an_answer(tmp_path: Path):
    with library_of(tmp_path, FakeModel(), 3) as library:
        high = MissCalibration("c", FakeModel().fingerprint, {3: (50.0,) * 40})
        with library._connection.writing() as writer, writer.transaction():
            writer.set_meta({guarantee.KEY: high.to_json()})
        hits = library.query("a cat", miss=0.1)
    assert list(hits) == []
    assert hits.guarantee is not None
    assert "not in here, with 90%" in hits.guarantee.sentence(0)


def test_the_packaged_calibrations_can_be_read():
    files = list((Path(guarantee.__file__).parent / "calibrations").glob("*.json"))
    assert files
    for file in files:
        made = MissCalibration.from_json(file.read_text("utf-8"))
        assert made is not None
        assert len(made.fingerprint) == 64
        assert all(len(scores) >= 20 for scores in made.scores.values())
        assert max(map(len, made.scores.values())) >= 100


def test_an_upgraded_library_forgets_nothing_and_refuses_the_calibration_of_another_model(
    tmp_path: Path,
):
    with library_of(tmp_path, FakeModel(), 3) as library:
        other = MissCalibration("c", "another model", {3: (0.0,) * 40})
        with library._connection.writing() as writer, writer.transaction():
            writer.set_meta({guarantee.KEY: other.to_json()})
        refused(UsageError, "no calibration", library.query, "a cat", miss=0.1)
    assert isinstance(library, Library)
