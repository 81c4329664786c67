"""``i3d:FILE``, ``gsf:FILE``, ``adafuse:FILE``, ``videomae-v2:FILE``: released files as encoders.

A file of a published network answers with its own classes, and its features are a start for
``adapt``. The names of the classes stand in a text file, one a line, in the order of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vlar.encoders.base import Encoder
from vlar.errors import ModelError, UsageError
from vlar.files.reading import read_file
from vlar.methods.released import NETWORKS
from vlar.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from vlar.encoders.clip.pixels import Pixels

_OPTIONS = ("device", "precision", "labels", "frames", "size")
NO_LABELS = "none"  # in place of a file
_MOST_LABELS = 1_000_000  # bytes
_SCALES = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "plain": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
_BLUE_FIRST = (104.0, 117.0, 128.0)


@dataclass(frozen=True)
class _Release:
    """A network: the key that recognises its file, and the form of its input.

    Attributes:
        name: Name that ``released.load`` takes.
        key: A tensor that its file alone has.
        head: Module whose input are the features.
        frames: Frames of a clip.
        size: Pixels of a side.
        scale: Name in ``_SCALES`` of the mean and deviation of the colours.
        order: ``channels`` (N, 3, T, H, W), ``frames`` (N, 3 T, H, W), ``batch`` (N, T, 3, H, W),
            or ``bgr`` as ``frames`` with values up to 255.
    """

    name: str
    key: str
    head: str
    frames: int
    size: int
    scale: str
    order: str


_FAMILIES = {
    family: tuple(_Release(**row) for row in rows) for family, rows in NETWORKS["families"].items()
}


def _arranged(pixels: Tensor, order: str) -> Tensor:
    """Pixels (N, T, 3, H, W) as a network takes them."""
    if order == "batch":
        return pixels
    if order == "channels":
        return pixels.transpose(1, 2)
    if order == "bgr":
        shift = pixels.new_tensor(_BLUE_FIRST)[:, None, None]
        pixels = pixels.flip(2) * 255 - shift
    return pixels.flatten(1, 2)


def _scores_and_features(network: Any, row: _Release) -> Callable[[Tensor], Tensor]:
    """Clips (N, T, 3, H, W) to class scores and the mean of what the head reads, (N, C + P)."""
    import torch

    def read(pixels: Tensor) -> Tensor:
        kept: list[Tensor] = []

        def note(_: Any, values: tuple[Tensor, ...]) -> None:
            kept.append(values[0])

        hook = getattr(network, row.head).register_forward_pre_hook(note)
        try:
            scores = network(_arranged(pixels, row.order))
        finally:
            hook.remove()
        features = kept[-1]
        if features.ndim > 2:  # maps: mean over time and place
            features = features.flatten(2).mean(2)
        features = features.unflatten(0, (len(pixels), -1)).mean(1)
        return torch.cat([scores, features], dim=1)

    return read


def class_names(options: Mapping[str, str], path: Path, what: str) -> tuple[str, ...]:
    """The names of the classes, from the option ``labels`` or from ``<FILE>.labels.txt``."""
    file = Path(options.get("labels", f"{path}.labels.txt")).expanduser()
    if not file.is_file():
        raise UsageError(
            f"{what} does not name its classes; write them, one a line in the order of the "
            f"network, into {file}, or name a file: {what}?labels=FILE"
        )
    try:
        lines = read_file(file, _MOST_LABELS).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} is not a list of labels ({error})") from error
    return tuple(line.strip() for line in lines if line.strip())


class ReleasedEncoder(Encoder):
    """A family of published networks; the class that answers is chosen by the file."""

    libraries = ("torch",)
    contract_argument: ClassVar[str | None] = None  # a file of weights is needed
    kind: ClassVar[str]

    @classmethod
    def from_spec(
        cls, argument: str, *, device: str | None = None, dtype: str | None = None
    ) -> Encoder:
        """Load a released file.

        Args:
            argument: The file, or a folder with ``config.json``. Options follow a ``?``:
                ``labels=FILE`` (names of the classes, one
                a line; ``none`` leaves the class head out, for ``own-net``), ``frames=16``,
                ``size=224`` (pixels),
                ``precision=float32|bfloat16|float16``, ``device=cpu|cuda``.
            device: Like the option; it wins over the option.
            dtype: Like the option ``precision``; it wins over the option.

        Raises:
            UsageError: no names of classes, or as many as the network does not have.
            ModelError: the file is missing, damaged, or of none of the networks.
        """
        from vlar.encoders.clip.hf_classifier import LOGIT_SCALE, ClassNamesEncoder
        from vlar.encoders.clip.options import place_model, read_spec
        from vlar.encoders.clip.pixels import Pixels
        from vlar.encoders.clip.towers import towers_without_text
        from vlar.encoders.spec import number
        from vlar.methods import released
        from vlar.training import released as files

        target, options, name, loading = read_spec(cls.kind, argument, _OPTIONS, device, dtype)
        path, what = Path(target).expanduser(), f"{cls.kind}:{target}"
        state, config = files.read(path)
        row = next((row for row in _FAMILIES[cls.kind] if _holds(state, row.key)), None)
        if row is None:
            known = ", ".join(row.name for row in _FAMILIES[cls.kind])
            raise ModelError(f"{path} is none of the networks {known}; check the file")
        network: Any = released.load(row.name, path)
        size = number("size", options["size"], int) if "size" in options else row.size
        size = int(config.get("img_size", config.get("image_size", size)))
        frames = number("frames", options["frames"], int) if "frames" in options else row.frames
        frames = int(config.get("all_frames", config.get("num_frames", frames)))
        pixels = Pixels(size, size, *_SCALES[row.scale], interpolation="bilinear")
        head: Any = getattr(network, row.head)
        layer = getattr(head, "conv3d", head)
        if options.get("labels") == NO_LABELS or not hasattr(layer, "weight"):
            return _without_head(network, row, pixels, frames, name, loading)
        names = class_names(options, path, what)
        if len(names) != len(layer.weight):
            raise UsageError(
                f"{what} has {len(layer.weight)} classes, and {len(names)} names are given; write "
                "one name a line, in the order of the network"
            )
        place_model(network, loading["device"], loading["precision"], what)
        towers = towers_without_text(
            network,
            _scores_and_features(network, row),
            pixels,
            dim=len(names) + layer.weight.shape[1],
            scale=LOGIT_SCALE,
            licence="that of the weights",
            why=f"{what} is a video classifier without a text tower",
        )
        return ClassNamesEncoder(towers, name, names, n_frames=frames)


def start_spec(file: str) -> str:
    """Spec of a released file from which ``own-net`` starts, with another class head.

    Raises:
        ModelError: the file is missing, damaged, or of none of the networks.
    """
    from vlar.training import released as files

    state, _ = files.read(Path(file).expanduser())
    for kind, rows in _FAMILIES.items():
        if any(_holds(state, row.key) for row in rows):
            return f"{kind}:{file}?labels={NO_LABELS}"
    raise ModelError(f"{file} is none of the networks {', '.join(_FAMILIES)}; check the file")


def _without_head(
    network: Any,
    row: _Release,
    pixels: Pixels,
    frames: int,
    name: str,
    loading: Mapping[str, Any],
) -> Encoder:
    """The network without its class head, which ``own-net`` trains further."""
    from vlar.encoders.clip.wordless import wordless_towers
    from vlar.encoders.torch_encoder import WordlessEncoder

    head: Any = getattr(network, row.head)
    weight = getattr(getattr(head, "conv3d", head), "weight", None)
    width = len(network.fc_norm.weight) if weight is None else weight.shape[1]

    def image(own: Any, frames: Tensor) -> Tensor:
        return _scores_and_features(own, row)(frames)[:, None, -width:]

    towers = wordless_towers(
        network, image, pixels, dim=width, what=name, licence="that of the weights", loading=loading
    )
    return WordlessEncoder(towers, name, n_frames=frames, frames_fixed=True)


def _holds(state: Mapping[str, Tensor], key: str) -> bool:
    return any(name == key or name.endswith(f".{key}") for name in state)


@register("encoder", "i3d", status="reproduced")
class I3dEncoder(ReleasedEncoder):
    """I3D (Carreira and Zisserman, CVPR 2017): a released file of either layout."""

    kind = "i3d"


@register("encoder", "gsf", status="reproduced")
class GsfEncoder(ReleasedEncoder):
    """GSF (Sudhakaran et al., TPAMI 2023): a released file of any of its three networks."""

    kind = "gsf"


@register("encoder", "adafuse", status="reproduced")
class AdaFuseEncoder(ReleasedEncoder):
    """AdaFuse (Meng et al., ICLR 2021): a released file, with shared gates or of the last stage."""

    kind = "adafuse"


@register("encoder", "videomae-v2", status="reproduced")
class VideoMaeV2Encoder(ReleasedEncoder):
    """VideoMAE V2 (Wang et al., CVPR 2023), or V1 fine-tuned in the layout of transformers."""

    kind = "videomae-v2"
