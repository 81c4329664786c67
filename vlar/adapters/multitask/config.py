"""The settings of the semantic map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, setting


@dataclass(frozen=True)
class MultitaskConfig(Settings):
    """How a map is found and how it answers.

    Attributes:
        q: Tasks that the entries of a label's vector share; 0 chooses by held-out labels.
        penalty: On both factors of the map; 0 chooses by held-out labels.
        text: Whose label vectors: ``own`` (the encoder's) or ``sentences`` (a sentence encoder, so
            that video and text need no common space).
        match: Clips are compared with labels in the space of ``labels``, or in the ``latent`` space
            of the shared tasks, which leaves out what no task uses.
        targets: Labels that will be asked about. Training clips count more where their label is
            near; those that show a target under another name are left out.
        weigh_clips: Weigh by clips without labels too, where there are any. They may be the very
            clips that are asked about: such figures are transductive.
    """

    q: int = setting(0, at_least=0, at_most=4096)
    penalty: float = setting(0.0, at_least=0, at_most=1e6)
    text: str = setting("own", choices=("own", "sentences"))
    match: str = setting("labels", choices=("labels", "latent"))
    targets: tuple[str, ...] = ()
    weigh_clips: bool = True

    what: ClassVar[str] = "multitask setting"
