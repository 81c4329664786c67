from __future__ import annotations

import torch
from torch.nn import functional as F

from vlar.methods.pcan.objective import Confusions, diversity, refined

Y = torch.tensor([0, 0, 1, 2])
ANSWER = torch.tensor([0, 1, 1, 0])
OTHER = torch.tensor([True, True, False, False])
SPACE = F.normalize(torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), dim=1)


def test_clips_are_sorted_by_which_head_is_right():
    sets = Confusions.of(Y, ANSWER, OTHER, 3)
    assert [mask.nonzero().tolist() for mask in sets.negatives] == [[[1, 0]], [[2, 1]], [[3, 2]]]
    assert sets.positives.nonzero().tolist() == [[1, 1], [3, 0]]


def test_without_confusion_it_is_four_cross_entropies_at_their_sharpness():
    memory = torch.eye(5)[:3]
    sets = Confusions.of(Y, Y, torch.ones(4).bool(), 3)
    near = SPACE @ memory.T / 0.125
    wanted = sum(F.cross_entropy(sharp * near, Y) for sharp in (1.0, 0.1, 0.5, 1.0))
    torch.testing.assert_close(refined(SPACE, memory, Y, torch.eye(3)[Y], sets), wanted)


def test_a_missed_clip_moves_its_own_label_by_the_formula():
    memory, probability = torch.eye(5)[:3], torch.full((4, 3), 0.2)
    none = torch.zeros(4, 3).bool()
    missed = none.clone()
    missed[1, 0] = True
    near = SPACE @ memory.T
    moved = near.clone()
    for row in (0, 1):  # both show label 0, which has a missed clip
        moved[row, 0] += 0.125 * 0.8 * (float(SPACE[row] @ SPACE[1]) - 1)
    wanted = F.cross_entropy(moved / 0.125, Y)
    wanted = wanted + sum(F.cross_entropy(sharp * near / 0.125, Y) for sharp in (0.1, 0.5, 1.0))
    found = refined(SPACE, memory, Y, probability, Confusions((missed, none, none), none))
    torch.testing.assert_close(found, wanted)


def test_a_mistaken_clip_pushes_with_the_other_sign():
    memory, probability = torch.eye(5)[:3], torch.full((4, 3), 0.2)
    none = torch.zeros(4, 3).bool()
    taken = none.clone()
    taken[3, 0] = True
    near = SPACE @ memory.T
    moved = near.clone()
    for row in (0, 1):
        moved[row, 0] += 0.125 * 0.8 * (-float(SPACE[row] @ SPACE[3]) - 1)
    wanted = F.cross_entropy(moved / 0.125, Y)
    wanted = wanted + sum(F.cross_entropy(sharp * near / 0.125, Y) for sharp in (1.0, 0.1, 0.5))
    found = refined(SPACE, memory, Y, probability, Confusions((none, none, none), taken))
    torch.testing.assert_close(found, wanted)


def test_diversity_is_nothing_for_right_angles():
    assert float(diversity(torch.eye(3), torch.arange(3))) < 1e-5
    assert float(diversity(torch.ones(3, 3), torch.arange(3))) > 2
    assert float(diversity(torch.ones(3, 3), torch.zeros(3, dtype=torch.int64))) < 1e-5
