"""``openclip:ARCH/TAG``, ``openclip:FILE`` and ``openclip:FOLDER``: any model of open_clip."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from vlar.encoders.hub_source import Hub, pinned
from vlar.encoders.protocols import Sizes, check_size
from vlar.encoders.spec import split_options, yes
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.registry import register

_OPTIONS = ("arch", "compile", "device", "precision", "random_init", "revision")


@register("encoder", "openclip")
class OpenClipEncoder(TorchEncoder, Sizes):
    """CLIP, SigLIP, PE-Core and the other families of open_clip, frame by frame."""

    libraries = ("torch", "open-clip-torch")
    contract_argument: ClassVar[str | None] = "ViT-S-32-alt?random_init=true"

    @classmethod
    def sources(cls, argument: str) -> list[Hub]:
        from vlar.encoders.clip.openclip_loader import tag_source, tokeniser_sources

        target, options = split_options(argument, _OPTIONS)
        arch = options.get("arch") or target.partition("/")[0]
        if Path(target).expanduser().exists():
            return []
        if yes(options, "random_init"):
            return tokeniser_sources(arch)
        return [tag_source(target, options.get("revision")), *tokeniser_sources(arch)]

    @classmethod
    def from_spec(
        cls,
        argument: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        random_init: bool = False,
    ) -> OpenClipEncoder:
        """Load a model.

        Args:
            argument: ``ARCH/TAG`` (fetched once, then cached), a weights file (safetensors, or
                .pt that holds tensors only), or a folder with ``open_clip_config.json``.
                Options follow a ``?``: ``arch=NAME`` names the architecture of a file,
                ``precision=float32|bfloat16|float16|int8``, ``device=cpu|cuda``,
                ``revision=COMMIT``, ``random_init=true`` starts ``ARCH`` without weights,
                ``compile=true`` compiles the image tower by torch.
            device: Like the option; it wins over the option.
            dtype: Like the option ``precision``; it wins over the option.
            random_init: Start ``ARCH`` with seeded random weights: for tests and timings.

        Raises:
            UnknownNameError: no such architecture, tag or option; the message names the nearest.
            ModelError: weights are missing, cannot be fetched, are not tensors only, or do not fit;
                the message names the remedy.
        """
        from vlar.encoders.clip.openclip_loader import load
        from vlar.encoders.clip.options import read_spec

        target, options, name, loading = read_spec("openclip", argument, _OPTIONS, device, dtype)
        random_init = random_init or yes(options, "random_init")
        loading |= {"arch": options.get("arch"), "revision": options.get("revision")}
        towers = load(target, random_init=random_init, **loading)
        if yes(options, "compile"):
            from vlar.encoders.clip.precision import compiled

            towers = compiled(towers, f"openclip:{target}")
        return cls(towers, pinned(name, cls.sources(argument)))

    @property
    def size_step(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Side of a patch of a plain ViT; 0 for other towers."""
        from vlar.encoders.clip.openclip_loader import patch_side

        return patch_side(self.towers.model)

    def resized(self, height: int, width: int) -> TorchEncoder:
        """A copy whose positions are interpolated (Dosovitskiy et al. 2021, section 3.2)."""
        from vlar.encoders.clip.openclip_loader import at_size

        check_size(self.name, self.size_step, height, width)
        if (height, width) == (self.towers.pixels.height, self.towers.pixels.width):
            return self
        return OpenClipEncoder(at_size(self.towers, height, width), self.name)
