"""Names of the specification lead to what they named, with the same arguments and values."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import re
from types import ModuleType

import numpy as np
import pytest

from tests.conftest import SHARED
from tests.moved import MOVED, find, resolve

# Plugins that import the library they are made for.
OPTIONAL = {"vlar.plugins.mteb": "mteb", "vlar.plugins.milvus": "pymilvus"}
# Names of the specification that this version does not have yet; a line goes when its part lands.
PLANNED: set[str] = set()
# Old names with their arguments; those after * are given by name. Others may follow with a default.
ARGUMENTS = """
evaluation.compositional.evaluate_pairs: scores pairs truth * train_pairs target_pairs
adapters.c2c.head.C2CHead: dim text_dim hidden width
losses.components.pair_loss: output pairs pair verb object * scale component_weight
losses.components.prior_loss: output counts
losses.dependence.hsic: a b * sigma ridge
losses.dependence.hsic_gaussian: a b * sigma biased
losses.dependence.mmd: a b
losses.dependence.dependence_loss: frames_mean output verb object * shared
losses.bags.mil_nce: logits bag_size labels * both_ways
losses.parts.part_contrastive: visual text labels scale * sharpness
adapters.msq.closed.ClosedMsqHead: * token_dim clip_dim width n_labels n_frames layers heads feed
adapters.refer.agent.AgentBlock: width * heads agents
adapters.refer.agent.Agents: agents attention
fewshot.matchers.distances: name queries supports
losses.evidential.evidence: logits
losses.evidential.edl_loss: logits targets
losses.evidential.avu_loss: logits y * weight
scoring.adjust.logit_adjust: logits counts * tau
losses.longtail.balanced_softmax: logits y counts
losses.longtail.effective_number: counts beta
losses.longtail.remix_share: n_a n_b * share ratio
text.tree.Tree: parents
losses.tree.tree_loss: fine coarse parent y
scoring.tree.roll_up: probability tree
training.objectives.sefar.regulation: p s
losses.exchange.cross: n m partner
losses.exchange.pairs: actions subjects random
losses.adversarial.reverse: x strength
evaluation.openset.openness: known unknown
fewshot.som.Som: grid growing
adapters.multitask.map.SemanticMap: q penalty_s penalty_a
adapters.multitask.importance.kliep: source target
losses.cycle.reconstruct: seen unseen temperature
evaluation.corruptions.corrupt: frames name severity * seed
sensors.layouts.layout: name
sensors.layouts.remap: points source target
sensors.layouts.bones: points layout hops
sensors.layouts.partition: layout
detecting.zoom.window: boxes size
detecting.zoom.cut: frames boxes
text.referring.parse: text
text.referring.Reference: position noun rest
evaluation.spans.moment_metrics: predictions truth
evaluation.spans.highlight_metrics: saliency grades * least
"""


def available(name: str) -> bool:
    """Whether the library that a plugin is made for is installed."""
    needed = [library for plugin, library in OPTIONAL.items() if name.startswith(plugin)]
    return all(importlib.util.find_spec(library) for library in needed)


def exists(name: str) -> bool:
    try:
        find(name)
    except ImportError:
        return False
    return True


def test_every_new_name_exists():
    missing = [new for new in sorted(set(MOVED.values())) if available(new) and not exists(new)]
    assert not missing, f"{missing}: correct tests/moved.json"
    assert not exists("vlar.metrics.openset.no_such_figure")
    assert not exists("vlar.no_such_package.auroc")


def test_an_old_name_has_no_other_meaning_now():
    """An old module is gone; an old place lacks the name, or imports it from its new place."""
    for old, new in MOVED.items():
        place, _, last = old.rpartition(".")
        if not available(new) or not exists(place):
            continue
        if isinstance(find(new), ModuleType):
            with pytest.raises(ImportError):
                importlib.import_module(old)
        else:
            same = getattr(find(place), last, find(new)) is find(new)
            assert same, f"{old} still exists and is not {new}"


def test_a_name_is_moved_once_and_the_ledger_stays_short():
    assert not MOVED.keys() & set(MOVED.values())
    assert list(MOVED) == sorted(MOVED)
    assert len(MOVED) <= 260, "a released name warns before it goes; this ledger is of names before"


def dotted_names(text: str) -> set[str]:
    """Names of vlar in a specification: in code spans, with braces, or in lines of names.

    >>> sorted(dotted_names("`vlar.a.{b, c(x, y)}` `losses.d.e(f)`"))
    ['vlar.a.b', 'vlar.a.c', 'vlar.losses.d.e']
    """
    listed = [line for line in text.splitlines() if line.startswith("- F86")]
    names: set[str] = set()
    for span in [*re.findall(r"`([^`]+)`", text), *listed]:
        plain = span
        while (shorter := re.sub(r"\([^()]*\)", "", plain)) != plain:
            plain = shorter
        for before, last in re.findall(r"(?<![\w./])((?:[A-Za-z_]\w*\.)+)(\{[^}]*\}|\w+)", plain):
            prefix = before if before.startswith("vlar.") else f"vlar.{before}"
            parts = (part.split() for part in last.strip("{}").split(","))
            names |= {prefix + part[0] for part in parts if part}
    return names


def specification() -> str:
    """Text of the specification of public names; a machine without it skips."""
    root = SHARED
    file = root / "specs" / "FACTS.md"
    if not file.is_file():
        pytest.skip("the specification is not on this machine (VLAR_SHARED)")
    return file.read_text("utf-8")


def test_names_of_the_specification_are_found():
    tops = {name.split(".")[1] for name in [*MOVED, *MOVED.values()]} | {"segments", "testing"}
    names = {name for name in dotted_names(specification()) if name.split(".")[1] in tops}
    assert len(names) > 130
    # Methods of classes, and "check_<kind>", stand for more than one name.
    wanted = {name for name in names - PLANNED if not re.search(r"\.[A-Z]\w+\.\w+$|_$", name)}
    now = {name: MOVED.get(name, name) for name in sorted(wanted)}
    assert [old for old, new in now.items() if available(new) and not exists(new)] == []


@pytest.mark.parametrize("row", ARGUMENTS.strip().splitlines(), ids=lambda row: row.split(":")[0])
def test_arguments_are_those_of_the_contract(row: str):
    name, _, arguments = row.partition(":")
    by_place, _, by_name = (part.split() for part in arguments.partition("*"))
    parameters = inspect.signature(resolve(f"vlar.{name}")).parameters
    assert list(parameters)[: len(by_place)] == by_place
    for argument, parameter in parameters.items():
        if argument in by_name:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, argument
        elif argument not in by_place and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert parameter.default is not inspect.Parameter.empty, argument
    assert set(by_name) <= parameters.keys()


def test_figures_of_unknown_actions():
    auroc, open_f1 = (resolve(f"vlar.evaluation.openset.{n}") for n in ("auroc", "open_f1"))
    assert resolve("vlar.evaluation.openset.openness")(14, 7) == pytest.approx(0.105573, abs=1e-6)
    assert auroc([0.1, 0.2, 0.9, 0.8], [False, False, True, True]) == 1
    assert open_f1(["a", "b", None], ["a", "b", None]) == 1


def test_distances_of_sequences():
    distances = resolve("vlar.fewshot.matchers.distances")
    frames = np.ones((1, 2, 4))
    assert distances("otam", frames, frames, lam=0.1)[0, 0] == pytest.approx(-0.2 * math.log(6))
    random = np.random.default_rng(0)
    clips = random.normal(size=(3, 5, 4))
    shuffled = distances("bi-mhm", clips[:, ::-1], clips)
    np.testing.assert_allclose(shuffled, distances("bi-mhm", clips, clips), atol=1e-6)


def test_losses():
    torch = pytest.importorskip("torch")
    zeros = torch.zeros(2, 5)
    alpha, _, uncertainty = resolve("vlar.losses.evidential.evidence")(zeros)
    assert alpha.shape == (2, 5)
    assert uncertainty.flatten().tolist() == pytest.approx([0.5, 0.5])
    edl = resolve("vlar.losses.evidential.edl_loss")(zeros, torch.eye(5)[:2])
    assert float(edl) == pytest.approx(math.log(5), abs=1e-5)
    tree = resolve("vlar.losses.tree.tree_loss")(
        zeros, torch.zeros(2, 2), torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 4])
    )
    assert float(tree) == pytest.approx(1.826654, abs=1e-5)
    x = torch.ones(3, requires_grad=True)
    resolve("vlar.losses.adversarial.reverse")(x, 0.5).sum().backward()
    assert x.grad.tolist() == [-0.5] * 3


def test_rare_labels():
    effective = resolve("vlar.losses.longtail.effective_number")([1, 100], 0.99)
    assert effective.tolist() == pytest.approx([1.968943, 0.031057], abs=1e-6)
    logits = np.array([[1.0, 3.0, 2.0]])
    adjusted = resolve("vlar.scoring.adjust.logit_adjust")(logits, [7, 7, 7])
    assert adjusted.argmax() == 1
    regulation = resolve("vlar.training.objectives.sefar.regulation")
    assert float(regulation(0.0, 0.0)) == pytest.approx(0.304185, abs=1e-6)


def test_trees_phrases_and_multiple_choice():
    tree = resolve("vlar.text.tree.Tree")({"run": "move", "walk": "move", "sit": "rest"})
    rolled = resolve("vlar.scoring.tree.roll_up")(np.array([[0.5, 0.2, 0.3]]), tree)
    assert rolled.sum() == pytest.approx(1)
    assert resolve("vlar.text.referring.parse")("the person on the left").position == "left"
    parse_answer = resolve("vlar.evaluation.multiple_choice.parse_answer")
    assert parse_answer("B", ["run", "walk", "sit"]) == 1


def test_skeletons_and_frames():
    layouts = resolve("vlar.sensors.layouts")
    points = np.random.default_rng(0).normal(size=(4, 1, 25, 3)).astype(np.float32)
    np.testing.assert_array_equal(layouts.remap(points, "ntu25", "ntu25"), points)
    assert len(layouts.tree("ntu25")) == 24
    frames = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    same = resolve("vlar.evaluation.corruptions.corrupt")(frames, "jpeg", 0, seed=0)
    np.testing.assert_array_equal(same, frames)
    boxes = np.array([[0.2, 0.2, 0.4, 0.6, 1.0]], np.float32)
    assert len(resolve("vlar.detecting.zoom.window")(boxes, (64, 64))) == 3


def test_a_map_to_texts():
    x = np.random.default_rng(0).normal(size=(12, 3))
    z = x @ np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    fitted = resolve("vlar.adapters.multitask.map.SemanticMap")(2, 1e-12, 1e-12).fit(x, z)
    assert np.diff(fitted.objective).max(initial=-1) <= 1e-9
    np.testing.assert_allclose(fitted.transform(x), z, atol=1e-4)
    weights = resolve("vlar.adapters.multitask.importance.kliep")(x, x[::-1])
    assert weights.mean() == pytest.approx(1, abs=1e-6)
