"""CoCo behind the encoder contract: attached to any encoder, trained on features and texts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.encoders.base import Encoder
from vlar.language.clean import clean_label
from vlar.language.descriptions import descriptions_of, load_descriptions
from vlar.language.prompts import fill, load_templates
from vlar.methods.coco.network import CocoConfig, CocoNetwork, cycle_consistency
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.frame_inputs import fit_directions
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Float32, Role

_SAME = 1 - 1e-6  # cosine of two descriptions that are one
_LEFT_OUT = "contrast"  # names what a label is not


@dataclass(frozen=True)
class CocoLabels:
    """Vectors of labels by the frozen text tower.

    Attributes:
        names: (C, D) of their texts.
        described: C times (P, D) of their descriptions.
        unseen: The same of labels without examples; None without any.
    """

    names: Tensor
    described: list[Tensor]
    unseen: CocoLabels | None = None


class LabelReader:
    """Reads label texts and descriptions.

    Args:
        encoder: The text tower.
        config: Where the descriptions are, and how many are kept.
    """

    def __init__(self, encoder: Encoder, config: CocoConfig) -> None:
        self._encoder, self._config = encoder, config

    def look_up(self, texts: Sequence[str]) -> tuple[list[list[str]], str]:
        """Descriptions of C label texts from the bank of the settings, and their hash."""
        if self._config.bank:
            entries = load_descriptions(self._config.bank).entries
            described = descriptions_of(texts, entries, only_own=True)
        else:
            described = descriptions_of(texts)
        rows = [
            [text for kind, several in row.items() if kind != _LEFT_OUT for text in several]
            for row in described
        ]
        return rows, hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def labels(self, texts: Sequence[str], described: Sequence[Sequence[str]]) -> CocoLabels:
        """C label texts and their descriptions as vectors."""
        names = self._names(texts)
        rows = [torch.from_numpy(row) for row in self._described(names, described)]
        return CocoLabels(torch.from_numpy(names), rows)

    def chosen(self, name: Float32, rows: Float32) -> Float32:
        """Descriptions (P, D) without near-duplicates: those nearest to the label's text (D,)."""
        chosen_rows: list[int] = []
        for index, row in enumerate(rows[: 4 * self._config.most]):
            if not chosen_rows or float((rows[chosen_rows] @ row).max()) < _SAME:
                chosen_rows.append(index)
        if not chosen_rows:
            return rows
        count = min(self._config.most, max(1, round(self._config.keep * len(chosen_rows))))
        nearest = np.argsort(-(rows[chosen_rows] @ name), kind="stable")[:count]
        return rows[np.array(chosen_rows)[nearest]]

    def _names(self, texts: Sequence[str]) -> Float32:
        """(C, D) of label texts: the mean over the templates."""
        prompts = fill(load_templates(self._encoder.templates), list(texts))
        flat = self._encoder.encode_text([prompt for row in prompts for prompt in row])
        return unit(flat.reshape(len(texts), -1, self._encoder.dim).mean(axis=1))

    def _described(self, names: Float32, found: Sequence[Sequence[str]]) -> list[Float32]:
        """C times (P, D), in order, without repetitions."""
        texts = list(dict.fromkeys(text for row in found for text in row))
        vectors = dict(zip(texts, self._encoder.encode_text(texts), strict=True))
        empty = np.zeros((0, self._encoder.dim), np.float32)
        stacked = [
            np.stack([vectors[text] for text in row]) if row else empty
            for row in (dict.fromkeys(row) for row in found)
        ]
        return [self.chosen(name, row) for name, row in zip(names, stacked, strict=True)]


