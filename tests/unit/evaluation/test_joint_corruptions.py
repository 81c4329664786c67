"""Corruptions of joints: what each does, worse by degrees, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.skeletons import body
from vlar import registry
from vlar.errors import UsageError
from vlar.evaluation.corruptions.base import SEVERITIES, corrupt, names_for
from vlar.evaluation.features import Change
from vlar.media.skeleton.layouts import layout, names, symmetry

JOINTS = ("jitter", "joint-dropout", "left-right-swap")


def people(name: str = "kinect20", frames: int = 64, count: int = 3) -> np.ndarray:
    """(T, M, V, 3) people next to each other."""
    found = np.stack([body(name, frames) + np.float32([at, 0, 0]) for at in range(count)], axis=1)
    found[3, 1, 4] = np.nan
    return found


def worse(name: str, severity: int, seed: int = 0, layout_name: str = "kinect20") -> np.ndarray:
    return corrupt(
        people(layout_name), name, severity, seed=seed, meta={"layout": layout_name}
    )  # fmt: skip


def changed(found: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(T, M, V) joints that are another than before."""
    return ~((found == before) | (np.isnan(found) & np.isnan(before))).all(axis=-1)


def test_they_belong_to_skeletons_and_the_corruptions_of_time_too():
    assert set(JOINTS) <= set(names_for("skeleton"))
    assert not set(JOINTS) & set(names_for("video"))
    assert {"drop", "shuffle"} <= set(names_for("skeleton"))


@pytest.mark.parametrize("name", JOINTS)
def test_severities_add_to_each_other_and_0_changes_no_byte(name: str):
    before, steps = people(), []
    assert worse(name, 0).tobytes() == before.tobytes()
    for severity in SEVERITIES:
        found = worse(name, severity, seed=7)
        assert found.dtype == before.dtype
        assert found.shape == before.shape
        assert found.tobytes() == worse(name, severity, seed=7).tobytes()
        steps.append(
            changed(found, before) if name != "jitter" else np.nanmean(np.abs(found - before))
        )
    if name == "jitter":
        assert (np.diff(steps) > 0).all()
    else:
        assert all((b | ~a).all() for a, b in itertools.pairwise(steps))
        assert steps[0].sum() < steps[-1].sum()
    assert np.isnan(worse(name, 1)[3]).sum() >= np.isnan(before[3]).sum()


def test_jitter_is_in_sizes_of_the_body_whatever_the_unit():
    before = people()
    for factor in (1.0, 250.0):
        noise = corrupt(factor * before, "jitter", 3, seed=0) / factor - before
        middle = np.nanmean(before, axis=2, keepdims=True)
        size = np.nanmedian(np.linalg.norm(before - middle, axis=-1))
        assert np.nanstd(noise) == pytest.approx(0.1 * size, rel=0.05)


@pytest.mark.parametrize(("severity", "share"), [(2, 0.1), (5, 0.5)])
def test_lost_joints_stay_lost_for_a_span(severity: int, share: float):
    before = np.ones((160, 4, 50, 2), np.float32)
    lost = np.isnan(corrupt(before, "joint-dropout", severity, seed=1)).all(axis=-1)
    assert lost.mean() == pytest.approx(share, abs=0.05)
    spans = lost.reshape(8, 20, 4, 50)
    assert (spans == spans[:, :1]).all()


@pytest.mark.parametrize("name", [row for row in names() if layout(row).body == "body"])
def test_sides_are_swapped_by_the_layout(name: str):
    before, found = people(name), worse("left-right-swap", 5, 3, name)
    moved = changed(found, before).any(axis=2)
    assert 0.2 < moved.mean() < 0.8
    np.testing.assert_array_equal(found[moved], before[moved][:, symmetry(name)])
    np.testing.assert_array_equal(found[~moved], before[~moved])


REFUSED: dict[str, tuple[str, str, Any, dict[str, Any]]] = {
    "pictures": ("jitter", "shape", np.zeros((2, 3, 4, 5), np.float32), {}),
    "one person": ("joint-dropout", "shape", np.zeros((2, 20, 3), np.float32), {}),
    "no frame": ("jitter", "shape", np.zeros((0, 1, 20, 3), np.float32), {}),
    "integers": ("joint-dropout", "floats", np.zeros((2, 1, 20, 3), np.int64), {}),
    "no layout": ("left-right-swap", "which is None", np.zeros((2, 1, 20, 3)), {}),
    "another layout": (
        "left-right-swap", "'ntu25'", np.zeros((2, 1, 20, 3)), {"layout": "ntu25"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_other_samples_are_refused(case: str):
    name, says, samples, meta = REFUSED[case]
    refused(UsageError, says, corrupt, samples, name, 3, seed=0, meta=meta)


def test_an_evaluation_hands_over_the_layout_of_a_clip():
    found = Change("left-right-swap", 5).apply(
        people(), "a", "skeleton", {"layout": "kinect20"}
    )  # fmt: skip
    assert changed(found, people()).any()
    assert registry.get("corruption", "left-right-swap").meta == {}
