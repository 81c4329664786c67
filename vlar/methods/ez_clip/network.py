"""EZ-CLIP on the towers of a CLIP: the differentiable whole.

Letters: N videos, T frames, C labels, E joint width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, setting
from vlar.encoders.clip.block_view import BlockView, TextView, VisionView, add
from vlar.language.prompts import check_template_set
from vlar.training.trainable import TrainingOutput, drawn_once

Prompts = Literal["deep", "shallow", "none"]
_FAN_IN = 3 * 16 * 16  # of the prompts' start, whatever the patch size
_ROWS = 512  # rows at a time on a CPU: what lies between two products then stays in the cache
Record = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class EzClipConfig(Settings):
    """Settings of an EZ-CLIP and its training. The defaults are the paper's, but for the drops.

    Attributes:
        prompts: Temporal prompts in every image block (``deep``), in the first (``shallow``), or
            ``none``.
        n_frames: T, the rows of a prompt. With another number of frames the prompts are resampled
            along time; the original cannot.
        visual_hidden: Inner width of the image tower's adapters; None means a quarter of the
            tower's width, rounded down, and 0 leaves the adapters out.
        text_hidden: The same for the text tower.
        time_adapters: Attention along time per token position before each image block, through a
            bottleneck of its own (AIM, arXiv 2302.03024). The original has it without prompts.
        mix_videos: Add the result of that attention in the order of the original: its frames come
            time first, the tower's video first, so that the videos of a batch mix. For comparisons
            only.
        temporal_embedding: Room for a constant (T, D) that is added to the tokens of frame t. The
            original keeps it at zero.
        motion_weight: Weight of the motion loss; 0 leaves it out.
        target_sharpness: Factor of the label agreement before its softmax becomes the target.
        prompt_dropout: Share of the prompts' entries dropped in training; the original's is 0.1.
        drop: Share of attention weights and of whole residual branches dropped in training in the
            last block of a tower, rising from 0 in the first; the original's is 0.1.
        templates: Prompt set that labels are put into, in training (one drawn per label and step)
            as in use. ``plain`` is the text alone: the original's labels are descriptions.
        logit_scale: Factor from cosine to logit in use; training takes the CLIP's own.
    """

    prompts: Prompts = "deep"
    n_frames: int = setting(8, at_least=1, at_most=1024)
    visual_hidden: int | None = setting(None, at_least=0, at_most=8192)
    text_hidden: int | None = setting(None, at_least=0, at_most=8192)
    time_adapters: bool = False
    mix_videos: bool = False
    temporal_embedding: bool = False
    motion_weight: float = setting(1.0, at_least=0)
    target_sharpness: float = setting(10.0, at_least=0)
    prompt_dropout: float = setting(0.0, at_least=0, below=1)
    drop: float = setting(0.0, at_least=0, below=1)
    templates: str = "plain"
    logit_scale: float = setting(100.0, above=0)

    what: ClassVar[str] = "EZ-CLIP setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        check_template_set(self.templates, f"{self.what} templates")

    def hidden(self, tower: Literal["visual", "text"], width: int) -> int:
        """Inner width of the adapters of a tower of a width; 0 where it has none."""
        chosen = self.visual_hidden if tower == "visual" else self.text_hidden
        return width // 4 if chosen is None else chosen


class EzClipBottleneck(nn.Module):
    """D to h to D with an exact GELU; the caller adds the skip. Zero at its start."""

    def __init__(self, width: int, hidden: int) -> None:
        """Start the layers.

        Args:
            width: D.
            hidden: h.
        """
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D), in the type of ``x`` whatever that of the parameters."""
        hidden = F.gelu(F.linear(x, self.down.weight.to(x.dtype), self.down.bias.to(x.dtype)))
        weight, bias = self.up.weight.to(hidden.dtype), self.up.bias.to(hidden.dtype)
        return F.linear(hidden, weight, bias)


