"""Several heads on several signatures as one: their scores averaged by how likely each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import Self

from vlar.files.reading import number
from vlar.heads.fewshot.base import Array, ClosedForm, FewShotHead, HeadExamples
from vlar.heads.signatures import join, parse_kind
from vlar.registry import register
from vlar.types import Float32, Float64, JsonDict


@register("fewshot", "mixture")
class MixtureHead(FewShotHead):
    """A weighted mean of the members' scores: a geometric mean of their probabilities.

    It takes one signature that holds every term any member reads. A term has the weight of the
    members together, so that cosines of these signatures are the members' mean too.

    Attributes:
        members: Weight and fitted head; a head's ``kind`` names its input.
        widths: Entries of each term of ``kind``, in order.
    """

    name, composed = "mixture", True
    standalone = False
    members: tuple[tuple[float, FewShotHead], ...]
    widths: tuple[int, ...]

    @classmethod
    def of(
        cls,
        members: Sequence[tuple[float, FewShotHead]],
        term_widths: Mapping[str, int],
        *,
        sharpness: float = 1.0,
    ) -> Self:
        """Mix fitted heads with the same labels.

        Args:
            members: Weights above 0 and heads.
            term_widths: Entries of each term the heads read.
            sharpness: What the weights sum to.
        """
        mixture = cls()
        total = sum(weight for weight, _ in members)
        shares = [(weight / total, head) for weight, head in members]
        mixture.members = tuple((sharpness * share, head) for share, head in shares)
        mixture.labels = members[0][1].labels
        mixture.kind = mixed_kind([(share, head.kind) for share, head in shares])
        mixture.widths = tuple(term_widths[name] for name in parse_kind(mixture.kind))
        return mixture

    @classmethod
    def around(cls, ridge: FewShotHead, examples: HeadExamples) -> FewShotHead:
        """A fitted ``ridge``, alone in a mixture."""
        return cls.of([(1.0, ridge)], {ridge.kind: examples.width})

    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits, see ``FewShotHead``."""
        terms = unjoined(signatures, self.kind, self.widths)
        total = np.zeros((len(signatures), len(self.labels)))
        for weight, head in self.members:
            total += weight * head.logits(join(terms, head.kind), zero_shot)
        return total

    def closed_forms(self) -> list[tuple[float, ClosedForm]]:
        """The members' closed forms."""
        return [
            (w * share, part) for w, head in self.members for share, part in head.closed_forms()
        ]

    def state(self) -> dict[str, Array]:
        """The members' arrays, numbered."""
        return {
            f"{index}.{name}": array
            for index, (_, head) in enumerate(self.members)
            for name, array in head.state().items()
        }

    def config(self) -> JsonDict:
        """The members' settings and weights."""
        return {
            "head": self.name,
            "kind": self.kind,
            "labels": list(self.labels),
            "widths": list(self.widths),
            "members": [{"weight": weight, **head.config()} for weight, head in self.members],
        }

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        self.widths = tuple(int(width) for width in config["widths"])
        if any(width < 1 for width in self.widths):
            raise ValueError(f"widths of {min(self.widths)}")
        members: list[tuple[float, FewShotHead]] = []
        for index, settings in enumerate(config["members"]):
            prefix = f"{index}."
            arrays = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            weight = number(settings, "weight", above=0)
            members.append((weight, self.from_state(settings, arrays)))
        self.members = tuple(members)
        if not members or any(head.labels != self.labels for _, head in members):
            raise ValueError("members without the labels of the mixture")
        if len(self.widths) != len(parse_kind(self.kind)):
            raise ValueError(f"{len(self.widths)} widths for the kind {self.kind!r}")


def unjoined(signatures: Float32, kind: str, widths: Sequence[int]) -> dict[str, Float32]:
    """The unit terms that signatures of a kind were joined from.

    Args:
        signatures: (m, S) float32.
        kind: Their signature kind.
        widths: Entries of each term of ``kind``, in order.
    """
    weights = parse_kind(kind)
    length = np.sqrt(sum(weight**2 for weight in weights.values()))
    pieces = np.split(signatures, np.cumsum(widths)[:-1], axis=1)
    return {
        name: piece * np.float32(length / weight)
        for (name, weight), piece in zip(weights.items(), pieces, strict=True)
    }


def mixed_kind(members: Sequence[tuple[float, str]]) -> str:
    """The kind whose dot products are the weighted mean of the members' dot products.

    >>> mixed_kind([(0.5, "mean"), (0.5, "mean+motion")])
    'mean:0.866+motion:0.5'
    """
    squares: dict[str, float] = {}
    for share, kind in members:
        weights = parse_kind(kind)
        total = sum(weight**2 for weight in weights.values())
        for name, weight in weights.items():
            squares[name] = squares.get(name, 0.0) + share * weight**2 / total
    return "+".join(f"{name}:{max(square, 1e-6) ** 0.5:.4g}" for name, square in squares.items())
