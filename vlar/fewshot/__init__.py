"""Few-shot adaptation: support sets, signatures, heads, rejectors and the choice among them.

Works on vectors and labels alone; nothing here knows an encoder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlar.fewshot.adapted import AdaptedHead
    from vlar.fewshot.base import FewShotHead
    from vlar.fewshot.model_selection import Choice, choose
    from vlar.fewshot.reject.base import Rejector
    from vlar.fewshot.support import Support, SupportItem, read_support
    from vlar.fewshot.targets import Targets
    from vlar.fewshot.temporal_features import signature

_HOMES = {
    "FewShotHead": "base",
    "AdaptedHead": "adapted",
    "Rejector": "reject.base",
    "Targets": "targets",
    "Choice": "model_selection",
    "choose": "model_selection",
    "signature": "temporal_features",
    "Support": "support",
    "SupportItem": "support",
    "read_support": "support",
}
__all__ = [
    "AdaptedHead",
    "Choice",
    "FewShotHead",
    "Rejector",
    "Support",
    "SupportItem",
    "Targets",
    "choose",
    "read_support",
    "signature",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that reading a folder of examples does not import numerics.
    if name not in _HOMES:
        raise AttributeError(f"module 'vlar.fewshot' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vlar.fewshot.{_HOMES[name]}"), name)
