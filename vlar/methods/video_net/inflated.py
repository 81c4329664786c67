"""``inflated:NAME?weights=FILE``: 2-D networks of pictures made into networks of clips.

Every k x k filter is repeated k times along time and divided by k (Carreira and Zisserman, "Quo
vadis, action recognition?", 2017, section 2.4). A still clip then gives what the picture gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar.encoders.torch_encoder import WordlessEncoder
from vlar.errors import ModelError, UsageError
from vlar.registry import register, unknown_name
from vlar.types import Clip, Float32, UInt8

if TYPE_CHECKING:
    from torch import Tensor, nn

_FRAMES = 16
_STREAMS = ("colour", "flow")
_FASTEST = 0.25  # of the picture's width from frame to frame; it becomes 1, as all that is faster


def inflate(conv: nn.Conv2d, depth: int, *, stride: int = 1) -> nn.Module:
    """A convolution over time and space that answers a still clip as ``conv`` answers its picture.

    Args:
        conv: k x k; groups and dilation stay.
        depth: Frames that a filter covers; the filter is repeated along time and divided by it.
        stride: Step in time.

    Returns:
        A module of (N, C, T, H, W); the first and last frames are repeated at the ends of time.
    """
    import torch
    from torch import nn

    kernel = nn.Conv3d(
        conv.in_channels,
        conv.out_channels,
        (depth, *_pair(conv.kernel_size)),
        (stride, *_pair(conv.stride)),
        (0, *_pair(conv.padding)),
        (1, *_pair(conv.dilation)),
        conv.groups,
        conv.bias is not None,
    )
    with torch.no_grad():
        kernel.weight.copy_(conv.weight[:, :, None].expand_as(kernel.weight) / depth)
        if conv.bias is not None and kernel.bias is not None:
            kernel.bias.copy_(conv.bias)
    return nn.Sequential(_ends(depth), kernel) if depth > 1 else kernel


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        raise ModelError(f"a convolution with the padding {value!r} cannot be inflated")
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _ends(depth: int) -> nn.Module:
    """Padding of time by its first and last frame: zeros would change a still clip's answer."""
    from torch import nn

    return nn.ReplicationPad3d((0, 0, 0, 0, (depth - 1) // 2, depth // 2))


def inflated(network: nn.Module) -> nn.Module:
    """A 2-D network as one of clips (N, C, T, H, W); the given one is used up.

    Filters of k x k cover k frames, those of 1 x 1 one frame. A step in space is a step in time,
    except in the pools before the second layer, which would lose the movement (section 2.4).

    Raises:
        ModelError: it holds a layer that has no form over time; the message names it.
    """
    from torch import nn

    pools = 0
    for name, layer in list(network.named_modules()):
        layer_3d: nn.Module | None = None
        if isinstance(layer, nn.Conv2d):
            depth = layer.kernel_size[0] if layer.kernel_size[0] == layer.kernel_size[1] else 1
            layer_3d = inflate(layer, depth, stride=layer.stride[0])
        elif isinstance(layer, nn.BatchNorm2d):
            layer_3d = _norm(layer)
        elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            layer_3d, pools = _pool(layer, over_time=pools > 0), pools + 1
        elif isinstance(layer, nn.AdaptiveAvgPool2d):  # to one moment
            layer_3d = nn.AdaptiveAvgPool3d((1, *_pair(layer.output_size)))
        elif not list(layer.children()) and type(layer).__name__ not in _TIMELESS:
            raise ModelError(
                f"the layer {name!r} ({type(layer).__name__}) has no form over time; inflate a "
                "network of convolutions, such as resnet18"
            )
        if layer_3d is not None:
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, layer_3d)
    return network


#: Layers that treat every position alone, or come behind the last pool.
_TIMELESS = frozenset(
    {
        *("ReLU", "ReLU6", "SiLU", "GELU", "Hardswish", "Hardsigmoid", "Sigmoid", "Identity"),
        *("Dropout", "Flatten", "Linear", "StochasticDepth"),
    }
)


def _norm(layer: nn.BatchNorm2d) -> nn.Module:
    from torch import nn

    norm = nn.BatchNorm3d(layer.num_features, layer.eps, layer.momentum, layer.affine)
    norm.load_state_dict(layer.state_dict())
    return norm.train(layer.training)


def _pool(layer: Any, *, over_time: bool) -> nn.Module:
    from torch import nn

    size, step = _pair(layer.kernel_size), _pair(layer.stride)
    depth = size[0] if over_time else 1
    kernel, stride = (depth, *size), (step[0] if over_time else 1, *step)
    padding = (0, *_pair(layer.padding))
    if isinstance(layer, nn.MaxPool2d):
        pool: nn.Module = nn.MaxPool3d(kernel, stride, padding, ceil_mode=layer.ceil_mode)
    else:
        pool = nn.AvgPool3d(kernel, stride, padding, layer.ceil_mode, layer.count_include_pad)
    return nn.Sequential(_ends(depth), pool) if depth > 1 else pool


def gate_shift(maps: Tensor, gate: Tensor, *, mix: Tensor | None = None) -> Tensor:
    """Gated shift in time (Sudhakaran et al., "Gate-shift-fuse", 2023).

    The gated part ``y = g x`` of the first half of the channels moves one frame back, that of the
    second half one frame forward; the rest ``r = x - y`` stays. ``w y + (1 - w) r`` where they are
    mixed, else their sum. With a gate of 0 it is the identity.

    Args:
        maps: (N, C, T, H, W), C even.
        gate: (N, 2, T, H, W), one map for each half.
        mix: (N, C, T) weights w in 0..1; None for the sum.

    Returns:
        (N, C, T, H, W).
    """
    import torch

    halves: list[Tensor] = []
    for half, part in enumerate(maps.chunk(2, dim=1)):
        moved = part * gate[:, half : half + 1]
        unmoved = part - moved
        still = torch.zeros_like(moved[:, :, :1])
        order = [moved[:, :, 1:], still] if half == 0 else [still, moved[:, :, :-1]]
        moved = torch.cat(order, dim=2)
        if mix is None:
            halves.append(moved + unmoved)
            continue
        share = mix.chunk(2, dim=1)[half][..., None, None]
        halves.append(share * moved + (1 - share) * unmoved)
    return torch.cat(halves, dim=1)


@register("encoder", "inflated")
class InflatedEncoder(WordlessEncoder):
    """A network of pictures over a clip: colours, or movement as a second stream.

    Features are (1, F): what the network's classifier reads. Two streams are two encoders joined,
    ``inflated:NAME?weights=A+inflated:NAME?weights=B&stream=flow``, which averages their logits.

    Reference: Carreira and Zisserman, "Quo vadis, action recognition?", CVPR 2017.
    Example: ``vlar adapt support/ --out mine --model "inflated:resnet18?random_init=true"``.
    """

    contract_argument: ClassVar[str | None] = "resnet18?random_init=true&frames=2&size=32"
    named: ClassVar[bool] = True
    transform: Any
    flow: bool = False

    @classmethod
    def from_spec(
        cls, argument: str, *, device: str | None = None, dtype: str | None = None
    ) -> InflatedEncoder:
        """Load a network of pictures and inflate it.

        Args:
            argument: A classifier of pictures of torchvision, or ``timm/NAME`` (extra ``timm``).
                Options follow a ``?``: ``weights=FILE`` of the 2-D network, ``frames=16``,
                ``size=224`` (pixels), ``stream=colour|flow``,
                ``precision=float32|bfloat16|float16``, ``device=cpu|cuda``, ``random_init=true``
                starts without weights, ``empty=true`` with zeros.
            device: Like the option; it wins over the option.
            dtype: Like the option ``precision``; it wins over the option.

        Raises:
            UnknownNameError: the network of pictures does not exist.
            ModelError: no weights are named, they are not those of the network, or a layer has no
                form over time.
            UsageError: a stream that does not exist.
        """
        from vlar.encoders.clip import wordless
        from vlar.encoders.clip.options import read_spec

        target, options, name, loading = read_spec(
            "inflated", argument, (*wordless.OPTIONS, "stream"), device, dtype
        )
        what, stream = f"inflated:{target}", options.get("stream", "colour")
        if stream not in _STREAMS:
            raise unknown_name("stream", stream, _STREAMS)
        n_frames = wordless.frames_asked(options, _FRAMES, 1 + (stream == "flow"), what)
        make, transform = _timm(target) if target.startswith("timm/") else _named(target)
        transform = wordless.sized(transform, options, what)
        model: Any = wordless.started(make)
        wordless.fill(model, options, what)
        side, model = transform.crop_size[0], wordless.without_head(model.eval())
        dim = wordless.width(model, (3, side, side), what)
        model = inflated(model)
        if wordless.width(model, (3, 8 * _FRAMES, side, side), what) != dim:
            raise ModelError(
                f"{what} pools pictures by a function, which has no form over time; choose another "
                "network, such as resnet18"
            )
        if stream == "flow":
            _read_movement(model)
        towers = wordless.wordless_towers(
            model,
            lambda own, clips: own(clips.transpose(1, 2)).flatten(1)[:, None],
            wordless.pixels_of(transform),
            dim=dim,
            what=what,
            licence="that of the weights" if "weights" in options else "none: random weights",
            loading=loading,
        )
        encoder = cls(towers, name, n_frames=n_frames)
        encoder.transform, encoder.flow = transform, stream == "flow"
        return encoder

    def resize_frames(self, frames: UInt8) -> Tensor:
        """Frames (T, H, W, 3) to (T, 3, height, width), or to movement (T, 2, height, width)."""
        import torch
        from torchvision.transforms.v2 import functional

        if not self.flow:
            images = torch.tensor(np.ascontiguousarray(frames))
            return self.transform(images.permute(0, 3, 1, 2))
        pixels = self.towers.pixels
        moved = torch.from_numpy(_movement(frames)).permute(0, 3, 1, 2)
        moved = functional.resize(moved, [pixels.shorter or pixels.height], antialias=False)
        return functional.center_crop(moved, [pixels.height, pixels.width])

    def check_clip(self, clip: Clip) -> None:
        super().check_clip(clip)
        if self.flow and len(clip.data) < 2:
            raise UsageError(f"{self.name} reads movement and takes at least 2 frames, got 1")


def _named(target: str) -> tuple[Any, Any]:
    """Maker and transform of a classifier of pictures of torchvision."""
    import torchvision
    from torchvision.models import get_model, get_model_weights, list_models

    names = list_models(module=torchvision.models)
    if target not in names:
        raise unknown_name("network of pictures", target, names)
    weights: Any = get_model_weights(target)
    transform = weights.DEFAULT.transforms()
    return lambda: get_model(target, weights=None), transform


def _timm(target: str) -> tuple[Any, Any]:
    """Maker and transform of a network of timm."""
    import timm
    from torchvision.transforms._presets import ImageClassification

    name = target.removeprefix("timm/")
    if not timm.is_model(name):
        raise unknown_name("network of timm", name, timm.list_models())
    library: Any = timm
    stated = library.data.resolve_data_config(library.get_pretrained_cfg(name).to_dict())
    side = stated["input_size"][-1]
    transform = ImageClassification(
        crop_size=side,
        resize_size=round(side / stated["crop_pct"]),
        mean=stated["mean"],
        std=stated["std"],
    )
    return lambda: timm.create_model(name, pretrained=False), transform


def _read_movement(model: nn.Module) -> None:
    """Give the first convolution two inputs, each with the mean filter of the three colours."""
    import torch
    from torch import nn

    for layer in model.modules():
        if isinstance(layer, nn.Conv3d):
            layer.in_channels = 2
            mean = layer.weight.detach().mean(dim=1, keepdim=True) * 3 / 2
            layer.weight = nn.Parameter(torch.cat([mean, mean], dim=1))
            return


def _movement(frames: UInt8) -> Float32:
    """(T, h, w, 2) optical flow of small frames in -1..1; the last step is repeated."""
    from vlar.pose.optical_flow import optical_flow, small_grey

    grey = small_grey(frames)
    u, v = optical_flow(grey[:-1], grey[1:])
    flow = np.stack([u, v], axis=-1) / (grey.shape[2] * _FASTEST)
    return np.concatenate([flow, flow[-1:]]).clip(-1, 1).astype(np.float32)
