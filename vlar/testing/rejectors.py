"""The contract of a rejector, as a check; clips are random points around the mean of a label."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from vlar import registry
from vlar.errors import ModelError, UsageError
from vlar.heads.reject import Rejector
from vlar.testing.contract import name_of, refused, registered, run

LABELS, SHOTS, WIDTH = 5, 6, 24


@dataclass
class RejectorMaterial:
    """A rejector that is fitted to clips of five labels.

    Attributes:
        rejector: The rejector.
        clips: Signatures and logits of clips of five labels and of five others, and which are of
            the labels.
    """

    rejector: Rejector
    clips: tuple[Any, Any, Any] = field(default_factory=lambda: _clips(1)[:3])


def check_rejector(part: Any) -> None:
    """Try a rejector on random clips of five labels, and of five labels that it has not learned.

    Args:
        part: The rejector: a class that is made without arguments, or a registered name.

    Raises:
        AssertionError: it breaks the contract of ``vlar.heads.reject.Rejector``.
    """
    part = registry.get("rejector", part) if isinstance(part, str) else part
    cls: type[Rejector] = part if isinstance(part, type) else type(part)
    name = name_of("rejector", cls)
    rows, logits, inside, target = _clips(0)
    y = [f"label {t}" for t in target[inside]]
    material = RejectorMaterial(cls())

    def fit(m: RejectorMaterial) -> None:
        """Rejectors are fitted to signatures, labels and held-out logits, and give themselves."""
        m.rejector = m.rejector.fit(rows[inside], y, None, logits[inside])
        assert isinstance(m.rejector, cls)

    with registered("rejector", name, cls):
        run("rejector", name, (fit, *STEPS), material)


def _clips(seed: int) -> tuple[Any, Any, Any, Any]:
    """Signatures and logits of clips, which of them are of a label, and their numbers.

    Labels 0 to 4 are learned, and are the columns of the logits; 5 to 9 are not.
    """
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(2 * LABELS, WIDTH))
    target = np.repeat(np.arange(2 * LABELS), SHOTS)
    rows = centres[target] + 0.4 * random.normal(size=(len(target), WIDTH))
    logits = 0.3 * rows @ centres[:LABELS].T
    return rows.astype(np.float32), logits, target < LABELS, target


def _names(m: RejectorMaterial) -> None:
    """A rejector is found by its name when it is loaded."""
    assert m.rejector.config()["rejector"] == m.rejector.name
    assert registry.get("rejector", m.rejector.name) is type(m.rejector)


def _scores(m: RejectorMaterial) -> None:
    """Scores and probabilities are higher where no label fits, and rise together."""
    rows, logits, inside = m.clips
    score = m.rejector.score(rows, logits)
    probability = m.rejector.probability(rows, logits)
    assert score.shape == probability.shape == (len(rows),)
    assert score.dtype == probability.dtype == np.float64
    assert np.isfinite(score).all(), "scores are NaN or infinite"
    pairs = score[~inside][:, None] > score[inside][None]
    assert pairs.mean() > 0.9, f"{pairs.mean():.0%} of the pairs are in order"
    assert ((probability >= 0) & (probability <= 1)).all()
    order = np.argsort(score)
    assert (np.diff(probability[order]) >= -1e-12).all()


def _alone(m: RejectorMaterial) -> None:
    """A clip scores the same alone and in a batch, since batches are cut by chance."""
    rows, logits, _ = m.clips
    together = m.rejector.score(rows, logits)
    alone = [m.rejector.score(rows[i : i + 1], logits[i : i + 1])[0] for i in range(len(rows))]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def _threshold(m: RejectorMaterial) -> None:
    """A threshold keeps the share of clips of the labels that is asked for."""
    rows, logits, inside = m.clips
    score = m.rejector.score(rows, logits)[inside]
    for share in (0.5, 0.9, 0.95, 1.0):
        below = (score <= m.rejector.threshold(score, keep=share)).mean()
        assert abs(below - share) <= 1 / len(score) + 1e-12, f"{below:.2f} for {share}"
    refused(UsageError, "at least one known clip", m.rejector.threshold, score[:0])
    refused(UsageError, r"is 1\.5; give one from 0 to 1", m.rejector.threshold, score, keep=1.5)


def _saved(m: RejectorMaterial) -> None:
    """A saved rejector scores the same, bit for bit, and one with a missing setting is refused."""
    rows, logits, _ = m.clips
    arrays = load(save({key: np.ascontiguousarray(a) for key, a in m.rejector.state().items()}))
    config = json.loads(json.dumps(m.rejector.config()))
    again = Rejector.from_state(config, arrays)
    assert np.array_equal(again.score(rows, logits), m.rejector.score(rows, logits))
    assert np.array_equal(again.probability(rows, logits), m.rejector.probability(rows, logits))
    for key in config:
        config_part = {k: v for k, v in config.items() if k != key}
        refused(ModelError, "adapt again", Rejector.from_state, config_part, arrays)


STEPS = (_names, _scores, _alone, _threshold, _saved)
