"""From a support set to a model that knows its labels: read, encode, choose, fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.encoders.base import Encoder
from vlar.errors import ModelError, SupportError
from vlar.fewshot import (
    FewShotHead,
    Novelty,
    Support,
    SupportItem,
    choose,
    fit_novelty,
    read_support,
    signature,
)
from vlar.fewshot.heads.stacking import Joint
from vlar.fewshot.model_selection import AUTO
from vlar.fewshot.report import AdaptReport
from vlar.sensors import ViewSampler
from vlar.text.clean import clean_label
from vlar.types import Encoded, Failure, Float32, Float64, JsonDict, ProgressCallback

if TYPE_CHECKING:
    from pathlib import Path

    from vlar.model.model import Model


@dataclass(frozen=True)
class Adaptation:
    """What an adapted model knows beyond its encoder.

    Attributes:
        head: Signatures to label scores.
        novelty: Signatures to the probability that no label fits; holds the examples.
        owners: (n,) column of the label each example shows.
        concepts: (C, D) concepts of the labels' texts, the zero-shot prior.
        blocks: Parts of the frame features the signatures are made of.
        report: How it was learned; None for a loaded model.
    """

    head: FewShotHead
    novelty: Novelty
    owners: npt.NDArray[np.int64]
    concepts: Float32
    blocks: Sequence[Any]
    report: AdaptReport | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """C labels as the support set spells them."""
        return self.head.labels

    @property
    def trained(self) -> bool:
        """Whether the cosines are those of a training, rather than a zero-shot prior."""
        return isinstance(self.head, Joint)

    @property
    def labels_sha256(self) -> str:
        """Hash of the labels in order."""
        return hashlib.sha256(json.dumps(self.labels).encode()).hexdigest()

    def score(
        self,
        features: Float32,
        vector: Float32,
        columns: Sequence[int],
        concepts: Float32 | None = None,
    ) -> tuple[Float32, Float64, float]:
        """Score one clip against some of the labels.

        Args:
            features: (T, F) frame features.
            vector: (1, D) unit vector of the same clip.
            columns: The k labels asked for.
            concepts: (C, D) of all labels as this clip sees them; None where no clip changes them.

        Returns:
            Similarity (k,), the cosine to the nearest example of each label; probability (k,);
            and the probability of unknown. The probabilities sum to 1.
        """
        asked = list(columns)
        row = signature(features[None], self.blocks, self.head.kind)
        cosine = row[0] @ self.novelty.examples.T
        nearest = np.full(len(self.labels), -1.0, np.float32)
        np.maximum.at(nearest, self.owners, cosine)
        zero_shot = vector @ (self.concepts if concepts is None else concepts).T
        probability = self.head.probabilities(row, zero_shot)[0][asked]
        unknown = float(self.novelty.probability(row)[0])
        known = probability / max(float(probability.sum()), 1e-12) * (1.0 - unknown)
        return nearest[asked], known, unknown

    def config(self) -> JsonDict:
        """The settings of the manifest."""
        novelty = {"centre": self.novelty.centre, "slope": self.novelty.slope}
        return {**self.head.config(), "novelty": novelty}

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the model folder."""
        return {
            **{f"head.{name}": array for name, array in self.head.state().items()},
            "examples": self.novelty.examples,
            "owners": self.owners,
            "concepts": self.concepts,
        }

    @staticmethod
    def restore(
        config: Mapping[str, Any], state: Mapping[str, npt.NDArray[Any]], encoder: Encoder
    ) -> Adaptation:
        """The adaptation that ``config`` and ``state`` were saved from.

        Raises:
            ModelError: something is missing or malformed.
        """
        head_state = {
            name.removeprefix("head."): array
            for name, array in state.items()
            if name.startswith("head.")
        }
        head = FewShotHead.from_state(config, head_state)
        try:
            novelty = Novelty(
                state["examples"],
                float(config["novelty"]["centre"]),
                float(config["novelty"]["slope"]),
            )
            return Adaptation(
                head, novelty, state["owners"], state["concepts"], encoder.frame_blocks
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the saved adaptation is incomplete or malformed ({error!r}); adapt again"
            ) from error


def adapt(
    model: Model,
    source: str | Path | Support,
    method: str,
    shots: int | None,
    seed: int,
    progress: ProgressCallback | None,
) -> Model:
    """Learn from a support set; see ``Model.adapt``."""
    from vlar.model.model import Model

    trained = _trained_method(method)
    support = source if isinstance(source, Support) else read_support(source)
    items = list(support.items) if shots is None else _draw(support, shots, seed)
    if trained:
        learn = registry.get("learner", "trained")
        return learn(model, support, items, method, seed, progress)
    found = example_features(model, support, items, progress)
    adaptation = _fit(model, support.labels, found.items, found.features, method, found.failed)
    return Model(model.encoder, adaptation=adaptation, templates=model.template_set)


