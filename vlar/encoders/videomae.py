"""``videomae:FOLDER`` and ``vjepa2:FOLDER``: video transformers without texts, from transformers.

VideoMAE (Tong et al., "VideoMAE: masked autoencoders are data-efficient learners", 2022) and V-JEPA
2 (Assran et al., 2025) cut a clip into tubelets: patches of a few frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import Self

from vlar import registry
from vlar.encoders.hub_source import Hub, of_transformers, pinned
from vlar.encoders.spec import split_options
from vlar.encoders.torch_encoder import WordlessEncoder
from vlar.errors import ModelError, UsageError
from vlar.registry import register
from vlar.types import Clip, Float32, UInt8

if TYPE_CHECKING:
    from torch import Tensor

_OPTIONS = ("device", "precision", "random_init", "revision")
_V2 = "VideoMAEv2"  # begin of the model type of its folders, which name code of their own


class TubeletEncoder(WordlessEncoder):
    """The base of both: one row of features for each step of tubelets, in the order of time.

    Attributes:
        kind: Registered name.
        loader: Class of transformers.
        tubelet: Frames of a tubelet.
        patches: Patches of a frame.
    """

    libraries = ("torch", "transformers")
    contract_argument: ClassVar[str | None] = None  # a folder of weights is needed
    kind: ClassVar[str]
    loader: ClassVar[str]
    tubelet: int
    patches: int

    @classmethod
    def sources(cls, argument: str) -> list[Hub]:
        return of_transformers(*split_options(argument, _OPTIONS))

    @classmethod
    def from_spec(
        cls,
        argument: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        random_init: bool = False,
    ) -> Self:
        """Load a network.

        Args:
            argument: A folder from ``save_pretrained`` with safetensors and the settings of its
                processor, or ``ORG/NAME`` on the hub. Options follow a ``?``:
                ``precision=float32|bfloat16|float16``, ``device=cpu|cuda``, ``random_init=true``.
            device: Like the option; it wins over the option.
            dtype: Like the option ``precision``; it wins over the option.
            random_init: Start with seeded random weights: for tests and timings.

        Raises:
            ModelError: the folder is missing, of another family, without safetensors, or a weight
                is missing or of another shape.
        """
        import transformers

        from vlar.encoders.clip import hf_loader, wordless
        from vlar.encoders.clip.options import read_spec
        from vlar.encoders.clip.pixels import read_pixels
        from vlar.encoders.spec import yes

        target, options, name, loading = read_spec(cls.kind, argument, _OPTIONS, device, dtype)
        what, start = f"{cls.kind}:{target}", random_init or yes(options, "random_init")
        source = hf_loader.read_source(target, options, random_init=start)
        name = pinned(name, cls.sources(argument))
        config: Any = source.config
        if config.model_type != cls.kind:
            raise ModelError(
                f"{what} is of the {config.model_type!r} family; give weights of {cls.kind}"
            )
        folder = Path(source.place)
        if folder.is_dir() and not start and not any(folder.glob("*.safetensors")):
            raise ModelError(f"{what} holds no safetensors; save it with save_pretrained")
        with hf_loader.clear_errors(target):
            model: Any = hf_loader.weights(source, cls.class_of(config, transformers), start)
            pixels = read_pixels(hf_loader.processor_of(source), config, what)
        frames = int(getattr(config, "num_frames", None) or config.frames_per_clip)
        tubelet, side = int(config.tubelet_size), _side(config)
        if frames % tubelet or side % config.patch_size:
            raise ModelError(
                f"{what}: {frames} frames of {side} pixels are not whole tubelets of {tubelet} "
                f"frames and {config.patch_size} pixels"
            )
        patches = (side // config.patch_size) ** 2

        def rows(own: Any, clips: Tensor) -> Tensor:
            steps = _tokens(own, clips).unflatten(1, (-1, patches)).mean(dim=2)
            return _normed(steps, own.fc_norm) if hasattr(own, "fc_norm") else steps

        towers = wordless.wordless_towers(
            model,
            rows,
            pixels,
            dim=int(config.hidden_size),
            what=what,
            licence=hf_loader.licence(source, start),
            loading=loading,
        )
        fixed = cls(towers, name, n_frames=frames, rows=frames // tubelet, frames_fixed=True)
        fixed.tubelet, fixed.patches = tubelet, patches
        return fixed

    @classmethod
    def class_of(cls, config: Any, transformers: Any) -> Any:
        """The class of transformers that a configuration is loaded with."""
        return getattr(transformers, cls.loader)

    def tokens(self, pixels: Tensor) -> Tensor:
        """Tokens in the order of time, without gradients.

        Args:
            pixels: (N, T, 3, height, width), normalised.

        Returns:
            (N, T / tubelet, patches, D), the patches of a step row by row.

        Raises:
            UsageError: T is not the number of frames of the network.
        """
        import torch

        if pixels.shape[1] != self.n_frames:
            raise UsageError(self._takes(int(pixels.shape[1])))
        with torch.inference_mode():
            return _tokens(self.towers.model, pixels).unflatten(1, (-1, self.patches))

    @property
    def has_patches(self) -> bool:
        """True: a step of tubelets keeps its places."""
        return True

    def encode_regions(self, frames: UInt8, rows: int, columns: int) -> Float32:
        """Parts of each step of tubelets: the mean of their tokens; the block of texts is zero."""

        def patches(pixels: Tensor) -> Tensor:
            return self.tokens(pixels[None])[0].unflatten(1, (round(self.patches**0.5), -1))

        return self._parts(patches, frames, rows, columns)

    def check_clip(self, clip: Clip) -> None:
        if getattr(clip.data, "ndim", 0) == 4 and len(clip.data) % self.tubelet:
            raise UsageError(self._takes(len(clip.data)))
        super().check_clip(clip)

    def _takes(self, given: int) -> str:
        return (
            f"{self.name} takes {self.n_frames} frames, tubelets of {self.tubelet}; got {given}; "
            f"sample {self.n_frames}"
        )


def _normed(steps: Tensor, norm: Any) -> Tensor:
    """Steps (N, S, D) by the statistics of their mean, whose norm is then the mean of the steps."""
    mean = steps.mean(dim=1, keepdim=True)
    deviation = (mean.var(dim=2, unbiased=False, keepdim=True) + norm.eps).sqrt()
    return (steps - mean.mean(dim=2, keepdim=True)) / deviation * norm.weight + norm.bias


def _tokens(model: Any, pixels: Tensor) -> Tensor:
    """(N, L, D); V-JEPA 2 names its pixels differently and gives its predictor only when asked."""
    model = getattr(model, "videomae", model)
    more = {"skip_predictor": True} if model.main_input_name != "pixel_values" else {}
    return model(**{model.main_input_name: pixels}, **more).last_hidden_state


def _side(config: Any) -> int:
    size = getattr(config, "image_size", None) or config.crop_size
    return int(size if isinstance(size, int) else size[0])


@register("encoder", "videomae")
class VideoMAEEncoder(TubeletEncoder):
    """VideoMAE: 16 frames, 8 steps of tubelets of 196 patches, frozen.

    A fine-tuned checkpoint answers with what its classifier reads: the norm of the mean token.
    """

    kind, loader = "videomae", "VideoMAEModel"

    @classmethod
    def from_spec(cls, argument: str, **loading: Any) -> Any:
        """Load a network; a folder in the layout of VideoMAE V2 is read by ``videomae-v2``."""
        folder = Path(argument.partition("?")[0]).expanduser()
        if (config := folder / "config.json").is_file():
            from vlar.encoders.clip.trust import read_settings

            stated = read_settings(config, f"videomae:{folder}")
            if isinstance(stated, dict) and str(stated.get("model_type")).startswith(_V2):
                loading.pop("random_init", None)
                return registry.load("encoder", f"videomae-v2:{argument}", **loading)
        return super().from_spec(argument, **loading)

    @classmethod
    def class_of(cls, config: Any, transformers: Any) -> Any:
        fine_tuned = "VideoMAEForVideoClassification" in (config.architectures or ())
        if fine_tuned and config.use_mean_pooling:
            return transformers.VideoMAEForVideoClassification
        return super().class_of(config, transformers)


@register("encoder", "vjepa2")
class Vjepa2Encoder(TubeletEncoder):
    """V-JEPA 2 and 2.1: the encoder without its predictor, frozen."""

    kind, loader = "vjepa2", "VJEPA2Model"
