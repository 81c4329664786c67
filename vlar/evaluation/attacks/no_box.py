"""``no-box``: an encoder learned on the attacked clips alone, without a model and labels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from scipy.cluster import vq
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.evaluation.attacks.base import Task, slope
from vlar.evaluation.attacks.gradient import MotionMomentum
from vlar.registry import register

EPOCHS, BATCH, WIDTH, DIM = 60, 64, 64, 32
_TEMPERATURE, _MOMENTUM = 0.07, 0.9
_CENTRES, _NEAREST = 120, 10


@register("attack", "no-box")
class NoBox(MotionMomentum):
    """Clips move from where a contrastive encoder has them to clusters of other clips.

    Lu et al., "Hard no-box adversarial attack on skeleton-based human action recognition", 2023:
    the centres of k-means, without the nearest ten, are negatives; steps follow the motion gradient
    with momentum. Ours: a small convolution over time, and keys of all clips in place of a queue.
    """

    needs_loss: ClassVar[bool] = False
    way: ClassVar[float] = 4.0

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._encoder = learned(_rows(task.clean), task.random)
        with torch.no_grad():
            self._own = self._encoder(_rows(task.clean))
        self._centres = _centres(self._own, task.random)
        near = (self._own @ self._centres.T).argsort(dim=1, descending=True)
        self._left_out = near[:, : min(_NEAREST, len(self._centres) // 2)]

    def gradient(self, now: Tensor) -> Tensor:
        return self._motion(slope(self._apart, now))

    def _apart(self, x: Tensor) -> Tensor:
        """(N,) how far clips are from their own place, next to the centres of others."""
        moved = self._encoder(_rows(x))
        projected = (moved * self._own).sum(dim=1, keepdim=True)
        others = (moved @ self._centres.T).scatter(1, self._left_out, -torch.inf)
        return torch.cat([projected, others], dim=1).logsumexp(dim=1) - projected[:, 0]


def _rows(x: Tensor) -> Tensor:
    """(N, K, T) of clips (N, T, ...) or of one clip; 0 in place of NaN."""
    return (x if x.ndim > 2 else x.reshape(1, len(x), -1)).flatten(2).transpose(1, 2).nan_to_num()


def _centres(vectors: Tensor, random: torch.Generator) -> Tensor:
    """Unit centres (J, DIM) of clips (N, DIM); drawn directions for fewer than four clips."""
    if len(vectors) < 4:
        return F.normalize(torch.randn(2, DIM, generator=random).to(vectors), dim=1)
    seed = int(torch.randint(2**31, (), generator=random))
    count = min(_CENTRES, len(vectors) // 2)
    means: Any = vq.kmeans2  # the stubs of scipy lack its seed
    centres = means(vectors.double().numpy(), count, minit="++", seed=seed)[0]
    return F.normalize(torch.from_numpy(centres).to(vectors), dim=1)


def learned(rows: Tensor, random: torch.Generator) -> nn.Module:
    """Encoder of clips (N, K, T) to unit vectors (N, DIM), learned by momentum contrast."""
    deviation, mean = torch.std_mean(rows, dim=(0, 2), unbiased=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=random)))
        query, key = (_ContrastNetwork(mean, deviation.clamp_min(1e-3)).to(rows) for _ in range(2))
    key.load_state_dict(query.state_dict())
    optimiser = torch.optim.SGD(query.parameters(), 0.03, momentum=0.9, weight_decay=1e-4)
    with torch.no_grad():
        bank = key(rows)
    for _ in range(EPOCHS if len(rows) > 1 else 0):
        for batch in torch.randperm(len(rows), generator=random).split(BATCH):
            with torch.no_grad():
                bank[batch] = key(_view(rows[batch], random))
            with torch.enable_grad():
                logits = query(_view(rows[batch], random)) @ bank.T / _TEMPERATURE
                loss = F.cross_entropy(logits, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            for old, new in zip(key.parameters(), query.parameters(), strict=True):
                old.data.lerp_(new.data, 1 - _MOMENTUM)
    return query.requires_grad_(False)


class _ContrastNetwork(nn.Module):
    """Two convolutions over time, the mean and the maximum of frames, and a linear map."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean[:, None])
        self.register_buffer("deviation", deviation[:, None])
        self.first = nn.Conv1d(len(mean), WIDTH, 5, padding=2)
        self.second = nn.Conv1d(WIDTH, WIDTH, 5, padding=2)
        self.out = nn.Linear(2 * WIDTH, DIM)

    def forward(self, rows: Tensor) -> Tensor:
        x = self.second(self.first((rows - self.mean) / self.deviation).relu()).relu()
        return F.normalize(self.out(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)), dim=1)


def _view(rows: Tensor, random: torch.Generator) -> Tensor:
    """Half of the time or more of each clip, over all frames, a little scaled and noisy."""
    count, _, frames = rows.shape
    share = 0.5 + 0.5 * torch.rand(count, 1, generator=random)
    begin = (1 - share) * torch.rand(count, 1, generator=random)
    sample = (begin + share * torch.linspace(0, 1, frames)) * (frames - 1)
    low = sample.floor().long().clamp(max=max(frames - 2, 0))
    part = (sample - low).to(rows)[:, None]
    index = low[:, None].expand(rows.shape)
    after = (index + 1).clamp(max=frames - 1)
    cut = rows.gather(2, index) * (1 - part) + rows.gather(2, after) * part
    size = 1 + 0.1 * torch.randn(count, 1, 1, generator=random).to(rows)
    noise = torch.randn(rows.shape, generator=random).to(rows)
    return cut * size + 0.05 * rows.std(dim=2, keepdim=True) * noise
