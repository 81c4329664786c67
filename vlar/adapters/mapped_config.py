"""Settings and results that maps from clips to texts share."""

from __future__ import annotations

from dataclasses import dataclass

from vlar.adapters.gate import MOST, Gate
from vlar.adapters.settings import Settings, setting

OWN, SENTENCES, BOTH = "own", "sentences", "both"
CHOSEN, ALWAYS, NEVER = "chosen", "always", "never"


@dataclass(frozen=True)
class MappedConfig(Settings):
    """What all of these methods share.

    Attributes:
        text: Whose vectors of labels: ``own`` (those of the encoder), ``sentences`` (those of a
            sentence encoder, so that clips and texts need no common space), or ``both``, one after
            the other.
        own: Share of the encoder's own cosine in that of a clip and a text; the map has the rest.
            -1 chooses it by labels that are held out, and may choose 1: words alone are better.
        stacking: Calibrated stacking (Chao et al., "An empirical study and analysis of generalized
            zero-shot learning", 2016): what a label with examples loses from its cosine in a list
            that has others too. -1 chooses it by labels that are held out.
        gate: Whether a logistic gate (``vlar/adapters/gate.py``) and not stacking tells clips of
            labels with examples from others in a list that has both: ``never``, ``always``, or
            ``chosen``: where it is better than stacking on labels that are held out.
        gate_top: Scores of each side that the gate reads, the best ones; a list with fewer labels
            without examples is answered with stacking.
        gate_numbers: The gate, as it was fitted; set when it is solved.
        labels: The labels that it has examples of; set when it is solved.
    """

    text: str = setting(BOTH, choices=(OWN, SENTENCES, BOTH))
    own: float = setting(-1.0, at_least=-1, at_most=1)
    stacking: float = setting(-1.0, at_least=-1, at_most=2)
    gate: str = setting(NEVER, choices=(CHOSEN, ALWAYS, NEVER))
    gate_top: int = setting(1, at_least=1, at_most=MOST)
    gate_numbers: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse values that do not go together."""
        if self.gate_numbers:
            Gate.of(self.gate_numbers)


@dataclass(frozen=True)
class Solved:
    """How a map was found.

    Attributes:
        objective: The objective at the start and after each round.
        rank: Mean reciprocal rank of the right label among held-out ones, 0 to 1; None where none
            were held out.
    """

    objective: tuple[float, ...]
    rank: float | None = None
