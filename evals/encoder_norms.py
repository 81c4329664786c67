"""Norms of an image network on streams of pictures that got worse (ViTTA), people apart.

    python evals/encoder_norms.py --data DIR [--seeds 5] [--first 0] [--side 96] [--json FILE]

EfficientNet-Lite0 with its ImageNet weights in torch, on four frames of each Weizmann clip; its
pooled maps, averaged over the frames, are answered by a ridge on clips of three people. The other
two people, as the seed draws them, are a stream in an order of the seed, all clean or all with one
of twelve corruptions of severity 5. Each clip is answered after one step on it. Forms:

``source``    the network as it is
``norms``     ViTTA on scale and shift of the last quarter of the norms; ``all`` on all parameters
``adabn``     of equal matter and less cost: running moments of the stream in the same norms
``features``  pooled maps whitened by running moments, and coloured by the source's
``other``     the control: ``norms`` whose source moments have their channels permuted

Moments of the teaching clips, running moments and losses are those of ``vlar.training``; the rate
is chosen among a tenth, one and ten times its own, on one of those who teach, with low contrast.
``norms x 10`` has ten times its own rate, unasked. A row is kept and is not measured again.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cached import array_of, file_of
from harness import arguments, manifest, some, store, stored
from torch import Tensor, nn
from torch.nn import functional

from vlar.adapters.statistics import watching
from vlar.encoders.lite.towers import IMAGE_NETWORKS
from vlar.evaluation.corruptions.base import corrupt
from vlar.media.video.decode import read_clip
from vlar.training.test_time import AGREEMENT, FORMS, MOMENTUM, moment_loss, running

STREAMS = (
    "clean", "gaussian-noise", "shot-noise", "impulse-noise", "fog", "contrast", "defocus-blur",
    "motion-blur", "zoom-blur", "resolution", "jpeg", "h264", "bit-errors",
)  # fmt: skip
SHOWN = ("source", "norms", "all", "adabn", "features", "other")
FRAMES, SEVERITY, PENALTY = 4, 5, 0.1


class Lite0(nn.Module):
    """EfficientNet-Lite0 up to the mean of its last map."""

    def __init__(self) -> None:
        super().__init__()
        state = {
            name: torch.from_numpy(np.array(x)) for name, x in IMAGE_NETWORKS[0].state().items()
        }
        strided, blocks = IMAGE_NETWORKS[0].strided, range(1 + max(
            int(name.split(".")[1]) for name in state if name.startswith("_blocks.")))  # fmt: skip
        self._blocks = nn.ModuleList(nn.Module() for _ in blocks)
        for name, x in state.items():
            path, _, last = name.rpartition(".")
            if last != "weight" or path == "_fc":
                continue
            parent = self.get_submodule(path.rpartition(".")[0])
            leaf = path.rpartition(".")[2]
            if x.ndim == 1:
                made: nn.Module = nn.BatchNorm2d(len(x), eps=1e-3)
            else:
                number = int(path.split(".")[1]) if "." in path else -1
                half = leaf == "_conv_stem" or (leaf == "_depthwise_conv" and number in strided)
                groups = len(x) if leaf == "_depthwise_conv" else 1
                made = nn.Conv2d(
                    x.shape[1] * groups, len(x), x.shape[2], 2 if half else 1, groups=groups,
                    bias=False,
                )  # fmt: skip
            parent.add_module(leaf, made)
        self.load_state_dict({n: x for n, x in state.items() if not n.startswith("_fc")})
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 1280)."""
        x = functional.relu6(self._bn0(same(self._conv_stem, x)))
        for block in self._blocks:
            y = x
            if hasattr(block, "_expand_conv"):
                y = functional.relu6(block._bn0(block._expand_conv(y)))
            y = functional.relu6(block._bn1(same(block._depthwise_conv, y)))
            y = block._bn2(block._project_conv(y))
            x = x + y if x.shape == y.shape else y
        return functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


