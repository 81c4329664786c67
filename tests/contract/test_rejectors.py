"""What every registered rejector must do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.refusals import refused
from vlar import registry
from vlar.errors import ModelError, UsageError
from vlar.heads.reject import Rejector

NAMES = registry.names("rejector")
LABELS, SHOTS, WIDTH = 5, 6, 24


def _clips(seed: int):
    """Signatures and logits of known clips (columns 0 to 4 of the labels), and of unknown ones."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(2 * LABELS, WIDTH))
    target = np.repeat(np.arange(2 * LABELS), SHOTS)
    rows = centres[target] + 0.4 * random.normal(size=(len(target), WIDTH))
    logits = 0.3 * rows @ centres[:LABELS].T
    known = target < LABELS
    return rows.astype(np.float32), logits, target, known


@pytest.fixture(params=NAMES)
def rejector(request) -> Rejector:
    rows, logits, target, known = _clips(0)
    y = [f"label {t}" for t in target[known]]
    return registry.get("rejector", request.param)().fit(rows[known], y, None, logits[known])


def test_familiarity_is_there():
    assert "familiarity" in NAMES


def test_names(rejector):
    assert rejector.config()["rejector"] == rejector.name
    assert registry.get("rejector", rejector.name) is type(rejector)


def test_scores_and_probabilities_are_higher_where_no_label_fits(rejector):
    rows, logits, _, known = _clips(1)
    score = rejector.score(rows, logits)
    probability = rejector.probability(rows, logits)
    assert score.shape == probability.shape == (len(rows),)
    assert score.dtype == probability.dtype == np.float64
    pairs = score[~known][:, None] > score[known][None]
    assert pairs.mean() > 0.9
    assert ((probability >= 0) & (probability <= 1)).all()
    order = np.argsort(score)
    assert (np.diff(probability[order]) >= -1e-12).all()


def test_a_clip_scores_the_same_alone(rejector):
    rows, logits, _, _ = _clips(1)
    together = rejector.score(rows, logits)
    alone = [rejector.score(rows[i : i + 1], logits[i : i + 1])[0] for i in range(len(rows))]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_threshold_keeps_the_share_of_known_clips(rejector):
    rows, logits, _, known = _clips(1)
    score = rejector.score(rows, logits)[known]
    for keep in (0.5, 0.9, 0.95, 1.0):
        kept = (score <= rejector.threshold(score, keep=keep)).mean()
        assert kept == pytest.approx(keep, abs=1 / len(score))
    refused(UsageError, "at least one known clip", rejector.threshold, score[:0])
    refused(UsageError, r"is 1\.5; give one from 0 to 1", rejector.threshold, score, keep=1.5)


def test_it_is_saved_and_found_again(rejector):
    rows, logits, _, _ = _clips(1)
    arrays = load(save({key: np.ascontiguousarray(a) for key, a in rejector.state().items()}))
    config = json.loads(json.dumps(rejector.config()))
    again = Rejector.from_state(config, arrays)
    assert np.array_equal(again.score(rows, logits), rejector.score(rows, logits))
    assert np.array_equal(again.probability(rows, logits), rejector.probability(rows, logits))
    for key in config:
        with pytest.raises(ModelError, match="adapt again"):
            Rejector.from_state({k: v for k, v in config.items() if k != key}, arrays)
