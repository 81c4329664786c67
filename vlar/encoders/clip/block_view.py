"""One view of a CLIP's transformer blocks, whichever library built the model.

A view holds references to the parameters, never copies: gradients reach the model and a change of
the weights shows at once. Adapters that work inside a tower are written against it once.
``view_openclip`` and ``view_hf`` build it.

Letters: N images or texts, L tokens, D width of the tower, H heads, E width of the joint space.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

_on = False


@contextlib.contextmanager
def recomputing(wanted: bool) -> Generator[None]:
    """Context in which ``block`` keeps no intermediate values, where that is wanted."""
    global _on
    before, _on = _on, wanted
    try:
        yield
    finally:
        _on = before


def recomputed_block(function: Callable[..., Any], *inputs: Any) -> Any:
    """``function(*inputs)``, one block of a tower.

    Random draws are the same when it is computed again, also those of several processes.
    """
    if not _on or not torch.is_grad_enabled():
        return function(*inputs)
    from torch.utils import _python_dispatch
    from torch.utils.checkpoint import checkpoint

    mode = _python_dispatch._get_current_dispatch_mode()  # pyright: ignore[reportPrivateUsage]

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), nullcontext() if mode is None else mode

    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)


_QUICK = 1.702  # QuickGELU(x) = x * sigmoid(1.702 x), the activation of OpenAI's CLIP
_MLP_ROWS = 512  # hidden rows at a time on a CPU: the hidden layer then stays in the cache

#: Activations between the two layers of an MLP, by name.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": lambda x: x * torch.sigmoid(_QUICK * x),
    "gelu": F.gelu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


@dataclass(frozen=True)
class BlockView:
    """A pre-norm transformer block: ``x + attention(ln_1(x))``, then ``x + mlp(ln_2(x))``.

    Attributes:
        ln_1: Norm before the attention.
        ln_2: Norm before the MLP.
        heads: H.
        in_proj: ``in_proj(first, last)`` gives weight ((last - first) * D, D) and bias of the
            projections ``first`` to ``last`` of (0 query, 1 key, 2 value).
        out_proj: (D, D), after the heads.
        fc1: (D, 4D), first layer of the MLP.
        fc2: (4D, D), second layer.
        activation: ``quick_gelu``, ``gelu`` or ``gelu_pytorch_tanh``.
    """

    ln_1: nn.Module
    ln_2: nn.Module
    heads: int
    in_proj: Callable[[int, int], tuple[Tensor, Tensor | None]]
    out_proj: nn.Linear
    fc1: nn.Linear
    fc2: nn.Linear
    activation: str

    def project(self, normed: Tensor, first: int = 0, last: int = 3) -> Tensor:
        """Queries, keys and values in one product: (..., D) to (..., (last - first) * D)."""
        weight, bias = self.in_proj(first, last)
        return F.linear(normed, weight, bias)

    def split_heads(self, projected: Tensor) -> Tensor:
        """(N, L, D) to (N, H, L, D / H), without a copy."""
        return projected.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attention over heads (N, H, L, D / H), then ``out_proj``; (N, L, D)."""
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def attend(self, x: Tensor, bias: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """``x + attention(ln_1(x))`` within each of the N sequences; (N, L, D)."""
        parts = self.project(self.ln_1(x)).chunk(3, dim=-1)
        query, key, value = (self.split_heads(part) for part in parts)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, is_causal=causal and bias is None
        )
        return add(x, self.out_proj(mixed.transpose(1, 2).flatten(2)))

    def attend_rows(self, x: Tensor, rows: Tensor, *, causal: bool = False) -> Tensor:
        """``attend`` for one query row of each sequence: (N, L, D) and (N,) to (N, 1, D)."""
        picked = torch.arange(len(x), device=x.device), rows
        normed = self.ln_1(x)
        query = self.split_heads(self.project(normed[picked][:, None], 0, 1))
        key, value = (self.split_heads(p) for p in self.project(normed, 1, 3).chunk(2, dim=-1))
        bias = None
        if causal:
            later = torch.arange(x.shape[1], device=x.device) > rows[:, None]
            bias = torch.zeros(later.shape, dtype=query.dtype, device=x.device)
            bias = bias.masked_fill(later, float("-inf"))[:, None, None]
        return x[picked][:, None] + self.mix(query, key, value, bias)

    def feed(self, x: Tensor) -> Tensor:
        """``x + mlp(ln_2(x))``; (..., D).

        Where no gradient is wanted ``x`` itself may be overwritten.
        """
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return x + self.mlp(self.ln_2(x))
        flat = x.reshape(-1, x.shape[-1])
        for part in flat.tensor_split(-(-len(flat) // _MLP_ROWS)):  # equal parts, rounded up
            part.add_(self.mlp(self.ln_2(part)))
        return flat.view(x.shape)

    def whole(self, x: Tensor, causal: bool = False) -> Tensor:
        """Attention and MLP; (N, L, D)."""
        return self.feed(self.attend(x, causal=causal))

    def mlp(self, normed: Tensor) -> Tensor:
        """The two layers; (..., D).

        QuickGELU is SiLU of 1.702 x divided by 1.702; both factors ride on the matrix products.
        """
        plain = type(self.fc1) is nn.Linear and type(self.fc2) is nn.Linear
        # A quantizer supports plain products only.
        plain = plain and not torch.onnx.is_in_onnx_export()
        if self.activation != "quick_gelu" or not plain:
            return self.fc2(ACTIVATIONS[self.activation](self.fc1(normed)))
        flat = normed.reshape(-1, normed.shape[-1])
        hidden = torch.addmm(self.fc1.bias, flat, self.fc1.weight.t(), beta=_QUICK, alpha=_QUICK)
        hidden = F.silu(hidden, inplace=not torch.is_grad_enabled())
        out = torch.addmm(self.fc2.bias, hidden, self.fc2.weight.t(), alpha=1 / _QUICK)
        return out.view(normed.shape)


@dataclass(frozen=True)
class VisionView:
    """An image tower with a class token.

    Attributes:
        blocks: The transformer blocks, first to last.
        stem: Images (N, 3, height, width) to tokens (N, L, D) with positions, class token first.
        ln_pre: Norm of these tokens.
        ln_post: Norm of the output tokens.
        project: (..., D) to (..., E).
        width: D.
        n_patches: Patches of an image at the size of the tower.
    """

    blocks: tuple[BlockView, ...]
    stem: Callable[[Tensor], Tensor]
    ln_pre: nn.Module
    ln_post: nn.Module
    project: Callable[[Tensor], Tensor]
    width: int
    n_patches: int

    def embed(self, images: Tensor) -> Tensor:
        """Images (N, 3, height, width) to the tokens (N, L, D) of the first block."""
        return self.ln_pre(self.stem(images))

    def joint(self, tokens: Tensor) -> Tensor:
        """Tokens of the last block to the joint space: (..., D) to (..., E)."""
        return self.project(self.ln_post(tokens))

    def patches(self, images: Tensor) -> Tensor:
        """Images (N, 3, height, width) to the patches of each, (N, rows, columns, E)."""
        x = self.embed(images)
        for block in self.blocks:
            x = block.whole(x)
        rows = round(((x.shape[1] - 1) * images.shape[2] / images.shape[3]) ** 0.5)
        return self.joint(x[:, 1:]).unflatten(1, (rows, -1))

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, height, width) to features (N, E), not normalised."""
        x = self.embed(images)
        for block in self.blocks[:-1]:
            x = recomputed_block(block.whole, x)
        first = torch.zeros(len(x), dtype=torch.long, device=x.device)
        last = self.blocks[-1]
        return self.joint(last.feed(last.attend_rows(x, first))[:, 0])


@dataclass(frozen=True)
class TextView:
    """A causal text tower that is read at its end-of-text token.

    Attributes:
        blocks: The transformer blocks, first to last.
        token_embedding: Token ids to (..., W).
        positions: (max tokens, W).
        ln_final: Norm of the output tokens.
        project: (..., W) to (..., E).
        end: Token ids (N, L) to the index (N,) of the end-of-text token.
        width: W.
    """

    blocks: tuple[BlockView, ...]
    token_embedding: nn.Embedding
    positions: Tensor
    ln_final: nn.Module
    project: Callable[[Tensor], Tensor]
    end: Callable[[Tensor], Tensor]
    width: int

    def joint(self, tokens: Tensor) -> Tensor:
        """Tokens of the last block to the joint space: (..., W) to (..., E)."""
        return self.project(self.ln_final(tokens))

    def cut(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids up to the last end-of-text token, and its index in each text, on the tower's device.

        Ids (N, L) in memory let the host go on; those on a device make it wait for the length.
        """
        end, device = self.end(ids), self.positions.device
        return ids[:, : int(end.max()) + 1].to(device), end.to(device)

    def features(self, ids: Tensor) -> Tensor:
        """Token ids (N, L) to features (N, E), not normalised.

        Positions behind the last end-of-text token are cut, and the last block runs for the
        end-of-text row only: causal attention makes both exact.
        """
        ids, end = self.cut(ids)
        x = self.token_embedding(ids).to(self.positions.dtype) + self.positions[: ids.shape[1]]
        for block in self.blocks[:-1]:
            x = recomputed_block(block.whole, x, True)
        last = self.blocks[-1]
        return self.joint(last.feed(last.attend_rows(x, end, causal=True))[:, 0])


def add(x: Tensor, change: Tensor) -> Tensor:
    """``x + change``; in place where no gradient is wanted."""
    return x + change if torch.is_grad_enabled() else x.add_(change)
