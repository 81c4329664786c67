"""Memory of a tower in training for its backward pass, with and without gradient checkpointing.

    python benchmarks/training_memory.py                   # ViT-B-32-quickgelu, about a minute
    python benchmarks/training_memory.py --arch ViT-B-16-quickgelu

Random weights of the real size, one thread. Bytes are those of all tensors that autograd saves for
a second clip in the batch, each storage counted once; autocast's casts of the weights, which the
first clip pays, are printed apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

LABELS = ["riding a bike", "cooking"]
ROUNDS = 3


def adapter_of(arch: str) -> Any:
    from vlar import registry
    from vlar.encoders.base import load_encoder

    encoder = load_encoder(f"openclip:{arch}?random_init=true", device="cpu")
    return registry.get("adapter", "tuned").attach(encoder)


def step(adapter: Any, classes: Any, batch: Any, kind: Any, again: bool) -> tuple[int, float]:
    """Bytes that autograd keeps, and CPU seconds of the step."""
    from vlar.encoders.clip.block_view import recomputing

    weights = {p.untyped_storage().data_ptr() for p in adapter.module.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    begin = time.process_time()
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, recomputing(again), torch.autocast("cpu", kind, enabled=kind is not None):
        loss = adapter.training_step(batch, classes).losses["total"]
    size = sum(kept.values())
    loss.backward()
    adapter.module.zero_grad()
    return size, time.process_time() - begin


def main() -> None:
    from vlar.adapters.trainable import TrainingBatch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="ViT-B-32-quickgelu")
    arch = parser.parse_args().arch
    torch.manual_seed(0)
    torch.set_num_threads(1)
    adapter = adapter_of(arch)
    classes = adapter.training_classes(LABELS)
    adapter.trainable()
    one, two = (
        TrainingBatch(torch.randn(count, 8, 3, 224, 224), torch.eye(2)[:count]) for count in (1, 2)
    )
    plain = 0.0
    for name, kind in (("float32", None), ("bf16", torch.bfloat16)):
        for again in (False, True):
            first, _ = step(adapter, classes, one, kind, again)
            done = [step(adapter, classes, two, kind, again) for _ in range(ROUNDS)]
            size, seconds = done[0][0] - first, statistics.median(took for _, took in done)
            plain = plain or seconds
            how = f"{name}, gradient_checkpointing" if again else name
            print(
                f"| {arch}, {how} | {size / 1e6:.0f} MB | {(first - size) / 1e6:.0f} MB "
                f"| {seconds / plain:.2f} |"
            )


if __name__ == "__main__":
    main()
