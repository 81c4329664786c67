"""The block view of an open_clip model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from vlar.encoders.clip.block_view import BlockView, TextView, VisionView
from vlar.errors import ModelError


def vision_view(model: nn.Module) -> VisionView:
    """The view of ``model.visual``.

    Raises:
        ModelError: the tower is not a plain ViT with a class token; the message says what it is.
    """
    tower: Any = model.visual
    if not isinstance(tower, VisionTransformer):
        raise _no_view(f"its image tower is a {type(tower).__name__}, not open_clip's own ViT")
    if tower.pool_type != "tok" or tower.attn_pool is not None:
        raise _no_view("its image tower has no class token that is read out")
    return VisionView(
        blocks=_blocks(tower.transformer.resblocks),
        stem=_stem(tower),
        ln_pre=tower.ln_pre,
        ln_post=tower.ln_post,
        project=_project(tower, "proj"),
        width=tower.transformer.width,
        n_patches=tower.grid_size[0] * tower.grid_size[1],
    )


def text_view(model: nn.Module) -> TextView:
    """The view of the text tower of a ``CLIP`` or ``CustomTextCLIP``.

    Raises:
        ModelError: the tower is not causal or not read at its end-of-text token.
    """
    tower: Any = getattr(model, "text", model)
    pool = getattr(tower, "pool_type", None) or getattr(tower, "text_pool_type", None)
    if not hasattr(tower, "transformer") or not hasattr(tower, "token_embedding"):
        raise _no_view(f"its text tower is a {type(tower).__name__}")
    if tower.attn_mask is None or pool != "argmax" or getattr(tower, "cls_emb", None) is not None:
        raise _no_view("its text tower is not a causal one read at the end-of-text token")
    return TextView(
        blocks=_blocks(tower.transformer.resblocks),
        token_embedding=tower.token_embedding,
        positions=tower.positional_embedding,
        ln_final=tower.ln_final,
        project=_project(tower, "text_projection"),
        end=lambda ids: ids.argmax(dim=-1),
        width=tower.transformer.width,
    )


def _blocks(modules: Any) -> tuple[BlockView, ...]:
    return tuple(_block(module) for module in modules)


def _block(module: Any) -> BlockView:
    attention = module.attn
    plain = isinstance(attention, nn.MultiheadAttention) and all(
        isinstance(s, nn.Identity) for s in (module.ls_1, module.ls_2)
    )
    if not plain:
        raise _no_view("its blocks are not CLIP's plain ones (layer scale or normed queries)")
    activation = "quick_gelu" if isinstance(module.mlp.gelu, QuickGELU) else "gelu"
    if getattr(module.mlp.gelu, "approximate", "none") == "tanh":
        activation = "gelu_pytorch_tanh"
    return BlockView(
        ln_1=module.ln_1,
        ln_2=module.ln_2,
        heads=attention.num_heads,
        in_proj=_packed(attention),
        out_proj=attention.out_proj,
        fc1=module.mlp.c_fc,
        fc2=module.mlp.c_proj,
        activation=activation,
    )


def _packed(attention: Any) -> Callable[[int, int], tuple[Tensor, Tensor | None]]:
    width: int = attention.embed_dim

    def rows(first: int, last: int) -> tuple[Tensor, Tensor | None]:
        part = slice(first * width, last * width)
        bias = attention.in_proj_bias
        return attention.in_proj_weight[part], None if bias is None else bias[part]

    return rows


def _project(tower: Any, name: str) -> Callable[[Tensor], Tensor]:
    def project(tokens: Tensor) -> Tensor:
        weight = getattr(tower, name)
        if weight is None:
            return tokens
        return weight(tokens) if isinstance(weight, nn.Module) else tokens @ weight

    return project


def _stem(tower: VisionTransformer) -> Callable[[Tensor], Tensor]:
    def stem(images: Tensor) -> Tensor:
        patches = tower.conv1(images).flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        return torch.cat([first, patches], dim=1) + tower.positional_embedding.to(patches.dtype)

    return stem


def _no_view(why: str) -> ModelError:
    return ModelError(
        f"this model shows no transformer blocks to an adapter: {why}; "
        "use a CLIP with a plain ViT, for example openclip:ViT-B-16-quickgelu/openai"
    )
