"""Speed of a model on a GPU: encode, train, add and query, in each number type, with peak memory.

    python benchmarks/gpu.py [--model SPEC] [--device cuda] [--out gpu.json]

Without fetched weights the default model has random ones, which cost the same. It needs the extra
``clip``, no data and no network, and takes some minutes. It prints a table and writes a JSON file:
send back both. ``--device cpu --clips 2 --batch 4`` shows that it runs.

float32 is measured with and without TF32. ``encode`` is all that vlar does with clips that are
decoded already; ``tower`` the image tower alone; ``train`` a step of ``lora`` with backward pass
and optimiser, weights in float32 and products in the number type; ``add`` reads files.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from tc_clip import clips_of

from tests.videos import make_video
from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.library.library import Library
from vlar.model.model import Model
from vlar.training.trainable import TrainingBatch

MODEL = "openclip:ViT-B-16-quickgelu?random_init=true"
LABELS = ["riding a bike", "cooking", "swimming", "dancing"]
#: Number type of the weights, and precision of products of float32.
FORMS = {
    "float32": ("float32", "highest"),
    "tf32": ("float32", "high"),
    "bf16": ("bfloat16", "high"),
    "fp16": ("float16", "high"),
}
FRAMES, HEIGHT, WIDTH = 8, 360, 480
LIBRARIES = ("torch", "torchvision", "open_clip_torch", "transformers", "numpy", "av")
Row = dict[str, Any]


class Clock:
    """Wall time and peak memory of work on a device, after one round that is not counted."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device, self.rounds = device, rounds

    def wait(self) -> None:
        if self.device.type in ("cuda", "mps"):
            getattr(torch, self.device.type).synchronize()

    def measured(self, work: Callable[[], object], count: int) -> Row:
        """Units a second of work on ``count`` of them, and memory of the device in GB."""
        work()
        on_cuda = self.device.type == "cuda"
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        spent: list[float] = []
        for _ in range(self.rounds):
            self.wait()
            begin = time.perf_counter()
            work()
            self.wait()
            spent.append(time.perf_counter() - begin)
        peak = torch.cuda.max_memory_allocated(self.device) / 1e9 if on_cuda else None
        return {"a_second": round(count / median(spent), 2), "peak_gb": peak and round(peak, 3)}


def environment(device: torch.device) -> Row:
    """Device, libraries and machine."""
    row: Row = {"device": str(device), "cores": os.cpu_count(), "machine": platform.platform()}
    row["python"] = platform.python_version()
    row |= {name: version(name) for name in ("vlar", *LIBRARIES)}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        row |= {"name": card.name, "memory_gb": round(card.total_memory / 1e9, 1)}
        row |= {"capability": f"{card.major}.{card.minor}", "cuda": torch.version.cuda}
        row["cudnn"] = torch.backends.cudnn.version()
    return row


def of_encoder(encoder: TorchEncoder, n_clips: int, batch: int, clock: Clock) -> dict[str, Row]:
    """Frames and texts a second."""
    rng = np.random.default_rng(0)
    shape = (n_clips, FRAMES, HEIGHT, WIDTH, 3)
    clips = clips_of(rng.integers(0, 256, shape, dtype=np.uint8))
    (pixels, *_) = encoder.pixel_batches(clips[:1])
    frames = pixels.flatten(0, 1)[:1].expand(batch, -1, -1, -1).contiguous()
    texts = [f"a video of {label} number {number}" for number in range(16) for label in LABELS]

    def tower() -> None:
        with torch.inference_mode():
            encoder.towers.image(frames)

    return {
        "encode, frames": clock.measured(lambda: encoder.encode(clips), n_clips * FRAMES),
        f"tower, frames of {batch}": clock.measured(tower, batch),
        "texts": clock.measured(lambda: encoder.encode_text(texts), len(texts)),
    }


