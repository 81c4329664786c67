"""The networks of the extra ``lite-motion``, ready to run."""

from __future__ import annotations

import hashlib

from vlar.extras.extra import Extra, extra
from vlar.pose.onnx_session import CachedNetwork

NAME = "lite-motion"
DETECTOR, LANDMARKS = "detector", "landmarks"
PALMS, HAND_LANDMARKS = "palms", "hand_landmarks"


def lite_motion() -> Extra:
    """The extra that holds the networks."""
    return extra(NAME)


def is_installed() -> bool:
    """Whether the networks of bodies are in the cache."""
    return lite_motion().is_installed(DETECTOR, LANDMARKS)


def has_hands() -> bool:
    """Whether the networks of hands are there too; older versions of vlar did not keep them."""
    return is_installed() and lite_motion().is_installed(PALMS, HAND_LANDMARKS)


def digest() -> str:
    """Hash of the original files of bodies and of the converter's version."""
    return lite_motion().digest(DETECTOR, LANDMARKS)


def hands_digest() -> str:
    """Hash of the original files of hands and of the converter's version."""
    return lite_motion().digest(PALMS, HAND_LANDMARKS)


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
