"""The families of transformers models that ``hf:`` reads: what differs between them, as data.

A family is what ``model_type`` of a ``config.json`` names. All of them have an image or video tower
and a text tower; they differ in where the width of the space is stated, whether the text tower
takes an attention mask, and what the factor from cosine to logit is kept in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlar.encoders.clip import block_view_hf as view_hf

FRAMES, CLIPS, ORDERED = "frames", "clips", "ordered"
_USUAL_SCALE = 100.0  # where a model states none: CLIP's, to which most trainings are clamped

#: Of a model: pixels (N, 3, H, W), or (N, T, 3, H, W) of clips, to features (N, D), not normalised.
ImageTower = Callable[[Any], Callable[[Tensor], Tensor]]
#: Of a model: ids and mask (C, L) to features (C, D), not normalised; a mask of None masks nothing.
TextTower = Callable[[Any], Callable[[Tensor, Tensor | None], Tensor]]


def _pooled(output: Any) -> Tensor:
    # transformers 5 returns the whole output of the tower, 4 only its projected vector.
    return output if isinstance(output, Tensor) else output.pooler_output


def _images(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda pixels: _pooled(model.get_image_features(pixel_values=pixels))


def _texts(model: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    return lambda ids, mask: _pooled(model.get_text_features(input_ids=ids, attention_mask=mask))


def _stated_scale(model: Any) -> Tensor:
    return model.logit_scale.squeeze()


@dataclass(frozen=True)
class Family:
    """How the models of one ``model_type`` are read.

    Attributes:
        dim: Where the configuration states D, as a path of names.
        sees: ``frames`` one by one, ``clips`` as a whole, or frames that exchange messages
            (``ordered``, X-CLIP).
        masked: Whether the text tower takes an attention mask. One that was trained without
            (SigLIP) gives other vectors with it.
        image: The image tower, or the video tower.
        text: The text tower.
        log_scale: Gives the log of the factor from cosine to logit.
        pixels: Name of the part of the configuration that states the size of pictures.
        frames: Where the configuration states a number of frames that is fixed; empty for any T.
        lower: Whether texts are lower-cased first.
        int8: Whether the image tower runs in int8 (``vlar.encoders.clip.int8``).
        attention: Implementation that the library must use; None for its own choice.
        loader: Class of transformers that loads it.
    """

    dim: str = "projection_dim"
    sees: str = FRAMES
    masked: bool = True
    image: ImageTower = _images
    text: TextTower = _texts
    log_scale: Callable[[Any], Tensor] = _stated_scale
    pixels: str = "vision_config"
    frames: str = ""
    lower: bool = False
    int8: bool = False
    attention: str | None = None
    loader: str = "AutoModel"


def stated(config: Any, path: str) -> Any:
    """The value at a path of names in a configuration; None where there is none."""
    for name in path.split("."):
        config = getattr(config, name, None)
    return config


def _clip_images(model: Any) -> Callable[[Tensor], Tensor]:
    return view_hf.vision_view(model).features


def _clip_texts(model: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    features = view_hf.text_view(model).features
    return lambda ids, mask: features(ids)


def _xclip_images(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda pixels: model.visual_projection(
        model.vision_model(pixel_values=pixels).pooler_output
    )


def _naflex_images(model: Any) -> Callable[[Tensor], Tensor]:
    """Every frame has the same size, so nothing is padded and no mask is needed."""
    patch = model.config.vision_config.patch_size

    def features(pixels: Tensor) -> Tensor:
        rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        patches = pixels.unflatten(-1, (columns, patch)).unflatten(2, (rows, patch))
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        shapes = torch.tensor([[rows, columns]], device=pixels.device).expand(len(pixels), 2)
        mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=pixels.device)
        return _pooled(
            model.get_image_features(
                pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes
            )
        )

    return features


def _first_token(tower: Callable[[Any], Callable[..., Tensor]]) -> Callable[[Any], Any]:
    """FLAVA: the library projects all tokens, and the space is that of the first."""

    def made(model: Any) -> Callable[..., Tensor]:
        features = tower(model)
        return lambda *given: features(*given)[:, 0]

    return made


def _videoprism_clips(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda pixels: _pooled(model.get_video_features(pixel_values_videos=pixels)).flatten(
        0, 1
    )


def _pe_clips(model: Any) -> Callable[[Tensor], Tensor]:
    """By the heads: the class has no ``get_video_features`` in transformers 5.24."""
    video = getattr(model, "video_model", model)
    return lambda pixels: video.video_head(_pooled(video.video_encoder(pixel_values_videos=pixels)))


def _pe_texts(model: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    video = getattr(model, "video_model", model)

    def features(ids: Tensor, mask: Tensor | None) -> Tensor:
        seen = video.text_model(input_ids=ids, attention_mask=mask)
        return video.text_video_head(seen.last_hidden_state[:, 0])

    return features


def _blip_images(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda pixels: model.vision_proj(
        model.vision_model(pixel_values=pixels).last_hidden_state[:, 0]
    )


def _blip_texts(model: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    def features(ids: Tensor, mask: Tensor | None) -> Tensor:
        seen = model.text_encoder(input_ids=ids, attention_mask=mask, return_dict=True)
        return model.text_proj(seen.last_hidden_state[:, 0])

    return features


def _by_temperature(model: Any) -> Tensor:
    return -model.temperature.log()


def _clamped_scale(model: Any) -> Tensor:
    return model.logit_scale.clamp(0.0, model.max_log_logit_scale)


def _usual_scale(model: Any) -> Tensor:
    """The model was trained with a factor that it does not keep, or not one of cosines."""
    del model
    return torch.tensor(math.log(_USUAL_SCALE))


_PE = Family(
    "text_config.hidden_size", CLIPS, image=_pe_clips, text=_pe_texts, log_scale=_usual_scale,
    pixels="video_config",
)  # fmt: skip
#: By ``model_type``, or by the class that a configuration names where its models differ.
FAMILIES: dict[str, Family] = {
    "clip": Family(masked=False, image=_clip_images, text=_clip_texts, int8=True),
    "siglip": Family("vision_config.hidden_size", masked=False, int8=True),
    "siglip2": Family("vision_config.hidden_size", masked=False, image=_naflex_images, lower=True),
    "xclip": Family(
        sees=ORDERED, masked=False, image=_xclip_images, frames="vision_config.num_frames"
    ),
    "metaclip_2": Family(),
    "clipseg": Family(),
    "groupvit": Family(),
    # With the default, texts without padding lose the causal mask (transformers 5.24).
    "aimv2": Family(log_scale=_clamped_scale, attention="eager"),
    "altclip": Family(),
    "chinese_clip": Family(),
    "blip": Family(),
    "BlipForImageTextRetrieval": Family(
        "image_text_hidden_size", image=_blip_images, text=_blip_texts, log_scale=_usual_scale,
        loader="BlipForImageTextRetrieval",
    ),
    "vision-text-dual-encoder": Family(),
    "align": Family(log_scale=_by_temperature),
    "flava": Family(
        "hidden_size", image=_first_token(_images), text=_first_token(_texts), pixels="image_config"
    ),
    "tipsv2": Family("text_config.hidden_size", log_scale=_by_temperature),
    "videoprism": Family(
        "text_config.hidden_size", CLIPS, image=_videoprism_clips, log_scale=_usual_scale,
        frames="vision_config.num_frames",
    ),
    "pe_video": _PE,
    "pe_audio_video": _PE,
}  # fmt: skip


def family_of(config: Any) -> Family | None:
    """How a configuration's models are read; None where they are not."""
    for name in config.architectures or ():
        if name in FAMILIES:
            return FAMILIES[name]
    return FAMILIES.get(config.model_type)
