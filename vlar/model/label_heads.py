"""Labels made ready for a model: the head that answers about them, chosen in one place.

``make_classifier`` takes a ``LabelSet`` and chooses, in this order:

1. pairs of verb and object, where the model learned both apart (``vlar.model.pair_labels``);
2. the labels that an adapted model has examples of (``KnownLabels``);
3. texts that depend on the clip (``ConditionedHead``);
4. texts as fixed vectors (``ConceptHead``), with a gate for labels with examples where the adapter
   has one (``GatedHead``).

Names of concepts are moved by what judgements taught (``TaughtHead``). An adapted model whose
adapter answers by texts (``open_vocabulary``) is asked as a zero-shot one about other labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar.encoders.base import Asked
from vlar.errors import EncoderMismatchError, ModelError, UsageError
from vlar.heads.base import Array, Head, Scores, verdict
from vlar.heads.calibration import Calibration
from vlar.heads.concept_heads import (
    QUESTION_PRIOR,
    ConceptHead,
    ConditionedHead,
    GatedHead,
    TaughtHead,
    check_mode,
    roll_up,
)
from vlar.heads.zero_shot import ContentFree, EvidenceCurve
from vlar.language.bank import load_bank
from vlar.language.clean import clean_label
from vlar.language.foreign import remark, understood
from vlar.language.labels import Descriptions, LabelList, LabelSet, parse_labels
from vlar.language.tree import Tree, TreeSource, bank_of, read_tree_source
from vlar.language.unread import unsure
from vlar.model.core import BACKGROUND_BANK, EncodedSpan, ModelCore
from vlar.model.label_vectors import label_vectors
from vlar.model.pair_labels import Composition, PairLabels
from vlar.types import Classification, Encoded, Float32, Float64, JsonDict, Prediction

if TYPE_CHECKING:
    from vlar.heads.adapted_head import AdaptedHead

_CONDITIONED_BACKGROUND = 128  # entries, evenly taken from the bank: each costs text for every clip
_SHOWS_BODIES = ("video", "skeleton", "depth")  # sensors; others measure a movement at most
#: Note on an answer about samples that were made from a recording of another sensor.
SYNTHETIC = "synthetic: made from a recording of another sensor, so this proves no accuracy"
#: Note on an unknown answer about a blank picture or noise.
BLANK = "nothing to recognise: the clip is blank or noise"
#: Note on an answer of a model whose clips and texts share no block.
NO_WORDS = (
    "this model was trained without words, so no label can be compared with the clip; give "
    "examples with 'vlar adapt', and 'vlar adapt --method aligned' for words without examples"
)


@dataclass(frozen=True)
class LabelClassifier:
    """C labels bound to what answers about them; made by ``make_classifier``.

    Attributes:
        head: Scores encoded clips.
        mode: ``one`` label fits or none, or ``multi``: each label for itself.
        fingerprint: Fingerprint of the encoder whose clips it scores.
        keys: C labels as their source spells them.
        calibration: Curves over the probabilities; None leaves them as the head gives them.
        tree: The coarse labels above the C labels, in their order; None for none.
        no_body: Place of the block of an unseen body in a clip's vector, and its weight; None for
            an encoder that does not look for bodies.
        content_free: Recognises clips that show nothing; None leaves such answers without a note.
        unsure: What is answered in place of a figure, by best label; the empty label stands for
            all (``vlar.language.unread``).
        calibrated: Whether curves or constants were fitted to the model, or examples were.
        english: What labels in another language are read as, by label.
    """

    head: Head
    mode: str
    fingerprint: str
    keys: tuple[str, ...]
    calibration: Calibration | None = None
    tree: Tree | None = None
    no_body: tuple[int, float] | None = None
    content_free: ContentFree | None = None
    unsure: Mapping[str, str] = field(default_factory=dict[str, str])
    calibrated: bool = True
    english: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def labels(self) -> tuple[str, ...]:
        """C labels in the order of the score columns."""
        return self.head.labels

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Calibrated scores of N clips; a clip scores the same alone and in company."""
        return Scores.join((self._score(row) for row in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        scores = self.head.scores([encoded])
        if self.calibration is None:
            return scores
        if self.mode == "one":
            probability, unknown = self.calibration.one(scores.probability, scores.unknown)
        else:
            probability, unknown = self.calibration.each(scores.probability)
        return replace(scores, probability=probability, unknown=unknown)

    def answer(self, span: EncodedSpan, *, top: int, model: str) -> Classification:
        """The ``top`` best labels of one span, as the answer of ``model``."""
        return self._answer(span, self.scores([span.encoded]), top, model)

    def answer_mixed(
        self, parts: Sequence[tuple[float, EncodedSpan]], *, top: int, model: str
    ) -> Classification:
        """The answer for several cuts of one span, by the weighted mean of their scores.

        Args:
            parts: Weight and cut; the weights need not add up to 1.
            top: As in ``answer``.
            model: As in ``answer``.
        """
        if len(parts) == 1:
            return self.answer(parts[0][1], top=top, model=model)
        scores = [self.scores([span.encoded]) for _, span in parts]
        return self._answer(parts[0][1], Scores.mixed(scores, [w for w, _ in parts]), top, model)

    def _answer(self, span: EncodedSpan, scores: Scores, top: int, model: str) -> Classification:
        similarity, probability = scores.similarity[0], scores.probability[0]
        order = np.argsort(-probability, kind="stable")[:top]
        best = tuple(
            Prediction(
                label, float(probability[i]), float(similarity[i]), key if key != label else None
            )
            for i, label, key in ((i, self.labels[i], self.keys[i]) for i in order)
        )
        unsure = self.unsure.get("", self.unsure.get(best[0].label))
        alone = verdict(best[0].probability) if len(self.labels) == 1 else None
        shown = [row.label for row in best if row.label in self.english]
        english = {label: self.english[label] for label in shown}
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
            verdict="unsure" if unsure else alone,
            body=self._body(span.encoded.vector),
            failed=span.failed,
            cost=span.cost,
            calibrated=self.calibrated,
            understood=english,
            notes=(
                *((remark(english),) if english else ()),
                *((unsure,) if unsure else ()),
                *(() if similarity.any() or not span.encoded.vector.any() else (NO_WORDS,)),
                *((SYNTHETIC,) if span.synthetic else ()),
                *((BLANK,) if scores.is_unknown[0] and self._is_blank(span) else ()),
            ),
        )

    def _is_blank(self, span: EncodedSpan) -> bool:
        test = self.content_free
        return test is not None and test.probability(span.encoded.vector[None])[0] > 0.5

    def _body(self, vector: Float32) -> float | None:
        """Visible share of a body, 0..1."""
        if self.no_body is None:
            return None
        block, weight = self.no_body
        return max(0.0, 1.0 - float(vector[block] / weight) ** 2)

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
        return LabelClassifier(
            head, mode, core.fingerprint, keys, calibration, tree, _unseen_body(core),
            ContentFree(core.content_free), _unsure(core, head),
            core.calibrated or calibration is not None or head.name == KnownLabels.name,
            _english(core, head),
        )  # fmt: skip


def _restored_head(
    core: ModelCore,
    config: Mapping[str, Any],
    state: Mapping[str, Array],
    adapted: AdaptedHead | None,
    mode: str,
) -> Head:
    name, pairs = config["head"], Composition.of(core, adapted)
    if name == TaughtHead.name:
        inner = _restored_head(core, config["of"], state, adapted, mode)
        return TaughtHead(inner, mode, state["shift"], state["taught_offset"])
    if name == ConceptHead.name:
        return ConceptHead.restore(config, state)
    if name == GatedHead.name:
        gate = _gate(core, [str(text) for text in config["texts"]])
        return GatedHead.restore(config, state, gate)
    if name == ConditionedHead.name:
        return ConditionedHead.restore(config, state, core.conditioned_queries)
    labels = [str(label) for label in config["labels"]]
    if name == PairLabels.name and pairs is not None:
        listed = [(str(verb), str(noun)) for verb, noun in config["pairs"]]
        return PairLabels(pairs, labels, listed, mode)
    if name == KnownLabels.name and adapted is not None:
        return KnownLabels(core, adapted, labels, mode)
    raise ModelError(f"the saved classifier has a head {name!r} that this model cannot restore")


def make_classifier(
    core: ModelCore,
    asked: LabelSet,
    *,
    adapted: AdaptedHead | None = None,
    calibration: Calibration | None = None,
) -> LabelClassifier:
    """The classifier of a set of labels; an adapted model brings its own.

    A list of a single label is a question against the world, asked in mode ``multi``: yes is as
    likely as no before the clip is seen.

    Args:
        core: What encodes clips and labels.
        asked: The labels. Descriptions count where labels are answered by texts. A tree is only
            for labels that exclude each other; without one that of an adapted model is used.
        adapted: The head of an adapted model; None for zero-shot.
        calibration: Curves over the probabilities.

    Raises:
        UsageError: labels are missing, an adapted model has no examples of one, or the mode does
            not exist.
    """
    mode, tree = check_mode(asked.mode), asked.tree
    if adapted is not None and _asks_beyond(core, adapted, asked.listed):
        adapted = calibration = None
    pairs = Composition.of(core, adapted)
    labels = asked.listed or _own_labels(core, adapted, pairs)
    read = replace(labels, texts=tuple(core.read(labels.texts)))
    mode = "multi" if len(labels) == 1 else mode
    head: Head
    if pairs is not None:
        head = pairs.labels_head(labels, mode)
    elif adapted is not None:
        labels = LabelList.of_model(labels.spelled_as(adapted.labels))
        head = KnownLabels(core, adapted, labels.labels, mode)
        tree = tree or (adapted.tree if mode == "one" else None)
    elif core.conditions_text:
        head = _conditioned(core, read, mode, calibration is None and not core.calibrated)
    else:
        head = _by_texts(core, read, mode, asked.descriptions, calibration is None)
    if asked.concepts and (pairs or adapted):
        raise UsageError(f"model {core.name!r} answers by its own examples, not by concepts")
    if tree is not None and mode != "one":
        raise UsageError(
            "a label tree adds up labels that exclude each other; use mode 'one' and at least two "
            "labels"
        )
    above = label_tree(core, tree, head.labels)
    unsure_of, english = _unsure(core, head, asked.concepts), _english(core, head)
    head = TaughtHead.of(head, mode, asked.concepts, core.fingerprint)
    return LabelClassifier(
        head, mode, core.fingerprint, labels.keys, calibration, above, _unseen_body(core),
        ContentFree(core.content_free), unsure_of,
        core.calibrated or calibration is not None or head.name == KnownLabels.name,
        english,
    )  # fmt: skip


def _unsure(core: ModelCore, head: Head, taught: Collection[str] = ()) -> dict[str, str]:
    """Answers in place of figures, where labels are answered by texts alone."""
    if not isinstance(head, ConceptHead | GatedHead | ConditionedHead):
        return {}
    labels, encoder = [label for label in head.labels if label not in taught], core.encoder
    return unsure(labels, english=encoder.english, few_words=encoder.few_words and not taught)


def _english(core: ModelCore, head: Head) -> dict[str, str]:
    """English of labels in another language, where labels are answered by texts alone."""
    if not core.english or not isinstance(head, ConceptHead | GatedHead | ConditionedHead):
        return {}
    return understood(head.labels)


def _unseen_body(core: ModelCore) -> tuple[int, float] | None:
    """Place and weight of the block that takes what an unseen body leaves; None without one."""
    start = 0
    if core.encoder.modality not in _SHOWS_BODIES:
        return None
    for block in core.encoder.blocks:
        if core.sampling.sensors:  # the length of a block depends on which sensors are there
            return None
        if block.name == "unseen_body" and block.width == 1:
            return start, block.weight
        start += block.width
    return None


def _asks_beyond(core: ModelCore, adapted: AdaptedHead, labels: LabelList | None) -> bool:
    """True where labels lack examples and the adapter answers by texts, for all of the list."""
    if labels is None or not getattr(core.encoder, "open_vocabulary", False):
        return False
    return bool(set(labels.spelled_as(adapted.labels)) - set(adapted.labels))


def _own_labels(
    core: ModelCore, adapted: AdaptedHead | None, pairs: Composition | None
) -> LabelList:
    """The labels that a model answers about where none are given."""
    if pairs is not None:
        return pairs.own_labels()
    if adapted is not None:
        return LabelList.of_model(adapted.labels)
    if core.encoder.trained_labels:
        return parse_labels(core.encoder.trained_labels)
    raise UsageError(
        f"model {core.name!r} has no labels of its own; give labels (--labels 'a, b, c', a file or "
        "bank:NAME)"
    )


class KnownLabels(Head):
    """Some of the labels of an adapted head; a clip that shows nothing is unknown.

    Args:
        core: Recognises clips that show nothing, and conditions texts where the head was trained
            on texts that depend on the clip.
        adapted: The head.
        labels: The labels asked for.
        mode: ``one`` or ``multi``.

    Raises:
        UsageError: a label has no examples.
    """

    name = "known-labels"
    reads = "features"

    def __init__(
        self, core: ModelCore, adapted: AdaptedHead, labels: Sequence[str], mode: str
    ) -> None:
        names = adapted.labels
        missing = [label for label in labels if label not in names]
        if missing:
            raise UsageError(
                f"model {core.name!r} was adapted to {', '.join(names)}; it has no examples of "
                f"{', '.join(missing)}: add some to the support set, or classify with the "
                f"zero-shot model {core.encoder.name!r}"
            )
        self.labels, self.mode = tuple(labels), mode
        self._core, self._adapted = core, adapted
        self._columns = [names.index(label) for label in labels]
        self._content_free = ContentFree(core.content_free)
        self._texts = [clean_label(label) for label in names]
        self._conditioned = core.conditions_text and adapted.head.trained

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips; a clip scores the same alone and in company."""
        return Scores.join((self._score(row) for row in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        blank = self._content_free.probability(encoded.vector[None])
        if self.mode == "multi":
            scores = self._adapted.score_clip_each(encoded, self._columns)
            multi = scores.probability * (1.0 - blank[0])
            return Scores(scores.similarity, multi, 1.0 - multi.max(axis=1))
        concepts = None
        if self._conditioned and encoded.context is not None:
            concepts = self._core.conditioned_queries(self._texts, encoded.context[None])[0]
        scores = self._adapted.score_clip(encoded, self._columns, concepts)
        multi_probability = scores.probability * (1.0 - blank[0])
        return Scores(scores.similarity, multi_probability, blank + (1.0 - blank) * scores.unknown)

    def config(self) -> JsonDict:
        """The labels and the mode; the adapted head is saved with the model."""
        return {"head": self.name, "labels": list(self.labels), "mode": self.mode}

    def state(self) -> dict[str, Array]:
        """No arrays."""
        return {}


def _conditioned(core: ModelCore, labels: LabelList, mode: str, bounded: bool) -> ConditionedHead:
    scale, blank = core.references(bounded)
    every = load_bank(BACKGROUND_BANK).texts
    return ConditionedHead(
        labels.labels,
        labels.texts,
        every[:: -(-len(every) // _CONDITIONED_BACKGROUND)],
        core.conditioned_queries,
        mode=mode,
        logit_scale=scale,
        content_free=blank,
        bounded=bounded,
    )


def _by_texts(
    core: ModelCore, labels: LabelList, mode: str, descriptions: Descriptions, fitted: bool
) -> Head:
    """Labels as vectors, and what the encoder has on labels with examples among them.

    A gate decides between labels that exclude each other. One label alone is a question, judged by
    the constants that the encoder has for these; ``fitted`` is False where a calibration of the
    user's own replaces them, and the bounds of encoders without any.
    """
    alone = fitted and mode == "multi" and len(labels) == 1
    if alone and core.encoder.asked and descriptions in ("auto", "none"):
        return _question(core, core.encoder.asked, labels)
    bounded = fitted and not core.calibrated
    scale, blank = core.references(bounded)
    concepts, background = label_vectors(core, labels, descriptions)
    offsets = getattr(core.encoder, "label_offsets", None)
    head = ConceptHead(
        labels.labels, concepts, background, mode=mode, logit_scale=scale,
        content_free=blank, offsets=offsets and offsets(labels.texts),
        prior=QUESTION_PRIOR if alone else None, parts=getattr(core.encoder, "part_shares", ()),
        bounded=bounded,
    )  # fmt: skip
    gate = _gate(core, labels.texts) if mode == "one" else None
    return head if gate is None else GatedHead(head, labels.texts, gate)


def _question(core: ModelCore, asked: Asked, labels: LabelList) -> ConceptHead:
    curve = EvidenceCurve(asked.discount, asked.slope, asked.offset)
    return ConceptHead(
        labels.labels, core.encode_queries(labels.texts), core.background, mode="multi",
        logit_scale=core.logit_scale, content_free=core.content_free, curve=curve,
    )  # fmt: skip


def _gate(core: ModelCore, texts: Sequence[str]) -> Any:
    return bind(texts) if (bind := getattr(core.encoder, "label_gate", None)) else None


def label_tree(core: ModelCore, tree: TreeSource | None, labels: Sequence[str]) -> Tree | None:
    """The part of a label tree above these labels; None without one.

    Args:
        core: Encodes the labels where the tree is made from text.
        tree: See ``TreeSource``.
        labels: The fine labels.

    Raises:
        LabelError: the file is not a tree, or the bank cannot be read.
        UnknownNameError: no bank has this name.
        UsageError: the tree lacks a label, or the text of the model depends on the clip.
    """
    if tree is None:
        return None
    source = read_tree_source(tree)
    if isinstance(source, Tree):
        return source.restricted(labels)
    if (bank := bank_of(source)) is not None:
        return Tree.of_bank(bank, labels)
    if core.conditions_text:
        raise UsageError(
            f"in model {core.name!r} a text has another vector for each clip, so no tree can be "
            "made from text; give a JSON file of label to parent"
        )
    return Tree.by_text(labels, core.encode_labels([clean_label(label) for label in labels]))
