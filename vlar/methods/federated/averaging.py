"""Arithmetic of a federation: what is sent, what becomes of it, what holds clients together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlar.errors import UsageError
from vlar.types import Float64

#: Weights by name: tensors, or arrays.
State = Mapping[str, Any]


def split_state(state: State, prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a state into what is sent, whose names begin with ``prefix``, and what is kept."""
    sent = {name: value for name, value in state.items() if name.startswith(prefix)}
    return sent, {name: value for name, value in state.items() if name not in sent}


def average(
    states: Iterable[State], weights: Sequence[float], names: Sequence[str] = ()
) -> dict[str, Any]:
    """Weighted mean of states, ``sum of (n_c / n) w_c`` (McMahan et al. 2017), read one at a time.

    Args:
        states: States of the clients.
        weights: Weight of each client, from 0, such as its number of clips.
        names: Names of the clients, for messages; their numbers without any.

    Raises:
        UsageError: a client sends numbers that are not finite, or other names or shapes than the
            first; or the weights do not add up to a number above 0.
    """
    total = float(sum(weights))
    if not 0 < total < float("inf") or min(weights) < 0:
        raise UsageError(f"weights of clients are {list(weights)}; use numbers of clips, from 1")
    first: State = {}
    sums: dict[str, Tensor] = {}
    for number, (state, weight) in enumerate(zip(states, weights, strict=True)):
        first = first or state
        if wrong := _fault(state, first):
            client = names[number] if names else str(number)
            raise UsageError(f"client {client!r} {wrong}; leave it out, or see why it broke")
        for name, value in state.items():
            part = torch.as_tensor(value).double() * (weight / total)
            sums[name] = part if number == 0 else sums[name] + part
    return {name: _as(first[name], value) for name, value in sums.items()}


def _fault(state: State, first: State) -> str | None:
    """Words for what keeps a state out of a mean; None for nothing."""
    for name in sorted(state.keys() ^ first.keys()):
        return f"{'lacks' if name in first else 'has'} {name!r}, unlike the first"
    for name, value in state.items():
        value_now, shape = torch.as_tensor(value), tuple(torch.as_tensor(first[name]).shape)
        if tuple(value_now.shape) != shape:
            return f"sends {name!r} of shape {tuple(value_now.shape)}, not {shape}"
        if not torch.isfinite(value_now).all():
            return f"sends {name!r} with numbers that are not finite"
    return None


def _as(given: Any, value: Tensor) -> Any:
    """A mean in the type of what was sent; whole numbers become fractions."""
    kind = torch.as_tensor(given).dtype
    value = value.to(kind if kind.is_floating_point else torch.float32)
    return value if isinstance(given, Tensor) else value.numpy()


def proximal(state: State, received: State, mu: float) -> Tensor:
    """``mu / 2 |state - received|^2``, squared (FedProx, Li et al. 2020), with gradients."""
    away = (torch.as_tensor(w) - torch.as_tensor(received[name]) for name, w in state.items())
    return mu / 2 * torch.stack([(difference**2).sum() for difference in away]).sum()


def prototypes(clients: Sequence[tuple[Any, Any]]) -> Float64:
    """Mean feature of each of C labels over all clients, from their sums and counts alone.

    Args:
        clients: Features (n, F) and labels (n,) of each; a client may lack labels.

    Returns:
        (C, F), labels sorted: the same as of all clips in one place.
    """
    labels = np.unique(np.concatenate([np.asarray(y) for _, y in clients]))
    shown = [(labels[:, None] == np.asarray(y)).astype(np.float64) for _, y in clients]
    pairs = zip(shown, clients, strict=True)
    sums = np.sum([client @ np.asarray(x, np.float64) for client, (x, _) in pairs], axis=0)
    return sums / np.sum([shown_labels.sum(axis=1) for shown_labels in shown], axis=0)[:, None]
