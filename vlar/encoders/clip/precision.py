"""Image towers in 8 bit: a CPU without bfloat16 instructions then takes a third of the time.

torch's exporter writes the tower as an ONNX graph, and ONNX Runtime rounds the weights of its
products to 8 bit, each output for itself; the other factor is rounded when it is known (dynamic
quantization). Nothing is calibrated, so no data is needed and none can mislead. Texts stay in
float32: they are encoded once a list, and lose most.

The graph is kept in the cache, with a check: the least cosine to the float32 tower over fixed
frames. A tower below ``LEAST_COSINE`` is refused. The check proves that graph and rounding are
those of the tower; it does not measure the loss of a trained model on real clips.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from vlar.encoders.clip.pixels import to_pixels
from vlar.encoders.clip.towers import Towers, without_root_log
from vlar.errors import ModelError, UsageError
from vlar.files.resources import cache_dir, cached
from vlar.media.video.frames import blank_clips
from vlar.numeric import unit
from vlar.pose.onnx import make_session

LEAST_COSINE = {torch.float32: 0.99999, torch.bfloat16: 0.999, torch.float16: 0.999}
_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_log = logging.getLogger("vlar")


def compiled(towers: Towers, name: str) -> Towers:
    """The same towers with a compiled image tower.

    Raises:
        ModelError: torch cannot compile here, or the compiled tower answers otherwise.
    """
    folder = _cache_folder()
    _log.info("compiling %s (minutes once; kept in %s)", name, folder)
    pixels = towers.pixels
    frames = blank_clips(1, pixels.height, pixels.width)[-4:, 0]
    inputs = to_pixels(frames, pixels, towers.device, towers.dtype)
    try:
        run, cosine = _tried(towers, inputs, folder)
        with torch.inference_mode():
            exact = towers.image(inputs).float()
    except Exception as error:  # the compiler's own kinds are not public
        text = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{name} cannot be compiled here ({type(error).__name__}: {text}); leave compile=true "
            "out, or install a C++ compiler"
        ) from error
    least = float(torch.cosine_similarity(cosine, exact, dim=-1).min())
    if not least >= LEAST_COSINE[towers.dtype]:
        raise ModelError(
            f"{name} answers otherwise when compiled (cosine {least:.5f}); leave compile=true out"
        )
    return replace(towers, image=run)


def _tried(towers: Towers, given: Tensor, place: Path) -> tuple[Any, Tensor]:
    """The compiled tower and its features; a damaged cache is made again."""
    for last in (False, True):
        run: Any = torch.compile(towers.image, dynamic=True)
        try:
            with torch.inference_mode():
                return run, run(given).float()
        except Exception:
            if last or not place.is_relative_to(cache_dir()):  # a folder of the user's stays
                raise
            shutil.rmtree(place, ignore_errors=True)
            torch.compiler.reset()
    raise AssertionError


def _cache_folder() -> Path:
    """Folder of compiled code: the user's choice, else below vlar's cache folder."""
    chosen = os.environ.get(_VARIABLE, "")
    # torch writes its own default, a temporary folder, into the variable when it is first asked.
    if not chosen or Path(chosen).name.startswith("torchinductor_"):
        os.environ[_VARIABLE] = chosen = str(cache_dir() / f"compiled-{torch.__version__}")
    return Path(chosen)


INT8_LEAST_COSINE = 0.999
_VERSION = 1  # increase it when the graph or the rounding changes
_FOLDER = f"int8-{_VERSION}"
_OPSET = 17
_CHECK = struct.Struct("<d")  # before the graph: the least cosine


def int8_towers(towers: Towers, name: str) -> Towers:
    """The same towers with the image tower in 8 bit.

    Args:
        towers: In float32 on the CPU.
        name: Name of the model, for messages.

    Raises:
        UsageError: the model is on another device.
        ModelError: the tower cannot be written as a graph, or the check fails.
    """
    if towers.device.type != "cpu":
        raise UsageError(
            f"{name} in int8 runs on the CPU only, got the device {str(towers.device)!r}; use bf16"
        )
    key = f"image-{towers.fingerprint()}.bin"
    what = f"the image tower of {name} in int8"
    content = cached(_FOLDER, key, lambda: _made(towers, name), what)
    (cosine,) = _CHECK.unpack_from(content)
    if cosine < INT8_LEAST_COSINE:
        raise ModelError(
            f"{name} does not keep its features in int8: their cosine to float32 falls to "
            f"{cosine:.4f} on fixed frames ({INT8_LEAST_COSINE} is needed); "
            "use --dtype bf16 or none"
        )
    _log.debug("%s in int8: cosine to float32 at least %.5f on fixed frames", name, cosine)
    session = make_session(content[_CHECK.size :], f"{name} in int8")

    def run(pixels: Tensor) -> Tensor:
        return _run(session, pixels)

    def refused(*_: object) -> NoReturn:
        raise ModelError(
            f"{name} in int8 shows no transformer blocks and cannot be trained or adapted inside; "
            "use it in float32 or bf16"
        )

    return replace(
        towers,
        image=run,
        vision_view=refused,
        rebuild=refused,
        variant=f"int8 {_VERSION}",
    )


def _run(session: Any, pixels: Tensor) -> Tensor:
    """Features (N, D) of (N, 3, height, width), one frame at a time.

    Activations are rounded over a whole input, so a frame would depend on its company.
    """
    frames = pixels.numpy()
    rows = [session.run(None, {"pixels": frame[None]})[0] for frame in frames]
    return torch.from_numpy(np.concatenate(rows))


def _made(towers: Towers, name: str) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, without_root_log():
        exact, rounded = Path(folder) / "exact.onnx", Path(folder) / "int8.onnx"
        try:
            _export(towers, exact)
            quantize_dynamic(
                exact,
                rounded,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["MatMul", "Gemm"],
            )
        except Exception as error:
            text = " ".join(str(error).split())
            raise ModelError(
                f"the image tower of {name} cannot be written in int8 "
                f"({type(error).__name__}: {text[:160]}); use bf16 or float32"
            ) from error
        graph = rounded.read_bytes()
    return _CHECK.pack(_least_cosine(towers, make_session(graph, name))) + graph


def _export(towers: Towers, path: Path) -> None:
    pixels = towers.pixels
    example = torch.zeros(1, 3, pixels.height, pixels.width)
    # Without gradients the towers change their tokens in place, which a traced graph loses.
    with warnings.catch_warnings(), torch.inference_mode(mode=False), torch.enable_grad():
        warnings.simplefilter("ignore")
        # The newer exporter needs a library that nothing else here does.
        torch.onnx.export(
            _Image(towers),
            (example,),
            str(path),
            input_names=["pixels"],
            output_names=["features"],
            opset_version=_OPSET,
            dynamo=False,
        )


class _Image(nn.Module):
    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.model = towers.model  # its parameters become the graph's
        self.image = towers.image

    def forward(self, pixels: Tensor) -> Tensor:
        return self.image(pixels)


def _least_cosine(towers: Towers, session: Any) -> float:
    """Least cosine over frames of empty clips: plain colours, noise of several grains, ramps."""
    pixels = towers.pixels
    frames = blank_clips(1, pixels.height, pixels.width)[:, 0]
    inputs = to_pixels(frames, pixels, towers.device)
    with torch.inference_mode():
        exact = unit(towers.image(inputs).numpy())
        return float((exact * unit(_run(session, inputs).numpy())).sum(axis=-1).min())
