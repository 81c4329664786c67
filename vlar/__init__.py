"""vlar: vision-language action recognition.

Three uses, three lines each::

    import vlar

    model = vlar.load()
    model.classify("clip.mp4", ["riding a bike", "talking", "cooking"])

    mine = model.adapt("support/")          # one folder of clips per label
    mine.save("mine")

    library = vlar.Library("holiday.vlar")
    library.add("videos/")
    library.query("people riding bikes")
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Before any import of ONNX Runtime, which else keeps a device id and looks up a host. Workers and
# jobs inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from vlar.describing.run import describe
    from vlar.errors import VlarError
    from vlar.library import Library
    from vlar.model.model import Model, load
    from vlar.registry import parts, register
    from vlar.sensors.lookup import read_clip
    from vlar.sensors.shots import shots
    from vlar.tables import Results
    from vlar.types import Classification, Failure, Hit, Prediction, Window

__version__ = "0.1.0"

_WHERE = {
    "Classification": "vlar.types",
    "Failure": "vlar.types",
    "Hit": "vlar.types",
    "Library": "vlar.library",
    "Model": "vlar.model.model",
    "Prediction": "vlar.types",
    "Results": "vlar.tables",
    "VlarError": "vlar.errors",
    "Window": "vlar.types",
    "describe": "vlar.describing.run",
    "load": "vlar.model.model",
    "parts": "vlar.registry",
    "read_clip": "vlar.sensors.lookup",
    "register": "vlar.registry",
    "shots": "vlar.sensors.shots",
}

__all__ = [
    "Classification",
    "Failure",
    "Hit",
    "Library",
    "Model",
    "Prediction",
    "Results",
    "VlarError",
    "Window",
    "describe",
    "load",
    "parts",
    "read_clip",
    "register",
    "shots",
]


def __getattr__(name: str) -> Any:
    # Public names load on first use, so that `import vlar` and `vlar --help` stay fast.
    import importlib

    if name == "registry":
        return importlib.import_module("vlar.registry")
    if name not in _WHERE:
        raise AttributeError(f"module 'vlar' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
