"""A tiny Grounding DINO with random weights, as Transformers saves it."""

# pyright: basic
from __future__ import annotations

from pathlib import Path

# Where BERT's vocabulary has the marks between phrases: the model knows them by their numbers.
_MARKS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
_WORDS = ("a", "dog", "drone", "person", "human", "pedestrian", "seen", "from", "above", "cat")
_SIZE = 1040


def save_dino(folder: Path) -> Path:
    """The folder of a model that ``hf:FOLDER`` opens."""
    import torch
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    vocabulary = [_MARKS.get(at, f"[unused{at}]") for at in range(_SIZE)]
    vocabulary[200 : 200 + len(_WORDS)] = _WORDS
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    text = BertConfig(
        vocab_size=_SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    pictures = SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1],
        window_size=4, out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=pictures, text_config=text, d_model=32, num_queries=8,
        encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, max_text_len=32,
    )  # fmt: skip
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    words = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32)
    GroundingDinoProcessor(images, words).save_pretrained(folder)
    return folder
