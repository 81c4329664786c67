"""``lite-hands``: ``lite`` that also looks for hands where no whole body is seen."""

from __future__ import annotations

from typing import Any

from vlar.encoders.lite.encoder import LiteEncoder
from vlar.encoders.lite.hands import HandBlock
from vlar.errors import ModelError
from vlar.pose import network_files
from vlar.registry import register


class _OfflineArgument:
    """The argument of the contract tests; None where the networks are not installed."""

    def __get__(self, instance: object, owner: Any = None) -> str | None:
        return "" if network_files.has_hands() else None


@register("encoder", "lite-hands")
class LiteHandsEncoder(LiteEncoder):
    """``lite`` with hands near the camera: opening, pinching, pointing, coming and going.

    For first-person footage and close-ups of hands (needs ``lite-motion``). A clip with a whole
    body has the vector of ``lite``, and other clips have one more block. ``docs/pose.md`` has what
    it gains and what not.
    """

    name = "lite-hands"
    contract_argument = _OfflineArgument()

    def load_hands(self) -> HandBlock:
        """The hands block.

        Raises:
            ModelError: the hand networks are not installed.
        """
        if not network_files.has_hands():
            raise ModelError(
                "the encoder 'lite-hands' needs the hand networks of lite-motion, which are not "
                f"installed; run: vlar models get {network_files.NAME}"
            )
        return HandBlock()
