"""Towers compiled by torch: ``openclip:ARCH/TAG?compile=true``.

The compiled code is kept in the cache folder, so that it is made once for a machine and a version
of torch. Only the image tower is compiled: a text is encoded once a list. Compiled code rounds in
another order, so the tower is compared with the eager one when it is loaded.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlar.encoders.clip.pixels import to_pixels
from vlar.encoders.clip.towers import Towers
from vlar.errors import ModelError
from vlar.resources import cache_dir
from vlar.video.blank import blank_clips

LEAST_COSINE = {torch.float32: 0.99999, torch.bfloat16: 0.999, torch.float16: 0.999}
_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_log = logging.getLogger("vlar")


def compiled(towers: Towers, name: str) -> Towers:
    """The same towers with a compiled image tower.

    Args:
        towers: On any device.
        name: Of the model, for messages.

    Raises:
        ModelError: torch cannot compile here, or the compiled tower answers otherwise.
    """
    place = _cache_folder()
    _log.info("compiling %s (minutes once; kept in %s)", name, place)
    pixels = towers.pixels
    frames = blank_clips(1, pixels.height, pixels.width)[-4:, 0]
    given = to_pixels(frames, pixels, towers.device, towers.dtype)
    try:
        run, found = _tried(towers, given, place)
        with torch.inference_mode():
            exact = towers.image(given).float()
    except Exception as error:  # the compiler's own kinds are not public
        text = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{name} cannot be compiled here ({type(error).__name__}: {text}); leave compile=true "
            "out, or install a C++ compiler"
        ) from error
    least = float(torch.cosine_similarity(found, exact, dim=-1).min())
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
    """Where compiled code is kept: the user's choice, else below vlar's cache folder."""
    chosen = os.environ.get(_VARIABLE, "")
    # torch writes its own default, a temporary folder, into the variable when it is first asked.
    if not chosen or Path(chosen).name.startswith("torchinductor_"):
        os.environ[_VARIABLE] = chosen = str(cache_dir() / f"compiled-{torch.__version__}")
    return Path(chosen)
