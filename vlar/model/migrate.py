"""Model folders of earlier formats, brought to today's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from vlar.errors import ModelError
from vlar.types import JsonDict

Arrays = dict[str, npt.NDArray[Any]]
_HEADS = {"blend": "mixture", "joint": "stacking"}  # format 1 to format 2


def migrate(manifest: JsonDict, arrays: Arrays, file: Path) -> tuple[JsonDict, Arrays]:
    """A manifest and the arrays of its head, in the format that is written today.

    Args:
        manifest: The content of ``vlar.json``.
        arrays: The content of ``adaptation.safetensors``; empty for a zero-shot model.
        file: The manifest, for messages.

    Raises:
        ModelError: the head of an old manifest is malformed.
    """
    if manifest.get("format") != 1:
        return manifest, arrays
    manifest = {**manifest, "format": 2}
    if manifest.get("head") is None:
        return manifest, arrays
    try:
        head = dict(manifest["head"])
        # Format 1 kept the curve of the only rejector inside the head.
        curve = dict(head.pop("novelty"))
        manifest["head"] = _renamed(head)
        manifest["rejector"] = {"rejector": "familiarity", **curve}
        manifest["familiarity"] = {"kind": head["kind"], **curve}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file} is malformed at head ({error!r}); adapt again") from error
    return manifest, {_array_name(name): array for name, array in arrays.items()}


def _renamed(head: Mapping[str, Any]) -> JsonDict:
    """The settings of a head and of the heads inside it, under today's names."""
    settings: JsonDict = {**head, "head": _HEADS.get(head["head"], head["head"])}
    if "members" in settings:
        settings["members"] = [_renamed(member) for member in settings["members"]]
    if settings.get("closed") is not None:
        settings["closed"] = _renamed(settings["closed"])
    return settings


def _array_name(name: str) -> str:
    return "familiarity.examples" if name == "examples" else name
