"""Arithmetic of a federation: what is sent, what becomes of it, what holds clients together.

Letters: n clips of a client, F numbers of a feature, C labels.
"""

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
    """Weighted mean of states, ``sum of (n_c / n) w_c`` (McMahan et al. 2017).

    One state is read at a time, so the memory does not grow with their number.

    Args:
        states: Of the clients; all have the names and shapes of the first.
        weights: Of each client, from 0, such as its number of clips.
        names: Names of the clients for messages; their numbers without any.

    Raises:
        UsageError: a client sends a number that is not finite, lacks a name or has other shapes, or
            the weights do not add up to a number above 0.
    """
    total = float(sum(weights))
    if not 0 < total < float("inf") or min(weights) < 0:
        raise UsageError(f"weights of clients are {list(weights)}; use numbers of clips, from 1")
    first: State = {}
    sums: dict[str, Tensor] = {}
    for number, (state, weight) in enumerate(zip(states, weights, strict=True)):
        first = first or state
        _check(state, first, names[number] if names else str(number))
        for name, value in state.items():
            part = torch.as_tensor(value).double() * (weight / total)
            sums[name] = part if number == 0 else sums[name] + part
    return {name: _as(first[name], value) for name, value in sums.items()}


def _check(state: State, first: State, client: str) -> None:
    for name in sorted(state.keys() ^ first.keys()):
        lacks = "lacks" if name in first else "has"
        raise UsageError(f"client {client!r} {lacks} {name!r}, unlike the first; leave it out")
    for name, value in state.items():
        found = torch.as_tensor(value)
        if found.shape != torch.as_tensor(first[name]).shape:
            shape = tuple(torch.as_tensor(first[name]).shape)
            raise UsageError(
                f"client {client!r} sends {name!r} of shape {tuple(found.shape)}, not {shape}; "
                "leave it out"
            )
        if not torch.isfinite(found).all():
            raise UsageError(
                f"client {client!r} sends {name!r} with numbers that are not finite; leave it out, "
                "or lower its learning_rate"
            )


def _as(given: Any, value: Tensor) -> Any:
    """A mean in the type of what was sent; whole numbers become fractions."""
    kind = torch.as_tensor(given).dtype
    value = value.to(kind if kind.is_floating_point else torch.float32)
    return value if isinstance(given, Tensor) else value.numpy()


def proximal(state: State, received: State, mu: float) -> Tensor:
    """``mu / 2 |state - received|^2``, squared (FedProx, Li et al. 2020), with gradients."""
    pairs = ((torch.as_tensor(w), torch.as_tensor(received[name])) for name, w in state.items())
    return mu / 2 * torch.stack([((one - two) ** 2).sum() for one, two in pairs]).sum()


def prototypes(clients: Sequence[tuple[Any, Any]]) -> Float64:
    """Mean feature of each label over all clients, from their sums and counts alone.

    Args:
        clients: Features (n, F) and labels (n,) of each; a client may lack labels.

    Returns:
        (C, F), labels sorted: the same as of all clips in one place.
    """
    labels = np.unique(np.concatenate([np.asarray(y) for _, y in clients]))
    width = np.asarray(clients[0][0]).shape[1]
    sums, counts = np.zeros((len(labels), width)), np.zeros(len(labels))
    for features, y in clients:
        shown = (labels[:, None] == np.asarray(y)).astype(np.float64)
        sums += shown @ np.asarray(features, np.float64)
        counts += shown.sum(axis=1)
    return sums / counts[:, None]
