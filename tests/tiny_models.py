"""Tiny random models of every family that a loader reads, saved as their libraries save them.

Weights are drawn from a fixed seed, widths are 16 to 32. Nothing is fetched: tokenisers know single
bytes only. ``save("clip", folder)`` writes a folder that ``hf:FOLDER`` opens.
"""

# pyright: basic
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 32  # pixels of a picture
PATCH = 8
LENGTH = 64  # longest text
WORDS = 264  # entries of the vocabulary
PAD, START, UNKNOWN, END = range(4)
FRAMES = 4  # of the video models

MAKERS: dict[str, Callable[[Path], None]] = {}
#: Whether a family sees frames one by one, with order, as whole clips, or as named classes.
KINDS: dict[str, str] = {}


def maker(name: str, kind: str = "frames") -> Callable[..., Any]:
    """Register what writes the tiny model of a family."""

    def note(make: Callable[[Path], None]) -> Callable[[Path], None]:
        MAKERS[name], KINDS[name] = make, kind
        return make

    return note


def save(name: str, folder: Path) -> Path:
    """Write the tiny model of a family; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[name](folder)
    return folder


def tokenizer(*, specials: bool = True, length: int = LENGTH) -> Any:
    """A tokeniser of bytes: ``<s> text </s>``, or the text alone."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "<unk>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if specials:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", model_max_length=length,
    )  # fmt: skip


def seeded(make: Callable[[], Any]) -> Any:
    """A model with weights of a fixed seed; parameters that start at zero are drawn too."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = make()
        for name, value in model.named_parameters():
            if not value.ndim or "scale" in name or "temperature" in name:
                continue
            if not value.any() or bool((value == 1).all()):
                value.data.add_(0.1 * torch.randn_like(value))
            elif value.ndim > 1:  # else attention is too even for the order of frames to count
                value.data.mul_(max(1.0, 0.2 / float(value.detach().std())))
    return model.eval()


def write(folder: Path, model: Any, *parts: Any) -> None:
    """The weights, and the tokeniser and the processor next to them."""
    for part in (model, *parts):
        part.save_pretrained(folder)


def towers(hidden: int = 32, **more: Any) -> dict[str, Any]:
    """What the settings of most transformers have in common."""
    return {
        "hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": 2,
        "num_attention_heads": 4, **more,
    }  # fmt: skip


def text_tower(**more: Any) -> dict[str, Any]:
    """A text tower of CLIP's kind."""
    ids = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    return towers(vocab_size=WORDS, max_position_embeddings=LENGTH, **ids, **more)


def image_tower(**more: Any) -> dict[str, Any]:
    """A ViT of CLIP's kind."""
    return towers(image_size=SIDE, patch_size=PATCH, **more)


def pictures(**more: Any) -> Any:
    """CLIP's image processor."""
    from transformers import CLIPImageProcessor

    side = {"height": SIDE, "width": SIDE}
    return CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=side, **more)


def videos(**more: Any) -> Any:
    """An image processor of video models."""
    from transformers import VideoMAEImageProcessor

    side = {"height": SIDE, "width": SIDE}
    return VideoMAEImageProcessor(size={"shortest_edge": SIDE}, crop_size=side, **more)


def _clip_like(name: str, **both: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import transformers as hf

        config = getattr(hf, f"{name}Config")(
            text_config=text_tower(**both), vision_config=image_tower(), projection_dim=24
        )
        write(folder, seeded(lambda: getattr(hf, f"{name}Model")(config)), tokenizer(), pictures())

    return make


for family, class_name in (("clip", "CLIP"), ("metaclip_2", "MetaClip2"), ("clipseg", "CLIPSeg")):
    maker(family)(_clip_like(class_name))


@maker("siglip")
def siglip(folder: Path) -> None:
    import transformers as hf

    text = text_tower(projection_size=32)
    config = hf.SiglipConfig(text_config=text, vision_config=image_tower())
    size = {"height": SIDE, "width": SIDE}
    processor = hf.SiglipImageProcessor(size=size)
    write(folder, seeded(lambda: hf.SiglipModel(config)), tokenizer(), processor)


@maker("siglip2")
def siglip2(folder: Path) -> None:
    import transformers as hf

    text = text_tower(projection_size=32)
    vision = towers(patch_size=PATCH, num_patches=16)
    config = hf.Siglip2Config(text_config=text, vision_config=vision)
    processor = hf.Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=16)
    write(folder, seeded(lambda: hf.Siglip2Model(config)), tokenizer(), processor)