def of_training(encoder: TorchEncoder, dtype: str, n_clips: int, clock: Clock) -> Row:
    """Clips a second of training ``lora``; its weights are float32."""
    adapter = registry.get("adapter", "lora").attach(encoder)
    classes = adapter.training_classes(LABELS)
    named = adapter.trainable()
    device, side = named[0][1].device, encoder.towers.pixels
    targets = torch.eye(len(LABELS)).repeat(n_clips, 1)[:n_clips]
    shape = (n_clips, adapter.n_frames, 3, side.height, side.width)
    batch = TrainingBatch(torch.zeros(shape, device=device), targets.to(device))
    optimiser = torch.optim.AdamW([parameter for _, parameter in named], 1e-4)
    kind = None if dtype == "float32" else getattr(torch, dtype)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(device.type, kind, enabled=kind is not None):
            output = adapter.training_step(batch, classes)
        output.losses["total"].backward()
        optimiser.step()

    return clock.measured(step, n_clips)


def of_library(model: Model, files: list[Path], folder: Path, clock: Clock) -> dict[str, Row]:
    """Recordings a second of an add, decoding included, and new phrases a second of a query."""
    numbers = iter(range(10**6))

    def add() -> None:
        with Library(folder / f"{next(numbers)}.vlar", model) as library:
            library.add(files)

    rows = {"add, recordings of 10 s": clock.measured(add, len(files))}
    with Library(folder / "0.vlar", model) as library:
        phrases = (f"somebody does number {number}" for number in numbers)
        rows["query, new phrases"] = clock.measured(lambda: library.query(next(phrases)), 1)
    return rows


def table(report: Row) -> str:
    """The report as a table of Markdown: units a second, and memory."""
    forms = list(report["forms"])
    parts = list(dict.fromkeys(part for rows in report["forms"].values() for part in rows))
    lines = [f"| a second | {' | '.join(forms)} |", "|---" * (len(forms) + 1) + "|"]
    for part in parts:
        cells: list[str] = []
        for form in forms:
            row = report["forms"][form].get(part, {})
            memory = f" ({row['peak_gb']} GB)" if row.get("peak_gb") else ""
            cells.append(
                f"{row['a_second']}{memory}" if "a_second" in row else row.get("error", "")
            )
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measured(options: argparse.Namespace, folder: Path) -> Row:
    """All parts in all number types; what fails in one is a line of the report."""
    device = torch.device(options.device)
    clock, files = Clock(device, options.rounds), []
    for number in range(options.files):
        files.append(make_video(folder / f"{number}.mp4", 250, size=(640, 360), gop=50))
    report: Row = {"model": options.model, "clips": options.clips, "batch": options.batch}
    report |= {"environment": environment(device), "forms": {}}
    before, part = torch.get_float32_matmul_precision(), "train, clips"
    for form in options.forms:
        dtype, products = FORMS[form]
        rows: dict[str, Row] = {}

        def noted(part: str, work: Callable[[], dict[str, Row]], to: Any = rows) -> None:
            try:
                to |= work()
            except Exception as error:  # noqa: BLE001 - the report holds the error
                to[part] = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:160]}

        encoder = load_encoder(options.model, options.device, dtype)
        assert isinstance(encoder, TorchEncoder)
        torch.set_float32_matmul_precision(products)
        noted("encode", lambda e=encoder: of_encoder(e, options.clips, options.batch, clock))
        place = folder / form
        place.mkdir()
        model = Model(encoder)
        noted("add", lambda m=model, p=place: of_library(m, files, p, clock))
        del model, encoder
        exact = load_encoder(options.model, options.device, "float32")
        assert isinstance(exact, TorchEncoder)
        torch.set_float32_matmul_precision(products)
        noted(part, lambda e=exact, d=dtype: {part: of_training(e, d, options.train, clock)})
        report["forms"][form] = rows
        print(f"{form} is measured", file=sys.stderr, flush=True)
    torch.set_float32_matmul_precision(before)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default=MODEL, help="any model with an image tower of torch")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--clips", type=int, default=64, help="of a call of encode")
    parser.add_argument("--batch", type=int, default=256, help="frames of the tower alone")
    parser.add_argument("--train", type=int, default=8, help="clips of a training step")
    parser.add_argument("--files", type=int, default=8, help="recordings of an add")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measured(options, Path(folder))
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(
        f"{report['environment'].get('name', options.device)}, {options.model}\n\n{table(report)}"
    )
    print(f"\nwritten to {options.out}; send it back with the table")


if __name__ == "__main__":
    main()
