"""``torchvision:NAME?weights=FILE``: the video networks of torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar.encoders.torch_encoder import WordlessEncoder
from vlar.registry import register, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from vlar.types import UInt8

#: Frames a clip by the beginning of a name, those of torchvision's reference evaluation.
_FRAMES = {"swin3d": 32, "s3d": 64}
_USUAL_FRAMES = 16


def midplanes(n_in: int, n_out: int, t: int, d: int) -> int:
    """Channels between a convolution over space and one over time.

    ``floor(t d^2 n_in n_out / (d^2 n_in + t n_out))`` (Tran et al., "A closer look at
    spatiotemporal convolutions for action recognition", 2018, section 3.5). So 1 x d x d, a
    non-linearity and t x 1 x 1 have the parameters of a full filter of t x d x d.

    >>> midplanes(64, 64, 3, 3), midplanes(64, 128, 3, 3)
    (144, 230)
    """
    return (t * d * d * n_in * n_out) // (d * d * n_in + t * n_out)


@register("encoder", "torchvision")
class TorchvisionEncoder(WordlessEncoder):
    """R(2+1)D, R3D, MC3, S3D, MViT and Swin3D: a clip as a whole, without texts.

    torchvision's own transform for a network resizes, cuts and scales the frames. Features are
    (1, F): what the network's classifier reads.

    Attributes:
        transform: torchvision's transform.
    """

    libraries = ("torch", "torchvision")
    contract_argument: ClassVar[str | None] = "mc3_18?random_init=true&frames=2&size=32"
    named: ClassVar[bool] = True
    transform: Any

    @classmethod
    def from_spec(
        cls, argument: str, *, device: str | None = None, dtype: str | None = None
    ) -> TorchvisionEncoder:
        """Load a network.

        Args:
            argument: A name of ``torchvision.models.video``. Options follow a ``?``:
                ``weights=FILE`` (safetensors, or .pth that holds tensors only), ``frames=16``,
                ``size=112`` (pixels), ``precision=float32|bfloat16|float16``,
                ``device=cpu|cuda``, ``random_init=true`` starts without weights,
                ``empty=true`` with zeros.
            device: Like the option; it wins over the option.
            dtype: Like the option ``precision``; it wins over the option.

        Raises:
            UnknownNameError: torchvision has no such video network.
            ModelError: no weights are named, or they are not those of the network; the message
                names the first difference.
            UsageError: fewer frames than the network takes.
        """
        from torchvision.models import get_model, get_model_weights, list_models, video

        from vlar.encoders.clip import wordless
        from vlar.encoders.clip.options import read_spec

        target, options, name, loading = read_spec(
            "torchvision", argument, wordless.OPTIONS, device, dtype
        )
        if target not in (names := list_models(module=video)):
            raise unknown_name("video network of torchvision", target, names)
        weights: Any = get_model_weights(target)
        what, stated = f"torchvision:{target}", weights.DEFAULT
        usual = next((n for begin, n in _FRAMES.items() if target.startswith(begin)), _USUAL_FRAMES)
        least = int(stated.meta.get("min_temporal_size", 1))
        n_frames = wordless.frames_asked(options, usual, least, what)
        model: Any = wordless.started(lambda: get_model(target, weights=None))
        wordless.fill(model, options, what)
        model = wordless.without_head(model)
        transform = wordless.sized(stated.transforms(), options, what)
        side = transform.crop_size[0]
        dim = wordless.width(model, (3, n_frames, side, side), what)
        towers = wordless.wordless_towers(
            model,
            lambda own, pixels: own(pixels.transpose(1, 2))[:, None],
            wordless.pixels_of(transform),
            dim=dim,
            what=what,
            licence="that of the weights" if "weights" in options else "none: random weights",
            loading=loading,
        )
        encoder = cls(towers, name, n_frames=n_frames, frames_fixed=target.startswith("mvit"))
        encoder.transform = transform
        return encoder

    def resize_frames(self, frames: UInt8) -> Tensor:
        """Frames (T, H, W, 3) to pixels (T, 3, height, width) on the CPU, normalised."""
        import torch

        images = torch.tensor(np.ascontiguousarray(frames))
        return self.transform(images.permute(0, 3, 1, 2)).transpose(0, 1)
