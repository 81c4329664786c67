"""The settings of TC-CLIP in the configuration object of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlar.adapters.checkpoints.pickles import leaves
from vlar.adapters.checkpoints.weights import open_file
from vlar.types import JsonDict

_SETTINGS = {
    "seed_token_a": ("seed_fraction", float),
    "context_token_k": ("context_tokens", int),
    "tome_r": ("merge_step", int),
    "ctx_init": ("prompt_phrase", str),
    "im_stop_grad": ("stop_gradient", bool),
    "num_frames": ("n_frames", int),
    "context_length": ("max_tokens", int),
}


def load_inert(path: Path) -> tuple[dict[str, Any], JsonDict]:
    """The dict of a checkpoint, and the TC-CLIP settings its configuration names.

    Raises:
        ModelError: the file does not exist, it is damaged, or it holds anything but data.
    """
    stored = open_file(path)
    return stored, _settings(stored.get("config"))


def _settings(config: Any) -> JsonDict:
    """Known settings in a configuration tree, where they have the type they should have."""
    found: JsonDict = {}
    for name, value in leaves(config):
        if name in _SETTINGS and value is not None:
            ours, kind = _SETTINGS[name]
            if isinstance(value, kind) or (kind is float and isinstance(value, int)):
                found[ours] = value
    return found
