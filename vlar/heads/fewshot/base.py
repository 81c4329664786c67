"""Interface of a few-shot head: calibrated logits from a support set.

A closed form turns the similarities between clips into evidence, one number a label. Evidence and
the zero-shot prior are mixed and scaled by two weights, so that a softmax of the logits is a
probability. Both weights, and the head's own parameter, are fitted on the support set alone, by
holding out one example of every label at a time (``cross_validation.py``). No query ever reaches a
fit: Tip-Adapter's search on test features is the known trap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar import registry
from vlar.errors import ModelError, SupportError
from vlar.files.reading import number
from vlar.heads.signatures import sequence_length
from vlar.numeric import softmax
from vlar.types import Float32, Float64, JsonDict

Bools = npt.NDArray[np.bool_]
_MAX_FOLDS = 5
_REPEATS = 4
_MANY = 300  # examples from which one partition is stable enough


@dataclass(frozen=True)
class CrossValidationData:
    """A support set in columns, without its vectors.

    Attributes:
        labels: C labels in column order.
        member: (n, C) float64, 1 where the example shows the label.
        folds: (folds, n) bool, the examples held out together: one group of every label, so that
            what stays is as balanced as the whole; several random partitions.
        shots: Mean number of groups a label.
        prior: (n, C) float64 standardised zero-shot scores, or None.
        prior_mean: (C,) what was subtracted from each label: its mean over the support set.
        prior_scale: What the difference was divided by.
    """

    labels: tuple[str, ...]
    member: Float64
    folds: Bools
    shots: float
    prior: Float64 | None
    prior_mean: Float64
    prior_scale: float

    @property
    def target(self) -> npt.NDArray[Any]:
        """(n,) column of each example's label."""
        return self.member.argmax(axis=1)

    @property
    def fair(self) -> Bools:
        """(folds, n): held out while another example of its label stays."""
        stays = (~self.folds).astype(np.float64) @ self.member > 0
        return self.folds & stays[:, self.target]


