"""C2C's losses against golden numbers, and where they are zero or fall."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vlar.errors import UsageError
from vlar.methods.c2c.losses import (
    dependence_loss,
    imagined_loss,
    listed,
    pair_counts,
    pair_loss,
    prior_loss,
)
from vlar.methods.c2c.network import C2CHead, C2COutput
from vlar.methods.dear.dependence import hsic

GOLDEN = Path(__file__).parents[2] / "golden" / "c2c_head.safetensors"
TEXTS = ("verb_text", "object_text")


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN)


def frames_of(golden: dict[str, torch.Tensor]) -> torch.Tensor:
    return golden["in.X"].transpose(1, 2)


@pytest.fixture(scope="module")
def output(golden: dict[str, torch.Tensor]) -> C2COutput:
    width, text_dim = golden["w.A_v.weight"].shape
    hidden, dim, _ = golden["w.tcn1.conv1.weight"].shape
    head = C2CHead(dim, text_dim, hidden, width)
    weights = {k[2:]: v for k, v in golden.items() if k.startswith("w.")}
    head.load_state_dict({k: v for k, v in weights.items() if k not in TEXTS})
    with torch.no_grad():
        return head(frames_of(golden), *(weights[name] for name in TEXTS))


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("p_v", "verb"),
        ("p_o", "object"),
        ("p_v_given_o", "verb_given_object"),
        ("p_o_given_v", "object_given_verb"),
        ("S", "pair"),
    ],
)
def test_the_scores_are_the_published_ones(golden, output, name: str, ours: str):
    torch.testing.assert_close(getattr(output, ours), golden[f"out.{name}"], atol=1e-5, rtol=0)


def test_the_losses_are_the_published_ones(golden, output):
    verb, noun = golden["in.y_verb"], golden["in.y_object"]
    plain = pair_loss(output, golden["in.train_pairs"], golden["in.y_pair"], verb, noun)
    assert float(plain) == pytest.approx(float(golden["out.loss_vanilla"]), abs=1e-4)
    prior = prior_loss(output, golden["in.counts"])
    assert float(prior) == pytest.approx(float(golden["out.prior"]), abs=1e-4)
    seen = frames_of(golden).mean(dim=1)
    dependence = dependence_loss(seen, output, verb, noun, shared=5)
    assert float(dependence) == pytest.approx(float(golden["out.hsic"]), abs=1e-4)


def test_a_right_pair_lowers_the_losses_and_a_wrong_one_raises_them(output):
    pairs = torch.tensor([[0, 0], [1, 2], [3, 1]])
    best = listed(output.pair, pairs).argmax(dim=1)
    right = pair_loss(output, pairs, best, pairs[best, 0], pairs[best, 1], component_weight=0)
    other = (best + 1) % 3
    wrong = pair_loss(output, pairs, other, pairs[other, 0], pairs[other, 1], component_weight=0)
    assert float(right) < float(wrong)


def test_an_imagined_pair_is_compared_with_every_pair(output):
    verb, noun = torch.tensor([1, 2, 0, 3, 1]), torch.tensor([0, 2, 1, 1, 2])
    every = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    wanted = torch.nn.functional.cross_entropy(100 * listed(output.pair, every), verb * 3 + noun)
    assert float(imagined_loss(output, verb, noun)) == pytest.approx(float(wanted), abs=1e-5)


def test_words_without_a_clip_do_not_count_in_the_prior(output):
    counts = torch.tensor([[2.0, 1, 0], [0, 3, 1], [0, 0, 0], [1, 1, 1]])
    kept = [0, 1, 3]
    part = C2COutput(
        *(output.verb[:, kept], output.object),
        *(output.verb_given_object[:, kept], output.object_given_verb[:, kept]),
        *(output.pair[:, kept], output.verb_vector, output.object_vector),
    )
    assert torch.isfinite(prior_loss(output, counts))
    rows = output.object_given_verb.mean(0)[kept]
    shares = counts[kept] / counts[kept].sum(1, keepdim=True)
    of_objects = torch.nn.functional.cross_entropy(rows, shares)
    columns = output.verb_given_object.mean(0).T
    of_verbs = torch.nn.functional.cross_entropy(columns, (counts / counts.sum(0)).T)
    wanted = float(of_objects + of_verbs)
    assert float(prior_loss(output, counts)) == pytest.approx(wanted, abs=1e-5)
    assert float(prior_loss(part, counts[kept])) < wanted  # of fewer verbs to choose from


def test_pairs_are_counted():
    pairs = torch.tensor([[0, 1], [1, 0]])
    counts = pair_counts(pairs, torch.tensor([0, 0, 1, 0]), 2, 2)
    assert counts.tolist() == [[0, 3], [1, 0]]


def test_normalised_dependence_is_symmetric_and_largest_with_itself():
    drawn = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 3, generator=drawn) for _ in range(2))
    assert float(hsic(a, b)) == pytest.approx(float(hsic(b, a)), rel=1e-9)
    assert float(hsic(a, a)) > 2 * abs(float(hsic(a, b)))
    assert hsic(a, b).dtype == torch.float64
    with pytest.raises(UsageError, match="3 and 3 rows"):
        hsic(a[:3], b[:3])
