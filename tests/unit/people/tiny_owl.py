"""A tiny OWLv2 with random weights, as Transformers saves it."""

# pyright: basic
from __future__ import annotations

from pathlib import Path

from tests import tiny_models

SIDE, PATCH, LENGTH = 32, 8, 32


def save_owl(folder: Path) -> Path:
    """The folder of a model that ``hf:FOLDER`` opens."""
    import torch
    from transformers import (
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    config = Owlv2Config(
        text_config={
            "vocab_size": tiny_models.WORDS, "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": LENGTH,
            "pad_token_id": tiny_models.PAD, "bos_token_id": tiny_models.START,
            "eos_token_id": tiny_models.END,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
        },
        projection_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    images = Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE})
    words = tiny_models.tokenizer(length=LENGTH)
    Owlv2Processor(image_processor=images, tokenizer=words).save_pretrained(folder)
    return folder
