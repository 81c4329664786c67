"""The block view of a transformers CLIP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vlar.encoders.clip.block_view import BlockView, TextView, VisionView
from vlar.errors import ModelError


def vision_view(model: Any) -> VisionView:
    """The view of a ``CLIPModel``'s image tower.

    Raises:
        ModelError: the model is of another family.
    """
    _check(model)
    tower = model.vision_model
    return VisionView(
        blocks=_blocks(tower.encoder.layers, tower.config),
        stem=tower.embeddings,
        ln_pre=tower.pre_layrnorm,
        ln_post=tower.post_layernorm,
        project=model.visual_projection,
        width=tower.config.hidden_size,
        n_patches=tower.embeddings.num_patches,
    )


def text_view(model: Any) -> TextView:
    """The view of a ``CLIPModel``'s text tower.

    Raises:
        ModelError: the model is of another family.
    """
    _check(model)
    tower = model.text_model
    return TextView(
        blocks=_blocks(tower.encoder.layers, tower.config),
        token_embedding=tower.embeddings.token_embedding,
        positions=tower.embeddings.position_embedding.weight,
        ln_final=tower.final_layer_norm,
        project=model.text_projection,
        end=_end(tower.config.eos_token_id),
        width=tower.config.hidden_size,
    )


def _check(model: Any) -> None:
    family = model.config.model_type
    if family != "clip":
        raise ModelError(
            f"this model shows no transformer blocks to an adapter: it is of the {family!r} "
            "family; use a CLIP, for example hf:openai/clip-vit-base-patch16"
        )


def _blocks(layers: Any, config: Any) -> tuple[BlockView, ...]:
    return tuple(
        BlockView(
            ln_1=layer.layer_norm1,
            ln_2=layer.layer_norm2,
            heads=config.num_attention_heads,
            in_proj=_joined(layer.self_attn),
            out_proj=layer.self_attn.out_proj,
            fc1=layer.mlp.fc1,
            fc2=layer.mlp.fc2,
            activation=config.hidden_act,
        )
        for layer in layers
    )


def _joined(attention: Any) -> Callable[[int, int], tuple[Tensor, Tensor | None]]:
    def rows(first: int, last: int) -> tuple[Tensor, Tensor | None]:
        parts: list[nn.Linear] = [attention.q_proj, attention.k_proj, attention.v_proj][first:last]
        if len(parts) == 1:
            return parts[0].weight, parts[0].bias
        weight = torch.cat([part.weight for part in parts])
        return weight, torch.cat([part.bias for part in parts])

    return rows


def _end(eos_token_id: int) -> Callable[[Tensor], Tensor]:
    # Checkpoints made before transformers 4.31 state eos = 2 and mean "the highest id".
    if eos_token_id == 2:
        return lambda ids: ids.argmax(dim=-1)
    return lambda ids: (ids == eos_token_id).int().argmax(dim=-1)
