"""The scene of a clip from words: which of many places its vector is like."""

from __future__ import annotations

from functools import cache

import numpy as np

from vlar import resources
from vlar.errors import UsageError
from vlar.model.core import ModelCore
from vlar.numeric import softmax
from vlar.types import Float32


@cache
def scene_names() -> tuple[str, ...]:
    """The names of places in ``text_banks/scenes.txt``, in file order."""
    text = resources.find("text_banks", "scenes", ".txt").read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def scene_posterior(core: ModelCore, vectors: Float32) -> Float32:
    """Probability of each place: the softmax of scaled cosines, as with any label list.

    A stand-in for the scene network of Zhai et al. (SOAR), 2023, section 3.3.

    Args:
        core: What encoded the clips.
        vectors: (n, D) float32 unit vectors of clips.

    Returns:
        (n, S) float32; the columns are ``scene_names``, rows sum to 1.

    Raises:
        UsageError: the text of the model depends on the clip.
    """
    if core.conditions_text:
        raise UsageError(
            f"in model {core.name!r} a text has another vector for each clip, so places have "
            "none; add a column 'scene' to the CSV of the support set"
        )
    cosine = vectors @ core.encode_queries(scene_names()).T
    return softmax(core.encoder.logit_scale * cosine).astype(np.float32)
