"""``skeleton-tower``: joints of several people behind the encoder contract, by a published network.

Its presets (``presets.toml``) are the towers of the papers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.encoders.base import Block, Encoder, FrameBlock
from vlar.encoders.sentence_tower import sentence_vectors, text_tower
from vlar.errors import UsageError
from vlar.language.motion.verb_table import VerbTable
from vlar.methods.body_parts.adapter import part_contrastive
from vlar.methods.clauses import PARTS, part_clauses
from vlar.methods.skeleton_towers.config import TowerConfig
from vlar.methods.skeleton_towers.joints import PER_JOINT, Joints
from vlar.methods.skeleton_towers.network import (
    PART_WIDTH,
    Outputs,
    Readout,
    TowerNetwork,
)
from vlar.registry import register
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Float32, JsonDict, Role

_log = logging.getLogger("vlar")
_RANGE = 16.0  # nats; a share below e^-16 counts as that
_PART_SHARE = 0.8  # of the mean of the part losses (GAP)
_AGAINST = 3  # steps of an adversarial training along the gradient


@register("adapter", "skeleton-tower", status="in the spirit")
class SkeletonTower(ResidualTower):
    """A network on all joints of several people, whose answer is added to the encoder's vector.

    The default is a graph network with a topology for each channel (CTR-GCN, Chen et al. 2021).
    Recordings of any layout are mapped to the tower's. Until it is trained the vectors are the
    encoder's own, and labels without examples are answered by them.

    Reference: CTR-GCN, Chen et al., ICCV 2021, with masks: the base of `gap` and `stc-net`.
    Example: ``vlar adapt skeletons/ --model skeleton --out mine --method skeleton-tower``.

    Attributes:
        network: The differentiable whole.
        config: The settings.
    """

    method, config_type = "skeleton-tower", TowerConfig
    needs: ClassVar[tuple[str, ...]] = ("frames", "pool", "fixed_text", "bodies")
    of_labels: ClassVar[tuple[str, ...]] = ("labels", "memory", "rows", "offsets")
    changes: ClassVar[frozenset[str]] = ResidualTower.changes | {"dim", "blocks", "logit_scale"}
    contract_base: ClassVar[str | None] = None
    names_norms: ClassVar[bool] = True
    network: TowerNetwork
    config: TowerConfig

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Joints:
        """The encoder with the joints of M people."""
        return Joints(encoder, config.layout, config.people, config.normalise)

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """Empty: joints are read as they are."""
        return []

    @classmethod
    def variants(cls, settings: JsonDict) -> list[JsonDict]:
        """Both readouts, where held-out people choose."""
        if settings.get("readout") != "folds":
            return [settings]
        return [{**settings, "readout": readout} for readout in ("classes", "texts")]

    @classmethod
    def settings_from(cls, path: str) -> JsonDict:
        """Settings of a tower that starts from a released file: the network's own sizes.

        Raises:
            UsageError: the file is of another network than the method's.
        """
        from vlar.methods.skeleton_towers.encoder import network_of
        from vlar.methods.skeleton_towers.released import FULL
        from vlar.training.released import read

        name, body = network_of(read(path)[0], Path(path)), cls.preset_settings.get("body", "graph")
        if name != body:
            raise UsageError(f"--from {path} is of the network {name}, and this method is {body}")
        return {"slim": 1.0, "frames": FULL[name].get("num_frames", FULL[name].get("frames", 64))}

    def start_from(self, path: str) -> None:
        """Take the weights of a released file, without its class head.

        Raises:
            UsageError: the tower has several networks, or the file does not fit.
        """
        from vlar.methods.skeleton_towers.released import fill_features

        bodies: list[Any] = list(self.network.bodies)
        if len(bodies) > 1:
            raise UsageError(f"--from {path} is one network, and {self.name} has {len(bodies)}")
        fill_features(self.config.body, bodies[0].network, path)
        self.module.requires_grad_(False)
        self.refresh()

    def build(self) -> TowerNetwork:
        """The network at its start."""
        return TowerNetwork(self.config, self.encoder.dim)

    def rebuild(self, config: Any) -> None:
        super().rebuild(config)
        encoder, count = self.encoder, len(config.labels) if config.readout == "classes" else 0
        self.dim, self.blocks = encoder.dim, encoder.blocks
        self.logit_scale, self._columns = encoder.logit_scale, dict[str, int]()
        if not count:
            return
        # Logits are log shares plus _RANGE for trained labels, and the encoder's own for others.
        wide = _RANGE * math.sqrt(count)
        self.logit_scale = math.hypot(encoder.logit_scale, wide)
        self.dim = encoder.dim + count + 1
        own = [replace(b, weight=b.weight * self._share) for b in encoder.blocks]
        head = Block("classes", count + 1, wide / self.logit_scale, has_text=True)
        self.blocks = (*own, head)
        for column, texts in enumerate(self.label_texts(config.labels)):
            self._columns.update(dict.fromkeys(texts, column))

    @property
    def _share(self) -> float:
        """Norm of the encoder's own vector next to the shares of the classes."""
        return self.encoder.logit_scale / self.logit_scale

    # The class head: shares of the trained labels are a block of the vector.

    def joined(self, pooled: Tensor, scores: Tensor) -> Tensor:
        """Vectors (N, D + C + 1) of unit length whose cosines are the shares of the labels.

        Args:
            pooled: (N, D) of the encoder.
            scores: (K, N, C) of the class heads of K members, whose softmaxes are added.
        """
        count = scores.shape[2]
        shares = scores.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(scores))
        level = (shares / _RANGE + 1).clamp(min=0)
        rest = (count - level.square().sum(dim=1, keepdim=True)).clamp(min=1e-6).sqrt()
        block = torch.cat([level, rest], dim=1) / math.sqrt(count)
        return torch.cat([pooled * self._share, block * math.sqrt(1 - self._share**2)], dim=1)

    def pool(self, features: Float32) -> Float32:
        if not self._columns:
            return super().pool(features)
        pooled = self.pooled(features)
        rows: list[Float32] = []
        with torch.inference_mode():
            for own, clip in zip(torch.from_numpy(pooled), features, strict=True):
                small = torch.from_numpy(self.small(clip[None]))
                scores = self.network.read(small).scores
                assert scores is not None
                if not self.people_seen(small):  # nothing was read: the encoder answers alone
                    rows.append(np.pad(own.numpy(), (0, scores.shape[2] + 1)))
                    continue
                rows.append(self.joined(own[None], scores)[0].numpy())
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def people_seen(self, small: Tensor) -> bool:
        """Report a joint of anybody that is seen in (1, T, K)."""
        return bool(small.view(-1, PER_JOINT)[:, -1].any())

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D); those of labels with a class head are a column of it."""
        if not self._columns:
            return super().encode_text(texts, role)
        own = self.encoder.encode_in_role(texts, role)
        vectors = np.pad(own, ((0, 0), (0, self.dim - own.shape[1])))
        for row, text in enumerate(texts):
            if text in self._columns:
                vectors[row] = 0
                vectors[row, self.encoder.dim + self._columns[text]] = 1
        return vectors

    def fit_inputs(self, features: Float32) -> None:
        """Note where a tower that relates people is given one person a clip.

        Raises:
            UsageError: no clip shows a joint of the layout.
        """
        relates = any(getattr(body, "relates", False) for body in self.network.bodies)
        people = self.small(features).reshape(-1, self.config.people, self.config.joints, PER_JOINT)
        if len(people) and not people[..., -1].any():
            raise UsageError(
                f"none of the recordings shows a joint of layout {self.config.layout!r}; choose "
                "one of their kind (--set layout=NAME), or convert them with "
                "vlar.media.skeleton.layouts.remap"
            )
        if relates and not people[:, 1:, :, -1].any():
            _note_one_person(self.name)

    def small(self, features: Float32) -> Float32:
        """(N, T, F) to the joints (N, T, M V 4)."""
        return np.ascontiguousarray(features[..., self.encoder.frame_dim :])

    def training_step(self, batch: TrainingBatch, classes: Tensor) -> TrainingOutput:
        """Scaled cosines, the loss of the task over all members, and the further losses.

        Args:
            batch: Inputs (N, T, K + D) of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        small, pooled = self.split_inputs(batch.inputs)
        if self.config.adversarial and self.network.training and torch.is_grad_enabled():
            small = self.worst(small, pooled[:, 0], batch, classes)
        reading = self.network.read(small)
        own, scale = pooled[:, 0], self.logit_scale
        # Members of a late fusion learn apart: each has the loss of the task.
        each = self.member_logits(reading, own, classes)
        if reading.scores is None:
            words = self.network.concepts(classes)
            vectors = F.normalize(own + reading.residuals.mean(dim=0), dim=-1)
        else:
            words = F.pad(torch.eye(each.shape[2]).to(own), (self.encoder.dim, 1))
            vectors = self.joined(own, reading.scores)
        logits = scale * vectors @ words.T
        task = torch.stack([batch.loss(one) for one in each]).mean()
        losses = {"task": task, **self.further(reading, batch, logits)}
        losses["total"] = torch.stack(list(losses.values())).sum()
        return TrainingOutput(logits, losses, classes=words, vectors=vectors)

    def member_logits(self, reading: Readout, own: Tensor, classes: Tensor) -> Tensor:
        """Logits (K, N, C) of K members; ``own`` (N, D) are the encoder's vectors."""
        if reading.scores is not None:
            return reading.scores
        words = self.network.concepts(classes)
        return self.logit_scale * F.normalize(own + reading.residuals, dim=-1) @ words.T

    def worst(self, small: Tensor, own: Tensor, batch: TrainingBatch, classes: Tensor) -> Tensor:
        """Joints (N, T, K) moved by ``adversarial`` at most so that the loss of the task rises.

        From a random start along the sign of the gradient (Madry et al. 2018), by the statistics
        that the tower has at that time; joints that are not seen stay.
        """
        eps, modes = self.config.adversarial, [(m, m.training) for m in self.network.modules()]
        rows = small.unflatten(-1, (-1, PER_JOINT))
        seen = rows[..., -1:] * torch.tensor([1.0] * (PER_JOINT - 1) + [0.0]).to(rows)
        change = eps * (2 * torch.rand_like(rows) - 1)
        self.network.eval()
        for _ in range(_AGAINST):
            change.requires_grad_(True)
            reading = self.network.read((rows + change * seen).flatten(-2))
            loss = torch.stack([batch.loss(x) for x in self.member_logits(reading, own, classes)])
            (slope,) = torch.autograd.grad(loss.sum(), change)
            change = change.detach() + 2.5 * eps / _AGAINST * slope.sign()
            change = change.clamp(-eps, eps)
        for part, mode in modes:
            part.training = mode
        return (rows + change * seen).flatten(-2)

    def training_classes(self, labels: Sequence[str]) -> Any:
        """Texts of the labels, and those of the parts of the body for the heads of parts."""
        if "parts" in self.config.heads:
            self._part_texts = part_texts(labels)
        return super().training_classes(labels)

    def further(self, reading: Readout, batch: TrainingBatch, logits: Tensor) -> dict[str, Tensor]:
        """Losses of the settings ``heads`` and ``aux`` by name, of the labelled clips."""
        found: dict[str, Tensor] = {}
        y = batch.labelled(batch.targets).argmax(dim=1)
        if not len(y):
            return found
        rows = batch.labelled(torch.arange(len(logits)))
        answers = Outputs(rows, y, logits[rows])
        parts = zip(self.network.aux.items(), self.config.weights, strict=True)
        for (name, part), weight in parts:
            found[name] = weight * part(self.network, reading, answers)
        if "parts" in self.config.heads and len(y) > 1 and reading.found[0].last is not None:
            visual = self.network.parts(reading.found[0], len(batch.inputs))
            visual = torch.stack([batch.labelled(part) for part in visual])
            scale = self.network.parts.scale.exp().clamp(max=100)
            each = part_contrastive(visual, self._part_texts[:, y], y, scale)
            found["parts"] = _PART_SHARE * each.mean()
        return found


@lru_cache
def _note_one_person(name: str) -> None:
    """Note it once: a training reads its clips several times."""
    _log.warning("%s relates people to each other, and each of these clips shows one", name)


def part_texts(labels: Sequence[str]) -> Tensor:
    """(5, C, PART_WIDTH) of each label and of the label with the clause of each part of a body.

    Texts are those of the sentence tower; the rest of the width is 0, which changes no cosine.
    """
    verbs = VerbTable.packaged(text_tower())
    clauses = [part_clauses(verbs.lookup(label)) for label in labels]
    rows = [list(labels)]
    for part in PARTS:
        told = zip(labels, clauses, strict=True)
        rows.append([f"{label}, {of[part]}" if part in of else label for label, of in told])
    found = sentence_vectors([text for row in rows for text in row])
    padded = np.pad(found, ((0, 0), (0, PART_WIDTH - found.shape[1])))
    return torch.from_numpy(padded).view(len(rows), len(labels), PART_WIDTH)
