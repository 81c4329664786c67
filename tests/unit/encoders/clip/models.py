"""Tiny models with seeded random weights, saved as a hub would hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

VISION = {
    "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 64,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
TEXT = {
    "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 48,
}  # fmt: skip


def openclip_config(**more: Any) -> dict[str, Any]:
    return {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 3,
        },
        "text_cfg": {
            "context_length": 16, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 3,
        },
        **more,
    }  # fmt: skip


def save_openclip(folder: Path, config: dict[str, Any], *, custom: bool = False) -> Any:
    """Save a model as ``open_clip_config.json`` and safetensors; returns it."""
    from open_clip.model import CLIP, CustomTextCLIP
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = (CustomTextCLIP if custom else CLIP)(**config).eval()
    stored = {**config, "custom_text": True} if custom else config
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    text = json.dumps({"model_cfg": stored, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text, "utf-8")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model


def clip_tokenizer() -> Any:
    """CLIP's own tokeniser as transformers holds it, from the vocabulary open_clip ships."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    ours = SimpleTokenizer()
    merges = [" ".join(pair) for pair in sorted(ours.bpe_ranks, key=ours.bpe_ranks.__getitem__)]
    vocabulary = {
        token.replace("<start_of_text>", "<|startoftext|>").replace(
            "<end_of_text>", "<|endoftext|>"
        ): index
        for token, index in ours.encoder.items()
    }
    pairs = [tuple(merge.split(" ")) for merge in merges]
    return CLIPTokenizer(vocab=vocabulary, merges=pairs)


def word_tokenizer(n_tokens: int) -> Any:
    """A word-level tokeniser that ends every text with ``</s>``, as SigLIP's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", "a", "photo", "of", "cat", "dog", "the", "video"]
    tokens = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=n_tokens,
    )


def image_processor(folder: Path, **settings: Any) -> None:
    text = json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], **settings})
    (folder / "preprocessor_config.json").write_text(text, "utf-8")


def seeded(model_class: Any, config: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = model_class(config).eval()
        for parameter in model.parameters():  # transformers starts many at exactly 0
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def save_clip(folder: Path) -> Any:
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config={**TEXT, "vocab_size": 49408, "max_position_embeddings": 16,
                     "eos_token_id": 49407, "bos_token_id": 49406},
        vision_config=VISION,
        projection_dim=20,
    )  # fmt: skip
    model = seeded(CLIPModel, config)
    model.save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    image_processor(
        folder, image_processor_type="CLIPImageProcessor", do_center_crop=True, resample=3,
        crop_size={"height": 32, "width": 32}, size={"shortest_edge": 32},
    )  # fmt: skip
    return model


def save_siglip(folder: Path, *, naflex: bool = False) -> Any:
    from transformers import SiglipConfig, SiglipModel

    text = {**TEXT, "hidden_size": 32, "intermediate_size": 64, "vocab_size": 10,
            "max_position_embeddings": 12, "pad_token_id": 0, "eos_token_id": 1,
            "projection_size": 32}  # fmt: skip
    vision = dict(VISION)
    if naflex:
        from transformers import Siglip2Config, Siglip2Model

        del vision["image_size"]
        config = Siglip2Config(text_config=text, vision_config={**vision, "num_patches": 16})
        model = seeded(Siglip2Model, config)
    else:
        config = SiglipConfig(text_config=text, vision_config=vision)
        model = seeded(SiglipModel, config)
    model.save_pretrained(folder)
    word_tokenizer(12).save_pretrained(folder)
    if naflex:
        image_processor(
            folder, image_processor_type="Siglip2ImageProcessor", patch_size=8, resample=2,
            max_num_patches=16,
        )  # fmt: skip
    else:
        image_processor(
            folder, image_processor_type="SiglipImageProcessor", resample=2,
            size={"height": 32, "width": 32},
        )  # fmt: skip
    return model


def save_xclip(folder: Path) -> Any:
    from transformers import XCLIPConfig, XCLIPModel

    config = XCLIPConfig(
        text_config={**TEXT, "vocab_size": 49408, "max_position_embeddings": 16,
                     "eos_token_id": 49407, "bos_token_id": 49406},
        vision_config={
            **VISION, "num_frames": 4, "mit_hidden_size": 20, "mit_intermediate_size": 40,
            "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2, "drop_path_rate": 0.0,
        },
        projection_dim=20,
        prompt_num_attention_heads=2,
    )  # fmt: skip
    model = seeded(XCLIPModel, config)
    model.save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    image_processor(
        folder, image_processor_type="VideoMAEImageProcessor", do_center_crop=True, resample=2,
        crop_size={"height": 32, "width": 32}, size={"shortest_edge": 36},
    )  # fmt: skip
    return model
