"""Settings and results that maps from clips to texts share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import check_settings, setting

OWN, SENTENCES, BOTH = "own", "sentences", "both"


@dataclass(frozen=True)
class MappedConfig:
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
        labels: The labels that it has examples of; set when it is solved.
    """

    text: str = setting(BOTH, choices=(OWN, SENTENCES, BOTH))
    own: float = setting(-1.0, at_least=-1, at_most=1)
    stacking: float = setting(-1.0, at_least=-1, at_most=2)
    labels: tuple[str, ...] = ()
    what: ClassVar[str] = "setting"

    def __post_init__(self) -> None:
        check_settings(self, self.what)


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
