"""The contract of a few-shot head, as a check; signatures are random."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from vlar import registry
from vlar.encoders.base import FrameBlock
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.signatures import signature
from vlar.testing.contract import name_of, registered, run
from vlar.types import Float32

BLOCKS = (FrameBlock("look", 12, "appearance"),)
Y = ("b", "a", "c", "a", "b", "c")
LABELS = ("a", "b", "c")


@dataclass
class FewShotMaterial:
    """A head of six examples of three labels.

    Attributes:
        cls: Its class.
        head: The head, fitted with zero-shot similarities.
    """

    cls: type[FewShotHead]
    head: Any = None

    def rows(self, n: int, seed: int) -> Float32:
        """Signatures (n, S) of other random clips for each seed."""
        return signatures(n, seed)(self.head.kind)


def check_fewshot(part: Any) -> None:
    """Try a few-shot head on six random clips of three labels, and on one a label.

    Args:
        part: The head: a class whose ``example`` gives a fitted head, or a registered name.

    Raises:
        AssertionError: it breaks the contract of ``vlar.heads.fewshot.base.FewShotHead``.
    """
    part = registry.get("fewshot", part) if isinstance(part, str) else part
    cls: type[FewShotHead] = part if isinstance(part, type) else type(part)
    name = name_of("fewshot", cls)
    with registered("fewshot", name, cls):
        run("fewshot", name, STEPS, FewShotMaterial(cls))


def signatures(n: int, seed: int) -> Callable[[str], Float32]:
    """Signatures (n, S) of any kind, of n random clips."""
    frames = np.random.default_rng(seed).normal(size=(n, 8, 12)).astype(np.float32)
    return lambda kind: signature(frames, BLOCKS, kind)


def _fitted(cls: type[FewShotHead], y: Sequence[str], zero_shot: Float32 | None = None) -> Any:
    return cls.example(signatures(len(y), 0), y, zero_shot)


def _fits(m: FewShotMaterial) -> None:
    """FewShotHead.example gives a head of the class, fitted to examples and similarities."""
    zero_shot = np.random.default_rng(1).normal(size=(len(Y), len(LABELS))).astype(np.float32)
    m.head = _fitted(m.cls, Y, zero_shot)
    assert isinstance(m.head, m.cls)


def _names(m: FewShotMaterial) -> None:
    """A head is found by its name when it is loaded, and its labels are the logit columns."""
    assert m.head.config()["head"] == m.head.name
    assert registry.get("fewshot", m.head.name) is type(m.head)
    assert m.head.labels == LABELS
    assert m.head.logits(m.rows(4, 2)).shape == (4, 3)


def _numbers(m: FewShotMaterial) -> None:
    """Logits are finite, since probabilities are their softmax."""
    assert np.isfinite(m.head.logits(m.rows(4, 2))).all(), "logits are NaN or infinite"


def _examples(m: FewShotMaterial) -> None:
    """An example is recognised and probabilities sum to 1, or nothing was learned."""
    p = m.head.probabilities(m.rows(6, 0))
    assert [m.head.labels[i] for i in p.argmax(axis=1)] == list(Y)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)


def _one_shot(m: FewShotMaterial) -> None:
    """One example a label is enough to be recognised, since users begin with one."""
    head = _fitted(m.cls, LABELS)
    p = head.probabilities(signatures(3, 0)(head.kind))
    assert p.argmax(axis=1).tolist() == [0, 1, 2]


def _saved(m: FewShotMaterial) -> None:
    """A head saved as safetensors and JSON gives the same logits, bit for bit."""
    arrays = load(save({key: np.ascontiguousarray(a) for key, a in m.head.state().items()}))
    again = FewShotHead.from_state(json.loads(json.dumps(m.head.config())), arrays)
    prior = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    rows = m.rows(4, 2)
    np.testing.assert_array_equal(again.logits(rows, prior), m.head.logits(rows, prior))


def _alone(m: FewShotMaterial) -> None:
    """A clip has the same logits alone and in a batch, since batches are cut by chance."""
    queries = m.rows(5, 2)
    alone = np.concatenate([m.head.logits(row[None]) for row in queries])
    np.testing.assert_allclose(m.head.logits(queries), alone, atol=1e-5)


STEPS = (_fits, _names, _numbers, _examples, _one_shot, _saved, _alone)
