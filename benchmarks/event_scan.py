"""Cost of the selective scan against the loop-free cumulative form it replaces, and the recurrence.

    python benchmarks/event_scan.py [--length 1024] [--rounds 7]

Forward and backward, one thread, medians of rounds in which every form has its turn. The cumulative
form divides by products of decays: it overflows where they are small, which the scan never does.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median

import torch
from torch import Tensor

from vlar.methods.events.neurons import selective_scan

BAR = 1.5


def cumulative(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan by two cumulative sums, without a loop."""
    exponent = (delta.unsqueeze(-1) * a).cumsum(dim=1)
    inputs = (delta * x).unsqueeze(-1) * b.unsqueeze(2)
    found = exponent.exp() * (inputs * (-exponent).exp()).cumsum(dim=1)
    return (found @ c.unsqueeze(-1)).squeeze(-1)


def recurrence(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan step by step."""
    h, found = x.new_zeros(len(x), x.shape[2], a.shape[1]), list[Tensor]()
    for t in range(x.shape[1]):
        step = delta[:, t, :, None]
        h = torch.exp(step * a) * h + step * b[:, t, None] * x[:, t, :, None]
        found.append((h @ c[:, t, :, None]).squeeze(-1))
    return torch.stack(found, dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (8, options.length, 32)
    x, delta = torch.randn(shape, requires_grad=True), (0.02 * torch.rand(shape)).requires_grad_()
    a = -torch.rand(32, 4)
    b, c = (torch.randn(8, options.length, 4, requires_grad=True) for _ in range(2))
    forms = {"scan": selective_scan, "cumulative": cumulative, "recurrence": recurrence}
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(options.rounds + 1):
        for name, form in forms.items():
            begin = time.process_time()
            form(x, delta, a, b, c).sum().backward()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - begin)
    found = {name: round(1000 * median(each), 1) for name, each in seconds.items()}
    ratio = found["scan"] / found["cumulative"]
    print(json.dumps({"length": options.length, "ms": found, "scan / cumulative": round(ratio, 2)}))
    raise SystemExit(ratio > BAR)


if __name__ == "__main__":
    main()
