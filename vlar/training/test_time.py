"""Adaptation of a model to a stream while it is answered, one unlabelled recording at a time.

ViTTA (Lin et al., "Video test-time adaptation for action recognition", CVPR 2023): the moments of
the norms are drawn back to those of the training clips (docs/streams.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar import registry
from vlar.adapters.statistics import Statistics, watching
from vlar.errors import UsageError, VlarError
from vlar.media.views import Views
from vlar.model.core import encoded_span
from vlar.model.inputs import Answer
from vlar.model.model import Model
from vlar.model.requests import ClassifyRequest
from vlar.types import Clip, Encoded, Failure, Window

#: What a step on a clip trains: scale and shift of norms, all parameters, nothing; learning rates.
FORMS = {"norms": 3e-4, "all": 3e-5, "features": 0.0}
MOMENTUM, AGREEMENT = 0.05, 0.1
#: Distance of the parameters from the source, and rise of the loss, which reset; both relative.
RESET = (0.3, 1.0)
# Kinds of frame blocks that are numbers alone; others hold masks, places or shares.
_PLAIN = ("appearance", "logits", "motion", "direction", "signal", "clip", "statistics", "network")


def running(old: Any, new: Any, momentum: float) -> Any:
    """Running mean: ``momentum`` of the new value, and the rest of the old one."""
    return momentum * new + (1 - momentum) * old


def moment_loss(now: Sequence[Any], source: Sequence[Any]) -> Tensor:
    """Distance of (mean, variance) of layers: sum of mean |m - m_s| + mean |v - v_s|, all (C,)."""
    return ((_flat(now) - _flat(source)).abs() / _sizes(now)).sum()


def _flat(pairs: Iterable[Any]) -> Tensor:
    """Means and variances of all layers in one row, as operations on each layer cost more."""
    return torch.cat([torch.as_tensor(x, dtype=torch.float32) for pair in pairs for x in pair])


def _sizes(pairs: Iterable[Any]) -> Tensor:
    """Number of channels of the layer of each entry of ``_flat``."""
    counts = torch.tensor([len(x) for pair in pairs for x in pair])
    return counts.repeat_interleave(counts)


class Online:
    """A model that adapts to a stream; the model that is given stays as it is.

    Args:
        model: Adapted to labels.
        statistics: Statistics of its training clips; None for those that it keeps.
        layers: Norms that are drawn to them; None for the last quarter of those in the statistics.
        momentum: Share of a clip in the running moments, above 0 to 1.
        reset: Limits of distance and rise, see ``RESET``; None never resets.
        form: One of ``FORMS``; ``features`` whitens and recolours frame features.
        rate: Learning rate of Adam; None for that of the form.
        request: Labels, and how many are answered; None for the model's own.

    Raises:
        UsageError: the model has no statistics, none that fit it, or no norms to train.
    """

    def __init__(
        self,
        model: Model,
        statistics: Statistics | None = None,
        *,
        layers: Sequence[str] | None = None,
        momentum: float = MOMENTUM,
        reset: tuple[float, float] | None = RESET,
        form: str = "norms",
        rate: float | None = None,
        request: ClassifyRequest | None = None,
    ) -> None:
        if form not in FORMS:
            raise registry.unknown_name("form of online adaptation", form, FORMS)
        if not 0 < momentum <= 1:
            raise UsageError(f"momentum is {momentum}; use a share above 0, up to 1")
        if model.head is None or (statistics or model.head.statistics) is None:
            raise UsageError(
                f"model {model.name!r} has no statistics.safetensors to return to; make one with "
                "'vlar adapt', or adapt again where an earlier vlar did"
            )
        self.request = request or ClassifyRequest()
        self.source: Any = statistics or model.head.statistics
        self.trains, self.momentum, self.limits = form != "features", momentum, reset
        self.resets, self.rate = 0, rate or FORMS[form]
        self.encoder: Any = _copy(model) if self.trains else model.encoder
        adapted_model = Model(
            self.encoder,
            adapted=model.head,
            templates=model.words.template_set,
            calibration=model.calibration,
            name=model.name,
        )
        self.core, self.sampler = adapted_model.words, adapted_model.view_sampler
        self.classifier = adapted_model.recogniser.classifier(self.request.label_set)
        named = [n for n in getattr(self.encoder, "norm_layers", ()) if n in self.source.layers]
        self.layers = list(layers or named[3 * len(named) // 4 :])
        if not self._fits():
            raise UsageError(f"these statistics are not of model {model.name!r}; give its own")
        if self.trains:
            network = self.encoder.module
            parts = [network] if form == "all" else map(network.get_submodule, self.layers)
            self.trained = [p.requires_grad_(True) for part in parts for p in part.parameters()]
            self._start = {name: t.clone() for name, t in network.state_dict().items()}
            self._concepts = torch.from_numpy(model.head.concepts)
        self.reset()

    def _fits(self) -> bool:
        layer_statistics, feature_statistics = self.source.layers, self.source.features
        if not self.trains:
            return (
                feature_statistics is not None
                and len(feature_statistics[0]) == self.encoder.frame_dim
            )
        state = self.encoder.module.state_dict()
        sizes = {name: len(state.get(f"{name}.bias", ())) for name in self.layers}
        fits = (
            name in layer_statistics and len(layer_statistics[name][0]) == n
            for name, n in sizes.items()
        )
        return bool(self.layers) and all(fits)

    def reset(self) -> None:
        """Return to the source: parameters, running moments and optimiser as at the start."""
        self.clips, self._lowest, self._note = 0, float("inf"), ""
        self.moments: Any = self.source.features
        if self.trains:
            self.encoder.module.load_state_dict(self._start)
            pairs = [self.source.layers[name] for name in self.layers]
            self.moments, self._sizes = _flat(pairs), _sizes(pairs)
            self._aim = self.moments
            self.optimiser = torch.optim.Adam(self.trained, self.rate)

    def classify_each(self, paths: Iterable[str | Path]) -> Iterator[Answer]:
        """The answer about each recording after a step on it; failures stay in their place."""
        for views in self.sampler.sample_each((Path(path), None) for path in paths):
            yield views if isinstance(views, Failure) else self.classify(self.views(views[0]))

    def views(self, clip: Clip) -> Views:
        """A clip, and for a training the same recording up to one step of time later."""
        window, sampling = clip.window, self.sampler.sampling
        later = Window(window.start_s + window.duration_s / max(sampling.n_frames, 2), window.end_s)
        with suppress(VlarError):  # too short for two
            if self.trains:
                return [clip, self.sampler.reader.read_clip(clip.path, later, sampling)]
        return [clip]

    def classify(self, views: Views) -> Answer:
        """The answer about the first view of a clip, after one step on all of them."""
        row = self._adapted(views) if self.trains else self._recoloured(views[0])
        span = encoded_span(views[:1], [row])
        answer = self.classifier.answer(span, top=self.request.top, model=self.core.name)
        notes, self._note = (*answer.notes, *filter(None, [self._note])), ""
        return replace(answer, notes=notes)

    def _adapted(self, views: Views) -> Encoded:
        inputs, row = self.encoder.in_use(views)
        loss = self._loss_of(inputs)
        if loss is not None:
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self._watch(float(loss.detach()))
        return row()

    def _loss_of(self, inputs: Tensor) -> Tensor | None:
        """Distance of the running moments to the source, and of the views to each other.

        None for a clip that reaches no layer (without a body) or gives no finite numbers.
        """
        now: dict[str, Any] = {}
        small, vector = inputs.split((inputs.shape[-1] - self.core.dim, self.core.dim), dim=-1)
        with watching(self.encoder.module, self.layers, now.__setitem__):
            vectors = self.encoder.network.vectors(small, vector[:, 0])
        if len(now) < len(self.layers):
            return None
        moments = running(self.moments, _flat(now[name] for name in self.layers), self.momentum)
        p = F.softmax(self.encoder.logit_scale * vectors @ self._concepts.T, dim=-1)
        agreement = (p - p.mean(dim=0)).abs().sum(dim=-1).mean()
        loss = ((moments - self._aim).abs() / self._sizes).sum() + AGREEMENT * agreement
        if not bool(loss.isfinite()):
            return None
        self.moments = moments.detach()
        return loss

    def _watch(self, loss: float) -> None:
        """Reset where the parameters are far from the source, or the loss has risen."""
        self.clips += 1
        if self.limits is None or self.clips < 1 / self.momentum:
            return  # the running moments have not arrived yet
        self._lowest = min(self._lowest, loss)
        away, rise = self.distance(), loss / max(self._lowest, 1e-12) - 1
        if away > self.limits[0] or rise > self.limits[1]:
            why = f"distance {away:.2f}" if away > self.limits[0] else f"loss up {rise:.0%}"
            note = f"online: back to the source model ({why} after {self.clips} clips)"
            self.reset()
            self.resets, self._note = self.resets + 1, note

    @torch.no_grad()
    def distance(self) -> float:
        """Distance of the trained parameters from the source, relative to their length there."""
        named = self.encoder.module.named_parameters()
        parts = [(p, self._start[name]) for name, p in named if p.requires_grad]
        away, length = (
            torch.stack(x).sum().sqrt()
            for x in zip(
                *(((p - q).square().sum(), q.square().sum()) for p, q in parts), strict=True
            )
        )
        return float(away / length)

    def _recoloured(self, clip: Clip) -> Encoded:
        """A clip with features whitened by the running moments, and coloured by the source's."""
        source = getattr(self.encoder, "source", self.encoder)
        encoded, m, v = source.encode([clip])[0], *self.source.features
        x, mean = encoded.features.copy(), self.moments[0]
        mean = running(mean, x.mean(axis=0), self.momentum)
        # About the running mean, as that of the training clips is about the mean of all.
        variance = running(self.moments[1], np.square(x - mean).mean(axis=0), self.momentum)
        self.moments = mean, variance
        plain = [np.full(b.width, b.kind in _PLAIN) for b in self.encoder.frame_blocks]
        columns = np.concatenate(plain) & (v > 0)
        scale = np.sqrt((v[columns] + 1e-6) / (variance[columns] + 1e-6))
        x[:, columns] = (x[:, columns] - mean[columns]) * scale + m[columns]
        if source is not self.encoder:
            return self.encoder.row(replace(encoded, features=x))
        with suppress(UsageError):  # vectors that do not follow from features stay
            encoded = replace(encoded, vector=self.encoder.pool(x[None])[0])
        return replace(encoded, features=x)


def has_norms(model: Model) -> bool:
    """Return whether a model was trained and has norms, which a stream adapts."""
    trained = model.head is not None and model.head.head.trained
    return trained and bool(getattr(model.encoder, "norm_layers", ()))


def _copy(model: Model) -> Any:
    """The model's adapter around the same encoder, with parameters of its own."""
    adapter: Any = model.encoder
    if not has_norms(model):
        raise UsageError(
            f"model {model.name!r} has no norms to train; use form='features', or adapt "
            "with a tower such as temporal, skeleton-tower or video-net"
        )
    fresh = registry.get("adapter", adapter.name).attach(adapter.encoder, adapter.settings)
    fresh.load_state_dict(adapter.state_dict())
    return fresh
