"""The settings of a map that labels decide which are held out in turn: share, offset, gate."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from vlar.adapters.gate import Sides, fit_gate, held_out_harmonic
from vlar.adapters.mapped_config import ALWAYS, CHOSEN, NEVER, MappedConfig
from vlar.adapters.stacking import Round, best_offset, best_share, held_out_offset
from vlar.types import Float64

_log = logging.getLogger("vlar")


def considers_gate(config: MappedConfig) -> bool:
    """Whether a gate is to be fitted: not where the offset of stacking is given."""
    return config.gate == ALWAYS or (config.gate == CHOSEN and config.stacking < 0)


@dataclass(frozen=True)
class Weighed:
    """Mean harmonic means on splits that neither was fitted on, 0 to 1.

    Attributes:
        gate: With the gate.
        stacking: With the offset.
    """

    gate: float
    stacking: float


def decided(
    config: MappedConfig,
    rounds: Sequence[Round],
    of_gate: Sequence[Round],
    scores: Sequence[Float64],
) -> tuple[MappedConfig, Weighed | None]:
    """The settings with share, offset and gate; those that are given stay.

    The share of the encoder's own cosine is that with which clips of labels held out find them best
    among themselves; the offset is the one with the best mean of seen and unseen accuracy. A gate
    is weighed against the offset, each on splits that it was not fitted on.

    Args:
        config: As given.
        rounds: One for each way to hold labels out; none for too few labels.
        of_gate: Those by which the gate is fitted and weighed; they may hold people out too.
        scores: (m, S) of each of these, by a classifier of the labels with examples.

    Returns:
        The settings; how gate and offset compare, None where no gate was fitted.
    """
    share = config.own if config.own >= 0 else best_share(rounds)
    offset = config.stacking if config.stacking >= 0 else best_offset(rounds, share)
    numbers: tuple[float, ...] = ()
    sides, weighed = [], None
    if considers_gate(config):
        sides = [
            Sides.of(seen, each.cosines(share), each.truth, each.seen)
            for seen, each in zip(scores, of_gate, strict=True)
        ]
    if considers_gate(config) and _enough(sides, config.gate_top):
        reached = held_out_harmonic(sides, config.gate_top)
        weighed = Weighed(reached, held_out_offset(of_gate, share))
        _log.info(
            "labels with and without examples in one list, harmonic mean where some are held out: "
            "%.3f with a gate, %.3f with stacking",
            weighed.gate,
            weighed.stacking,
        )
        if config.gate == ALWAYS or weighed.gate > weighed.stacking:
            numbers = fit_gate(sides, config.gate_top).numbers
    done = dataclasses.replace(
        config, own=share, stacking=offset, gate=ALWAYS if numbers else NEVER, gate_numbers=numbers
    )
    return done, weighed


def _enough(sides: Sequence[Sides], top: int) -> bool:
    """Whether there are splits to fit a gate on and to weigh it; says so where there are not."""
    fewest = min((min(each.seen.shape[1], each.unseen.shape[1]) for each in sides), default=0)
    if len(sides) > 1 and fewest >= top:
        return True
    _log.warning(
        "labels with and without examples are told apart by stacking: there are too few labels "
        "to hold some out and fit a gate; give examples of at least %d labels",
        max(6, 3 * top),
    )
    return False
