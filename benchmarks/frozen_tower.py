"""Training on a frozen tower against training the tower: CPU time and peak memory.

    python benchmarks/frozen_tower.py [--model openclip:NAME?random_init=true] [--frames 16]
        [--epochs 10] [--json FILE]

The measures of "Optimizing ViViT training": ``temporal`` on features that are computed once, with
random layers, learned positions, or layers copied from the tower, next to ``tuned``, which trains
the tower on pixels. Each form runs in a process of its own, one thread, random weights, one clip of
noise. The time of a clip is that of its features once and of its steps in all epochs. With
``--json`` a form is kept for each model and number of frames, and is not measured again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from vlar import registry
from vlar.adapters.trainable import TrainingBatch
from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder

BAR = 0.5
MODEL = "openclip:ViT-B-16-quickgelu?random_init=true"
FORMS = {
    "tuned": ("tuned", {"tune_towers": True}),
    "temporal": ("temporal", {}),
    "temporal, from 8 frames": ("temporal", {"positions": 8}),
    "temporal, blocks": ("temporal", {"initial": "blocks"}),
}
LABELS = ["one", "other"]


def measured(model: str, form: str, frames: int) -> dict[str, float]:
    """CPU seconds of the features of a clip and of a step with it, and the peak in bytes."""
    torch.set_num_threads(1)
    encoder = load_encoder(model)
    assert isinstance(encoder, TorchEncoder)
    name, settings = FORMS[form]
    frames_of = {"n_frames": frames} if name == "tuned" else {}
    adapter = registry.get("adapter", name).attach(encoder, {**settings, **frames_of})
    data = np.random.default_rng(0).integers(0, 256, (frames, 224, 224, 3), dtype=np.uint8)
    begin = time.process_time()
    inputs, once = encoder.pixels_of(data)[None], 0.0
    if name != "tuned":
        with torch.no_grad():
            features = encoder.towers.image(inputs[0])[None].numpy()
        once = time.process_time() - begin
        adapter.fit_inputs(features)
        inputs = torch.from_numpy(adapter.training_inputs(features))
    classes = adapter.training_classes(LABELS)
    optimiser = torch.optim.AdamW([p for _, p in adapter.trainable()], 1e-4)
    batch, step = TrainingBatch(inputs, torch.tensor([[1.0, 0.0]])), 0.0
    for _ in range(2):  # the first one makes the state of the optimiser
        begin = time.process_time()
        optimiser.zero_grad()
        adapter.training_step(batch, classes).losses["total"].backward()
        optimiser.step()
        step = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"once": once, "step": step, "peak": peak}


def main(model: str, frames: int, epochs: int, file: Path | None) -> None:
    results = json.loads(file.read_text()) if file and file.exists() else {}
    kept: dict[str, dict[str, float]] = results.setdefault(f"{model}, {frames} frames", {})
    for form in FORMS:
        if form not in kept:
            command = [sys.executable, __file__, "--form", form, "--frames", str(frames)]
            done = subprocess.run(
                [*command, "--model", model], capture_output=True, text=True, check=True
            )
            kept[form] = json.loads(done.stdout.splitlines()[-1])
            if file:
                file.write_text(json.dumps(results, indent=1) + "\n")
        found, whole = kept[form], kept["tuned"]
        total, of = (row["once"] + epochs * row["step"] for row in (found, whole))
        print(
            f"{form}: features {found['once']:.2f} s, a step {found['step']:.3f} s, {epochs} "
            f"epochs {total:.1f} s ({total / of:.3f}), peak "
            f"{found['peak'] / 1e9:.2f} GB ({found['peak'] / whole['peak']:.3f})",
            flush=True,
        )
    print(f"asked: {BAR}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--form", choices=list(FORMS))
    given = parser.parse_args()
    if given.form:
        print(json.dumps(measured(given.model, given.form, given.frames)))
    else:
        main(given.model, given.frames, given.epochs, given.json)
