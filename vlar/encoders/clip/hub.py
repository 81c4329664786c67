"""The Hugging Face hub: what is cached, whether it can be reached, and what to say if not."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import try_to_load_from_cache

from vlar.errors import ModelError


def cached(repository: str, names: tuple[str, ...]) -> Path | None:
    """The first of the named files of a repository that is in the local cache."""
    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def require_network(what: str, repository: str) -> None:
    """Raise at once what the hub's client would raise after a minute of retries.

    Raises:
        ModelError: HF_HUB_OFFLINE is set, or the hub cannot be reached.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise offline(what, repository, "HF_HUB_OFFLINE is set")
    if getproxies():
        return
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname or ""
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError as error:
        raise offline(what, repository, f"no connection to {host}") from error


def offline(what: str, repository: str, why: str) -> ModelError:
    """The error for weights that are neither here nor to be had."""
    family = "hf" if what.startswith("hf:") else "openclip"
    return ModelError(
        f"{what} is not in the local cache and cannot be fetched: {why}. With a network, unset "
        f"HF_HUB_OFFLINE and run again. Without one, run 'hf download {repository} "
        f"--local-dir FOLDER' on another machine, copy the folder, and use {family}:FOLDER"
    )
