"""VideoMAE V2 (Wang et al., CVPR 2023), and V1 as transformers stores it, by names of files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlar.methods.released.transformer import Layer, TubeEmbed, sinusoids

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Heads by width, of small to giant; and of the decoders.
HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
DECODER_HEADS = {192: 3, 384: 6, 512: 8}
_QUEUE = (1, 1, 0, 0)


class VideoMaeV2(nn.Module):
    """The fine-tuned tower: (B, 3, T, H, W) -> (B, classes).

    Args:
        config: ``img_size``, ``patch_size``, ``tubelet_size``, ``all_frames``, ``embed_dim``,
            ``depth``, ``num_heads``, ``mlp_ratio``, ``num_classes`` (0: features), ``norm_eps``.
    """

    table: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        width, eps = config["embed_dim"], config["norm_eps"]
        patch, tubelet = config["patch_size"], config["tubelet_size"]
        self.grid = (config["all_frames"] // tubelet, config["img_size"] // patch)
        self.patch_embed = TubeEmbed(width, tubelet, patch)
        table = sinusoids(self.grid[0] * self.grid[1] ** 2, width)
        self.register_buffer("table", table, persistent=False)
        hidden = int(width * config["mlp_ratio"])
        self.blocks = nn.ModuleList(
            Layer(width, config["num_heads"], hidden, split_bias=True, eps=eps)
            for _ in range(config["depth"])
        )
        self.fc_norm = nn.LayerNorm(width, eps)
        classes = config["num_classes"]
        self.head = nn.Linear(width, classes) if classes else nn.Identity()

    def positions(self, frames: int, rows: int, columns: int) -> Tensor:
        """Positions (1, N, D) of a grid of tokens; those of another grid are interpolated."""
        times, side = self.grid
        if (frames, rows, columns) == (times, side, side):
            return self.table
        table = self.table.view(times, side, side, -1).permute(0, 3, 1, 2)
        table = functional.interpolate(table, (rows, columns), mode="bicubic")
        lines = table.permute(2, 3, 1, 0).flatten(0, 1)  # (rows * columns, D, times)
        lines = functional.interpolate(lines, frames, mode="linear")
        return lines.permute(2, 0, 1).reshape(1, frames * rows * columns, -1)

    def features(self, video: Tensor) -> Tensor:
        """Normed mean (B, D) of the tokens of clips (B, 3, T, H, W)."""
        frames, rows, columns = (
            size // step
            for size, step in zip(video.shape[2:], self.patch_embed.proj.stride, strict=True)
        )
        x = self.patch_embed(video) + self.positions(frames, rows, columns)
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x.mean(1))

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, classes) of clips (B, 3, T, H, W)."""
        return self.head(self.features(video))


class _Encoder(nn.Module):
    table: Tensor

    def __init__(self, config: dict[str, Any], tokens: int) -> None:
        super().__init__()
        width, eps = config["encoder_embed_dim"], config["norm_eps"]
        self.patch_embed = TubeEmbed(width, config["tubelet_size"], config["patch_size"])
        self.register_buffer("table", sinusoids(tokens, width), persistent=False)
        self.blocks = nn.ModuleList(
            Layer(width, config["encoder_num_heads"], int(width * config["mlp_ratio"]), True, eps)
            for _ in range(config["encoder_depth"])
        )
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, video: Tensor, hidden: Tensor) -> Tensor:
        x = self.patch_embed(video) + self.table
        x = x[~hidden].view(len(x), -1, x.shape[-1])
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class _Decoder(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, eps = config["decoder_embed_dim"], config["norm_eps"]
        self.blocks = nn.ModuleList(
            Layer(width, config["decoder_num_heads"], int(width * config["mlp_ratio"]), True, eps)
            for _ in range(config["decoder_depth"])
        )
        self.norm = nn.LayerNorm(width, eps)
        self.head = nn.Linear(width, config["decoder_num_classes"])

    def forward(self, x: Tensor, count: int) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, -count:]))


