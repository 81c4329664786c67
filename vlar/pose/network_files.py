"""The two networks of the extra ``lite-motion``, ready to run."""

from __future__ import annotations

import hashlib

from vlar.extras.extra import Extra, extra
from vlar.pose.onnx_session import CachedNetwork

NAME = "lite-motion"
DETECTOR, LANDMARKS = "detector", "landmarks"


def lite_motion() -> Extra:
    """The extra that holds the networks."""
    return extra(NAME)


def is_installed() -> bool:
    """Whether the networks are in the cache."""
    return lite_motion().is_installed(DETECTOR, LANDMARKS)


def digest() -> str:
    """Hash of the original files and of the converter's version."""
    return lite_motion().digest(DETECTOR, LANDMARKS)


def network(name: str) -> CachedNetwork:
    """A converted network of ``lite-motion``; it is loaded when it first runs.

    Args:
        name: Of the file, such as ``detector``.

    Raises:
        ModelError: the network was never fetched, or its file changed.
    """
    source = lite_motion()
    entry = f"{name}-{hashlib.sha256(source.read(name)).hexdigest()[:16]}.network"
    return CachedNetwork(source.folder.name, entry, lambda: source.read(name), None, NAME)