@maker("xclip", "order")
def xclip(folder: Path) -> None:
    import transformers as hf

    vision = image_tower(
        num_frames=FRAMES, mit_hidden_size=24, mit_intermediate_size=48,
        mit_num_hidden_layers=1, mit_num_attention_heads=4, drop_path_rate=0.0,
    )  # fmt: skip
    config = hf.XCLIPConfig(
        text_config=text_tower(), vision_config=vision, projection_dim=24,
        prompt_num_attention_heads=4, prompt_layers=1,
    )  # fmt: skip
    write(folder, seeded(lambda: hf.XCLIPModel(config)), tokenizer(), videos())


@maker("groupvit")
def groupvit(folder: Path) -> None:
    import transformers as hf

    vision = image_tower(depths=[1, 1], num_group_tokens=[4, 0], num_output_groups=[4, 2])
    config = hf.GroupViTConfig(
        text_config=text_tower(), vision_config=vision, projection_dim=24,
        projection_intermediate_dim=32,
    )  # fmt: skip
    write(folder, seeded(lambda: hf.GroupViTModel(config)), tokenizer(), pictures())


@maker("aimv2")
def aimv2(folder: Path) -> None:
    import transformers as hf

    config = hf.Aimv2Config(
        text_config=text_tower(), vision_config=image_tower(), projection_dim=24
    )
    write(folder, seeded(lambda: hf.Aimv2Model(config)), tokenizer(), pictures())


@maker("altclip")
def altclip(folder: Path) -> None:
    import transformers as hf

    # Positions of RoBERTa begin behind the padding id.
    text = {**text_tower(project_dim=32), "max_position_embeddings": LENGTH + PAD + 1}
    config = hf.AltCLIPConfig(text_config=text, vision_config=image_tower(), projection_dim=24)
    write(folder, seeded(lambda: hf.AltCLIPModel(config)), tokenizer(), pictures())


@maker("chinese_clip")
def chinese_clip(folder: Path) -> None:
    import transformers as hf

    config = hf.ChineseCLIPConfig(
        text_config=text_tower(), vision_config=image_tower(), projection_dim=24
    )
    write(folder, seeded(lambda: hf.ChineseCLIPModel(config)), tokenizer(), pictures())


@maker("blip")
def blip(folder: Path) -> None:
    import transformers as hf

    text = text_tower(encoder_hidden_size=32, sep_token_id=END)
    config = hf.BlipConfig(
        text_config=text, vision_config=image_tower(), projection_dim=24, image_text_hidden_size=24
    )
    write(folder, seeded(lambda: hf.BlipModel(config)), tokenizer(), pictures())


@maker("BlipForImageTextRetrieval")
def blip_retrieval(folder: Path) -> None:
    import transformers as hf

    text = text_tower(encoder_hidden_size=32, sep_token_id=END)
    config = hf.BlipConfig(
        text_config=text, vision_config=image_tower(), projection_dim=24, image_text_hidden_size=16
    )
    model = seeded(lambda: hf.BlipForImageTextRetrieval(config))
    write(folder, model, tokenizer(), pictures())


@maker("vision-text-dual-encoder")
def dual(folder: Path) -> None:
    import transformers as hf

    config = hf.VisionTextDualEncoderConfig.from_vision_text_configs(
        hf.ViTConfig(**image_tower()), hf.BertConfig(**text_tower()), projection_dim=24
    )
    write(folder, seeded(lambda: hf.VisionTextDualEncoderModel(config)), tokenizer(), pictures())