@register("adapter", "coco", status="null here")
class Coco(ResidualTower):
    """Clips are aligned with label texts and with many descriptions a label; any label is answered.

    In the spirit of Zhou et al., "ActionHub: a large-scale action video description dataset for
    zero-shot action recognition", 2024, arXiv 2401.11654, whose equations could not be compared.
    All maps are residual and zero at the start: vectors and texts are then the encoder's. A label's
    vector is the mean of its text's and its descriptions' vectors, each mapped.

    Reference: Zhou et al., "ActionHub: a large-scale action video description dataset for zero-shot
    action recognition", 2024, arXiv 2401.11654.
    Example: ``vlar adapt support/ --out mine --method coco``.

    Attributes:
        network: The trained maps.
        config: The settings.
    """

    method, config_type = "coco", CocoConfig
    open_vocabulary: ClassVar[bool] = True
    changes: ClassVar[frozenset[str]] = frozenset({"descriptions"})
    network: CocoNetwork
    config: CocoConfig

    def prepare(self) -> None:
        """No label has been read."""
        self._seen: CocoLabels | None = None

    def build(self) -> CocoNetwork:
        """The maps at their start, which change nothing."""
        self._reader = LabelReader(self.encoder, self.config)
        return CocoNetwork(self.config, self.dim, self.input_sizes)

    def refresh(self) -> None:
        """Compute the vectors of the trained labels, and the fingerprint, from the parameters."""
        if self._seen is not None:
            with torch.no_grad():
                labels = self.network.labels(self._seen.names, self._seen.described)
                self.network.get_buffer("concepts").copy_(labels)
        super().refresh()
        concepts = self.network.get_buffer("concepts").numpy()
        prompts = self.label_texts(self.config.labels)
        self._trained = {
            text: row for texts, row in zip(prompts, concepts, strict=True) for text in texts
        }
        self._text_moves = bool(self.network.names.up.weight.any())
        self._clips_move = bool(self.network.leave.weight.any())

    # The encoder contract

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to window vectors (N, D) of unit length."""
        pooled = self.pooled(features)
        if not self._clips_move:
            return pooled
        rows: list[Float32] = []
        with torch.inference_mode():
            # One by one, so that a window is bit for bit the same alone and in company.
            for clip, vector in zip(features, pooled, strict=True):
                small = torch.from_numpy(self.small(clip[None]).mean(axis=1))
                rows.append(self.network.clips(small, torch.from_numpy(vector[None]))[0].numpy())
        return np.stack(rows) if rows else pooled

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, D) float32 of unit length; those of trained labels have their descriptions.

        A phrase of a search goes by its own words.
        """
        vectors = self._mapped(self.encoder.encode_in_role(texts, role))
        if role == "label":
            for row, text in enumerate(texts):
                if text in self._trained:
                    vectors[row] = self._trained[text]
        return vectors

    def _mapped(self, vectors: Float32) -> Float32:
        """(C, D) vectors of label texts as the network has them."""
        if not self._text_moves or not len(vectors):
            return vectors
        with torch.inference_mode():
            return unit(self.network.names(torch.from_numpy(vectors)).numpy())

    def encode_described(self, texts: Sequence[str], described: Sequence[Sequence[str]]) -> Float32:
        """Vectors (C, D) of labels from their texts and their descriptions; see ``Encoder``."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        labels = self._reader.labels(texts, described)
        with torch.inference_mode():
            return unit(self.network.labels(labels.names, labels.described).numpy())

    # Training

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; ``training_classes`` comes before."""
        self.network.requires_grad_(True)
        unused = () if self.config.pooling == "attention" else ("key.", "query.")
        named = self.network.named_parameters()
        return [(name, weight) for name, weight in named if not name.startswith(unused)]

    def training_classes(self, labels: Sequence[str]) -> CocoLabels:
        """Texts and descriptions of the labels, and of the unseen ones of the settings.

        Raises:
            LabelError: the descriptions of the settings cannot be read.
            UnknownNameError: no bank has their name.
        """
        texts = [clean_label(label) for label in labels]
        described, digest = self._reader.look_up(texts)
        state = {k: v for k, v in self.network.state_dict().items() if k != "concepts"}
        self._seen = None
        self.rebuild(dataclasses.replace(self.config, labels=tuple(labels), bank_sha256=digest))
        self.network.load_state_dict(state, strict=False)
        label_rows = self._reader.labels(texts, described)
        every = [row.mean(dim=0) for row in label_rows.described if len(row)]
        if self.config.centre and len(every) > 1:
            self.network.get_buffer("common").copy_(torch.stack(every).mean(dim=0))
        if self.config.unseen:
            others = [clean_label(label) for label in self.config.unseen]
            told, _ = self._reader.look_up(others)
            label_rows = dataclasses.replace(label_rows, unseen=self._reader.labels(others, told))
        self._seen = label_rows
        self.refresh()
        return label_rows

    def fit_inputs(self, features: Float32) -> None:
        """Find the directions in which the clips (N, T, F) of the training set differ."""
        clips = [part.mean(axis=1) for part in self.read(features)]
        fit_directions(self.network, clips, self.config.components)
        self.refresh()

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Alignment with label texts, with drawn descriptions, and the cycle over unseen labels.

        The logits are those of the answer: cosines with the labels' vectors.
        """
        small, pooled = self.split_inputs(batch.inputs)
        vectors = batch.spread(
            self.network.clips, small.mean(dim=1), F.normalize(pooled.mean(dim=1), dim=-1)
        )
        config = self.config
        names = F.normalize(self.network.names(classes.names), dim=-1)
        words = self.network.labels(classes.names, classes.described)
        losses = {"classes": batch.loss(vectors @ names.T / config.temperature)}
        if config.instances:
            loss = self._instances(batch, vectors, classes.described)
            losses["instances"] = config.instances * loss
        if config.cycle and classes.unseen is not None:
            other = self.network.labels(classes.unseen.names, classes.unseen.described)
            loss = cycle_consistency(words, other, config.cycle_temperature)
            losses["cycle"] = config.cycle * loss
        total = torch.stack(list(losses.values())).sum()
        logits = self.logit_scale * vectors @ words.T
        return TrainingOutput(logits, {"total": total, **losses}, classes=words, vectors=vectors)

    def _instances(self, batch: TrainingBatch, vectors: Tensor, described: list[Tensor]) -> Tensor:
        """Multiple instances: some drawn description of the label fits, not each of them does."""
        drawn, owners = self._drawn(described)
        if not len(drawn):
            return vectors.sum() * 0
        logits = batch.labelled(vectors) @ self.network.single(drawn).T / self.config.temperature
        bags = torch.full((len(logits), len(described)), -torch.inf, dtype=logits.dtype)
        for label in owners.unique().tolist():
            bags[:, label] = logits[:, owners == label].logsumexp(dim=1)
        present = ~torch.isinf(bags).all(dim=0)
        targets = batch.labelled(batch.targets)[:, present]
        # A label without descriptions has no bag: its clips teach nothing here.
        mass = targets.sum(dim=1)
        per_clip = -(targets * bags[:, present].log_softmax(dim=1)).sum(dim=1)
        return per_clip.sum() / mass.sum().clamp_min(1e-6)

    def _drawn(self, described: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(M, D) some descriptions of every label, by torch's own generator; and their labels."""
        rows: list[Tensor] = []
        owners: list[int] = []
        for label, texts in enumerate(described):
            drawn = texts[torch.randperm(len(texts))[: self.config.drawn]]
            rows.append(drawn)
            owners += [label] * len(drawn)
        return torch.cat(rows) if rows else torch.zeros(0, self.dim), torch.tensor(owners)
