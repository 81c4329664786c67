"""What transformers itself gives for the tiny models: the reference of ``hf:``.

A model is loaded as its library loads it. Pixels are the encoder's, so that only the model is
compared; ``library_pixels`` gives those of the library's own processor.
"""

# pyright: basic
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TEXTS = ("a dog", "riding a bike along a street", "", "x" * 200)
PADDED = ("siglip", "siglip2", "clip", "xclip")  # to the limit; the first two without a mask


def unit_rows(rows: Any) -> np.ndarray:
    rows = rows.detach().float().numpy()
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def load_model(folder: Path) -> Any:
    import transformers as hf

    config = hf.AutoConfig.from_pretrained(folder)
    loader = getattr(hf, config.architectures[0])
    return loader.from_pretrained(folder).eval()


def token_inputs(folder: Path, family: str, texts: tuple[str, ...], length: int) -> dict[str, Any]:
    """Ids, and a mask for towers that take one, as the library's tokeniser gives them."""
    import transformers as hf

    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if family in PADDED else True
    given = tokenizer(
        list(texts), padding=padding, truncation=True, max_length=length, return_tensors="pt"
    )
    names = ("input_ids",) if family.startswith("siglip") else ("input_ids", "attention_mask")
    return {name: given[name] for name in names}


def image_vectors(model: Any, family: str, pixels: Any, tokens: dict[str, Any]) -> np.ndarray:
    """Unit vectors of pictures (N, 3, H, W), or of clips (N, T, 3, H, W), by the whole model."""
    import torch

    with torch.inference_mode():
        if family == "flava":  # the pre-training model takes the first token of both towers
            seen = model.image_model(pixel_values=pixels).last_hidden_state[:, 0]
            return unit_rows(model.image_projection(seen))
        if family == "BlipForImageTextRetrieval":
            seen = model.vision_model(pixel_values=pixels).last_hidden_state[:, 0]
            return unit_rows(model.vision_proj(seen))
        if family == "siglip2":
            return unit_rows(model(**tokens, **naflex(pixels, model)).image_embeds)
        if family == "xclip":
            return unit_rows(model(pixel_values=pixels, **tokens).video_embeds)
        if family in ("pe_video", "pe_audio_video"):
            video = getattr(model, "video_model", model)
            return unit_rows(video(pixel_values_videos=pixels, **tokens).video_embeds)
        if family == "videoprism":
            return unit_rows(model(pixel_values_videos=pixels, **tokens).video_embeds)
        return unit_rows(model(pixel_values=pixels, **tokens).image_embeds)


def text_vectors(model: Any, family: str, pixels: Any, tokens: dict[str, Any]) -> np.ndarray:
    """Unit vectors of texts (C, D) by the whole model; of X-CLIP without a clip."""
    import torch

    with torch.inference_mode():
        if family == "flava":
            seen = model.text_model(**tokens).last_hidden_state[:, 0]
            return unit_rows(model.text_projection(seen))
        if family == "BlipForImageTextRetrieval":
            seen = model.text_encoder(**tokens, return_dict=True).last_hidden_state[:, 0]
            return unit_rows(model.text_proj(seen))
        if family == "siglip2":
            return unit_rows(model(**tokens, **naflex(pixels, model)).text_embeds)
        if family == "xclip":
            return unit_rows(model.text_projection(model.text_model(**tokens).pooler_output))
        if family in ("pe_video", "pe_audio_video"):
            video = getattr(model, "video_model", model)
            return unit_rows(video(pixel_values_videos=pixels, **tokens).text_video_embeds)
        if family == "videoprism":
            return unit_rows(model(pixel_values_videos=pixels, **tokens).text_embeds)
        return unit_rows(model(pixel_values=pixels, **tokens).text_embeds)


def scores(model: Any, pixels: Any) -> np.ndarray:
    """Class scores (N, C) of clips (N, T, 3, H, W)."""
    import torch

    with torch.inference_mode():
        return model(**{model.main_input_name: pixels}).logits.flatten(1).float().numpy()


def naflex(pixels: Any, model: Any) -> dict[str, Any]:
    """What SigLIP 2 NaFlex takes for pictures of whole patches."""
    import torch

    patch = model.config.vision_config.patch_size
    n, _, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    patches = pixels.reshape(n, 3, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": patches.reshape(n, rows * columns, -1),
        "pixel_attention_mask": torch.ones(n, rows * columns, dtype=torch.int32),
        "spatial_shapes": torch.tensor([[rows, columns]] * n),
    }


def library_pixels(folder: Path, frames: np.ndarray) -> np.ndarray | None:
    """Frames (T, H, W, 3) by the library's own processor: (T, 3, h, w); None for patches."""
    import transformers as hf

    try:
        processor = hf.AutoImageProcessor.from_pretrained(folder)
        given = processor(list(frames), return_tensors="pt").pixel_values
    except (OSError, ValueError):
        processor = hf.AutoVideoProcessor.from_pretrained(folder)
        given = processor([frames], return_tensors="pt", do_sample_frames=False)
        given = given.pixel_values_videos
    given = given[0] if given.ndim == 5 else given
    return given.numpy() if given.ndim == 4 else None
