"""The Hugging Face hub: what is cached, whether it can be reached, and what to say if not."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import try_to_load_from_cache

from vlar.errors import ModelError


def cached(repository: str, names: tuple[str, ...], revision: str | None = None) -> Path | None:
    """The first of the named files of a repository that is in the local cache."""
    for name in names:
        found = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def require_network(what: str, repository: str) -> None:
    """Raise at once what the hub's client would raise after a minute of retries.

    Raises:
        ModelError: HF_HUB_OFFLINE is set, or the hub cannot be reached.
    """
    if (why := why_offline()) is not None:
        raise offline(what, repository, why)


def why_offline() -> str | None:
    """Why the hub cannot be reached, within five seconds; None where it can."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return "HF_HUB_OFFLINE is set"
    if getproxies():
        return None
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host = address.hostname or ""
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return f"no connection to {host}"
    return None


def offline(what: str, repository: str, why: str) -> ModelError:
    """The error for weights that are neither here nor to be had."""
    family = what.partition(":")[0] if what.startswith(("hf:", "st:")) else "openclip"
    return ModelError(
        f"{what} is not in the local cache and cannot be fetched: {why}. With a network, unset "
        f"HF_HUB_OFFLINE and run again. Without one, run 'hf download {repository} "
        f"--local-dir FOLDER' on another machine, copy the folder, and use {family}:FOLDER"
    )
