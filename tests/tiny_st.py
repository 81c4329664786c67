"""Tiny random models of sentence-transformers, saved as the library saves them."""

# pyright: basic
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import tiny_models as tiny

MAKERS: dict[str, Callable[[Path, Path], Any]] = {}
_IMAGE, _VIDEO = "<|image_pad|>", "<|video_pad|>"
_START, _STOP = "<|vision_start|>", "<|vision_end|>"
#: Every message between ``<s>`` and ``</s>``, media by the mark that the processor replaces.
CHAT = """{%- for m in messages -%}
<s>
{%- if m.content is string -%}{{ m.content }}
{%- else -%}
{%- for c in m.content -%}
{%- if c.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- elif c.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{ c.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}</s>
{%- endfor -%}"""


def maker(make: Callable[[Path, Path], Any]) -> Callable[[Path, Path], Any]:
    MAKERS[make.__name__] = make
    return make


def save(name: str, folder: Path, **settings: Any) -> Path:
    """Write the tiny model of a kind; the folder."""
    from sentence_transformers import SentenceTransformer

    parts = folder.with_name(f"{folder.name}-parts")
    parts.mkdir(parents=True, exist_ok=True)
    modules = MAKERS[name](folder, parts)
    model = SentenceTransformer(modules=modules, device="cpu", **settings)
    model.save(str(folder), create_model_card=False)
    return folder


@maker
def text(folder: Path, parts: Path) -> Any:
    """A BERT with mean pooling, as MiniLM."""
    import transformers as hf
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    del folder
    config = hf.BertConfig(**tiny.text_tower())
    tiny.write(parts, tiny.seeded(lambda: hf.BertModel(config)), tiny.tokenizer())
    transformer = Transformer(str(parts), max_seq_length=48)
    return [transformer, Pooling(transformer.get_embedding_dimension(), "mean"), Normalize()]


@maker
def clip(folder: Path, parts: Path) -> Any:
    """A CLIP."""
    from sentence_transformers.base.modules import Transformer

    del folder
    import transformers as hf

    tiny.save("clip", parts)
    hf.CLIPProcessor(tiny.pictures(), tiny.tokenizer()).save_pretrained(parts)
    return [Transformer(str(parts))]


@maker
def qwen(folder: Path, parts: Path) -> Any:
    """A Qwen3-VL with last-token pooling, as Qwen3-VL-Embedding."""
    import transformers as hf
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    del folder
    tokens = tiny.tokenizer(length=4096)
    tokens.add_special_tokens(
        {
            "additional_special_tokens": [
                "<|image_pad|>",
                "<|video_pad|>",
                "<|vision_start|>",
                "<|vision_end|>",
            ]
        }
    )
    tokens.image_token, tokens.video_token = _IMAGE, _VIDEO
    ids = {n: tokens.convert_tokens_to_ids(t) for n, t in (
        ("image_token_id", _IMAGE), ("video_token_id", _VIDEO),
        ("vision_start_token_id", _START), ("vision_end_token_id", _STOP),
    )}  # fmt: skip
    words = {"vocab_size": len(tokens), "head_dim": 8, "num_key_value_heads": 2,
             "max_position_embeddings": 4096, "pad_token_id": tiny.PAD}  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0,
            "mrope_interleaved": True}  # fmt: skip
    config = hf.Qwen3VLConfig(
        text_config=tiny.towers(**words, rope_parameters=rope),
        vision_config={"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 4,
                       "patch_size": 8, "temporal_patch_size": 2, "spatial_merge_size": 2,
                       "out_hidden_size": 32, "num_position_embeddings": 16,
                       "deepstack_visual_indexes": [0]},
        **ids,
    )  # fmt: skip
    size = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64 * 64}
    patches = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2, "size": size}
    processor = hf.Qwen3VLProcessor(
        hf.Qwen2VLImageProcessor(**patches), tokens,
        hf.Qwen3VLVideoProcessor(**patches, cap_pixels_per_frame=False), chat_template=CHAT,
    )  # fmt: skip
    tiny.write(parts, tiny.seeded(lambda: hf.Qwen3VLModel(config)), processor)
    transformer = Transformer(str(parts))
    return [transformer, Pooling(32, "lasttoken"), Normalize()]


@maker
def gemma(folder: Path, parts: Path) -> Any:
    """An EmbeddingGemma 2 with mean pooling, without its sound tower."""
    import transformers as hf
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    del folder
    tokens = tiny.tokenizer(length=4096)
    marks = {"image_token": _IMAGE, "video_token": "<|video|>", "boi_token": "<boi>",
             "eoi_token": "<eoi>"}  # fmt: skip
    tokens.add_special_tokens({"additional_special_tokens": list(marks.values())})
    for name, mark in marks.items():
        setattr(tokens, name, mark)
        tokens.init_kwargs[name] = mark
    ids = {f"{name}_id": tokens.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    for name, number in ids.items():
        setattr(tokens, name, number)
    small = {"head_dim": 8, "num_key_value_heads": 2}
    words = tiny.towers(
        vocab_size=len(tokens), max_position_embeddings=4096, pad_token_id=tiny.PAD, **small,
        hidden_size_per_layer_input=8, embedding_dim=32, sliding_window=64,
    )  # fmt: skip
    vision = tiny.towers(
        model_type="gemma4_vision", patch_size=4, position_embedding_size=1024,
        **{**small, "num_key_value_heads": 4},
    )  # fmt: skip
    config = hf.EmbeddingGemma2Config(text_config=words, vision_config=vision, **ids)
    config.audio_config = None
    patches = {"patch_size": 4, "max_soft_tokens": 70, "pooling_kernel_size": 3}
    processor = hf.EmbeddingGemma2Processor(
        hf.Gemma4AudioFeatureExtractor(), hf.Gemma4ImageProcessor(**patches), tokens,
        hf.EmbeddingGemma2VideoProcessor(**patches),
    )  # fmt: skip
    tiny.write(parts, tiny.seeded(lambda: hf.EmbeddingGemma2Model(config)), processor)
    transformer = Transformer(str(parts))
    return [transformer, Pooling(32, "mean"), Normalize()]
