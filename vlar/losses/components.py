"""Losses of verbs, objects and their pairs.

Source: C2C, Li et al., "C2C: component-to-composition learning for zero-shot compositional action
recognition", 2024, section 3. Scores lie in 0 to 1, of a pair in 0 to 2; a scale makes them logits.

Letters: B clips, V verbs, O objects, P pairs of training, E width of a component's vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

SCALE = 100.0
COMPONENT_WEIGHT = 0.2


@dataclass(frozen=True)
class C2COutput:
    """Scores of B clips; larger fits better.

    Attributes:
        verb: (B, V), 0 to 1, from the clip alone.
        object: (B, O), 0 to 1, from the clip alone.
        verb_given_object: (B, V, O), 0 to 1, of a verb where the object is known.
        object_given_verb: (B, V, O), 0 to 1, of an object where the verb is known.
        pair: (B, V, O), 0 to 2.
        verb_vector: (B, E) of the branch that gives ``verb``, not normalised.
        object_vector: (B, E) of the branch that gives ``object``, not normalised.
    """

    verb: Tensor
    object: Tensor
    verb_given_object: Tensor
    object_given_verb: Tensor
    pair: Tensor
    verb_vector: Tensor
    object_vector: Tensor


def pair_loss(
    output: C2COutput,
    pairs: Tensor,
    pair: Tensor,
    verb: Tensor,
    object: Tensor,  # noqa: A002 - the part of a label
    *,
    scale: float = SCALE,
    component_weight: float = COMPONENT_WEIGHT,
) -> Tensor:
    """Cross-entropy over the pairs of training, and over verbs and over objects.

    Args:
        output: Scores of B clips.
        pairs: (P, 2) int64 columns of the verb and of the object of each pair of training.
        pair: (B,) int64, which of the P pairs each clip shows.
        verb: (B,) int64.
        object: (B,) int64.
        scale: Factor from scores to logits.
        component_weight: Weight of the cross-entropies of verbs and of objects.
    """
    of_pairs = F.cross_entropy(scale * listed(output.pair, pairs), pair)
    of_verbs = F.cross_entropy(scale * output.verb, verb)
    of_objects = F.cross_entropy(scale * output.object, object)
    return of_pairs + component_weight * (of_verbs + of_objects)


def imagined_loss(
    output: C2COutput,
    verb: Tensor,
    object: Tensor,  # noqa: A002 - the part of a label
    *,
    scale: float = SCALE,
) -> Tensor:
    """Cross-entropy over every verb with every object: pairs that a mixed clip might show.

    A clip mixed of a and b also shows the verb of a with the object of b, which training may lack.

    Args:
        output: Scores of B clips.
        verb: (B,) int64.
        object: (B,) int64.
        scale: Factor from scores to logits.
    """
    n_objects = output.object.shape[1]
    return F.cross_entropy(scale * output.pair.flatten(1), verb * n_objects + object)


def prior_loss(output: C2COutput, counts: Tensor) -> Tensor:
    """How far the mean conditional scores are from the shares of pairs in training.

    Cross-entropy of the softmax of the batch's mean scores, without a scale, against the share of
    each object among a verb's clips, and of each verb among an object's clips. Verbs and objects
    without a clip are left out.

    Args:
        output: Scores of B clips.
        counts: (V, O) clips of each pair in the training set.
    """
    counts = counts.to(output.pair)
    of_objects = _soft(output.object_given_verb.mean(dim=0), counts)
    of_verbs = _soft(output.verb_given_object.mean(dim=0).T, counts.T)
    return of_objects + of_verbs


def _soft(logits: Tensor, counts: Tensor) -> Tensor:
    there = counts.sum(dim=1) > 0
    shares = counts[there] / counts[there].sum(dim=1, keepdim=True)
    return F.cross_entropy(logits[there], shares)


def listed(scores: Tensor, pairs: Tensor) -> Tensor:
    """Scores (B, V, O) of all pairs to those (B, P) of some.

    Args:
        scores: (B, V, O).
        pairs: (P, 2) int64.
    """
    return scores[:, pairs[:, 0], pairs[:, 1]]


def pair_counts(pairs: Tensor, pair: Tensor, n_verbs: int, n_objects: int) -> Tensor:
    """(V, O) float, how often each pair is shown.

    Args:
        pairs: (P, 2) int64.
        pair: (n,) int64, the pair of each clip.
        n_verbs: V.
        n_objects: O.
    """
    counts = torch.zeros(n_verbs, n_objects, device=pair.device)
    verb, noun = pairs[pair].T
    return counts.index_put_((verb, noun), torch.ones(len(pair)).to(counts), accumulate=True)