def make_problem(
    y: Sequence[str],
    zero_shot: Float32 | None = None,
    labels: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> CrossValidationData:
    """Check a support set and put it in columns.

    Args:
        y: n labels.
        zero_shot: (n, C) similarities of the clips to the labels' texts, or None.
        labels: Order of the C columns; default the sorted labels of ``y``.
        groups: n groups (videos), held out as one; default every example its own.

    Raises:
        SupportError: fewer than two labels, a label without example, or sizes that differ.
    """
    n = len(y)
    names = tuple(labels) if labels is not None else tuple(sorted(set(y)))
    if len(names) < 2 or len(set(names)) != len(names):
        raise SupportError(
            f"the support set has the labels {list(names)}; give examples of at least two "
            "different labels"
        )
    if missing := [name for name in names if name not in set(y)]:
        raise SupportError(f"label {missing[0]!r} has no example; add one or drop the label")
    if unknown := sorted(set(y) - set(names)):
        raise SupportError(f"example label {unknown[0]!r} is not among the labels {list(names)}")
    groups = [str(i) for i in range(n)] if groups is None else groups
    if len(groups) != n:
        raise SupportError(f"{n} labels for {len(groups)} groups; give one group an example")
    member = np.array([[float(label == name) for name in names] for label in y])
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    contents = np.zeros((int(group.max()) + 1, len(names)))  # which labels a group shows
    np.maximum.at(contents, group, member)
    prior, mean, scale = _standardise(zero_shot, n, len(names))
    shots = contents.sum(axis=0)
    folds = _partitions(contents, int(shots.max()), 1 if n > _MANY else _REPEATS)[:, group]
    return CrossValidationData(names, member, folds, float(shots.mean()), prior, mean, scale)


def _partitions(contents: Float64, shots: int, repeats: int) -> Bools:
    """(folds, groups): every group goes to the fold that holds least of its labels so far."""
    n_folds = min(max(shots, 2), _MAX_FOLDS)
    random = np.random.default_rng(0)
    rows: list[Bools] = []
    for _ in range(repeats):
        held = np.zeros((n_folds, contents.shape[1]))
        fold_of = np.zeros(len(contents), np.intp)
        for index in random.permutation(len(contents)):
            load = held @ contents[index] + 1e-3 * held.sum(axis=1)
            fold_of[index] = load.argmin()
            held[fold_of[index]] += contents[index]
        rows.append(fold_of[None] == np.arange(n_folds)[:, None])
    folds = np.concatenate(rows)
    return folds[folds.any(axis=1) & ~folds.all(axis=1)]


def _standardise(
    zero_shot: Float32 | None, n: int, n_labels: int
) -> tuple[Float64 | None, Float64, float]:
    # Some label texts are close to every clip; without its mean a label's score can be compared.
    if zero_shot is None:
        return None, np.zeros(n_labels), 1.0
    if zero_shot.shape != (n, n_labels):
        raise SupportError(
            f"zero-shot scores have shape {zero_shot.shape}, but {n} examples of {n_labels} labels "
            f"need {(n, n_labels)}"
        )
    mean = zero_shot.astype(np.float64).mean(axis=0)
    centred = zero_shot - mean
    scale = float(centred.std()) or 1.0
    return centred / scale, mean, scale


# Octaves around the default slope, and weights of the standardised zero-shot scores.
_OCTAVES = np.arange(-3, 3.25, 0.5)
_PRIORS = np.array([0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5])
_ONE_SHOT_PRIOR = 1.0  # weight of the prior at one shot; falls as 1 / shots
_CAUTION = 0.5  # nats for one octave away from the default slope
_PRIOR_CAUTION = 1.0  # nats for one unit away from the default prior weight


@dataclass(frozen=True)
class PriorWeights:
    """Factors on evidence and prior, and what they reach on held-out examples.

    Attributes:
        evidence: Factor on the evidence.
        prior: Factor on the standardised zero-shot scores.
        loss: Mean negative log-likelihood of the held-out examples in nats, caution included.
        accuracy: Share of held-out examples whose label scores best; NaN if none was held out.
        losses: (h,) one a held-out example and fold, to compare heads pair by pair.
    """

    evidence: float
    prior: float
    loss: float
    accuracy: float
    losses: Float64


def default_prior(shots: float) -> float:
    """Weight of the zero-shot scores where nothing can be held out: the more shots, the less."""
    return _ONE_SHOT_PRIOR / max(shots, 1.0)


def fit_weights(default_slope: float, held: Float64, problem: CrossValidationData) -> PriorWeights:
    """The pair of weights under which the held-out examples are most likely.

    A mild penalty holds the pair near its default: it decides alone where no example can be held
    out (one shot a label), and hardly counts where there are many.

    Args:
        default_slope: Default factor on the evidence (``ClosedForm.slope``).
        held: (folds, n, C) from ``ClosedForm.hold_out``; NaN where an example was not held out.
        problem: The support set.
    """
    fair = problem.fair
    evidence = held[fair]
    example = np.nonzero(fair)[1]
    target, rows = problem.target[example], np.arange(len(example))
    prior = problem.prior[example] if problem.prior is not None else None
    default = default_prior(problem.shots) if prior is not None else 0.0
    n = max(len(np.unique(example)), 1)  # an example held out in several folds is still one
    best: PriorWeights | None = None
    for octave in sorted(_OCTAVES, key=abs):
        slope = float(default_slope * 2.0**octave)
        for weight in sorted(
            _PRIORS if prior is not None else [0.0], key=lambda w: abs(w - default)
        ):
            scores = slope * evidence if prior is None else slope * evidence + weight * prior
            losses = -np.log(np.maximum(softmax(scores)[rows, target], 1e-12))
            caution = _CAUTION * octave**2 + _PRIOR_CAUTION * (weight - default) ** 2
            loss = float((losses.mean() if len(rows) else 0.0) + caution / n)
            if best is None or loss < best.loss - 1e-12:
                right = scores.argmax(axis=1) == target
                accuracy = float(right.mean()) if len(rows) else float("nan")
                best = PriorWeights(slope, float(weight), loss, accuracy, losses)
    assert best is not None
    return best


Array = npt.NDArray[Any]
_LONGEST_KIND = 1000
_PLAIN_KIND = "mean"  # of an example: the mean of the frame features


@dataclass(frozen=True)
class HeadExamples:
    """Examples that a head of heads is tried with.

    Attributes:
        width: S, numbers of a signature of the inner head.
        y: n labels.
        zero_shot: (n, C) similarities of the clips to the labels' texts, or None.
    """

    width: int
    y: Sequence[str]
    zero_shot: Float32 | None


class FewShotHead(ABC):
    """A part of kind ``fewshot``: signatures of clips in, calibrated logits out.

    Attributes:
        name: Registered name; ``config`` holds it.
        reads: ``vector`` for one vector a clip (a sum of signature terms), ``features`` for a
            sequence of frames (a signature kind such as ``frames:8``).
        standalone: Whether ``vlar adapt --method NAME`` fits it; False for a head that is made of
            other heads.
        trained: Whether ``zero_shot`` holds the cosines of a training, which text that depends on
            the clip changes too, instead of a frozen encoder's.
        auto_order: Place among the heads of status ``default``, which ``--method auto`` tries; the
            first is the default where nothing can be held out. None keeps it out of ``auto``.
        composed: Whether ``example`` makes it ``around`` a fitted ``ridge``.
        kinds: Signature kinds to choose among; empty for those that the encoder's features fill.
        labels: C labels, in the order of the logit columns.
        kind: Signature kind of the vectors it takes.
    """

    name: ClassVar[str]
    reads: ClassVar[str] = "vector"
    standalone: ClassVar[bool] = True
    trained: ClassVar[bool] = False
    auto_order: ClassVar[float | None] = None
    composed: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ()
    labels: tuple[str, ...]
    kind: str = ""

    @classmethod
    def example(
        cls,
        signatures: Callable[[str], Float32],
        y: Sequence[str],
        zero_shot: Float32 | None = None,
    ) -> FewShotHead:
        """A fitted head of this class, which ``vlar.testing.check_fewshot`` tries.

        The default makes it without arguments and calls ``fit(signatures, y, zero_shot)`` for the
        first of ``kinds``, or ``around`` for a head of heads. One of a trained network makes it.

        Args:
            signatures: Gives the signatures (n, S) float32 of n clips for a signature kind.
            y: n labels.
            zero_shot: (n, C) similarities of the clips to the labels' texts, or None.
        """
        if cls.composed:
            ridge = registry.get("fewshot", "ridge").example(signatures, y, zero_shot)
            width = signatures(ridge.kind).shape[1]
            return cls.around(ridge, HeadExamples(width, y, zero_shot))
        head: Any = cls()
        head.kind = cls.kinds[0] if cls.kinds else _PLAIN_KIND
        return head.fit(signatures(head.kind), y, zero_shot)

    @classmethod
    def around(cls, ridge: FewShotHead, examples: HeadExamples) -> FewShotHead:
        """A head of this class around a fitted ``ridge``; only where ``composed``."""
        raise NotImplementedError(f"{cls.__name__} is composed and has no 'around'")

    @abstractmethod
    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits of clips (m, S); their softmax is a calibrated probability.

        Args:
            signatures: (m, S) float32 signatures of ``kind``.
            zero_shot: (m, C) similarities of the clips to the labels' texts; None uses the
                evidence alone.
        """

    def probabilities(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) rows that sum to 1; see ``logits``."""
        return softmax(self.logits(signatures, zero_shot))

    def adjusted(self, logits: Float64) -> Float64:
        """(m, C) what the head makes of the weighted sum of its closed forms' logits."""
        return logits

    def closed_forms(self) -> list[tuple[float, ClosedForm]]:
        """The closed forms it is made of and their weights; none for a head without any."""
        return []

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The arrays to save (safetensors)."""

    @abstractmethod
    def config(self) -> JsonDict:
        """The settings to save with ``state`` (JSON)."""

    @abstractmethod
    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """Set what ``config`` and ``state`` hold; called by ``from_state``."""

    @staticmethod
    def from_state(config: Mapping[str, Any], state: Mapping[str, Array]) -> FewShotHead:
        """The head that ``config`` and ``state`` were saved from, found by its registered name.

        Raises:
            ModelError: a setting or an array is missing or has the wrong shape.
            UnknownNameError: no head has the saved name.
        """
        try:
            head: FewShotHead = registry.get("fewshot", str(config["head"]))()
            head.kind, head.labels = checked_kind(config["kind"]), tuple(map(str, config["labels"]))
            head.restore(config, state)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(
                f"the saved few-shot head is incomplete or malformed ({error!r}); adapt again"
            ) from error
        return head


def checked_kind(kind: Any) -> str:
    """A saved signature kind, of a length that a kind may have.

    Raises:
        ValueError: it is not a text, or longer.
    """
    if not isinstance(kind, str) or len(kind) > _LONGEST_KIND:
        raise ValueError(f"the kind is not a text of up to {_LONGEST_KIND} characters")
    return kind


class ClosedForm(FewShotHead):
    """A head whose fit is a closed form of similarities. ``fit`` first.

    Attributes:
        grid: Values of the head's parameter to choose among, the default first.
        slope: Default weight of the evidence, used where nothing can be held out.
        parameter: The chosen value of ``grid``.
        evidence_weight: Factor on the evidence.
        prior_weight: Factor on the standardised zero-shot scores.
    """

    grid: ClassVar[tuple[float, ...]] = (0.0,)
    slope: ClassVar[float]
    parameter: float
    evidence_weight: float
    prior_weight: float = 0.0
    _prior_mean: Float64
    _prior_scale: float = 1.0

    def similarity(self, a: Float32, b: Float32) -> Float64:
        """Similarity of clips; the dot product of their signatures unless a head has its own.

        Args:
            a: (m, S) float32 signatures; (m, T, F) frames of unit length where the head reads
                ``features``.
            b: (n, S) or (n, T, F) float32.

        Returns:
            (m, n) float64; larger is more alike.
        """
        return a.astype(np.float64) @ b.T.astype(np.float64)

    def closed_forms(self) -> list[tuple[float, ClosedForm]]:
        """Closed forms with weights; a head without parts returns itself."""
        return [(1.0, self)]

    @property
    def compares_by_dot_product(self) -> bool:
        """Whether ``similarity`` is the one of this class, so that dot products of terms add up."""
        return type(self).similarity is ClosedForm.similarity

    def compare(self, a: Float32, b: Float32) -> Float64:
        """``similarity`` (m, n) of two sets of signatures (m, S) and (n, S)."""
        if self.reads == "features":
            return self.similarity(self._frames(a), self._frames(b))
        return self.similarity(a, b)

    def gram(self, signatures: Float32) -> Float64:
        """(n, n) similarities of the examples (n, S) that the head is about to learn from."""
        return self.compare(signatures, signatures)

    def _frames(self, signatures: Float32) -> Float32:
        """The frames (m, T, F) of unit length that signatures (m, T * F) hold."""
        length = sequence_length(self.kind or self.kinds[0])
        return signatures.reshape(len(signatures), length, -1) * np.float32(np.sqrt(length))

    def fit(
        self,
        signatures: Float32,
        y: Sequence[str],
        zero_shot: Float32 | None = None,
        *,
        labels: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        parameter: float | None = None,
    ) -> Self:
        """Learn from a support set, and from it alone.

        Args:
            signatures: (n, S) float32 unit vectors.
            y: n labels.
            zero_shot: (n, C) similarities of the same clips to the labels' texts, or None.
            labels: Order of the C columns; default the sorted labels of ``y``.
            groups: n groups (recordings); default every example its own.
            parameter: Fixes the head's parameter instead of choosing it.

        Raises:
            SupportError: fewer than two labels, a label without example, or sizes that differ.
        """
        problem = make_problem(y, zero_shot, labels, groups)
        if len(signatures) != len(y):
            raise SupportError(f"{len(y)} labels for {len(signatures)} signatures")
        gram = self.gram(signatures)
        errors: list[tuple[float, PriorWeights]] = []
        for value in self.grid if parameter is None else (parameter,):
            held = self.hold_out(gram, problem, value)
            errors.append((value, fit_weights(self.slope, held, problem)))
        self.parameter, weights = min(errors, key=lambda pair: round(pair[1].loss, 9))
        self.labels = problem.labels
        self.evidence_weight, self.prior_weight = weights.evidence, weights.prior
        self._prior_mean, self._prior_scale = problem.prior_mean, problem.prior_scale
        self._solve(signatures.astype(np.float32), gram, problem.member)
        return self

    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits, see ``FewShotHead``."""
        return self.weighed(self.evidence(signatures), zero_shot)

    def weighed(self, evidence: Float64, zero_shot: Float32 | None) -> Float64:
        """Logits (m, C) of evidence (m, C) and zero-shot similarities (m, C)."""
        logits = self.evidence_weight * evidence
        if zero_shot is not None and self.prior_weight:
            logits = logits + self.prior_weight * (
                (zero_shot.astype(np.float64) - self._prior_mean) / self._prior_scale
            )
        return logits

    @abstractmethod
    def evidence(self, signatures: Float32) -> Float64:
        """(m, C): how much each label's examples support each clip."""

    @abstractmethod
    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Evidence (m, C) from similarities alone: the whole method in one closed form.

        Args:
            cross: (m, n) similarities of clips and examples.
            gram: (n, n) similarities of the examples.
            member: (n, C) 1 where the example shows the label; a label may have no example.
            parameter: A value of ``grid``.
        """

    def hold_out(self, gram: Float64, problem: CrossValidationData, parameter: float) -> Float64:
        """(folds, n, C) evidence of each example held out in a fold; NaN where it was not."""
        held = np.full((len(problem.folds), *problem.member.shape), np.nan)
        for row, out in zip(held, problem.folds, strict=True):
            cross, inner = gram[np.ix_(out, ~out)], gram[np.ix_(~out, ~out)]
            row[out] = self.evidence_from(cross, inner, problem.member[~out], parameter)
        return held

    @abstractmethod
    def _solve(self, signatures: Float32, gram: Float64, member: Float64) -> None:
        """Store what ``evidence`` needs, for ``self.parameter``."""

    @abstractmethod
    def _arrays(self) -> dict[str, Array]: ...

    @abstractmethod
    def _restore(self, arrays: Mapping[str, Array]) -> None: ...

    def state(self) -> dict[str, Array]:
        """The arrays to save (safetensors)."""
        return {"prior_mean": self._prior_mean, **self._arrays()}

    def config(self) -> JsonDict:
        """The settings to save with ``state`` (JSON)."""
        return {
            "head": self.name,
            "kind": self.kind,
            "labels": list(self.labels),
            "parameter": self.parameter,
            "evidence_weight": self.evidence_weight,
            "prior_weight": self.prior_weight,
            "prior_scale": self._prior_scale,
        }

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        self.parameter = number(config, "parameter")
        self.evidence_weight = number(config, "evidence_weight")
        self.prior_weight = number(config, "prior_weight")
        self._prior_scale = number(config, "prior_scale", above=0)
        self._prior_mean = np.asarray(state["prior_mean"], np.float64)
        self._checked(self._prior_mean, 0)
        self._restore(state)

    def _checked(self, array: Array, axis: int) -> Array:
        """The array as float32, if it holds one entry a label along ``axis``."""
        if array.shape[axis] != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels and an array of shape {array.shape}")
        return np.asarray(array, np.float32)
