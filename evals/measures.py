"""Measures that only the scripts read: scene bias and McNemar's test.

Scene bias: does a model reject a clip by its scene in place of its action? Zhai et al., "SOAR:
scene-debiasing open-set action recognition", 2023, section 3. Test clips are sorted by how far
their scene is from the nearest scene of the training, and cut into groups of equal size. A model
that goes by scenes accepts unknown actions in familiar scenes and rejects known actions in new
ones, so its AUROC differs from group to group.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import finite, flags_of
from vlar.metrics.openset import auroc
from vlar.types import Float64, JsonDict


@dataclass(frozen=True)
class McNemar:
    """The exact test of McNemar on two models' answers to the same clips.

    Attributes:
        only_first: Clips that only the first model answers rightly.
        only_second: Clips that only the second does.
        p: Two-sided, of the binomial distribution; 1 where both are 0.
    """

    only_first: int
    only_second: int
    p: float

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return asdict(self)


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> McNemar:
    """Test for a difference of two models on the same clips (McNemar, 1947; exact binomial form).

    Args:
        first: (N,) bool, whether the first model is right.
        second: (N,) bool, whether the second is.

    Raises:
        MetricError: lengths that differ.
    """
    from scipy.stats import binomtest

    a = flags_of(first, np.shape(first), "the right answers")
    b = flags_of(second, a.shape, "the right answers of the second model")
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    changed = only_first + only_second
    p = float(binomtest(only_first, changed).pvalue) if changed else 1.0
    return McNemar(only_first, only_second, p)


@dataclass(frozen=True)
class SceneBias:
    """AUROC by distance of the scene, nearest first, and how much it differs.

    Attributes:
        unknown: Of the unknown clips of each group against all known clips.
        known: Of all unknown clips against the known clips of each group.
        unknown_gap: ``unknown``, last minus first: positive where unknown clips in familiar scenes
            pass.
        known_gap: ``known``, first minus last: positive where known actions in new scenes do not.
        distance: Mean distance of the scenes of each group, unknown and known clips together.
    """

    unknown: tuple[float, ...]
    known: tuple[float, ...]
    unknown_gap: float
    known_gap: float
    distance: tuple[float, ...]

    @property
    def gap(self) -> float:
        """Mean of both gaps; about 0 without scene bias, positive with it."""
        return (self.unknown_gap + self.known_gap) / 2

    @property
    def worst(self) -> float:
        """The lowest AUROC of any group."""
        return min(*self.unknown, *self.known)

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {
            "gap": self.gap,
            "unknown_gap": self.unknown_gap,
            "known_gap": self.known_gap,
            "worst": self.worst,
            "unknown": list(self.unknown),
            "known": list(self.known),
            "distance": list(self.distance),
        }


def scene_distance(clips: npt.ArrayLike, training: npt.ArrayLike) -> Float64:
    """Distance of each clip's scene to the nearest one of the training: one minus the cosine.

    Args:
        clips: (m, D) scene vectors, such as posteriors over the names of scenes.
        training: (n, D) those of the training clips.

    Returns:
        (m,) float64, 0 to 2.

    Raises:
        MetricError: sizes that differ, no training clip, a zero vector, or NaN.
    """
    a, b = finite(clips, "the scene vectors", 2), finite(training, "the scene vectors", 2)
    if a.shape[1] != b.shape[1] or not len(b):
        raise MetricError(
            f"scene vectors {a.shape} and {b.shape} of the training; give rows of one width, and "
            "one training clip at least"
        )
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b)]
    if any((length == 0).any() for length in lengths):
        raise MetricError("a scene vector is zero; leave clips without a scene out")
    cosine = (a / lengths[0]) @ (b / lengths[1]).T
    return 1.0 - np.clip(cosine.max(axis=1), -1.0, 1.0)


def scene_bias(
    scores: npt.ArrayLike,
    unknown: npt.ArrayLike,
    distance: npt.ArrayLike,
    *,
    groups: int = 2,
) -> SceneBias:
    """AUROC of unknown clips by the distance of their scene, and of known clips likewise.

    Args:
        scores: (N,) float, higher is unknown.
        unknown: (N,) bool or int.
        distance: (N,) from ``scene_distance``; ties stay in the order of the clips.
        groups: Number of groups of equal size, at least 2.

    Raises:
        MetricError: fewer clips of one kind than groups, fewer than two groups, NaN, or sizes that
            differ.
    """
    values, away = finite(scores, "the scores", 1), finite(distance, "the distances", 1)
    flags = flags_of(unknown, values.shape, "the unknown clips")
    if len(values) != len(away):
        raise MetricError(f"{len(values)} scores and {len(away)} distances; give one each a clip")
    fewest = min(int(flags.sum()), int((~flags).sum()))
    if groups < 2 or fewest < groups:
        raise MetricError(
            f"{groups} groups of {int(flags.sum())} unknown and {int((~flags).sum())} known clips; "
            "give two groups at least, and no more than there are clips of either kind"
        )
    strange, familiar = _cut(away, flags, groups), _cut(away, ~flags, groups)
    everyone = np.flatnonzero(flags), np.flatnonzero(~flags)
    of_unknown = tuple(_auroc(values, flags, rows, everyone[1]) for rows in strange)
    of_known = tuple(_auroc(values, flags, everyone[0], rows) for rows in familiar)
    means = tuple(
        float(away[np.concatenate(pair)].mean()) for pair in zip(strange, familiar, strict=True)
    )
    return SceneBias(
        of_unknown,
        of_known,
        of_unknown[-1] - of_unknown[0],
        of_known[0] - of_known[-1],
        means,
    )


def _cut(distance: Float64, kind: npt.NDArray[np.bool_], groups: int) -> list[npt.NDArray[np.intp]]:
    rows = np.flatnonzero(kind)
    return np.array_split(rows[np.argsort(distance[rows], kind="stable")], groups)


def _auroc(
    values: Float64,
    flags: npt.NDArray[np.bool_],
    strange: npt.NDArray[np.intp],
    familiar: npt.NDArray[np.intp],
) -> float:
    rows = np.concatenate([strange, familiar])
    return auroc(values[rows], flags[rows])
