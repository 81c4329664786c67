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


def save_whisper(folder: Path, *, multilingual: bool = True) -> Path:
    """A model of speech (Whisper) whose tokeniser writes letters."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = ["endoftext", "startoftranscript", "en", "de", "translate", "transcribe"]
    marks += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    marks = [f"<|{mark}|>" for mark in marks]
    marks += [f"<|{0.02 * step:.2f}|>" for step in range(1501)]
    tokenizer = WhisperTokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": marks[:10]})
    tokenizer.add_tokens(marks[10:])
    at = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in marks}
    end, start = at["<|endoftext|>"], at["<|startoftranscript|>"]
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, max_target_positions=24, pad_token_id=end, bos_token_id=end,
        eos_token_id=end, decoder_start_token_id=start,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    facts = {
        "lang_to_id": {mark: at[mark] for mark in ("<|en|>", "<|de|>")},
        "task_to_id": {task: at[f"<|{task}|>"] for task in ("transcribe", "translate")},
    }
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start, eos_token_id=end, pad_token_id=end, bos_token_id=end,
        no_timestamps_token_id=at["<|notimestamps|>"], max_length=24,
        is_multilingual=multilingual, **(facts if multilingual else {}),
    )  # fmt: skip
    # Random weights write nothing; these hear German and write "h" whatever the sound is.
    with torch.no_grad():
        rows = model.model.decoder.embed_tokens.weight
        rows[:, :2] = 0
        rows[at["<|de|>"], 1], rows[at["<|0.00|>"], 0] = 0.9, 0.9
        rows[tokenizer.convert_tokens_to_ids("h"), 0] = 1.0
        model.model.decoder.layer_norm.bias[:2] = 40
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder
