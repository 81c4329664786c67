"""``lite-objects``: the objects and scenes of ``lite`` alone, to be joined with other encoders."""

from __future__ import annotations

from typing import ClassVar

from vlar.encoders.lite.encoder import LiteEncoder
from vlar.registry import register


@register("encoder", "lite-objects")
class LiteObjectsEncoder(LiteEncoder):
    """``lite`` as it is without ``lite-motion``, whether that was fetched or not.

    ``lite-objects+motion`` is ``lite`` with bodies, in two parts.
    """

    name = "lite-objects"
    bodies: ClassVar[bool] = False