class VideoMaeV2Pretraining(nn.Module):
    """Masked pre-training with dual masking: asked patches are predicted from visible ones.

    Args:
        config: ``img_size``, ``patch_size``, ``all_frames``, ``encoder_*`` and ``decoder_*``
            (``embed_dim``, ``depth``, ``num_heads``), ``decoder_num_classes``, ``mlp_ratio``,
            ``norm_eps``, ``tubelet_size`` (2).
    """

    table: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        config = {"tubelet_size": 2, **config}
        self.patch, self.tubelet = config["patch_size"], config["tubelet_size"]
        side = config["img_size"] // self.patch
        self.grid = config["all_frames"] // self.tubelet, side
        tokens = self.grid[0] * side**2
        width = config["decoder_embed_dim"]
        self.encoder = _Encoder(config, tokens)
        self.decoder = _Decoder(config)
        self.encoder_to_decoder = nn.Linear(config["encoder_embed_dim"], width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("table", sinusoids(tokens, width), persistent=False)

    def forward(self, video: Tensor, encoder_mask: Tensor, decoder_mask: Tensor) -> Tensor:
        """Predicted patches (B, asked, 3 t p p) of clips (B, 3, T, H, W).

        Args:
            video: The clips.
            encoder_mask: (B, N) bool, True = hidden from the encoder.
            decoder_mask: (B, N) bool, True = not asked.
        """
        visible = self.encoder_to_decoder(self.encoder(video, encoder_mask))
        batch, _, width = visible.shape
        table = self.table.expand(batch, -1, -1)
        tokens = visible + table[~encoder_mask].view(batch, -1, width)
        mask_tokens = self.mask_token + table[~decoder_mask].view(batch, -1, width)
        return self.decoder(torch.cat([tokens, mask_tokens], 1), mask_tokens.shape[1])

    def targets(self, video: Tensor) -> Tensor:
        """Standardised pixels (B, N, 3 t p p) of normalised clips: pixel by pixel, colour last."""
        mean = video.new_tensor(MEAN)[:, None, None, None]
        pixels = video * video.new_tensor(DEVIATION)[:, None, None, None] + mean
        batch, _, frames, rows, columns = pixels.shape
        t, p = self.tubelet, self.patch
        x = pixels.view(batch, 3, frames // t, t, rows // p, p, columns // p, p)
        x = x.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(batch, -1, t * p * p, 3)
        centred = x - x.mean(2, keepdim=True)
        return (centred / (x.std(2, keepdim=True) + 1e-6)).flatten(2)

    def loss(self, video: Tensor, encoder_mask: Tensor, decoder_mask: Tensor) -> Tensor:
        """Mean squared error of the asked patches that the encoder does not read."""
        prediction = self(video, encoder_mask, decoder_mask)
        target = self.targets(video)[~decoder_mask].view_as(prediction)
        counted = encoder_mask[~decoder_mask].view(prediction.shape[:2]).to(prediction)
        errors = (prediction - target).square().mean(-1)
        return (errors * counted).sum() / counted.sum()


def tube_mask(batch: int, steps: int, places: int, share: float, draw: torch.Generator) -> Tensor:
    """Masks (B, steps * places) of the encoder: the same places hidden at each step of a clip."""
    order = torch.rand(batch, places, generator=draw).argsort(1)
    hidden = order < int(share * places)
    return hidden[:, None].expand(batch, steps, places).flatten(1)


def running_cells(variant: int, steps: int, side: int) -> Tensor:
    """Mask (steps, side * side) of the decoder, True = not asked: a cell of 2 x 2 that moves on."""
    rows: list[Tensor] = []
    for step in range(steps):
        cell = [_QUEUE[(i + variant + step + 1) % 4] for i in range(4)]
        tile = torch.tensor(cell, dtype=torch.bool).view(2, 2)
        rows.append(tile.repeat(side // 2, side // 2).flatten())
    return torch.stack(rows)


class _V1Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)


class _V1Layer(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.layernorm_before = nn.LayerNorm(width, 1e-12)
        self.layernorm_after = nn.LayerNorm(width, 1e-12)
        self.attention = nn.ModuleDict(
            {
                "attention": _V1Attention(width),
                "output": nn.ModuleDict({"dense": nn.Linear(width, width)}),
            }
        )
        hidden = config["intermediate_size"]
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = nn.ModuleDict({"dense": nn.Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        maps: Any = self.attention["attention"]
        y = self.layernorm_before(x)
        query, key, value = (
            layer(y).view(batch, tokens, self.heads, -1).transpose(1, 2)
            for layer in (maps.query, maps.key, maps.value)
        )
        y = functional.scaled_dot_product_attention(query, key, value)
        dense: Any = self.attention["output"]
        x = x + dense["dense"](y.transpose(1, 2).reshape(batch, tokens, width))
        y = functional.gelu(self.intermediate["dense"](self.layernorm_after(x)))
        return x + self.output["dense"](y)


class VideoMaeV1(nn.Module):
    """The fine-tuned tower of V1 in the layout of transformers: (B, T, 3, H, W) -> (B, classes).

    Args:
        config: ``image_size``, ``patch_size``, ``num_frames``, ``tubelet_size``, ``hidden_size``,
            ``num_hidden_layers``, ``num_attention_heads``, ``intermediate_size``, ``num_labels``.
    """

    table: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, patch, tubelet = config["hidden_size"], config["patch_size"], config["tubelet_size"]
        size = (tubelet, patch, patch)
        self.videomae = nn.ModuleDict(
            {
                "embeddings": nn.ModuleDict(
                    {
                        "patch_embeddings": nn.ModuleDict(
                            {"projection": nn.Conv3d(3, width, size, size)}
                        )
                    }
                ),
                "encoder": nn.ModuleDict(
                    {
                        "layer": nn.ModuleList(
                            _V1Layer(config) for _ in range(config["num_hidden_layers"])
                        )
                    }
                ),
            }
        )
        tokens = config["num_frames"] // tubelet * (config["image_size"] // patch) ** 2
        self.register_buffer("table", sinusoids(tokens, width), persistent=False)
        self.fc_norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, config["num_labels"])

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits (B, classes) of clips (B, T, 3, H, W)."""
        embed: Any = self.videomae["embeddings"]
        x = embed["patch_embeddings"]["projection"](pixel_values.transpose(1, 2))
        x = x.flatten(2).transpose(1, 2) + self.table
        encoder: Any = self.videomae["encoder"]
        for layer in encoder["layer"]:
            x = layer(x)
        return self.classifier(self.fc_norm(x.mean(1)))
