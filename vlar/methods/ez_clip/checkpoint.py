"""Reads the checkpoints of the original EZ-CLIP.

Layout: the names of an open_clip ``CLIP``, prompts and adapters, all in one dict of tensors,
mostly stored in half precision. Tensors are read; nothing in the file is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

from vlar.adapters.checkpoints import fill, open_base, open_file, openai_architecture
from vlar.adapters.settings import Settings, setting
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.language.prompts import check_template_set
from vlar.types import JsonDict

Prompts = Literal["deep", "shallow", "none"]


@dataclass(frozen=True)
class EzClipConfig(Settings):
    """Settings of an EZ-CLIP and its training. The defaults are the paper's, but for the drops.

    Attributes:
        prompts: Temporal prompts in every image block (``deep``), in the first (``shallow``), or
            ``none``.
        n_frames: T, the rows of a prompt. With another number of frames the prompts are resampled
            along time; the original cannot.
        visual_hidden: Inner width of the image tower's adapters; None means a quarter of the
            tower's width, rounded down, and 0 leaves the adapters out.
        text_hidden: The same for the text tower.
        time_adapters: Attention along time per token position before each image block, through a
            bottleneck of its own (AIM, arXiv 2302.03024). The original has it without prompts.
        mix_videos: Add the result of that attention in the order of the original: its frames come
            time first, the tower's video first, so that the videos of a batch mix. For comparisons
            only.
        temporal_embedding: Room for a constant (T, D) that is added to the tokens of frame t. The
            original keeps it at zero.
        motion_weight: Of the motion loss; 0 leaves it out.
        target_sharpness: Factor of the label agreement before its softmax becomes the target.
        prompt_dropout: Share of the prompts' entries dropped in training; the original's is 0.1.
        drop: Share of attention weights and of whole residual branches dropped in training in the
            last block of a tower, rising from 0 in the first; the original's is 0.1.
        templates: Prompt set that labels are put into, in training (one drawn per label and step)
            as in use. ``plain`` is the text alone: the original's labels are descriptions.
        logit_scale: Factor from cosine to logit in use; training takes the CLIP's own.
    """

    prompts: Prompts = "deep"
    n_frames: int = setting(8, at_least=1, at_most=1024)
    visual_hidden: int | None = setting(None, at_least=0, at_most=8192)
    text_hidden: int | None = setting(None, at_least=0, at_most=8192)
    time_adapters: bool = False
    mix_videos: bool = False
    temporal_embedding: bool = False
    motion_weight: float = setting(1.0, at_least=0)
    target_sharpness: float = setting(10.0, at_least=0)
    prompt_dropout: float = setting(0.0, at_least=0, below=1)
    drop: float = setting(0.0, at_least=0, below=1)
    templates: str = "plain"
    logit_scale: float = setting(100.0, above=0)

    what: ClassVar[str] = "EZ-CLIP setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        check_template_set(self.templates, f"{self.what} templates")

    def hidden(self, tower: Literal["visual", "text"], width: int) -> int:
        """Inner width of the adapters of a tower of a width; 0 where it has none."""
        chosen = self.visual_hidden if tower == "visual" else self.text_hidden
        return width // 4 if chosen is None else chosen


_PATCHES = "visual.conv1.weight"
_PROMPTS = "visual.transformer.T_prompt_embeddings"
_MOMENTS = "visual.temporal_embedding"
_ADAPTER = re.compile(
    r"(?P<tower>visual\.)?transformer\.resblocks\.(?P<block>\d+)\."
    r"(?P<kind>T_Adapter|Adapter)\.D_fc(?P<layer>[12])\.(?P<what>weight|bias)"
)


def load(
    file: str, base: str | None, settings: JsonDict
) -> tuple[TorchEncoder, EzClipConfig, dict[str, Tensor]]:
    """The CLIP of the file, the configuration and the adapter's own state.

    Args:
        file: The checkpoint, or its tensors as safetensors.
        base: Spec of a CLIP of the same shape; None means OpenAI's, which is then not fetched.
        settings: Overrides for the settings of the file.
    """
    path = Path(file).expanduser()
    tensors = read(path)
    towers, own = split(tensors)
    if base is None:
        base = f"openclip:{openai_architecture(path, tensors[_PATCHES])}?random_init=true"
    encoder = fill(open_base(base), towers, path, others="EZ-CLIP's parts")
    encoder.licence = f"that of the checkpoint {path.name!r}: see where it comes from"
    config = EzClipConfig.from_dict({**found_settings(own, encoder), **settings})
    if config.prompts == "none":
        own.pop("temporal_prompts", None)
    elif config.prompts == "shallow" and "temporal_prompts" in own:
        own["temporal_prompts"] = own["temporal_prompts"][:1]
    return encoder, config, own


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by the original's names, in float32.

    Raises:
        ModelError: no such file, not a checkpoint, or one that holds more than data.
    """
    for tensors in _dicts(open_file(path)):
        first = next((name for name in tensors if name.endswith(_PATCHES)), None)
        if first is not None:
            prefix = first.removesuffix(_PATCHES)
            found = {n.removeprefix(prefix): t.float() for n, t in tensors.items()}
            if _PROMPTS in found or any(_ADAPTER.fullmatch(name) for name in found):
                return found
    raise ModelError(
        f"{path} is not an EZ-CLIP checkpoint: no part of it holds {_PATCHES!r} and {_PROMPTS!r} "
        "or adapters; a plain CLIP is loaded with openclip:FILE"
    )


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Original names to those of an open_clip ``CLIP`` and of the adapter's own state.

    The temporal embedding, which the original adds but never trains, is left out where it is 0.
    """
    towers: dict[str, Tensor] = {}
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found = _ADAPTER.fullmatch(name)
        if found:
            kind = "text" if not found["tower"] else "visual"
            kind = "time" if found["kind"] == "T_Adapter" else kind
            layer = "down" if found["layer"] == "1" else "up"
            own[f"{kind}_adapters.{found['block']}.{layer}.{found['what']}"] = tensor
        elif name == _PROMPTS:
            own["temporal_prompts"] = tensor
        elif name == _MOMENTS:
            if tensor.any():
                own["temporal_embedding"] = tensor.reshape(tensor.shape[-2:])
        else:
            towers[name] = tensor
    return towers, own


def found_settings(own: Mapping[str, Tensor], encoder: TorchEncoder) -> JsonDict:
    """Settings by names and shapes of the own state."""
    settings: JsonDict = {
        "prompts": "none",
        "time_adapters": "time_adapters.0.down.weight" in own,
        "temporal_embedding": "temporal_embedding" in own,
    }
    for tower in ("visual", "text"):
        weight = own.get(f"{tower}_adapters.0.down.weight")
        settings[f"{tower}_hidden"] = 0 if weight is None else len(weight)
    if "temporal_embedding" in own:
        settings["n_frames"] = len(own["temporal_embedding"])
    if "temporal_prompts" in own:
        rows, settings["n_frames"], _ = own["temporal_prompts"].shape
        deep = rows > 1 or len(encoder.towers.vision_view().blocks) == 1
        settings["prompts"] = "deep" if deep else "shallow"
    return settings


def _dicts(stored: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
    """The dicts of tensors in a checkpoint, itself first."""
    for entry in (stored, *stored.values()):
        if isinstance(entry, Mapping):
            yield {str(n): t for n, t in entry.items() if isinstance(t, Tensor)}
