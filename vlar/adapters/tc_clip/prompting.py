"""Learnable prompts that a video updates: the trained parts of TC-CLIP's text side.

Letters: B videos, n prompt vectors, k context tokens, W text width, E joint width.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.encoders.clip.block_view import BlockView


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.sigmoid(1.702 * x)


class VideoPrompting(nn.Module):
    """One transformer layer in which the prompts look at the context tokens of a video."""

    def __init__(self, block: BlockView, width: int, joint: int) -> None:
        """Shaped after, and where the widths allow started as a copy of, a text block.

        Args:
            block: The text block that follows.
            width: W.
            joint: E.
        """
        super().__init__()
        hidden = block.fc1.out_features
        self.attn = nn.MultiheadAttention(
            width, block.heads, kdim=joint, vdim=joint, batch_first=True
        )
        self.ln_1 = nn.LayerNorm(width)
        self.ln_1_kv = nn.LayerNorm(joint)
        self.ln_2 = nn.LayerNorm(width)
        activation = QuickGELU() if block.activation == "quick_gelu" else nn.GELU()
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, hidden), gelu=activation, c_proj=nn.Linear(hidden, width)
            )
        )
        self._start(block, copy=width == joint)

    @torch.no_grad()
    def _start(self, block: BlockView, *, copy: bool) -> None:
        if not copy:
            for name, parameter in self.named_parameters():
                if parameter.ndim > 1:
                    nn.init.trunc_normal_(parameter, std=0.02)
                else:
                    nn.init.constant_(parameter, 1.0 if "ln_" in name and "weight" in name else 0.0)
            return
        weight, bias = block.in_proj(0, 3)
        self.attn.in_proj_weight.copy_(weight)
        if bias is not None:
            self.attn.in_proj_bias.copy_(bias)
        self.attn.out_proj.load_state_dict(block.out_proj.state_dict())
        self.ln_1.load_state_dict(block.ln_1.state_dict())
        self.ln_1_kv.load_state_dict(block.ln_1.state_dict())
        self.ln_2.load_state_dict(block.ln_2.state_dict())
        self.mlp.get_submodule("c_fc").load_state_dict(block.fc1.state_dict())
        self.mlp.get_submodule("c_proj").load_state_dict(block.fc2.state_dict())

    def forward(self, prompts: Tensor, context: Tensor) -> Tensor:
        """Prompts (B, n, W) and context tokens (B, k, E) to prompts (B, n, W)."""
        context = self.ln_1_kv(context)
        change, _ = self.attn(self.ln_1(prompts), context, context, need_weights=False)
        prompts = prompts + change
        return prompts + self.mlp(self.ln_2(prompts))


class TrainedParts(nn.Module):
    """Everything TC-CLIP adds to a CLIP.

    Attributes:
        bias_tables: Per vision block from 1 on (key: its number), (H, 1, 2): the bias of local
            and of context keys.
        prompts: (n, W), the learnable prompt vectors.
        prompting: Per text block that is preceded by it (key: its number), a ``VideoPrompting``.
    """

    def __init__(self, heads: list[int], prompts: Tensor, prompting: dict[int, nn.Module]) -> None:
        """Start the tables; the rest comes built.

        Args:
            heads: H of each vision block.
            prompts: (n, W), the start of the prompt vectors.
            prompting: Layers by text block.
        """
        super().__init__()
        tables = {str(i): torch.empty(h, 1, 2) for i, h in enumerate(heads) if i > 0}
        for table in tables.values():
            nn.init.trunc_normal_(table, std=0.02)
        self.bias_tables = nn.ParameterDict(tables)
        self.prompts = nn.Parameter(prompts.detach().clone())
        self.prompting = nn.ModuleDict({str(i): layer for i, layer in prompting.items()})

    def tables(self) -> dict[int, Tensor]:
        """The bias tables by vision block."""
        return {int(name): table for name, table in self.bias_tables.items()}

    def levels(self) -> tuple[int, ...]:
        """Text blocks that are preceded by prompting, ascending."""
        return tuple(sorted(int(name) for name in self.prompting))


def start_prompts(embedding: nn.Embedding, phrase_ids: list[int], n: int) -> Tensor:
    """(n, W): the embeddings of the phrase, then normal noise of standard deviation 0.02."""
    start = torch.empty(n, embedding.embedding_dim)
    nn.init.normal_(start, std=0.02)
    known = phrase_ids[:n]
    if known:
        ids = torch.tensor(known, device=embedding.weight.device)
        start[: len(known)] = F.embedding(ids, embedding.weight).detach().float().cpu()
    return start
