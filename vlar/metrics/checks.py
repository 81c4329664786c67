"""Input checks of every metric: values that are not finite, sizes that differ, empty inputs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.types import Float64, JsonDict

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Record:
    """Figures whose JSON object is their fields."""

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return asdict(self)


def finite(values: npt.ArrayLike, what: str, ndim: int) -> Float64:
    """Values as float64, checked.

    Raises:
        MetricError: it is empty, has other axes, or holds NaN or an infinite value.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != ndim or not array.size:
        raise MetricError(
            f"{what} have the shape {array.shape}; give an array of {ndim} axes with values in it"
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        index = tuple(map(int, bad[0]))
        raise MetricError(
            f"{what} hold {array[index]} at {index if ndim > 1 else index[0]}; leave such clips "
            "out and name them"
        )
    return array


def truth_of(truth: npt.ArrayLike, scores: Float64) -> npt.NDArray[np.int64]:
    """(N,) columns of the right labels of (N, C) scores, checked.

    Raises:
        MetricError: another length, not integers, or a column that does not exist.
    """
    array = np.asarray(truth)
    if array.shape != (len(scores),) or array.dtype.kind not in "iu":
        raise MetricError(
            f"the right labels are {array.dtype} of shape {array.shape}; give one column number "
            f"for each of the {len(scores)} clips"
        )
    outside = array[(array < 0) | (array >= scores.shape[1])]
    if len(outside):
        raise MetricError(f"label {outside[0]} is not among the {scores.shape[1]} columns")
    return array.astype(np.int64)


def flags_of(flags: npt.ArrayLike, shape: tuple[int, ...], what: str) -> npt.NDArray[np.bool_]:
    """Yes or no for each value, as bool, checked.

    Raises:
        MetricError: another shape, or values other than 0 and 1.
    """
    array = np.asarray(flags)
    if array.shape != shape:
        raise MetricError(
            f"{what} have the shape {array.shape}, the scores {shape}; they must agree"
        )
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise MetricError(f"{what} hold values other than 0 and 1; give True or False for each")
    return array.astype(np.bool_)
