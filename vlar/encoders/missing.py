"""A library that a model needs and that is not installed: the command that gets it."""

from __future__ import annotations

import re
from importlib.util import find_spec

from vlar.errors import ModelError

_PACKAGES = {"PIL": "pillow", "google": "protobuf", "open_clip": "open-clip-torch"}
_ADVICE = re.compile(r"pip3? install (?:-\S+ )*[`'\"]*([A-Za-z][\w.-]*)")
_NAMED = re.compile(r"\b(sentencepiece|tiktoken|protobuf|timm|torchvision)\b", re.IGNORECASE)


def missing_library(what: str, error: BaseException) -> ModelError | None:
    """The error for a library that is not installed; None where ``error`` is not about one.

    Args:
        what: Names the model in the message.
        error: What loading raised: an ImportError, or another library's advice to install one.
    """
    name = getattr(error, "name", None) if isinstance(error, ImportError) else None
    if not name:
        text = " ".join(str(error).split())
        found = _ADVICE.search(text) or _NAMED.search(text)
        name = found[1].rstrip(".").lower() if found else None
    module = (name or "").partition(".")[0]
    if not module or _installed(module):
        return None
    package = _PACKAGES.get(module, module)
    return ModelError(
        f"{what} needs the library {package}, which is not installed; run: pip install {package}"
    )


def _installed(module: str) -> bool:
    try:
        return find_spec("google.protobuf" if module == "protobuf" else module) is not None
    except (ImportError, ValueError):  # a test or a broken installation has put None in its place
        return False