def _trained_method(method: str) -> bool:
    """Whether a method is trained rather than a closed form.

    Raises:
        UnknownNameError: it is neither.
    """
    closed, trained = registry.names("fewshot"), registry.names("adapter")
    if method in (AUTO, *closed):
        return False
    if method not in trained:
        raise registry.unknown_name("method", method, (AUTO, *closed, *trained))
    return True


@dataclass(frozen=True)
class Examples:
    """The examples of a support set that could be read.

    Attributes:
        items: Those.
        features: (n, T, F) their frame features.
        failed: The others.
    """

    items: Sequence[SupportItem]
    features: Float32
    failed: tuple[Failure, ...]


class KeptFeatures(Protocol):
    """Frame features that were computed before."""

    def get(self, item: SupportItem) -> Float32 | None:
        """(T, F) of an example, or None."""
        ...

    def put(self, item: SupportItem, features: Float32) -> None:
        """Keep (T, F) of an example."""
        ...


def example_features(
    model: Model,
    support: Support,
    items: Sequence[SupportItem],
    progress: ProgressCallback | None,
    kept: KeptFeatures | None = None,
) -> Examples:
    """Read and encode examples to frame features.

    Raises:
        SupportError: a label is left without any.
    """
    used, seen, failed = see_examples(model, items, progress, kept)
    check_rest(support, used, failed)
    return Examples(used, np.stack([each.features for each in seen]), tuple(failed))


def see_examples(
    model: Model,
    items: Sequence[SupportItem],
    progress: ProgressCallback | None,
    kept: KeptFeatures | None = None,
    *,
    sampler: ViewSampler | None = None,
) -> tuple[list[SupportItem], list[Encoded], list[Failure]]:
    """Read and encode examples: those that could be read, as the encoder sees them, the rest.

    Of an example whose features are ``kept`` no context is known. Methods learn from one clip an
    example; with a ``sampler`` from the views it reads.
    """
    if progress is not None:
        progress(0, total=len(items))
    known = [_known(model, kept.get(item) if kept else None) for item in items]
    wanted = ((i.path, i.window) for i, had in zip(items, known, strict=True) if had is None)
    looks = (sampler or model.view_sampler.one_view).sample_each(wanted)
    used: list[SupportItem] = []
    seen: list[Encoded] = []
    failed: list[Failure] = []
    for item, had in zip(items, known, strict=True):
        one = had or next(looks)
        if isinstance(one, Failure):
            failed.append(one)
        else:
            used.append(item)
            seen.append(one if isinstance(one, Encoded) else model.encode_views(one))
            if kept is not None and had is None:
                kept.put(item, seen[-1].features)
        if progress is not None:
            progress(1)
    return used, seen, failed


def _known(model: Model, features: Float32 | None) -> Encoded | None:
    return (
        None if features is None else Encoded(features, model.encoder.pool(features[None])[0], None)
    )


def _fit(
    model: Model,
    labels: tuple[str, ...],
    items: Sequence[SupportItem],
    features: Float32,
    method: str,
    failed: tuple[Failure, ...],
) -> Adaptation:
    blocks = model.encoder.frame_blocks
    y, groups = [item.label for item in items], [item.group for item in items]
    concepts = model.encode_queries([clean_label(label) for label in labels])
    vectors = np.concatenate([model.encoder.pool(row[None]) for row in features])
    head, choice = choose(
        features, blocks, y, vectors @ concepts.T, labels=labels, groups=groups, method=method
    )
    examples = signature(features, blocks, head.kind)
    counts = {label: y.count(label) for label in labels}
    return Adaptation(
        head=head,
        novelty=fit_novelty(examples, y, groups),
        owners=np.array([head.labels.index(label) for label in y], np.int64),
        concepts=concepts,
        blocks=blocks,
        report=AdaptReport(counts, failed, choice),
    )


def _draw(support: Support, shots: int, seed: int) -> list[SupportItem]:
    """At most ``shots`` examples a label, from different groups as far as there are enough."""
    random = np.random.default_rng(seed)
    kept: list[SupportItem] = []
    for label in support.labels:
        items = [item for item in support.items if item.label == label]
        order = [items[i] for i in random.permutation(len(items))]
        seen: dict[str, int] = {}
        ranked: list[tuple[int, SupportItem]] = []
        for item in order:
            ranked.append((seen.setdefault(item.group, 0), item))
            seen[item.group] += 1
        ranked.sort(key=lambda pair: pair[0])
        kept += [item for _, item in ranked[:shots]]
    return kept


def check_rest(support: Support, used: Sequence[SupportItem], failed: Sequence[Failure]) -> None:
    """Raise SupportError where a label of a support set lost all its examples."""
    lost = sorted(set(support.labels) - {item.label for item in used})
    if lost:
        raise SupportError(
            f"{support.source}: no example of {lost[0]!r} can be read ({failed[0].message}); "
            "replace the broken videos"
        )
