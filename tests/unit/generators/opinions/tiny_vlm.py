"""Models of pictures and text with random weights, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% elif c['type'] == 'video' %}<video>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def _tokenizer() -> Any:
    """Reads bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<image>", "<video>"]
    vocabulary = {letter: number for number, letter in enumerate([*special, *letters])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>",
        additional_special_tokens=["<image>", "<video>"],
    )  # fmt: skip


def save_tiny_vlm(place: Path, *, template: str | None = _TEMPLATE) -> Path:
    """A LLaVA-OneVision that reads pictures of 16 x 16 and videos."""
    import torch
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
        Qwen2Config,
        SiglipVisionConfig,
    )

    size, grid = {"height": 16, "width": 16}, [[16, 16]]
    tokenizer = _tokenizer()
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grid),
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        tokenizer=tokenizer, num_image_tokens=4, vision_feature_select_strategy="full",
        chat_template=template,
    )  # fmt: skip
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    torch.manual_seed(0)
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            **small, num_attention_heads=2, image_size=16, patch_size=8
        ),
        text_config=Qwen2Config(
            **small, num_attention_heads=2, num_key_value_heads=2, vocab_size=len(tokenizer),
            max_position_embeddings=4096,
        ),
        image_token_index=2, video_token_index=3, image_grid_pinpoints=grid,
        vision_feature_select_strategy="full", vision_feature_layer=-1,
    )  # fmt: skip
    LlavaOnevisionForConditionalGeneration(config).save_pretrained(place)
    processor.save_pretrained(place)
    return place
