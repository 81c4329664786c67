"""``private``: features from the tokens that show the action, without an attribute's directions.

Letters: T frames, L tokens (parts) of a frame, D width of the shared space, n vectors of width F.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.base import Adapter
from vlar.adapters.settings import Settings, setting
from vlar.adapters.views import VIEWS, require
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.protocols import WithRegions
from vlar.encoders.session import Session
from vlar.errors import UsageError
from vlar.heads.support import cell
from vlar.language.clean import clean_label
from vlar.model.adapt import Adapted, fit_examples
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, read_complete
from vlar.model.method import AdaptTask
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.domain_losses import ramp, reverse
from vlar.training.learners import Learner
from vlar.types import Clip, Encoded, Float32, Float64

_STEPS, _RATE = 300, 1e-3  # of the reversal


def keep_tokens(scores: npt.ArrayLike, share: float) -> npt.NDArray[np.int64]:
    """Places (T, k) of the best tokens of each frame, ascending; k = ``max(1, round(share L))``.

    Args:
        scores: (T, L).
        share: Above 0 to 1.

    Raises:
        UsageError: the share is out of range.
    """
    rows = np.asarray(scores)
    if not 0 < share <= 1:
        raise UsageError(f"the share of tokens is {share:g}; give one above 0 and up to 1")
    count = max(1, round(share * rows.shape[1]))
    best = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    return np.sort(best, axis=1).astype(np.int64)


def directions(vectors: npt.ArrayLike, labels: Sequence[object]) -> Float64:
    """Orthonormal directions (F, r) in which the means of an attribute's values differ.

    Args:
        vectors: (n, F).
        labels: n values of the attribute.

    Raises:
        UsageError: the attribute has one value.
    """
    rows = np.asarray(vectors, np.float64)
    names, column = np.unique([str(label) for label in labels], return_inverse=True)
    if len(names) < 2:
        raise UsageError(
            f"the attribute has one value, {str(names[0])!r}; give clips of two at least"
        )
    rows = rows - rows.mean(axis=0)
    means = np.stack([rows[column == c].mean(axis=0) for c in range(len(names))])
    _, lengths, axes = np.linalg.svd(means, full_matrices=False)
    return axes[lengths > 1e-10 * np.linalg.norm(rows)].T


def erase(vectors: npt.ArrayLike, labels: Sequence[object]) -> Float64:
    """Vectors (n, F) without those directions: the best linear probe answers the values' shares.

    What is orthogonal to the differences of the means stays. Arguments as in ``directions``.
    """
    rows, axes = np.asarray(vectors, np.float64), directions(vectors, labels)
    return rows - (rows - rows.mean(axis=0)) @ axes @ axes.T


@dataclass(frozen=True)
class PrivateConfig(Settings):
    """Settings of ``private``.

    Attributes:
        grid: Parts of a frame along each side; 0 for the clip's vector in place of tokens. None is
            4 where the encoder has patch tokens, else 0.
        share: Share of the tokens of each frame that are kept, above 0 to 1.
        tokens: Choice of them: by ``words``, or the same ``random`` places, the control.
        words: Texts of what a token should not show; actions are the labels of the examples.
        removal: ``erase`` the attribute's directions, ``reverse`` a classifier's gradient, remove
            as many ``random`` directions (the control), or ``none``.
        attribute: Column of the support set that names the attribute.
        labels: The labels it was learned with.
    """

    grid: int | None = setting(None, at_least=0, at_most=7)
    share: float = setting(0.5, above=0, at_most=1)
    tokens: str = setting("words", choices=("words", "random"))
    words: tuple[str, ...] = ("a face", "hair", "skin", "clothes", "a man", "a woman")
    removal: str = setting("none", choices=("none", "erase", "reverse", "random"))
    attribute: str = "subject"
    labels: tuple[str, ...] = ()
    what: ClassVar[str] = "private setting"


@register("adapter", "private", status="null here")
class Private(Adapter):
    """Frame features that are the mean of the kept tokens, after a linear map.

    Nothing else of the encoder passes: no whole frames, no bodies, no context. A vector is the mean
    of the frame features. The map is the identity until it is learned; texts stay as they are.

    Reference: Li et al., "STPrivacy: spatio-temporal privacy-preserving action recognition", ICCV
    2023.
    Example: ``vlar adapt people.csv --out kept --method private --set removal=erase``.

    Attributes:
        source: The encoder with the parts of its frames.
        network: The map.
    """

    method, config_type = "private", PrivateConfig
    needs: ClassVar[tuple[str, ...]] = ("pool", "fixed_text")
    learner: ClassVar[str] = "private"
    facts: ClassVar[tuple[str, ...]] = ("attribute",)
    changes: ClassVar[frozenset[str]] = frozenset({"frame_dim", "frame_blocks"})

    def __init__(self, encoder: Encoder, config: PrivateConfig) -> None:
        super().__init__(encoder, config)
        grid, self.frame_dim = config.grid, self.dim
        self.source = WithRegions(encoder, grid, grid) if grid else encoder
        kind = "clip" if encoder.per_clip else "appearance"
        self.frame_blocks = (FrameBlock("kept", self.dim, kind),)
        self.network = nn.utils.skip_init(nn.Linear, self.dim, self.dim)
        nn.init.eye_(self.network.weight)
        nn.init.zeros_(self.network.bias)
        self.refresh()

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> Any:
        if config.grid is None:
            grid = 4 if VIEWS["patch_tokens"].offered(encoder) else 0
            config = dataclasses.replace(config, grid=grid)
        if config.grid:
            require(encoder, ("patch_tokens",), cls.method)
        return config

    def refresh(self) -> None:
        self.network.requires_grad_(False)
        self.fingerprint = self.content_hash(self.source, self.settings)
        self._weight, self._bias = (p.numpy() for p in self.network.parameters())
        texts = [clean_label(text) for text in (*self.config.labels, *self.config.words)]
        ranked = self.config.grid and self.config.labels and self.config.words
        self._texts = self.encoder.encode_text(texts) if ranked else None

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return self.rows(self.source.encode(clips))

    def session(self, *, features: bool = True) -> Session:
        return self.source.session().then(self.rows)

    def pool(self, features: Float32) -> Float32:
        return unit(features.mean(axis=1))

    def rows(self, rows: Sequence[Encoded]) -> list[Encoded]:
        """Features and vectors of clips, from what ``source`` gives."""
        frames = [self.kept(row) for row in rows]
        if self.config.removal != "none":
            frames = [row @ self._weight.T + self._bias for row in frames]
        return [Encoded(row, self.pool(row[None])[0]) for row in frames]

    def kept(self, row: Encoded) -> Float32:
        """Mean (T, D) of the tokens that are kept, before the map; without any, the vector."""
        if not isinstance(self.source, WithRegions):
            return np.repeat(row.vector[None], len(row.features), axis=0)
        tokens = self.source.split(row.features[None])[1][0]
        scores = np.random.default_rng(0).random(tokens.shape[:2])
        if self.config.tokens == "words" and self._texts is not None:
            cosines = np.split(tokens @ self._texts.T, [len(self.config.labels)], axis=2)
            scores = cosines[0].max(axis=2) - cosines[1].max(axis=2)
        places = keep_tokens(scores, self.config.share)
        return np.take_along_axis(tokens, places[..., None], axis=1).mean(axis=1)

    def learn(self, examples: EncodedExamples, seed: int = 0) -> None:
        """Learn the map from examples with one label each that ``source`` encoded.

        Raises:
            UsageError: an example has no value of the attribute, or all have the same.
        """
        labels = tuple(sorted({item.label for item in examples.items}))
        self.config = dataclasses.replace(self.config, labels=labels)
        self.refresh()
        if self.config.removal == "none":
            return
        name, actions = self.config.attribute, [item.label for item in examples.items]
        values = [cell(item, name) or "" for item in examples.items]
        if not all(values):
            raise UsageError(
                f"adapter 'private' removes the attribute {name!r}, and an example has no cell in "
                "this column; add it to the CSV, or set attribute= or removal=none"
            )
        rows = np.stack([self.kept(row).mean(axis=0) for row in examples.encoded])
        axes = directions(rows, values)
        if self.config.removal == "reverse":
            self._reverse(rows, _columns(actions), _columns(values), seed)
            return
        if self.config.removal == "random":
            axes = np.linalg.qr(np.random.default_rng(seed).normal(size=axes.shape))[0]
        removed = np.float32(axes @ axes.T)
        identity = np.eye(self.dim, dtype=np.float32)
        self.load_state_dict({"weight": identity - removed, "bias": removed @ rows.mean(axis=0)})

    def _reverse(self, rows: Float32, y: torch.Tensor, values: torch.Tensor, seed: int) -> None:
        """Train the map on the actions, against a classifier of the attribute that is dropped."""
        texts = self.encoder.encode_text([clean_label(label) for label in self.config.labels])
        x, words = torch.from_numpy(rows), self.logit_scale * torch.from_numpy(texts).T
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            against = nn.Linear(self.dim, int(values.max()) + 1)
        self.network.requires_grad_(True)
        optimiser = torch.optim.Adam([*self.network.parameters(), *against.parameters()], _RATE)
        for step in range(_STEPS):
            vectors = F.normalize(self.network(x), dim=1)
            told = against(reverse(vectors * self.dim**0.5, ramp(step / _STEPS)))
            optimiser.zero_grad()
            (F.cross_entropy(vectors @ words, y) + F.cross_entropy(told, values)).backward()
            optimiser.step()
        self.refresh()


def _columns(names: Sequence[str]) -> torch.Tensor:
    return torch.from_numpy(np.unique(names, return_inverse=True)[1])


@register("learner", "private", status="null here")
class PrivateLearner(Learner):
    """Learn what ``private`` holds back, and a closed form on what it lets through."""

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        support = task.support
        if support is None or task.objectives or task.unlabelled:
            raise UsageError("'private' learns from labelled clips alone; leave the rest out")
        adapter = Private.attach(core.encoder, task.settings)
        source = ModelCore(adapter.source, templates=core.template_set, name=core.name)
        examples = read_complete(source, support, task.items, task.progress)
        adapter.learn(examples, task.seed)
        wrapped = ModelCore(adapter, templates=adapter.templates)
        examples = dataclasses.replace(examples, encoded=adapter.rows(examples.encoded))
        labels, unknown, balance = support.labels, task.unknown, task.balance
        return fit_examples(wrapped, labels, examples, unknown=unknown, balance=balance)
