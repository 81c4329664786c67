"""Views of an encoder: what adapters ask of it by name (``Adapter.needs``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlar.encoders.base import Encoder
from vlar.encoders.beside import Wrapper
from vlar.encoders.protocols import ConditionedText, PatchTokens, Sizes
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.registry import unknown_name

_CLIP = "openclip:ViT-B-16-quickgelu/openai"


@dataclass(frozen=True)
class EncoderView:
    """One view of an encoder.

    Attributes:
        use: What an adapter does that asks for it, for messages.
        offered: Whether an encoder offers it.
        example: An encoder that does.
    """

    use: str
    offered: Callable[[Encoder], bool]
    example: str


def _is_tower(encoder: Encoder) -> bool:
    return isinstance(encoder, TorchEncoder) and not encoder.per_clip


def _pools(encoder: Encoder) -> bool:
    if isinstance(encoder, Wrapper) and type(encoder).pool is Wrapper.pool:
        return _pools(encoder.encoder)
    return getattr(type(encoder), "pool", Encoder.pool) is not Encoder.pool


#: The views by name.
VIEWS: dict[str, EncoderView] = {
    "vit_blocks": EncoderView("works inside a ViT", _is_tower, _CLIP),
    "gradients": EncoderView("trains the encoder's towers", _is_tower, _CLIP),
    "frames": EncoderView("compares frames", lambda e: not e.per_clip, "lite"),
    "patch_tokens": EncoderView(
        "reads the parts of a frame",
        lambda e: isinstance(e, PatchTokens) and e.has_patches,
        f"lite or {_CLIP}",
    ),
    "pool": EncoderView("makes vectors from frame features", _pools, "lite"),
    "pictures": EncoderView(
        "reads pictures",
        lambda e: any(part.modality == "video" for part in getattr(e, "parts", (e,))),
        "lite",
    ),
    "sizes": EncoderView(
        "reads frames at several sizes",
        lambda e: isinstance(e, Sizes) and e.size_step > 0,
        f"lite-objects or {_CLIP}",
    ),
    "bodies": EncoderView(
        "reads the joints of bodies",
        lambda e: any(block.kind == "pose" for block in e.frame_blocks),
        "lite with lite-motion, skeleton, or bundle:lite+skeleton",
    ),
    "fixed_text": EncoderView(
        "needs text that does not depend on the video",
        lambda e: not isinstance(e, ConditionedText),
        _CLIP,
    ),
}


def require(encoder: Encoder, needs: Sequence[str], adapter: str) -> None:
    """Check that an encoder offers the views an adapter needs.

    Args:
        encoder: To be wrapped.
        needs: Names of ``VIEWS``.
        adapter: Name of the adapter, for messages.

    Raises:
        ModelError: a view is not offered; the message names it and an encoder that offers it.
        UnknownNameError: the view does not exist.
    """
    for need in needs:
        if need not in VIEWS:
            raise unknown_name("view of an encoder", need, VIEWS)
        view = VIEWS[need]
        if not view.offered(encoder):
            raise ModelError(
                f"adapter {adapter!r} {view.use} (it needs {need}), and encoder {encoder.name!r} "
                f"shows none; use for example {view.example}"
            )


def require_blocks(encoder: Encoder, adapter: str) -> TorchEncoder:
    """The encoder as one that shows its transformer blocks.

    Raises:
        ModelError: it shows none; the message names an encoder that does.
    """
    require(encoder, ("vit_blocks",), adapter)
    assert isinstance(encoder, TorchEncoder)
    return encoder
