"""Finds the data folders ``prompts/`` and ``text_banks/``, in a checkout and in a wheel."""

from __future__ import annotations

import os
from pathlib import Path

from vlar.errors import ModelError
from vlar.registry import unknown_name


def folder(name: str) -> Path:
    """The data folder ``name``.

    Raises:
        ModelError: neither a checkout nor the wheel holds it: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for place in (package / "_data" / name, package.parent / name):
        if place.is_dir():
            return place
    raise ModelError(
        f"data folder {name!r} is missing beside {package}: the installation is incomplete; "
        "reinstall vlar"
    )


def names(folder_name: str, suffix: str) -> list[str]:
    """Names of the files in a data folder, without ``suffix``, sorted."""
    return sorted(p.name[: -len(suffix)] for p in folder(folder_name).glob(f"*{suffix}"))


def find(folder_name: str, name: str, suffix: str) -> Path:
    """The file ``name + suffix`` of a data folder.

    Raises:
        UnknownNameError: there is no such file; the message lists what there is.
    """
    known = names(folder_name, suffix)
    if name not in known:
        raise unknown_name(folder_name.replace("_", " ").rstrip("s"), name, known)
    return folder(folder_name) / f"{name}{suffix}"


def cache_dir() -> Path:
    """Where vlar keeps what it can make again (``VLAR_CACHE`` moves it). Not created here."""
    if place := os.environ.get("VLAR_CACHE"):
        return Path(place).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("vlar")
