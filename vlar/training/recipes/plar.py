"""The recipe of the prompt experts: the numbers of the temporal adapter, set beforehand."""

from __future__ import annotations

from dataclasses import replace

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.recipes.temporal import temporal


@register("recipe", "plar")
def plar() -> dict[str, Hyperparameters]:
    """One protocol."""
    return {"adapt": replace(temporal()["adapt"], block_dropout=0.0)}
