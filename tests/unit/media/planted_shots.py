"""A small network of known answer in the place of TransNet V2: it cuts where colours change.

All its convolutions are 0. One number of the colour layer is how much less a frame resembles the
next one than itself, and only that number reaches the heads.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import av
import numpy as np
import torch

from vlar.files.fetched_weights.packages import extra
from vlar.media.shots import WIDTH, Weights

COLOURS = {"red": (208, 48, 48), "green": (48, 208, 48), "blue": (48, 48, 208)}  # amid their bins


def random_weights(width: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """A state of the shapes of TransNet V2, with ``width`` filters instead of 16."""
    draw = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int) -> None:
        state[name] = draw.normal(0, 0.4 / np.sqrt(max(np.prod(shape[1:]), 1)), shape)

    inside, means = 3, 0
    for stage in range(3):
        filters = width * 2**stage
        for cell in range(2):
            key = f"SDDCNN.{stage}.DDCNN.{cell}."
            for dilation in (1, 2, 4, 8):
                add(f"{key}Conv3D_{dilation}.layers.0.weight", 2 * filters, inside, 1, 3, 3)
                add(f"{key}Conv3D_{dilation}.layers.1.weight", filters, 2 * filters, 3, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var"):
                add(f"{key}bn.{part}", 4 * filters)
            state[f"{key}bn.running_var"] = np.abs(state[f"{key}bn.running_var"]) + 0.5
            state[f"{key}bn.weight"] += 1
            inside = 4 * filters
        means += inside
    for name, out, into in (
        ("frame_sim_layer.projection", 6, means),
        ("frame_sim_layer.fc", 5, 101),
        ("color_hist_layer.fc", 5, 101),
        ("fc1", 8, 10 + inside * 3 * (WIDTH // 8)),
        ("cls_layer1", 1, 8),
        ("cls_layer2", 1, 8),
    ):
        add(f"{name}.weight", out, into)
        add(f"{name}.bias", out)
    return {name: value.astype(np.float32) for name, value in state.items()}


def planted_weights() -> Weights:
    """The state whose network cuts where colours change."""
    state = random_weights(1)
    for name, value in state.items():
        if "bn." not in name:
            value[...] = 0
    state["color_hist_layer.fc.weight"][0, 50:52] = 1, -1
    state["fc1.weight"][0, 0] = 1
    for head in ("cls_layer1", "cls_layer2"):
        state[f"{head}.weight"][0, 0] = 40
        state[f"{head}.bias"][0] = -10
    return state


def install() -> None:
    """Put the planted weights where ``vlar models get shots`` puts those of the package."""
    source = extra("shots")
    source.folder.mkdir(parents=True)
    stream = io.BytesIO()
    torch.save({k: torch.from_numpy(v) for k, v in planted_weights().items()}, stream)
    source.path("weights").write_bytes(stream.getvalue())
    manifest = {"networks": {"weights": hashlib.sha256(stream.getvalue()).hexdigest()}}
    (source.folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def film(path: Path, shots: list[tuple[str, int]], fps: int = 10) -> Path:
    """A film of plain colours; each shot is a colour and its number of frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for name, count in shots:
            picture = np.full((48, 64, 3), COLOURS[name], np.uint8)
            for _ in range(count):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
