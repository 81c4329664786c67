"""``masked``: a VideoMAE V2 network learns from unlabelled clips, by predicting hidden patches.

Wang et al., "VideoMAE V2: scaling video masked autoencoders with dual masking", CVPR 2023. The
decoder is dropped; the tower stays in ``own-net``, for examples or for another training.

Letters: N clips, T frames.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vlar.adapters.settings import setting
from vlar.errors import DecodeError, SupportError, UsageError
from vlar.heads.support import SupportItem
from vlar.media.lookup import reader
from vlar.methods.released.video_mae import (
    VideoMaeV2,
    VideoMaeV2Pretraining,
    running_cells,
    tube_mask,
)
from vlar.methods.video_net.own import OwnNetwork
from vlar.model.adapt import Adapted
from vlar.model.adapt_report import AdaptReport, TrainingReport
from vlar.model.core import ModelCore
from vlar.model.method import AdaptTask
from vlar.registry import register
from vlar.training.data import clip_pixels
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.learners import Learner
from vlar.training.task import TrainingTask
from vlar.types import Failure

_DECODER = 512, 4  # the widest, and its blocks


@register("learner", "masked", status="null here")
@dataclass(frozen=True)
class Masked(Learner):
    """Masked pre-training of the encoder's own VideoMAE V2 on unlabelled clips, saved whole.

    Example: ``vlar adapt --unlabelled clips/ --model videomae-v2:FILE --method masked-video --out
    mine``, then ``vlar adapt support/ --model mine --out probe``.

    Attributes:
        hidden: Share of the places that the encoder does not read, in every step of time.
        decode_all: Whether all hidden patches are asked (VideoMAE), in place of running cells.
    """

    from_labels: ClassVar[bool] = False
    hidden: float = setting(0.9, above=0, below=1)
    decode_all: bool = False

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Train the tower with a new decoder, which is dropped.

        Raises:
            UsageError: labels or objectives are given, or the network is another one.
            SupportError: no clip can be read.
        """
        if task.support is not None or task.objectives:
            raise UsageError("learner 'masked' takes --unlabelled clips alone, no examples")
        plan = TrainingTask.of(core.encoder, task)
        adapter: Any = plan.attach()
        network = getattr(adapter, "network", None)
        tower = getattr(network, "model", None)
        if not isinstance(network, OwnNetwork) or not isinstance(tower, VideoMaeV2):
            raise UsageError(
                f"learner 'masked' trains VideoMAE V2 alone, and got method {plan.method!r} on "
                f"{core.name!r}; use --method masked-video --model videomae-v2:FILE"
            )
        begin, failed = time.process_time(), dict[str, Failure]()
        whole = pretraining_of(tower, plan.seed)
        numbers, count = plan.numbers, len(task.unlabelled)
        steps = numbers.epochs * math.ceil(count / numbers.batch)
        rates = [numbers.learning_rate * _share(step, steps, numbers) for step in range(steps)]
        optimiser = torch.optim.AdamW(
            whole.train().requires_grad_(True).parameters(),
            betas=(0.9, 0.95),
            weight_decay=numbers.weight_decay,
        )
        draw = torch.Generator().manual_seed(plan.seed)
        if task.progress is not None:
            task.progress(0, total=numbers.epochs * count)
        losses: list[float] = []
        for video in self._batches(adapter, task, numbers, plan.seed, failed):
            for group in optimiser.param_groups:
                group["lr"] = rates[min(len(losses), steps - 1)]
            loss = whole.loss(video, *self._masks(whole, len(video), draw))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        if not losses:
            raise SupportError(f"{count} unlabelled clips, and none can be read; give videos")
        tower.fc_norm.load_state_dict(whole.encoder.norm.state_dict())
        adapter.module.eval().requires_grad_(False)
        adapter.refresh()
        tail = max(1, len(losses) // numbers.epochs)
        first, last = float(np.mean(losses[:tail])), float(np.mean(losses[-tail:]))
        training = TrainingReport(
            plan.method, plan.recipe, len(losses), sum(p.numel() for p in whole.parameters()),
            last, round(time.process_time() - begin, 1),
        )  # fmt: skip
        note = (
            f"the error of hidden patches went from {first:.3f} to {last:.3f}; a mean has about 1"
        )
        report = AdaptReport(
            {}, tuple(failed.values()), None, training, recordings=count - len(failed), note=note
        )
        return Adapted(ModelCore(adapter, templates=adapter.templates), None, report)

    def _batches(
        self,
        adapter: Any,
        task: AdaptTask,
        numbers: Hyperparameters,
        seed: int,
        failed: dict[str, Failure],
    ) -> Iterator[Tensor]:
        """Clips (N, 3, T, H, W) of every epoch, in another order and with other crops each time."""
        random = np.random.default_rng(seed)
        for _ in range(numbers.epochs):
            order = [task.unlabelled[row] for row in random.permutation(len(task.unlabelled))]
            for start in range(0, len(order), numbers.batch):
                clips = list(
                    _pixels(adapter, order[start : start + numbers.batch], numbers, random, failed)
                )
                if task.progress is not None:
                    task.progress(min(numbers.batch, len(order) - start))
                if clips:
                    yield torch.stack(clips)

    def _masks(
        self, whole: VideoMaeV2Pretraining, count: int, draw: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Masks (N, tokens): hidden from the encoder, and not asked of the decoder."""
        steps, side = whole.grid
        hidden = tube_mask(count, steps, side**2, self.hidden, draw)
        if self.decode_all or side % 2:
            return hidden, ~hidden
        variants = torch.randint(4, (count,), generator=draw).tolist()
        cells = torch.stack([running_cells(v, steps, side).flatten() for v in variants])
        return hidden, cells


def pretraining_of(tower: VideoMaeV2, seed: int = 0) -> VideoMaeV2Pretraining:
    """A network of masked pre-training around a tower, whose weights it shares; a new decoder."""
    config = tower.config
    width = min(config["embed_dim"] // 2, _DECODER[0])
    sizes = {
        **{f"encoder_{name}": config[name] for name in ("embed_dim", "depth", "num_heads")},
        "decoder_embed_dim": width,
        "decoder_depth": _DECODER[1],
        "decoder_num_heads": max(config["num_heads"] // 2, 1),
        "decoder_num_classes": 3 * config["tubelet_size"] * config["patch_size"] ** 2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = VideoMaeV2Pretraining({**config, **sizes})
        torch.nn.init.normal_(whole.mask_token, std=0.02)
    whole.encoder.patch_embed, whole.encoder.blocks = tower.patch_embed, tower.blocks
    whole.encoder.norm.load_state_dict(tower.fc_norm.state_dict())
    return whole


def _pixels(
    adapter: Any,
    items: Sequence[SupportItem],
    numbers: Hyperparameters,
    random: np.random.Generator,
    failed: dict[str, Failure],
) -> Iterator[Tensor]:
    """Pixels (3, T, H, W) of recordings; one that cannot be read is noted once."""
    for item in items:
        try:
            clip = reader("video").read_clip(item.path, item.window, adapter.source.sampling)
        except DecodeError as error:
            failed[str(item.path)] = Failure(item.path, error.kind, error.message)
            continue
        yield clip_pixels(clip.data, adapter.source.pixels, numbers, random).transpose(0, 1)


def _share(step: int, steps: int, numbers: Hyperparameters) -> float:
    """Share of the learning rate at a step: a rise over the warm-up, then a cosine."""
    warm = steps * numbers.warmup_epochs / numbers.epochs
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(steps - warm, 1))
