"""Cost of every encoder that can be built here on a CPU: seconds a clip and a text, and memory.

    python benchmarks/encoders.py [--models clip,pe-core] [--modes eager,bf16,onnx] [--rounds 3]
        [--json] [--no-memory]

Rows are models of the catalogue (``vlar models``): the same architecture with random weights, which
cost what trained ones cost, and ``lite`` with its own. One thread, process CPU time, medians of
rounds in which every mode has its turn. ``clip`` is the number of frames that the model reads, as
one batch, without decoding and resizing; ``1 frame`` is a batch of one. ``text`` is one text,
``8 texts`` a batch of eight. Memory is the peak of a fresh process that loads one mode and runs a
clip. The modes: ``eager`` (float32), ``bf16``, ``int8``, ``compiled`` (torch.compile), ``onnx``
(torch's exporter and ONNX Runtime, image tower) and ``openvino`` (the same graph, if openvino is
installed).
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlar.encoders.base import load_encoder
from vlar.encoders.catalogue import CatalogueEntry, entries
from vlar.errors import VlarError

MODES = ("eager", "bf16", "int8", "compiled", "onnx", "openvino")
SMALL = ("lite", "mobileclip2", "clip", "pe-core")
Run = Callable[[Any], Any]


@dataclass
class Towers:
    """Timed towers: an image tower and a text tower, with their inputs."""

    image: Run
    text: Run | None
    frames: Any
    ids: Any
    model: Any = None


def hf_model(alias: str) -> tuple[Any, tuple[int, ...]]:
    """A model of transformers with random weights, and the shape of a clip."""
    import transformers as tf

    if alias in ("clip", "clip-large"):
        large = alias == "clip-large"
        width, heads, wide = (1024, 16, 768) if large else (768, 12, 512)
        vision = {"hidden_size": width, "patch_size": 14 if large else 16,
                  "num_hidden_layers": 24 if large else 12, "intermediate_size": 4 * width,
                  "num_attention_heads": heads}  # fmt: skip
        text = {"hidden_size": wide, "intermediate_size": 4 * wide,
                "num_attention_heads": wide // 64}  # fmt: skip
        config = tf.CLIPConfig(vision_config=vision, text_config=text, projection_dim=wide)
        return tf.CLIPModel(config), (8, 3, 224, 224)
    if alias == "xclip":
        config = tf.XCLIPConfig(vision_config={"patch_size": 16})
        return tf.XCLIPModel(config), (8, 3, 224, 224)
    if alias == "siglip2":
        return tf.SiglipModel(tf.SiglipConfig(text_config={"vocab_size": 256_000})), (
            8,
            3,
            224,
            224,
        )
    raise SystemExit(f"{alias}: no random start is known here")


def built(row: CatalogueEntry, dtype: torch.dtype) -> Towers:
    """The architecture of a row with random weights."""
    torch.manual_seed(0)
    if row.spec.startswith("openclip:"):
        arch = row.spec.removeprefix("openclip:").partition("/")[0]
        loaded: Any = load_encoder(f"openclip:{arch}?random_init=true", device="cpu")
        side, towers = loaded.towers.pixels.height, loaded.towers
        towers.model.to(dtype)
        frames = torch.rand(loaded.n_frames, 3, side, side, dtype=dtype)
        return Towers(
            towers.image, towers.text, frames, loaded.token_ids(["a dog runs"] * 8), towers
        )
    model, shape = hf_model(row.alias)
    model = model.eval().requires_grad_(False).to(dtype)
    length = {"siglip2": 64, "xclip": 77}.get(row.alias, 16)  # vlar cuts the padding of CLIP's
    frames, ids = torch.rand(shape, dtype=dtype), torch.randint(1, 999, (8, length))
    if row.alias == "xclip":
        return Towers(lambda x: model.get_video_features(pixel_values=x[None]),
                      lambda i: model.get_text_features(input_ids=i), frames, ids)  # fmt: skip
    return Towers(lambda x: model.get_image_features(pixel_values=x),
                  lambda i: model.get_text_features(input_ids=i), frames, ids)  # fmt: skip


def lite() -> Towers:
    from vlar.media.lookup import reader

    encoder = load_encoder("lite")
    clip = reader(encoder.modality).blank(encoder.sampling)[-1]
    fresh = itertools.count()  # its vectors of texts are kept

    def texts(which: list[str]) -> object:
        return encoder.encode_text([f"a person runs {next(fresh)} times" for _ in which])

    return Towers(lambda _: encoder.encode([clip]), texts, [clip], [""] * 8)


def made(row: CatalogueEntry, mode: str) -> Towers:
    """The towers in a mode."""
    if row.alias == "lite":
        if mode != "eager":
            raise ValueError("lite has one mode")
        return lite()
    towers = built(row, torch.bfloat16 if mode == "bf16" else torch.float32)
    if mode in ("eager", "bf16"):
        return towers
    if mode == "int8":
        if towers.model is None:
            raise ValueError("int8 is of openclip models")
        from vlar.encoders.clip.precision import int8_towers

        return Towers(int8_towers(towers.model, row.alias).image, None, towers.frames, None)
    if mode == "compiled":
        run: Any = torch.compile(towers.image, dynamic=True)
        return Towers(run, None, towers.frames, None)
    path = Path(tempfile.mkdtemp()) / "image.onnx"
    if row.alias == "xclip":
        raise ValueError("its frames exchange messages")
    write_graph(towers, path)
    if mode == "openvino":
        import openvino

        core = openvino.Core()
        core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
        compiled = core.compile_model(str(path), "CPU")
        return Towers(lambda x: compiled(x.numpy()), None, towers.frames, None)
    from vlar.pose.onnx import make_session

    session = make_session(path.read_bytes(), row.alias)
    return Towers(lambda x: session.run(None, {"pixels": x.numpy()}), None, towers.frames, None)


def write_graph(towers: Towers, path: Path) -> None:
    class Image(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = towers.model.model if towers.model is not None else torch.nn.Identity()

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            found = towers.image(pixels)
            return found if isinstance(found, torch.Tensor) else found.pooler_output

    with torch.enable_grad():
        torch.onnx.export(Image().eval(), (towers.frames[:2],), str(path), input_names=["pixels"],
                          dynamo=True, external_data=False, verbose=False,
                          dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))  # fmt: skip


def spent(run: Run, given: Any) -> float:
    begin = time.process_time()
    run(given)
    return time.process_time() - begin


def measure(row: CatalogueEntry, modes: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """CPU seconds by mode, side by side in this process."""
    arms: dict[str, Towers] = {}
    for mode in modes:
        try:
            arms[mode] = made(row, mode)
        except (ValueError, VlarError, ImportError, RuntimeError) as error:
            print(f"{row.alias} {mode}: {str(error)[:120]}", file=sys.stderr)
    times: dict[str, dict[str, list[float]]] = {mode: {} for mode in arms}
    with torch.inference_mode():
        for number in range(rounds + (rounds > 1)):  # the first round warms up
            for mode, arm in arms.items():
                todo = {"clip_s": (arm.image, arm.frames)}
                if row.alias not in ("lite", "xclip"):
                    todo["frame_s"] = (arm.image, arm.frames[:1])
                if arm.text is not None:
                    todo["text_s"] = (arm.text, arm.ids[:1])
                    todo["texts8_s"] = (arm.text, arm.ids)
                for name, (run, given) in todo.items():
                    seconds = spent(run, given)
                    if number or rounds == 1:
                        times[mode].setdefault(name, []).append(seconds)
    return {m: {n: statistics.median(v) for n, v in rows.items()} for m, rows in times.items()}


def memory_mb(alias: str, mode: str) -> float:
    command = [sys.executable, __file__, "--peak", alias, "--modes", mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout.strip() or "nan") if done.returncode == 0 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(SMALL))
    parser.add_argument("--modes", default="eager,bf16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak", help="print the peak memory of one model in MB and end")
    options = parser.parse_args()
    torch.set_num_threads(1)
    np.random.seed(0)
    modes = options.modes.split(",")
    if options.peak:
        towers = made(entries()[options.peak], modes[0])
        with torch.inference_mode():
            towers.image(towers.frames)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    if not options.json:
        heads = f"{'clip':>8}{'1 frame':>9}{'text':>8}{'8 texts':>9}{'peak MB':>9}{'/ eager':>9}"
        print(f"{'CPU seconds':24}{heads}")
    for alias in options.models.split(","):
        found = measure(entries()[alias], modes, options.rounds)
        for mode, row in found.items():
            peak = float("nan") if options.no_memory else memory_mb(alias, mode)
            if options.json:
                print(
                    json.dumps({"model": alias, "mode": mode, **row, "peak_mb": peak}), flush=True
                )
                continue
            cells = "".join(
                f"{row[name]:{width}.3f}" if name in row else " " * width
                for name, width in (("clip_s", 8), ("frame_s", 9), ("text_s", 8), ("texts8_s", 9))
            )
            ratio = row["clip_s"] / found["eager"]["clip_s"] if "eager" in found else float("nan")
            print(f"{alias} {mode:<12}".ljust(24) + f"{cells}{peak:9.0f}{ratio:9.2f}", flush=True)


if __name__ == "__main__":
    main()
