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

from vlar.version import __version__ as __version__

# Before any import of ONNX Runtime, which else keeps a device id and looks up a host. Workers and
# jobs inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from vlar.errors import VlarError
    from vlar.library.library import Library
    from vlar.media.lookup import read_clip
    from vlar.media.shots import shots
    from vlar.model.model import Model, load
    from vlar.model.pipelines import pipeline
    from vlar.registry import parts, register
    from vlar.results import Results
    from vlar.types import Classification, Failure, Hit, Prediction, Window

    describe: Any  # these four are of shelves
    ethogram: Any
    evaluate: Any
    review: Any

_WHERE = {
    "Classification": "vlar.types",
    "Failure": "vlar.types",
    "Hit": "vlar.types",
    "Library": "vlar.library.library",
    "Model": "vlar.model.model",
    "Prediction": "vlar.types",
    "Results": "vlar.results",
    "VlarError": "vlar.errors",
    "Window": "vlar.types",
    "describe": "vlar.generators.descriptions.run",
    "ethogram": "vlar.behaviour",
    "evaluate": "vlar.behaviour",
    "load": "vlar.model.model",
    "parts": "vlar.registry",
    "pipeline": "vlar.model.pipelines",
    "read_clip": "vlar.media.lookup",
    "register": "vlar.registry",
    "review": "vlar.behaviour",
    "shots": "vlar.media.shots",
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
    "ethogram",
    "evaluate",
    "load",
    "parts",
    "pipeline",
    "read_clip",
    "register",
    "review",
    "shots",
]


def __getattr__(name: str) -> Any:
    # Public names load on first use, so that `import vlar` and `vlar --help` stay fast.
    import importlib

    if name in ("behaviour", "registry", "segments"):
        return importlib.import_module(f"vlar.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'vlar' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