@maker("align")
def align(folder: Path) -> None:
    import transformers as hf

    vision = {
        "image_size": SIDE, "hidden_dim": 24, "width_coefficient": 0.25, "depth_coefficient": 0.25,
        "kernel_sizes": [3, 3], "in_channels": [32, 16], "out_channels": [16, 64],
        "depthwise_padding": [], "strides": [1, 2], "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
    }  # fmt: skip
    config = hf.AlignConfig(text_config=text_tower(), vision_config=vision, projection_dim=16)
    processor = hf.EfficientNetImageProcessor(
        size={"height": SIDE + 6, "width": SIDE + 6}, do_center_crop=True,
        crop_size={"height": SIDE, "width": SIDE}, rescale_factor=1 / 127.5, rescale_offset=True,
        do_normalize=False,
    )  # fmt: skip
    write(folder, seeded(lambda: hf.AlignModel(config)), tokenizer(), processor)


@maker("flava")
def flava(folder: Path) -> None:
    import transformers as hf

    config = hf.FlavaConfig(
        image_config=image_tower(), text_config=text_tower(), multimodal_config=towers(),
        hidden_size=24, projection_dim=24,
    )  # fmt: skip
    side = {"height": SIDE, "width": SIDE}
    processor = hf.FlavaImageProcessor(size=side, crop_size=side)
    write(folder, seeded(lambda: hf.FlavaModel(config)), tokenizer(), processor)


@maker("tipsv2")
def tipsv2(folder: Path) -> None:
    import transformers as hf

    text = text_tower()
    vision = {**image_tower(), "mlp_ratio": 2}
    vision.pop("intermediate_size")
    config = hf.Tipsv2Config(text_config=text, vision_config=vision)
    processor = hf.Tipsv2ImageProcessor(size={"height": SIDE, "width": SIDE})
    write(folder, seeded(lambda: hf.Tipsv2Model(config)), tokenizer(), processor)


@maker("videoprism", "whole")
def videoprism(folder: Path) -> None:
    import transformers as hf

    text = text_tower()
    config = hf.VideoPrismConfig(text_config=text, vision_config=_videoprism_tower())
    processor = hf.LlavaOnevisionVideoProcessor(
        size={"height": SIDE, "width": SIDE}, do_normalize=False
    )
    write(
        folder, seeded(lambda: hf.VideoPrismClipModel(config)), tokenizer(specials=False), processor
    )


def _videoprism_tower(**more: Any) -> dict[str, Any]:
    tower = towers(
        image_size=SIDE, tubelet_size=[1, PATCH, PATCH], num_frames=FRAMES, num_spatial_layers=1,
        num_temporal_layers=1, num_auxiliary_layers=1, **more,
    )  # fmt: skip
    tower.pop("num_hidden_layers")
    return tower


def _pe_video() -> tuple[dict[str, Any], dict[str, Any]]:
    text = {**text_tower(), "model_type": "modernbert", "global_attn_every_n_layers": 1,
            "local_attention": 16, "cls_token_id": START, "sep_token_id": END}  # fmt: skip
    vision = {
        "model_type": "timm_wrapper", "architecture": "vit_pe_core_tiny_patch16_384",
        "num_classes": 16, "do_pooling": True, "global_pool": "map",
        "model_args": {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 32, "depth": 1,
                       "num_heads": 4, "ref_feat_shape": (4, 4)},
    }  # fmt: skip
    video = {**towers(), "head_dim": 8, "num_key_value_heads": 4, "vision_config": vision}
    return text, video