def same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution with TensorFlow's "same" padding."""
    stride, kernel = convolution.stride[0], convolution.kernel_size[0]
    pads = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[:1:-1]]
    return convolution(functional.pad(x, [side for n in pads for side in (n // 2, n - n // 2)]))


def pixels(frames: np.ndarray) -> Tensor:
    """(T, H, W, 3) uint8 to what the network reads."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def read(path: Path, side: int) -> np.ndarray:
    """(2 T, S, S, 3) frames of a clip: every other one is of its second view."""
    data = read_clip(path, n_frames=2 * FRAMES, shorter_side=2 * side).data
    x = pixels(data)
    least = min(x.shape[2:])
    top, left = ((n - least) // 2 for n in x.shape[2:])
    x = functional.interpolate(
        x[:, :, top : top + least, left : left + least], (side, side), mode="area"
    )
    return ((x + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


class Head:
    """A ridge on pooled maps, and the moments of the clips that taught it."""

    def __init__(self, network: Lite0, clips: np.ndarray, y: np.ndarray) -> None:
        self.labels = sorted(set(y.tolist()))
        names = [name for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)]
        self.layers = names[3 * len(names) // 4 :]
        found: list[dict[str, Any]] = []
        vectors = []
        for clip in clips:
            now: dict[str, Any] = {}
            with torch.no_grad(), watching(network, self.layers, now.__setitem__):
                vectors.append(network(pixels(clip[::2])).mean(0))
            found.append(now)
        self.moments = [
            tuple(torch.stack([one[name][k] for one in found]).mean(0) for k in (0, 1))
            for name in self.layers
        ]
        x = torch.stack(vectors).double()
        self.mean, self.spread = x.mean(0), x.std(0) + 1e-6
        z = (x - self.mean) / self.spread
        target = torch.tensor([[float(a == b) for b in self.labels] for a in y]).double()
        inner = z @ z.T
        inner += PENALTY * inner.diagonal().mean() * torch.eye(len(z))
        self.weights = z.T @ torch.linalg.solve(inner, target - target.mean(0))

    def __call__(self, vectors: Tensor) -> Tensor:
        """(n, C) scores of (n, 1280) vectors."""
        return ((vectors.double() - self.mean) / self.spread) @ self.weights


def answered(
    network: Lite0, head: Head, stream: list[np.ndarray], form: str, seed: int, rate: float
) -> list[str]:
    """The answer about each clip of a stream after one step on it."""
    random = np.random.default_rng(seed)
    trained = form in ("norms", "all", "other")
    parts = [network] if form == "all" else [network.get_submodule(name) for name in head.layers]
    aim = [
        tuple(x[torch.from_numpy(random.permutation(len(x)))] for x in pair) if form == "other"
        else pair
        for pair in head.moments
    ]  # fmt: skip
    parameters = [p.requires_grad_(trained) for part in parts for p in part.parameters()]
    optimiser = torch.optim.Adam(parameters, rate)
    moments, mean, variance, said = head.moments, head.mean, head.spread.square(), []
    for clip in stream:
        if trained:
            now: dict[str, Any] = {}
            with watching(network, head.layers, now.__setitem__):
                views = network(pixels(np.concatenate([clip[::2], clip[1::2]])))
            moments = [
                tuple(running(old, new, MOMENTUM) for old, new in zip(pair, now[name], strict=True))
                for pair, name in zip(moments, head.layers, strict=True)
            ]
            p = torch.softmax(10 * head(views.unflatten(0, (2, -1)).mean(1)), dim=-1)
            loss = moment_loss(moments, aim) + AGREEMENT * (p - p.mean(0)).abs().sum(-1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            moments = [tuple(x.detach() for x in pair) for pair in moments]
        if form == "adabn":
            follow(network, head.layers, clip)
        with torch.no_grad():
            vector = network(pixels(clip[::2])).mean(0)
        if form == "features":
            mean = running(mean, vector.double(), MOMENTUM)
            variance = running(variance, (vector - mean).square(), MOMENTUM)
            vector = (vector - mean) * head.spread / (variance.sqrt() + 1e-6) + head.mean
        said.append(head.labels[int(head(vector[None])[0].argmax())])
    return said


def chosen(clips: np.ndarray, y: np.ndarray, who: np.ndarray, form: str) -> float:
    """The rate that is right most often about one of the people who teach, with low contrast."""
    out = who == sorted(set(who.tolist()))[0]
    head = Head(Lite0(), clips[~out], y[~out])
    stream = [corrupt(clip, "contrast", SEVERITY, seed=0) for clip in clips[out]]
    right = {
        rate: np.mean(np.array(answered(Lite0(), head, stream, form, 0, rate)) == y[out])
        for rate in (FORMS[form] / 10, FORMS[form], 10 * FORMS[form])
    }
    return max(right, key=right.__getitem__)


def follow(network: Lite0, layers: list[str], clip: np.ndarray) -> None:
    """Move the running moments of some norms towards those of a clip."""
    norms = [network.get_submodule(name) for name in layers]
    for norm in norms:
        norm.momentum = MOMENTUM
        norm.train()
    with torch.no_grad():
        network(pixels(clip[::2]))
    for norm in norms:
        norm.eval()


def main() -> None:
    """Measure what is missing."""
    given = arguments(
        __doc__, "data", "json", seeds=5, first=(0, "first seed"), side=96,
        streams=some(STREAMS), forms=some(SHOWN), cache=Path("/tmp/vlar-norms"),
    )  # fmt: skip
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = stored(given.json, [])
    listed = manifest(given.data / "videos", "weizmann")
    y, who = (np.array([row[key] for row in listed]) for key in ("label", "group"))
    clips = np.stack([
        array_of(
            file_of(given.cache, f"{row['path']} {given.side}"),
            partial(read, given.data / "videos" / row["path"], given.side),
        )
        for row in listed
    ])  # fmt: skip
    for seed in range(given.first, given.seeds):
        random = np.random.default_rng(seed)
        held = np.isin(who, random.permutation(sorted(set(who.tolist())))[:2])
        head = Head(Lite0(), clips[~held], y[~held])
        rates = {f: chosen(clips[~held], y[~held], who[~held], f) for f in ("norms", "all")}
        rates["other"] = rates["norms"]
        order = random.permutation(np.flatnonzero(held & np.isin(y, head.labels)))
        for name in given.streams:
            made: list[np.ndarray] = []
            for form in given.forms:
                key = {"stream": name, "form": form, "seed": seed}
                if any(key.items() <= row.items() for row in rows):
                    continue
                made = made or [
                    clips[n] if name == "clean" else corrupt(clips[n], name, SEVERITY, seed=int(n))
                    for n in order
                ]
                begin = time.process_time()
                plain, _, factor = form.partition(" x ")
                rate = FORMS[plain] * float(factor) if factor else rates.get(form, 0.0)
                said = np.array(answered(Lite0(), head, made, plain, seed, rate))
                rows.append({
                    **key, "clips": len(order),
                    "rate": rate,
                    "top1": round(100 * float((said == y[order]).mean()), 1),
                    "cpu_s": round(time.process_time() - begin, 1),
                })  # fmt: skip
                print(*rows[-1].values(), flush=True)
                store(given.json, rows)


if __name__ == "__main__":
    main()
