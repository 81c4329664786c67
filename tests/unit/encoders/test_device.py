"""Encoders on an accelerator without hardware (``tests/fake_device.py``), in all number types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models import register_model

from tests import tiny_models, tiny_st
from tests.clips import clips_of
from tests.fake_device import DEVICE, Counts, fake_device
from vlar.encoders.base import load_encoder
from vlar.encoders.protocols import ConditionedText

TEXTS = ["a cat", "someone plays the guitar on a stage"]
#: Largest loss of cosine against float32 on the CPU, which resizes by another rounding.
LOSS = {"float32": 5e-4, "bfloat16": 3e-3, "float16": 5e-3}

SIDE = 32
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
SIGLIP_TEXT = {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
VIT = {"image_size": SIDE, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2}
COCA = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}


def timm_tower(name: str, pool: str, project: str | None) -> dict[str, Any]:
    return {"image_size": SIDE, "timm_model_name": name, "timm_pool": pool, "timm_proj": project}


#: Towers of open_clip by class; those of timm are the networks below.
OPENCLIP: dict[str, dict[str, Any]] = {
    "vit": {"vision_cfg": VIT, "text_cfg": TEXT, "quick_gelu": True},
    "resnet": {
        "vision_cfg": {**VIT, "image_size": 64, "layers": [1] * 4, "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    },
    "coca": {
        "vision_cfg": {**VIT, **COCA},
        "text_cfg": {**TEXT, "context_length": 15, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "context_length": 15, "attn_pooler_heads": 2},
        "custom_text": True,
    },
    "siglip": {
        "vision_cfg": timm_tower("vlar_tiny_vit", "map", "none"), "text_cfg": SIGLIP_TEXT,
        "init_logit_bias": -10.0,
    },
    "pe_core": {"vision_cfg": timm_tower("vlar_tiny_pe", "map", None), "text_cfg": TEXT},
    "mobileclip2": {
        "vision_cfg": timm_tower("vlar_tiny_fastvit", "avg", None),
        "text_cfg": {**TEXT, "no_causal_mask": True},
    },
    "convnext": {
        "vision_cfg": timm_tower("vlar_tiny_convnext", "", "linear"), "text_cfg": TEXT,
    },
}  # fmt: skip


def heads(settings: dict[str, Any]) -> dict[str, Any]:
    """What open_clip sets of a network of timm, without what timm adds."""
    return {name: settings[name] for name in ("num_classes", "global_pool") if name in settings}


@register_model
def vlar_tiny_vit(**settings: Any) -> Any:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(SIDE, 8, embed_dim=32, depth=1, num_heads=2, **heads(settings))


@register_model
def vlar_tiny_pe(**settings: Any) -> Any:
    """EVA and PE-Core are one class."""
    from timm.models.eva import Eva

    rotary = {"use_rot_pos_emb": True, "ref_feat_shape": (4, 4)}
    return Eva(SIDE, 8, embed_dim=32, depth=1, num_heads=2, **rotary, **heads(settings))


@register_model
def vlar_tiny_fastvit(**settings: Any) -> Any:
    from timm.models.fastvit import FastVit

    mixers = ("repmixer", "repmixer", "repmixer", "attention")
    widths = {"embed_dims": (8, 8, 16, 32), "mlp_ratios": (2,) * 4}
    return FastVit(layers=(1,) * 4, token_mixers=mixers, **widths, **heads(settings))


@register_model
def vlar_tiny_convnext(**settings: Any) -> Any:
    from timm.models.convnext import ConvNeXt

    network: Any = ConvNeXt(depths=(1,) * 4, dims=(8, 8, 16, 32), **heads(settings))
    network.default_cfg = {"pool_size": (1, 1)}
    return network


@pytest.fixture
def device() -> Iterator[Counts]:
    with fake_device() as counts:
        yield counts


def in_types(models: Iterable[str], halves: str) -> list[Any]:
    """Every model in float32; the half types by default on one model of a loader."""
    return [
        pytest.param(
            *(model, dtype),
            marks=() if dtype == "float32" or model == halves else pytest.mark.slow,
            id=f"{model}-{dtype}",
        )
        for model in models
        for dtype in LOSS
    ]


def check(spec: str, dtype: str, counts: Counts) -> None:
    """An encoder on the device answers as on the CPU: clips, a session, texts, regions."""
    plain = load_encoder(spec, device="cpu")
    n_frames = plain.n_frames if plain.frames_fixed else 3
    coarse = np.random.default_rng(3).integers(0, 256, (2, n_frames, 5, 7, 3), dtype=np.uint8)
    clips = clips_of(np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3))
    usual = answers(plain, clips)
    encoder: Any = load_encoder(spec, device=DEVICE, dtype=dtype)
    towers = getattr(encoder, "towers", None) or encoder.loaded.model
    assert str(towers.device) == f"{DEVICE}:0"
    assert towers.dtype == getattr(torch, dtype)
    assert encoder.logit_scale == plain.logit_scale
    before = counts.syncs
    if getattr(encoder, "sees", "") != "text":
        encoder.encode(clips)
    others = sum(n for line, n in counts.lines.items() if "st_loader" in line)
    assert counts.syncs - before - others <= 6, counts.lines
    for name, vectors in answers(encoder, clips).items():
        assert np.isfinite(vectors).all(), (dtype, name)
        cosines = (vectors * usual[name]).sum(axis=-1)
        lengths = np.linalg.norm(usual[name], axis=-1)
        assert (np.abs(cosines - lengths) <= LOSS[dtype]).all(), (dtype, name, cosines)
    if dtype == "bfloat16":
        assert encoder.fingerprint != plain.fingerprint


def answers(encoder: Any, clips: Any) -> dict[str, np.ndarray]:
    vectors = {"texts": encoder.encode_text(TEXTS), "query": encoder.encode_text(TEXTS, "query")}
    if getattr(encoder, "sees", "") == "text":
        return vectors
    rows = encoder.encode(clips)
    vectors["clips"] = np.stack([row.vector for row in rows])
    vectors["session"] = np.stack([row.vector for row in encoder.session().encode(clips)])
    vectors["pooled"] = encoder.pool(np.stack([row.features for row in rows]))
    if getattr(encoder, "has_patches", False):
        vectors["regions"] = encoder.encode_regions(clips[0].data, 2, 2)
    if isinstance(encoder, ConditionedText):
        context = np.stack([np.asarray(row.context) for row in rows])
        vectors["conditioned"] = encoder.conditioned_text(TEXTS, context)
    return vectors


@pytest.mark.parametrize(("family", "dtype"), in_types(tiny_models.MAKERS, "clip"))
def test_hf(family: str, dtype: str, device: Counts, tmp_path: Path) -> None:
    check(f"hf:{tiny_models.save(family, tmp_path / family)}", dtype, device)


@pytest.mark.parametrize(("tower", "dtype"), in_types(OPENCLIP, "vit"))
def test_openclip(tower: str, dtype: str, device: Counts, tmp_path: Path) -> None:
    save(OPENCLIP[tower], tmp_path)
    check(f"openclip:{tmp_path}", dtype, device)


@pytest.mark.parametrize(("model", "dtype"), in_types(tiny_st.MAKERS, "text"))
def test_sentence_transformers(model: str, dtype: str, device: Counts, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", minversion="6.0")
    check(f"st:{tiny_st.save(model, tmp_path / model)}", dtype, device)


@pytest.mark.parametrize(("family", "dtype"), in_types(["videomae", "vjepa2"], "videomae"))
def test_tubelets(family: str, dtype: str, device: Counts, tmp_path: Path) -> None:
    check(f"{family}:{tiny_models.save(family, tmp_path / family)}", dtype, device)


NETWORKS = (
    "torchvision:mc3_18?random_init=true&frames=2&size=32",
    "inflated:resnet18?random_init=true&frames=2&size=32",
    "inflated:resnet18?random_init=true&frames=2&size=32&stream=flow",
)


@pytest.mark.parametrize(("spec", "dtype"), in_types(NETWORKS, NETWORKS[0]))
def test_networks_of_clips(spec: str, dtype: str, device: Counts) -> None:
    check(spec, dtype, device)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LOSS)
def test_swin_of_clips(dtype: str, device: Counts) -> None:
    check("torchvision:swin3d_t?random_init=true&frames=4&size=64", dtype, device)


def save(config: dict[str, Any], folder: Path) -> None:
    """Write a folder of open_clip with seeded random weights."""
    import open_clip
    from safetensors.torch import save_file

    scaling = {"mean": [0.5] * 3, "std": [0.3] * 3}
    stored = {"model_cfg": {"embed_dim": 32, **config}, "preprocess_cfg": scaling}
    (folder / "open_clip_config.json").write_text(json.dumps(stored), "utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
