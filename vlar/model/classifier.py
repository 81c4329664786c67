"""A label list made ready for a model: parsed, encoded, and bound to the head that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import EncoderMismatchError, ModelError, UsageError
from vlar.fewshot.adapted import AdaptedHead
from vlar.model.core import BACKGROUND_BANK, EncodedSpan, ModelCore
from vlar.model.known_labels import KnownLabels
from vlar.model.label_concepts import Descriptions
from vlar.model.label_tree import TreeSource, label_tree
from vlar.model.pair_labels import PairLabels, composes, pair_head
from vlar.model.text_heads import restored_gated, text_head
from vlar.scoring.base import Head, Scores
from vlar.scoring.calibration import Calibration
from vlar.scoring.content_free import ContentFree
from vlar.scoring.gated import GatedHead
from vlar.scoring.heads import ConceptHead, ConditionedHead, check_mode
from vlar.scoring.tree import roll_up
from vlar.text.bank import load_bank
from vlar.text.clean import clean_label
from vlar.text.labels import LabelList, parse_labels
from vlar.text.tree import Tree
from vlar.types import Classification, Encoded, Float32, Float64, JsonDict, Prediction

_CONDITIONED_BACKGROUND = 128  # entries, evenly taken from the bank: each costs text for every clip
Labels = str | Path | Sequence[str] | LabelList
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LabelClassifier:
    """C labels bound to what answers about them; made by :func:`make_classifier`.

    Attributes:
        head: Scores encoded clips.
        mode: ``one`` label fits or none, or ``multi``: each label for itself.
        fingerprint: Of the encoder whose clips it scores.
        keys: C labels as their source spells them.
        calibration: Curves over the probabilities; None leaves them as the head gives them.
        tree: The coarse labels above the C labels, in their order; None for none.
    """

    head: Head
    mode: str
    fingerprint: str
    keys: tuple[str, ...]
    calibration: Calibration | None = None
    tree: Tree | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """C labels in the order of the score columns."""
        return self.head.labels

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Calibrated scores of N clips; a clip scores the same alone and in company."""
        return Scores.join((self._score(each) for each in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        found = self.head.scores([encoded])
        if self.calibration is None:
            return found
        if self.mode == "one":
            probability, unknown = self.calibration.one(found.probability, found.unknown)
        else:
            probability, unknown = self.calibration.each(found.probability)
        return replace(found, probability=probability, unknown=unknown)

    def answer(self, span: EncodedSpan, *, top: int, model: str) -> Classification:
        """The ``top`` best labels of one span, as the answer of ``model``."""
        return self._answer(span, self.scores([span.encoded]), top, model)

    def answer_mixed(
        self, parts: Sequence[tuple[float, EncodedSpan]], *, top: int, model: str
    ) -> Classification:
        """As ``answer``, of several cuts of one span: the weighted mean of their scores.

        Args:
            parts: Weight and cut; the weights need not add up to 1.
            top: As in ``answer``.
            model: As in ``answer``.
        """
        if len(parts) == 1:
            return self.answer(parts[0][1], top=top, model=model)
        each = [self.scores([span.encoded]) for _, span in parts]
        return self._answer(parts[0][1], Scores.mixed(each, [w for w, _ in parts]), top, model)

    def _answer(self, span: EncodedSpan, scores: Scores, top: int, model: str) -> Classification:
        similarity, probability = scores.similarity[0], scores.probability[0]
        order = np.argsort(-probability, kind="stable")[:top]
        best = tuple(
            Prediction(
                label, float(probability[i]), float(similarity[i]), key if key != label else None
            )
            for i, label, key in ((i, self.labels[i], self.keys[i]) for i in order)
        )
        return Classification(
            path=span.path,
            start_s=span.window.start_s,
            end_s=span.window.end_s,
            model=model,
            predictions=best,
            unknown=bool(scores.is_unknown[0]),
            unknown_probability=float(scores.unknown[0]),
            coarse=self._coarse(similarity, probability)[:top],
            lost=span.lost,
        )

    def _coarse(self, similarity: Float32, probability: Float64) -> tuple[Prediction, ...]:
        """The labels above, best first."""
        if self.tree is None:
            return ()
        above = roll_up(probability[None], self.tree)[0]
        nearest = np.full(len(above), -1.0)
        np.maximum.at(nearest, list(self.tree.parent_columns), similarity)
        order = np.argsort(-above, kind="stable")
        labels = self.tree.coarse
        return tuple(Prediction(labels[i], float(above[i]), float(nearest[i])) for i in order)

    def config(self) -> JsonDict:
        """The settings to save (JSON)."""
        return {
            "mode": self.mode,
            "fingerprint": self.fingerprint,
            "keys": list(self.keys),
            "calibration": self.calibration.to_dict() if self.calibration else None,
            "tree": self.tree.parents if self.tree else None,
            "head": self.head.config(),
        }

    def state(self) -> dict[str, Array]:
        """The arrays to save (safetensors)."""
        return self.head.state()

    @staticmethod
    def restore(
        core: ModelCore,
        config: Mapping[str, Any],
        state: Mapping[str, Array],
        adapted: AdaptedHead | None = None,
    ) -> LabelClassifier:
        """The classifier that ``config`` and ``state`` were saved from.

        Args:
            core: The model whose clips it scores.
            config: As ``config`` gives it.
            state: As ``state`` gives it.
            adapted: The adapted head, where the classifier answers about its labels.

        Raises:
            EncoderMismatchError: the core's encoder is another one.
            ModelError: something is missing or malformed.
        """
        try:
            if config["fingerprint"] != core.fingerprint:
                raise EncoderMismatchError(
                    f"these labels were encoded by another encoder than {core.encoder.name!r}; "
                    "make the classifier again"
                )
            mode, settings = check_mode(config["mode"]), config["calibration"]
            tree = Tree(config["tree"]) if config.get("tree") else None
            keys = tuple(str(key) for key in config["keys"])
            head = _restored_head(core, config["head"], state, adapted, mode)
        except (KeyError, TypeError, UsageError) as error:
            raise ModelError(f"the saved classifier is malformed ({error!r})") from error
        calibration = Calibration.restore(settings) if settings else None
        return LabelClassifier(head, mode, core.fingerprint, keys, calibration, tree)


def _restored_head(
    core: ModelCore,
    config: Mapping[str, Any],
    state: Mapping[str, Array],
    adapted: AdaptedHead | None,
    mode: str,
) -> Head:
    name = config["head"]
    if name == ConceptHead.name:
        return ConceptHead.restore(config, state)
    if name == GatedHead.name:
        return restored_gated(core, config, state)
    if name == ConditionedHead.name:
        return ConditionedHead.restore(config, state, core.conditioned_queries)
    if name == PairLabels.name and adapted is not None:
        pairs = [(str(verb), str(noun)) for verb, noun in config["pairs"]]
        labels = [str(label) for label in config["labels"]]
        return PairLabels.of(core, adapted, labels, pairs, mode)
    if name == KnownLabels.name and adapted is not None:
        return _adapted(core, adapted, [str(label) for label in config["labels"]], mode)
    raise ModelError(f"the saved classifier has a head {name!r} that this model cannot restore")


def make_classifier(
    core: ModelCore,
    labels: Labels | None,
    *,
    adapted: AdaptedHead | None = None,
    calibration: Calibration | None = None,
    mode: str = "one",
    descriptions: Descriptions = "auto",
    tree: TreeSource | None = None,
) -> LabelClassifier:
    """Make a label list ready; an adapted model brings its own.

    A list of a single label is a yes/no question, asked in mode ``multi``, whose prior is that of a
    label among many.

    Args:
        core: What encodes clips and labels.
        labels: See ``Model.classify``.
        adapted: The head of an adapted model; None for zero-shot.
        calibration: Curves over the probabilities.
        mode: ``one`` label fits, or ``multi``: several may.
        descriptions: See ``vlar.model.label_concepts``; elsewhere names alone are used.
        tree: Coarse labels above all of these; only for labels that exclude each other. None takes
            the tree of an adapted model. See ``vlar.model.label_tree``.

    Raises:
        LabelError: the list cannot be used.
        UsageError: labels are missing, an adapted model has no examples of one, or the mode does
            not exist.
    """
    check_mode(mode)
    if adapted is None and labels is None:
        labels = core.encoder.trained_labels or None
    head: Head
    if _asks_beyond(core, adapted, labels):
        adapted = calibration = None
    if adapted is not None:
        head, keys = _of_adapted(core, adapted, labels, mode)
        mode = _mode_for(mode, head.labels)
        tree = tree or (adapted.tree if mode == "one" and isinstance(head, KnownLabels) else None)
    elif labels is None:
        raise UsageError(
            f"model {core.name!r} has no labels of its own; give labels: 'a, b, c', a file or "
            "bank:NAME (on the command line with --labels)"
        )
    else:
        listed = parse_labels(labels)
        mode, keys = _mode_for(mode, listed.labels), listed.keys
        if core.conditions_text:
            head = _conditioned(core, listed, mode)
        else:
            head = text_head(core, listed, mode, descriptions)
    if tree is not None and mode != "one":
        raise UsageError(
            "a label tree adds up labels that exclude each other; use mode 'one' and at least two "
            "labels"
        )
    above = label_tree(core, tree, head.labels)
    return LabelClassifier(head, mode, core.fingerprint, keys, calibration, above)


def _asks_beyond(core: ModelCore, adapted: AdaptedHead | None, labels: Labels | None) -> bool:
    """Whether labels lack examples and the adapter answers by texts: then all of the list does."""
    if adapted is None or labels is None or not getattr(core.encoder, "open_vocabulary", False):
        return False
    return bool(set(parse_labels(labels).spelled_as(adapted.labels)) - set(adapted.labels))


def _mode_for(mode: str, labels: Sequence[str]) -> str:
    return "multi" if len(labels) == 1 else mode


def _of_adapted(
    core: ModelCore, adapted: AdaptedHead, labels: Labels | None, mode: str
) -> tuple[Head, tuple[str, ...]]:
    """The head of an adapted model's labels, and these as their source spells them."""
    if composes(core, adapted):
        return pair_head(core, adapted, None if labels is None else parse_labels(labels), mode)
    known = adapted.labels
    asked = known if labels is None else parse_labels(labels).spelled_as(known)
    return _adapted(core, adapted, asked, _mode_for(mode, asked)), asked


def _conditioned(core: ModelCore, labels: LabelList, mode: str) -> ConditionedHead:
    every = load_bank(BACKGROUND_BANK).texts
    return ConditionedHead(
        labels.labels,
        labels.texts,
        every[:: -(-len(every) // _CONDITIONED_BACKGROUND)],
        core.conditioned_queries,
        mode=mode,
        logit_scale=core.encoder.logit_scale,
        content_free=core.content_free,
    )


def _adapted(core: ModelCore, adapted: AdaptedHead, asked: Sequence[str], mode: str) -> KnownLabels:
    known = adapted.labels
    missing = [label for label in asked if label not in known]
    if missing:
        raise UsageError(
            f"model {core.name!r} was adapted to {', '.join(known)}; it has no examples of "
            f"{', '.join(missing)}: add some to the support set, or classify with the zero-shot "
            f"model {core.encoder.name!r}"
        )
    texts = [clean_label(label) for label in known]

    def concepts_for(encoded: Encoded) -> Float32 | None:
        if encoded.context is None:
            return None
        return core.conditioned_queries(texts, encoded.context[None])[0]

    conditioned = core.conditions_text and adapted.head.trained
    return KnownLabels(
        adapted,
        [known.index(label) for label in asked],
        mode,
        ContentFree(core.content_free),
        concepts_for if conditioned else None,
    )
