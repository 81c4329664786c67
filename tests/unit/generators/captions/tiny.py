"""Tiny captioning models with random weights, saved as a user's folder has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["a", "man", "dog", "runs", "lifts", "holds", "cup", "the"],
]


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, **{f"{name}_token": word for name, word in names.items()}
    )


def save_blip(folder: Path) -> Path:
    """An image-to-text model (BLIP)."""
    import torch
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
        BlipTextConfig,
        BlipVisionConfig,
    )

    torch.manual_seed(0)
    shared = {"num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    text = BlipTextConfig(vocab_size=len(WORDS), hidden_size=16, encoder_hidden_size=16,
                          bos_token_id=2, eos_token_id=3, pad_token_id=0, sep_token_id=3,
                          max_position_embeddings=32, **shared)  # fmt: skip
    vision = BlipVisionConfig(hidden_size=16, image_size=32, patch_size=16, **shared)
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(),
                        projection_dim=16)  # fmt: skip
    model = BlipForConditionalGeneration(config)
    with torch.no_grad():  # words, and not the mark of the end at once
        model.text_decoder.cls.predictions.bias[:5] = -5.0
    model.save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(images, _tokenizer()).save_pretrained(folder)
    return folder