class EzClipParts(nn.Module):
    """The parameters by name.

    Attributes:
        temporal_prompts: (L, T, D) or, shallow, (1, T, D); None without prompts.
        visual_adapters: Per image block (key: its number).
        text_adapters: Per text block.
        time_adapters: Per image block, for its attention along time.
        temporal_embedding: (T, D), a constant; None without it.
    """

    temporal_prompts: nn.Parameter | None
    temporal_embedding: Tensor | None

    def __init__(self, vision: VisionView, text: TextView, config: EzClipConfig) -> None:
        """Build the parts at their start: adapters that change nothing, small random prompts."""
        super().__init__()
        width, depth = vision.width, len(vision.blocks)
        rows = {"deep": depth, "shallow": 1, "none": 0}[config.prompts]
        prompts = torch.empty(rows, config.n_frames, width)
        bound = math.sqrt(6 / (_FAN_IN + width))
        nn.init.uniform_(prompts, -bound, bound)
        self.temporal_prompts = nn.Parameter(prompts) if rows else None
        inner = config.hidden("visual", width)
        self.visual_adapters = _adapters(depth, width, inner)
        self.text_adapters = _adapters(
            len(text.blocks), text.width, config.hidden("text", text.width)
        )
        self.time_adapters = _adapters(
            depth, width, (inner or width // 4) if config.time_adapters else 0
        )
        constant = torch.zeros(config.n_frames, width) if config.temporal_embedding else None
        self.register_buffer("temporal_embedding", constant)

    def prompts(self, n_frames: int) -> Sequence[Tensor]:
        """One (T, D) per block that has a prompt, resampled to a number of frames."""
        if self.temporal_prompts is None:
            return ()
        return _resampled(self.temporal_prompts, n_frames).unbind(0)

    def moments(self, n_frames: int) -> Tensor | None:
        """The temporal embedding (T, D), resampled to a number of frames."""
        if self.temporal_embedding is None:
            return None
        return _resampled(self.temporal_embedding[None], n_frames)[0]


def pick(adapters: nn.ModuleDict, block: int) -> EzClipBottleneck | None:
    """The adapter of a block, if it has one."""
    adapter = adapters[str(block)] if adapters else None
    return adapter if isinstance(adapter, EzClipBottleneck) else None


def _adapters(depth: int, width: int, hidden: int) -> nn.ModuleDict:
    blocks = range(depth if hidden else 0)
    return nn.ModuleDict({str(i): EzClipBottleneck(width, hidden) for i in blocks})


def _resampled(rows: Tensor, n_frames: int) -> Tensor:
    """(L, T, D) to another T, linear in time; the same T stays as it is."""
    if rows.shape[1] == n_frames:
        return rows
    moved = F.interpolate(rows.transpose(1, 2), n_frames, mode="linear", align_corners=False)
    return moved.transpose(1, 2)


@dataclass(frozen=True)
class BlockDropout:
    """Dropped parts of a block in training.

    Attributes:
        rate: Share of attention weights, and of samples whose residual branch is left out. The
            original leaves out token positions of the whole batch instead, which its formulas do
            not mean.
        samples: Videos or texts; each owns an equal number of sequences, one after the other.
    """

    rate: float
    samples: int

    def path(self, change: Tensor) -> Tensor:
        """(N, L, D), zero for some samples and larger for the others."""
        keep = 1 - self.rate
        mask = (torch.rand(self.samples, device=change.device) < keep).to(change.dtype) / keep
        return change * mask.repeat_interleave(len(change) // self.samples)[:, None, None]


def drops(most: float, depth: int, samples: int) -> list[BlockDropout | None]:
    """Dropout of each of ``depth`` blocks: none in the first, ``most`` in the last."""
    rates = [most * i / max(1, depth - 1) for i in range(depth)]
    return [BlockDropout(rate, samples) if rate else None for rate in rates]


def attention(
    block: BlockView, x: Tensor, drop: BlockDropout | None = None, *, causal: bool = False
) -> Tensor:
    """The block's attention of ``ln_1(x)``, without its residual; (N, L, D)."""
    parts = block.project(block.ln_1(x)).chunk(3, dim=-1)
    query, key, value = (block.split_heads(part) for part in parts)
    rate = drop.rate if drop else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=causal)
    change = block.out_proj(mixed.transpose(1, 2).flatten(2))
    return drop.path(change) if drop else change


def attend(
    block: BlockView,
    x: Tensor,
    rows: Tensor | None = None,
    drop: BlockDropout | None = None,
    *,
    causal: bool = False,
) -> Tensor:
    """``x + attention(x)``: (N, L, D), or (N, 1, D) for one row (N,) of each sequence."""
    if drop is None:
        if rows is None:
            return block.attend(x, causal=causal)
        return block.attend_rows(x, rows, causal=causal)
    x = x + attention(block, x, drop, causal=causal)
    return x if rows is None else x[torch.arange(len(x), device=x.device), rows][:, None]


def finish(
    block: BlockView, adapter: EzClipBottleneck | None, x: Tensor, drop: BlockDropout | None = None
) -> Tensor:
    """The adapter with its skip, then the MLP with its residual; (N, L, D).

    Where no gradient is wanted ``x`` itself may be overwritten.
    """
    if drop is not None:
        x = x if adapter is None else x + adapter(x)
        return x + drop.path(block.mlp(block.ln_2(x)))
    if adapter is None:
        return block.feed(x)
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return block.feed(x + adapter(x))
    flat = x.reshape(-1, x.shape[-1])
    for part in flat.tensor_split(-(-len(flat) // _ROWS)):  # equal parts, rounded up
        part.add_(adapter(part))
        block.feed(part)
    return flat.view(x.shape)


def encode_texts(
    view: TextView,
    parts: EzClipParts,
    config: EzClipConfig,
    ids: Tensor,
    depth: int,
    *,
    training: bool = False,
) -> Tensor:
    """Run the tower.

    Positions behind the last end-of-text token are cut, and the last block runs for the
    end-of-text row only: causal attention makes both exact.

    Args:
        view: The CLIP text tower.
        parts: The adapters.
        config: Settings.
        ids: (C, L) token ids.
        depth: Blocks of the image tower, by which the original counts the share that is dropped.
        training: Apply the dropout of the settings.

    Returns:
        (C, E), not normalised.
    """
    ids, end = view.cut(ids)
    x = view.token_embedding(ids).to(view.positions.dtype) + view.positions[: ids.shape[1]]
    dropped = drops(config.drop if training else 0.0, max(depth, len(view.blocks)), len(ids))
    for i, block in enumerate(view.blocks):
        rows = end if i == len(view.blocks) - 1 else None
        x = attend(block, x, rows, dropped[i], causal=True)
        x = finish(block, pick(parts.text_adapters, i), x, dropped[i])
    return view.joint(x[:, 0])


def encode_clips(
    view: VisionView,
    parts: EzClipParts,
    config: EzClipConfig,
    videos: Tensor,
    record: Record | None = None,
    *,
    training: bool = False,
) -> Tensor:
    """Run the tower.

    Args:
        view: The CLIP image tower.
        parts: Prompts and adapters.
        config: Settings.
        videos: (B, T, 3, height, width), normalised pixels.
        record: Called with a name and a tensor at each intermediate result; tests use it. The
            last block is then computed in full.
        training: Apply the dropout of the settings.

    Returns:
        (B, T, E), not normalised.
    """
    batch, n_frames = videos.shape[:2]
    x = _tokens(view, parts, videos)
    note = record or _ignore
    note("ln_pre.out", x)
    n_tokens = x.shape[1]
    first = torch.zeros(len(x), dtype=torch.long, device=x.device)
    prompts = parts.prompts(n_frames)
    dropped = drops(config.drop if training else 0.0, len(view.blocks), batch)
    for i, (block, drop) in enumerate(zip(view.blocks, dropped, strict=True)):
        time = pick(parts.time_adapters, i)
        if time is not None:
            mixed = _along_time(block, x, batch, drop, mixed=config.mix_videos)
            x = add(x, time(mixed.flatten(0, 1)))
        if i < len(prompts):
            prompt = prompts[i]
            if training:
                with drawn_once():
                    prompt = F.dropout(prompt, config.prompt_dropout)
            frames = x[:, :n_tokens].mean(dim=1).unflatten(0, (batch, n_frames))
            query = (frames + prompt).to(x.dtype)
            token = attention(block, query, drop)
            note(f"prompt{i}.query", query)
            note(f"prompt{i}.token", token)
            x = _with_token(x, n_tokens, token.flatten(0, 1))
        elif x.shape[1] > n_tokens:
            x = x[:, :n_tokens].contiguous()
        read = first if record is None and i == len(view.blocks) - 1 else None
        x = finish(block, pick(parts.visual_adapters, i), attend(block, x, read, drop), drop)
        note(f"block{i}.out", x[:, :n_tokens])
    return view.joint(x[:, 0]).unflatten(0, (batch, n_frames))


def _tokens(view: VisionView, parts: EzClipParts, videos: Tensor) -> Tensor:
    """(B T, L, D), what the first block reads."""
    x = view.stem(videos.flatten(0, 1))
    moments = parts.moments(videos.shape[1])
    if moments is not None:
        x = x + moments.to(x.dtype).repeat(len(videos), 1)[:, None]
    x = view.ln_pre(x)
    return x.float() if torch.is_autocast_enabled(x.device.type) else x


def _with_token(x: Tensor, n_tokens: int, token: Tensor) -> Tensor:
    """Frames (B T, L or L + 1, D) with their extra token (B T, D) behind their own."""
    if torch.is_grad_enabled() or x.shape[1] == n_tokens:
        return torch.cat([x[:, :n_tokens], token[:, None].to(x.dtype)], dim=1)
    x[:, n_tokens] = token
    return x


def _along_time(
    block: BlockView, x: Tensor, batch: int, drop: BlockDropout | None, *, mixed: bool
) -> Tensor:
    """Attention along time per token position, without residual; (B, T, L, D).

    ``mixed`` gives (T, B, L, D) instead, which its caller reads as if it were video first.
    """
    places = x.unflatten(0, (batch, -1)).transpose(1, 2)  # (B, L, T, D)
    attended = attention(block, places.flatten(0, 1), drop).view(places.shape)
    return attended.permute(2, 0, 1, 3) if mixed else attended.transpose(1, 2)


def _ignore(name: str, tensor: Tensor) -> None:
    del name, tensor


def agreement(targets: Tensor) -> Tensor:
    """Agreement of the labels of any two clips: the cosine of their shares.

    With one-hot shares 1 for the same label, else 0; a clip always agrees with itself, also where
    its labels are smoothed or mixed.

    Args:
        targets: (N, C) shares.

    Returns:
        (N, N) float32, 0 to 1.
    """
    shares = F.normalize(targets.float(), dim=-1)
    return shares @ shares.T


def softened_contrastive(logits: Tensor, agree: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    """Kullback-Leibler divergence from the softened agreement (EZ-CLIP, arXiv 2312.08010).

    Args:
        logits: (N, N), scaled cosines of clips and of the texts of their labels.
        agree: (N, N), from ``agreement``.
        sharpness: Factor on the agreement before the softmax that makes the target of it.

    Returns:
        The divergence from clips to texts, and from texts to clips.
    """
    target = (sharpness * agree).softmax(dim=-1)

    def divergence(found: Tensor) -> Tensor:
        return F.kl_div(found.log_softmax(dim=-1), target, reduction="batchmean")

    return divergence(logits), divergence(logits.T)


def motion_loss(frames: Tensor) -> Tensor:
    """``1 / (1 + C + V)``: small where frame features change over time (EZ-CLIP, arXiv 2312.08010).

    C is the mean absolute central difference with repeated ends, V the mean unbiased variance
    over time. A still clip gives 1, and so does a single frame. Computed in float32.

    Args:
        frames: (N, T, E), not normalised: the loss depends on their length.
    """
    frames = frames.float()
    if frames.shape[1] == 1:
        return frames.new_ones(())
    later = torch.cat([frames[:, 1:], frames[:, -1:]], dim=1)
    sooner = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    change = (later - sooner).abs().mean() / 2
    return 1 / (change + frames.var(dim=1).mean() + 1)


@dataclass(frozen=True)
class EzClipNetwork:
    """Views of a CLIP's towers, EZ-CLIP's own parts and the settings.

    Attributes:
        vision: Image tower.
        text: Text tower.
        parts: The parameters EZ-CLIP adds.
        config: Settings.
        log_scale: Gives the log of the factor from cosine to logit.
    """

    vision: VisionView
    text: TextView
    parts: EzClipParts
    config: EzClipConfig
    log_scale: Callable[[], Tensor]

    @classmethod
    def build(
        cls,
        vision: VisionView,
        text: TextView,
        config: EzClipConfig,
        log_scale: Callable[[], Tensor],
    ) -> EzClipNetwork:
        """Build the network at its start: adapters that change nothing, small random prompts."""
        return cls(vision, text, EzClipParts(vision, text, config), config, log_scale)

    def frames(
        self, videos: Tensor, record: Record | None = None, *, training: bool = False
    ) -> Tensor:
        """Videos (N, T, 3, height, width) to frame features (N, T, E), not normalised."""
        return encode_clips(self.vision, self.parts, self.config, videos, record, training=training)

    def texts(self, ids: Tensor, *, training: bool = False) -> Tensor:
        """Token ids (C, L) to features (C, E), not normalised."""
        depth = len(self.vision.blocks)
        return encode_texts(self.text, self.parts, self.config, ids, depth, training=training)

    def step(
        self,
        videos: Tensor,
        targets: Tensor,
        ids: Tensor,
        known: Tensor | None = None,
        spread: Callable[..., Tensor] | None = None,
        shown: Sequence[int] | None = None,
    ) -> TrainingOutput:
        """One step of training.

        The batch is its own set of candidates: each video meets the texts of all the batch, its
        own text being the mean of its labels' unit vectors by their shares. Texts of labels
        without a share in the batch are encoded for the logits alone, without gradient.

        Args:
            videos: (N, T, 3, height, width), normalised pixels.
            targets: (N, C), the share of each label.
            ids: (C, L) token ids of the labels.
            known: (N,) bool, False for an unlabelled video, which the losses leave out; None where
                all are labelled.
            spread: Shares the videos between processes; None in one process. Settings that mix the
                videos of a batch leave them together.
            shown: Labels with a share; None where they must be looked up.
        """
        frames_of = partial(self.frames, training=True)
        if self.config.mix_videos or spread is None:
            frames = frames_of(videos)
        else:
            frames = spread(frames_of, videos)
        if shown is None:
            shown = (targets > 0).any(dim=0).nonzero()[:, 0].tolist()
        words = self._words(ids, shown)
        with torch.autocast(frames.device.type, enabled=False):
            frames, targets = frames.float(), targets.float()
            words = F.normalize(words.float(), dim=-1)
            vectors = F.normalize(frames.mean(dim=1), dim=-1)
            video = self.log_scale().exp().float() * vectors
            losses = self._losses(video, targets, frames, words, known)
            return TrainingOutput(video @ words.T, losses, frames, words, vectors)

    def _words(self, ids: Tensor, shown: Sequence[int]) -> Tensor:
        """Features (C, E) of all labels, with a gradient to those that are shown."""
        others = sorted(set(range(len(ids))).difference(shown))
        parts = [self.texts(ids[list(shown)], training=True)] if shown else []
        if others:
            with torch.no_grad():
                parts.append(self.texts(ids[others]))
        place = torch.tensor([*shown, *others]).argsort().to(parts[0].device)
        return torch.cat([part.to(parts[0].dtype) for part in parts])[place]

    def _losses(
        self, video: Tensor, targets: Tensor, frames: Tensor, words: Tensor, known: Tensor | None
    ) -> dict[str, Tensor]:
        if known is not None:
            video, targets, frames = video[known], targets[known], frames[known]
        if not len(video):
            return {"total": frames.sum()}
        between = video @ F.normalize(targets @ words, dim=-1).T
        image_kl, text_kl = softened_contrastive(
            between, agreement(targets), self.config.target_sharpness
        )
        losses = {"image_kl": image_kl, "text_kl": text_kl}
        total = (image_kl + text_kl) / 2
        if self.config.motion_weight:
            losses["motion"] = motion_loss(frames)
            total = total + self.config.motion_weight * losses["motion"]
        return {"total": total, **losses}
