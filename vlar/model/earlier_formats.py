"""Model folders of earlier formats: their manifest and arrays as those of today."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from vlar import registry
from vlar.errors import ModelError
from vlar.types import JsonDict

Arrays = dict[str, npt.NDArray[Any]]
# Heads and arrays of format 1, and their names today.
_HEADS = {"blend": "mixture", "joint": "stacking"}
_ARRAYS = {"examples": "familiarity.examples"}


def migrate(manifest: JsonDict, file: Path) -> JsonDict:
    """A manifest in the format that is written today.

    Format 3 added checksums of the arrays; earlier folders have none. Heads by name were entries of
    the manifest itself first.

    Args:
        manifest: The content of ``vlar.json``.
        file: The manifest, for messages.

    Raises:
        ModelError: the head of an old manifest is malformed.
    """
    written = manifest.get("format")
    early = manifest.keys() & set(registry.names("head"))
    if early and "heads" not in manifest:
        heads = {name: manifest[name] for name in early}
        manifest = {name: value for name, value in manifest.items() if name not in early}
        manifest["heads"] = heads
    if written not in (1, 2):
        return manifest
    manifest = {**manifest, "format": 3}
    if written == 2 or manifest.get("head") is None:
        return manifest
    try:
        head = dict(manifest["head"])
        # Format 1 kept the curve of the only rejector inside the head.
        curve = dict(head.pop("novelty"))
        manifest["head"] = _renamed(head)
        manifest["rejector"] = {"rejector": "familiarity", **curve}
        manifest["familiarity"] = {"kind": head["kind"], **curve}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file} is malformed at head ({error!r}); adapt again") from error
    return manifest


def migrate_arrays(arrays: Arrays, written: int) -> Arrays:
    """The arrays of a head under today's names.

    Args:
        arrays: The content of ``adaptation.safetensors``.
        written: The format that the folder was written in.
    """
    return {_ARRAYS.get(name, name): a for name, a in arrays.items()} if written == 1 else arrays


def _renamed(head: Mapping[str, Any]) -> JsonDict:
    """The settings of a head and of the heads inside it, under today's names."""
    settings: JsonDict = {**head, "head": _HEADS.get(head["head"], head["head"])}
    if "members" in settings:
        settings["members"] = [_renamed(member) for member in settings["members"]]
    if settings.get("closed") is not None:
        settings["closed"] = _renamed(settings["closed"])
    return settings