@maker("pe_video", "whole")
def pe_video(folder: Path) -> None:
    import transformers as hf

    text, video = _pe_video()
    config = hf.PeVideoConfig(text_config=text, video_config=video)
    processor = hf.PeVideoVideoProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        do_resize=True, do_rescale=True, do_normalize=True,
    )  # fmt: skip
    write(folder, seeded(lambda: hf.PeVideoModel(config)), tokenizer(), processor)


@maker("pe_audio_video", "whole")
def pe_audio_video(folder: Path) -> None:
    import transformers as hf

    text, video = _pe_video()
    sound = {**towers(), "head_dim": 8, "num_key_value_heads": 4}
    sound["dac_config"] = {
        "encoder_hidden_size": 8, "downsampling_ratios": [2, 2], "decoder_hidden_size": 16,
        "upsampling_ratios": [2, 2], "n_codebooks": 2, "codebook_size": 16, "codebook_dim": 4,
        "hidden_size": 16,
    }  # fmt: skip
    config = hf.PeAudioVideoConfig(
        text_config=text,
        audio_video_config={**towers(), "head_dim": 8, "num_key_value_heads": 4,
                            "audio_config": sound, "video_config": video},
    )  # fmt: skip
    processor = hf.PeVideoVideoProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        do_resize=True, do_rescale=True, do_normalize=True,
    )  # fmt: skip
    write(folder, seeded(lambda: hf.PeAudioVideoModel(config)), tokenizer(), processor)


CLASSES = ("playing guitar", "riding a bike", "washing dishes", "climbing a ladder", "boxing")


def named(names: tuple[str, ...] = CLASSES) -> dict[str, Any]:
    """The classes of a classifier."""
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}


@maker("videomae", "classes")
def videomae(folder: Path) -> None:
    import transformers as hf

    config = hf.VideoMAEConfig(**image_tower(num_frames=FRAMES, tubelet_size=2), **named())
    write(folder, seeded(lambda: hf.VideoMAEForVideoClassification(config)), videos())


@maker("timesformer", "classes")
def timesformer(folder: Path) -> None:
    import transformers as hf

    config = hf.TimesformerConfig(**image_tower(num_frames=FRAMES), **named())
    write(folder, seeded(lambda: hf.TimesformerForVideoClassification(config)), videos())


@maker("vivit", "classes")
def vivit(folder: Path) -> None:
    import transformers as hf

    tower = image_tower(num_frames=FRAMES, tubelet_size=[2, PATCH, PATCH])
    tower.pop("patch_size")
    config = hf.VivitConfig(**tower, **named())
    processor = hf.VivitImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    write(folder, seeded(lambda: hf.VivitForVideoClassification(config)), processor)


@maker("vjepa2", "classes")
def vjepa2(folder: Path) -> None:
    import transformers as hf

    config = hf.VJEPA2Config(
        crop_size=SIDE, patch_size=PATCH, frames_per_clip=FRAMES, tubelet_size=2, hidden_size=32,
        num_attention_heads=2, num_hidden_layers=1, mlp_ratio=2, pred_hidden_size=16,
        pred_num_attention_heads=2, pred_num_hidden_layers=1, num_pooler_layers=1, **named(),
    )  # fmt: skip
    processor = hf.VJEPA2VideoProcessor(crop_size={"height": SIDE, "width": SIDE})
    write(folder, seeded(lambda: hf.VJEPA2ForVideoClassification(config)), processor)


@maker("videoprism_vision_model", "classes")
def videoprism_classes(folder: Path) -> None:
    import transformers as hf

    config = hf.VideoPrismVisionConfig(**_videoprism_tower(), **named())
    processor = hf.LlavaOnevisionVideoProcessor(
        size={"height": SIDE, "width": SIDE}, do_normalize=False
    )
    write(folder, seeded(lambda: hf.VideoPrismForVideoClassification(config)), processor)


@cache
def frames(n: int = 2, t: int = FRAMES, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """(n, t, side, side, 3) uint8, every frame another."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (n, t, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(side // 4, axis=2).repeat(side // 4, axis=3)
