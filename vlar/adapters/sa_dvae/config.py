"""The settings of SA-DVAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.mapped_config import ALWAYS, CHOSEN, NEVER, MappedConfig
from vlar.adapters.settings import setting


@dataclass(frozen=True)
class SaDvaeConfig(MappedConfig):
    """How clips and texts share a space, and how that is trained.

    The paper trains 10 cycles of 1700 steps at 3.4e-5 on tens of thousands of clips; the defaults
    are for hundreds.

    Attributes:
        components: Entries of a clip that the network reads: principal directions of the training
            clips.
        latent: Width of the part that clips share with texts.
        irrelevant: Width of the part of a clip that no text describes.
        cycles: Of the schedule.
        steps: Of a cycle.
        batch: Clips of a step.
        rate: Of Adam.
        divergence: Greatest factor on the divergences and on the total correlation.
        cross: Factor on the crossed reconstructions.
        judge_every: Steps between those that train the discriminator.
        positive: End the decoders in a rectifier, for features that are never negative.
        gate: See ``MappedConfig``; the paper's gate is considered here unless another is asked for.
        shared_noise: Draw one number a clip instead of one an entry, as the published code does.
    """

    components: int = setting(256, at_least=1, at_most=4096)
    latent: int = setting(160, at_least=1, at_most=4096)
    irrelevant: int = setting(8, at_least=1, at_most=1024)
    cycles: int = setting(5, at_least=1, at_most=1000)
    steps: int = setting(200, at_least=5, at_most=100_000)
    batch: int = setting(32, at_least=2, at_most=4096)
    rate: float = setting(1e-3, above=0, at_most=1)
    divergence: float = setting(0.02, at_least=0)
    cross: float = setting(1.0, at_least=0)
    judge_every: int = setting(5, at_least=1)
    positive: bool = False
    shared_noise: bool = False
    gate: str = setting(CHOSEN, choices=(CHOSEN, ALWAYS, NEVER))
    what: ClassVar[str] = "SA-DVAE setting"
