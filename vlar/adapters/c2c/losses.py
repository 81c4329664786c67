"""The enhanced training of C2C (Li et al. 2024): what a step minimises.

Letters: N clips, T frames, K inputs of a frame, V verbs, O objects, P pairs of training, D joint
width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlar.adapters.c2c.network import C2CNetwork
from vlar.losses.components import C2COutput, imagined_loss, pair_loss, prior_loss
from vlar.losses.dependence import dependence_loss

_LEAST_CLIPS = 4  # that a dependence can be estimated from


@dataclass(frozen=True)
class PairClasses:
    """What a training step needs of the labels.

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
    config, found = network.config, dict[str, Tensor]()
    if len(inputs) > 1 and float(torch.rand(())) < config.mixed:
        inputs, output, found["pair"], found["imagined"] = _mixed(network, inputs, pair, classes)
    else:
        output = network(inputs, classes.verbs, classes.objects)
        found["pair"] = _pair_loss(network, output, pair, classes)
        found["prior"] = prior_loss(output, classes.counts)
    if config.dependence and len(inputs) >= _LEAST_CLIPS:
        verb, noun = classes.pairs[pair].T
        w, u = output.verb_vector, output.object_vector
        given = replace(output, verb_vector=u, object_vector=w) if config.crossed else output
        shared = config.width // 2
        seen = inputs.mean(dim=1)
        found["dependence"] = dependence_loss(seen, given, verb, noun, shared=shared)
    weights = {
        "pair": 1.0,
        "imagined": config.imagined,
        "prior": config.prior,
        "dependence": config.dependence,
    }
    total = torch.stack([weights[name] * value for name, value in found.items()]).sum()
    return {"total": total, **found}


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
