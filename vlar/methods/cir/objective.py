"""``cir``: clips are rebuilt from clips of other domains, classified and paired with sentences.

Letters: N clips, D width of a vector, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.methods.align.adapter import caption_loss
from vlar.registry import register
from vlar.training.data import Random
from vlar.training.label_losses import shared_cross_entropy
from vlar.training.objectives import Objective, Step, TrainingContext

_APART = {"self": (), "domain": ("domain",), "site": ("site",), "both": ("domain", "site")}
_WIDTH = 128  # of queries and keys


def mask(kind: str, ids: Mapping[str, Any]) -> Tensor:
    """(N, N) bool, True where one clip must not rebuild the other; never itself.

    Args:
        kind: ``self``, or also clips of the same ``domain``, ``site``, or one of ``both``.
        ids: N values each of ``rows`` (the numbers of the clips), ``domain`` and ``site``.
    """
    named = [np.asarray(ids[name]) for name in ("rows", *_APART[kind])]
    return torch.from_numpy(np.logical_or.reduce([a[:, None] == a for a in named]))


def attention(query: Tensor, key: Tensor, forbidden: Tensor, temperature: float) -> Tensor:
    """Shares (N, N) of clips in each other's reconstruction, by cosine of two (N, D).

    Rows sum to 1; where all is ``forbidden`` they are zero.
    """
    cosine = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).T
    shares = (cosine / temperature).masked_fill(forbidden, -1e9).softmax(dim=-1)
    return shares.masked_fill(forbidden, 0.0)


def reconstruct(f: Tensor, forbidden: Tensor, temperature: float) -> Tensor:
    """Clips (N, D) rebuilt from the others that are like them; zero where all is forbidden.

    Args:
        f: (N, D) of the clips. Dot products would choose one clip; cosines are taken (our change).
        forbidden: (N, N) bool, from ``mask``.
        temperature: Above 0.
    """
    return attention(f, f, forbidden, temperature) @ f


@register("objective", "cir", status="null here")
@dataclass
class CrossInstance(Objective):
    """Each clip is rebuilt from clips of other domains; labels and sentences must survive that.

    Plizzari et al., "What can a cook in Italy teach a mechanic in India?" (CIR), 2023. The
    reconstruction by fixed cosines is classified, the one by learned queries and keys is paired
    with the sentence of the clip. At test the method answers as without it. The domain is the
    column ``domain`` of the support set, else the ``group``; the sentence is the column ``text``,
    else the label. The order of the clips takes two domains for a label.

    Reference: Plizzari et al., "What can a cook in Italy teach a mechanic in India? Action
    recognition generalisation over scenarios and locations" (CIR), ICCV 2023.
    Example: ``vlar adapt places.csv --out anywhere --method temporal --objective cir``.

    Attributes:
        action: Factor on the classification of the reconstruction.
        text: Factor on the pairing with sentences.
        temperature: Temperature of the fixed cosines, above 0.
        mask: Clips that must not rebuild a clip, besides itself: those of its ``domain``, ``site``,
            ``both``, or none (``self``).
    """

    action: float = setting(0.5, at_least=0)
    text: float = setting(1.0, at_least=0)
    temperature: float = setting(0.1, above=0)
    mask: str = setting("domain", choices=tuple(_APART))
    name: ClassVar[str] = "cir"
    _ids: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _y: Any = field(default=None, init=False, repr=False)
    _sentences: Any = field(default=None, init=False, repr=False)
    _scale: float = field(default=1.0, init=False, repr=False)

    def begin(self, context: TrainingContext) -> None:
        """Read domains and sentences; one domain alone, or several labels a clip, are refused."""
        context.clips_per_label(self.name)
        self._y, self._scale = context.shown.argmax(axis=1), context.logit_scale
        for name in ("domain", "site"):
            column = name if any(name in facts for facts in context.facts) else "group"
            self._ids[name] = np.array([facts.get(column, "") for facts in context.facts])
            if name in _APART[self.mask] and len(set(self._ids[name])) < 2:
                raise UsageError(
                    f"objective 'cir' rebuilds clips from those of another {name}, and all clips "
                    f"are of one ({str(self._ids[name][0])!r}); give clips of two, or set mask = "
                    "'self'"
                )
        rows = zip(context.facts, self._y.tolist(), strict=True)
        sentences = [str(facts.get("text") or context.texts[column]) for facts, column in rows]
        vectors = context.method.wrapped.encode_text(sentences)
        self._sentences = torch.from_numpy(vectors).to(context.device)
        self.module = nn.Module()
        for part in ("query", "key"):
            self.module.add_module(
                part, nn.Sequential(nn.Linear(context.vector_width, _WIDTH), nn.LayerNorm(_WIDTH))
            )
        self.module.log_temperature = nn.Parameter(torch.tensor(math.log(0.07)))

    def order(self, epoch: int, random: Random) -> list[int]:
        """Pairs of clips of one label and two domains, in random order."""
        pairs: list[list[int]] = []
        for label in range(int(self._y.max()) + 1):
            rows = random.permutation(np.flatnonzero(self._y == label))
            domains = self._ids["domain"][rows]
            unused = {name: rows[domains == name].tolist() for name in dict.fromkeys(domains)}
            while any(unused.values()):
                first, *others = sorted(unused, key=lambda name: -len(unused[name]))
                pair = [unused[first].pop()]
                if others and unused[others[0]]:
                    pair.append(unused[others[0]].pop())
                elif others:  # all of the other domains have been taken: one of them comes twice
                    pair.append(int(random.choice(rows[domains != first])))
                pairs.append(pair)
        return [row for index in random.permutation(len(pairs)) for row in pairs[index]]

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """Classification and pairing of the reconstructions of the clips that have one."""
        batch, rows, classes = step.batch, list(step.batch.rows), step.output.classes
        if not rows:
            return {}
        if classes is None:
            raise UsageError("objective 'cir' needs a method with vectors of labels, as 'temporal'")
        f = batch.labelled(step.vectors)
        ids = {name: values[rows] for name, values in self._ids.items()}
        forbidden = mask(self.mask, {"rows": rows, **ids}).to(f.device)
        used = ~forbidden.all(dim=1)
        if not used.any():
            return {}
        rebuilt = F.normalize(reconstruct(f, forbidden, self.temperature)[used], dim=-1)
        words = batch.labelled(classes)[used] if classes.ndim == 3 else classes
        logits = self._scale * (words @ rebuilt[..., None])[..., 0]
        targets = batch.labelled(batch.targets)[used]
        losses = {"action": self.action * shared_cross_entropy(logits, targets)}
        if self.text:
            query, key = self.module.query(f), self.module.key(f)
            told = attention(query, key, forbidden, self.temperature)[used] @ f
            sentences = self._sentences[rows][used]
            warm = self.module.log_temperature.exp().clamp_min(0.01)
            losses["text"] = self.text * caption_loss(told, sentences, warm)
        return losses
