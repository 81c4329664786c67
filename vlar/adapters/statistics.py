"""Moments of what a model learned from: of its frame features, and of the outputs of its norms.

Letters: C channels of a layer, F features of a frame, n clips, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError, UsageError
from vlar.types import Clip, Float32

if TYPE_CHECKING:
    from torch import Tensor, nn

Moments = tuple[Float32, Float32]
MOST_BYTES = 1_000_000  # of a file of statistics: half for the layers, half for the features
_FEATURES, _MEAN, _VARIANCE = "features", ".mean", ".variance"


@dataclass(frozen=True)
class Statistics:
    """Moments of training clips, which a stream is drawn back to (``vlar.training.test_time``).

    Attributes:
        layers: Mean and variance (C,) of norms of an adapter: those of one clip,
            averaged over the clips, as a stream shows one clip at a time.
        features: Those (F,) of all frames of all clips; None where the file has no room.
    """

    layers: Mapping[str, Moments] = field(default_factory=dict[str, Moments])
    features: Moments | None = None

    @staticmethod
    def collect(
        model: Any, clips: Sequence[Clip], layers: Sequence[str] | None = None
    ) -> Statistics:
        """Moments of clips as a ``Model`` or its core encodes them; None for all of its norms.

        Raises:
            UsageError: no clip is given, or one of ``layers`` is not a norm of the adapter.
        """
        if not clips:
            raise UsageError("statistics need a clip, and none is given; give at least one")
        with gathering(model.encoder, layers) as gathered:
            rows = model.encoder.encode(clips)
        return gathered().with_features(np.stack([row.features for row in rows]))

    def with_features(self, features: Float32) -> Statistics:
        """The same with those of features (n, T, F), and the last layers that fit into a file."""
        mean = features.mean(axis=(0, 1), dtype=np.float64)
        away = np.mean([np.square(clip - mean).mean(axis=0) for clip in features], axis=0)
        pairs = list(self.layers.items())
        while sum(2 * pair[0].nbytes + 256 for _, pair in pairs) > MOST_BYTES // 2:
            del pairs[0]
        entry = mean.astype(np.float32), away.astype(np.float32)
        return Statistics(
            dict(pairs), entry if 2 * entry[0].nbytes < MOST_BYTES // 2 - 512 else None
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to save; ``of_arrays`` reads them."""
        pairs = {**self.layers, **({_FEATURES: self.features} if self.features else {})}
        means = {name + _MEAN: mean for name, (mean, _) in pairs.items()}
        return means | {name + _VARIANCE: variance for name, (_, variance) in pairs.items()}

    @staticmethod
    def of_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Statistics:
        """Statistics from ``arrays``.

        Raises:
            ModelError: one is not a row of numbers, a variance is below 0, or one lacks its other.
        """
        layers: dict[str, Moments] = {}
        for key in sorted({name.rpartition(".")[0] for name in arrays}):
            lost: Any = np.zeros(())
            mean, variance = arrays.get(key + _MEAN, lost), arrays.get(key + _VARIANCE, lost)
            if mean.ndim != 1 or mean.shape != variance.shape or not (variance >= 0).all():
                raise ModelError(f"the statistics of {key[:80]!r} are malformed; adapt again")
            layers[key] = mean, variance
        return Statistics(layers, layers.pop(_FEATURES, None))


@contextmanager
def watching(
    network: nn.Module, layers: Sequence[str], take: Callable[[str, tuple[Tensor, Tensor]], Any]
) -> Generator[None, None, None]:
    """Context in which ``take`` gets the name and the moments (C,) of each output of some norms.

    Means and biased variances are over all axes but the channels'.
    """
    from torch import nn

    def hook(name: str) -> Callable[..., None]:
        def watch(layer: nn.Module, _: Any, output: Tensor) -> None:
            channel = output.ndim - 1 if isinstance(layer, nn.LayerNorm) else 1
            axes = [axis for axis in range(output.ndim) if axis != channel]
            mean = output.mean(axes)
            # Half the time of ``var_mean``; norms keep the mean near 0.
            take(name, (mean, ((output * output).mean(axes) - mean * mean).clamp(min=0)))

        return watch

    hooks = [network.get_submodule(name).register_forward_hook(hook(name)) for name in layers]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def gathering(
    encoder: Any, layers: Sequence[str] | None = None
) -> Generator[Callable[[], Statistics], None, None]:
    """Context in which the norms of an encoder, or some of them, are watched clip by clip.

    It yields what gives their statistics; an encoder that names no norms has none.
    """
    default_layers = encoder.norm_layers if hasattr(encoder, "norm_layers") else ()
    chosen, sums = default_layers if layers is None else layers, dict[str, list[Any]]()
    if wrong := set(chosen) - set(default_layers):
        raise UsageError(
            f"{min(wrong)!r} is not a norm of {encoder.name!r}; it names {default_layers}"
        )

    def take(name: str, pair: tuple[Tensor, Tensor]) -> None:
        sums.setdefault(name, []).append([value.detach().float().cpu().numpy() for value in pair])

    def mean() -> Statistics:
        means = {name: np.mean(sums[name], axis=0) for name in chosen if name in sums}
        return Statistics({name: (rows[0], rows[1]) for name, rows in means.items()})

    if not chosen:
        yield mean
        return
    with watching(encoder.module, chosen, take):
        yield mean
