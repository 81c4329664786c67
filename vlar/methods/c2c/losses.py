"""Losses of C2C: pairs, their parts, pairs that a mixed clip might show, and dependence.

Letters: B clips, V verbs, O objects, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.methods.c2c.network import C2CNetwork, C2COutput
from vlar.methods.dear.dependence import hsic

SCALE = 100.0
COMPONENT_WEIGHT = 0.2
_LEAST_CLIPS = 4  # that a dependence can be estimated from


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
    """Distance of the mean conditional scores from the shares of pairs in training.

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
    has_pairs = counts.sum(dim=1) > 0
    shares = counts[has_pairs] / counts[has_pairs].sum(dim=1, keepdim=True)
    return F.cross_entropy(logits[has_pairs], shares)


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


def dependence_loss(
    frames_mean: Tensor,
    output: C2COutput,
    verb: Tensor,
    object: Tensor,  # noqa: A002 - the part of a label
    *,
    shared: int,
) -> Tensor:
    """Vectors of verbs and objects: dependent on their labels, else on as little as can be.

    Li et al., "C2C", 2024: the sum of ``I(x, w) - I(w, v) + I(x, u) - I(u, o) + I(w', u')`` with
    ``hsic`` as I, where x are the clips, w and u the vectors of verbs and of objects, v and o their
    labels, and w' and u' the first entries of w and u.

    Args:
        frames_mean: (B, d) mean of the frame features over time.
        output: Scores and vectors of the same clips.
        verb: (B,) int64.
        object: (B,) int64.
        shared: Number of entries of the last term.

    Raises:
        UsageError: fewer than 4 clips.
    """
    w, u = output.verb_vector, output.object_vector
    verbs = F.one_hot(verb, output.verb.shape[1])
    objects = F.one_hot(object, output.object.shape[1])
    of_verbs = hsic(frames_mean, w) - hsic(w, verbs)
    of_objects = hsic(frames_mean, u) - hsic(u, objects)
    return of_verbs + of_objects + hsic(w[:, :shared], u[:, :shared])


@dataclass(frozen=True)
class PairClasses:
    """Labels of a training step.

    Attributes:
        verbs: (V, D) texts.
        objects: (O, D) texts.
        pairs: (P, 2) int64, columns of the verb and of the object of each label.
        counts: (V, O) clips of each pair in the training set.
    """

    verbs: Tensor
    objects: Tensor
    pairs: Tensor
    counts: Tensor


def enhanced_losses(
    network: C2CNetwork, inputs: Tensor, pair: Tensor, classes: PairClasses
) -> dict[str, Tensor]:
    """The losses of labelled clips; ``total`` is their sum by the weights of the settings.

    Args:
        network: The head with what it reads.
        inputs: (N, T, K).
        pair: (N,) int64, which of the P pairs each clip shows.
        classes: Texts, pairs and counts.
    """
    config, losses = network.config, dict[str, Tensor]()
    if len(inputs) > 1 and float(torch.rand(())) < config.mixed:
        inputs, output, losses["pair"], losses["imagined"] = _mixed(network, inputs, pair, classes)
    else:
        output = network(inputs, classes.verbs, classes.objects)
        losses["pair"] = _pair_loss(network, output, pair, classes)
        losses["prior"] = prior_loss(output, classes.counts)
    if config.dependence and len(inputs) >= _LEAST_CLIPS:
        verb, noun = classes.pairs[pair].T
        w, u = output.verb_vector, output.object_vector
        features_out = replace(output, verb_vector=u, object_vector=w) if config.crossed else output
        shared = config.width // 2
        clip_means = inputs.mean(dim=1)
        losses["dependence"] = dependence_loss(clip_means, features_out, verb, noun, shared=shared)
    weights = {
        "pair": 1.0,
        "imagined": config.imagined,
        "prior": config.prior,
        "dependence": config.dependence,
    }
    total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
    return {"total": total, **losses}


def _pair_loss(
    network: C2CNetwork, output: C2COutput, pair: Tensor, classes: PairClasses
) -> Tensor:
    verb, noun = classes.pairs[pair].T
    weight = network.config.component
    return pair_loss(output, classes.pairs, pair, verb, noun, component_weight=weight)


def _mixed(
    network: C2CNetwork, inputs: Tensor, pair: Tensor, classes: PairClasses
) -> tuple[Tensor, C2COutput, Tensor, Tensor]:
    """Clips mixed two by two, their scores, the losses of both, and of what is imagined."""
    other, share = torch.randperm(len(inputs)), float(torch.rand(()))
    inputs = share * inputs + (1 - share) * inputs[other]
    output = network(inputs, classes.verbs, classes.objects)
    both = share * _pair_loss(network, output, pair, classes)
    both = both + (1 - share) * _pair_loss(network, output, pair[other], classes)
    (verb, noun), (other_verb, other_noun) = classes.pairs[pair].T, classes.pairs[pair[other]].T
    imagined = imagined_loss(output, verb, other_noun) + imagined_loss(output, other_verb, noun)
    return inputs, output, both, imagined
