"""The settings of C2C."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, setting

_MOST_WEIGHTS = 1 << 22


@dataclass(frozen=True)
class C2CConfig(Settings):
    """How the head is built and trained.

    Attributes:
        width: E, width of the vectors that verbs and objects are compared in.
        hidden: Width of the hidden layers.
        frames: Most frames of a clip that are read, as in the paper; of more, evenly spaced ones.
        components: Principal directions kept of each block of the frame features.
        blocks: Blocks of the frame features to read; empty means all.
        verbs_from: What verbs are read from. ``frames``: along the directions in which frames
            differ, as objects are. ``deviations`` of the frames from the mean frame of their clip,
            along directions and on a scale of their own. ``similarities`` of these deviations to
            each other, which are the same whatever is shown. ``both`` of the last two.
        ordered: Verbs are read from the frames in order; False reads the mean frame alone.
        mixed: Share of the steps in which clips are mixed, 0 to 1. Zero for the plain training.
        imagined: Weight of the loss of pairs that only a mixed clip might show.
        prior: Weight of the loss towards the shares of pairs in training.
        dependence: Weight of the dependence loss.
        component: Weight of the losses of verbs and of objects.
        crossed: The dependence loss takes verbs for objects, as the published trainer does with
            CLIP. For comparisons only.
        verbs: The verbs it was trained on.
        objects: The objects.
    """

    width: int = setting(128, at_least=2, at_most=4096)
    hidden: int = setting(256, at_least=1, at_most=4096)
    frames: int = setting(8, at_least=1, at_most=1024)
    components: int = setting(64, at_least=1, at_most=4096)
    blocks: tuple[str, ...] = ()
    verbs_from: str = setting("both", choices=("frames", "deviations", "similarities", "both"))
    ordered: bool = True
    mixed: float = setting(0.7, at_least=0, at_most=1)
    imagined: float = setting(0.1, at_least=0, at_most=100)
    prior: float = setting(0.1, at_least=0, at_most=100)
    dependence: float = setting(0.1, at_least=0, at_most=100)
    component: float = setting(0.2, at_least=0, at_most=100)
    crossed: bool = False
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()

    what: ClassVar[str] = "c2c setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        size, wanted = self.hidden * self.components, "fewer: hidden * components"
        self.require_few("components", size, _MOST_WEIGHTS, wanted)
