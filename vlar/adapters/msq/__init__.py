"""MSQNet: each label is a query of its text and of the clip."""

from __future__ import annotations

from vlar.adapters.msq.adapter import Msq
from vlar.adapters.msq.config import MsqConfig

__all__ = ["Msq", "MsqConfig"]
