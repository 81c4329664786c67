"""Maps from clips to texts, labels unseen: ``aligned``, ``parts`` and ``sa-dvae``."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.encoders.base import Block, FrameBlock
from vlar.errors import ModelError, SupportError
from vlar.language.motion.verb_table import VerbTable
from vlar.methods.aligned.gate import ridge_map
from vlar.methods.aligned.stacking import Round, best_offset, best_share, pretended
from vlar.methods.body_parts.adapter import part_joints, part_vectors, part_widths
from vlar.methods.clauses import PARTS, part_clauses
from vlar.methods.sa_dvae.training import Gaussian, Judge, SaDvaeConfig, SaDvaeNetwork, factors
from vlar.numeric import unit
from vlar.pose.features import POSE_WIDTH
from vlar.pose.skeletons import BLAZEPOSE_33

LABELS = ["wave", "clap", "kick", "jump", "sit down", "bow", "run", "throw", "lift", "turn"]
T = 6


class WordsEncoder(FakeEncoder):
    """Features whose mean is a linear map of the label's own text vector, and noise."""

    dim = 24
    frame_dim = 40
    frame_blocks = (FrameBlock("look", 40, "logits-like"),)
    blocks = (Block("joint", 24, 1.0, True),)

    def pool(self, features):
        return unit(np.random.default_rng(0).normal(size=(len(features), 24)))


@pytest.fixture(scope="module")
def clips():
    """(n, T, 40) clips of ten labels, and their labels; two labels will be left out."""
    encoder, random = WordsEncoder(), np.random.default_rng(1)
    way = random.normal(size=(24, 40))
    texts = unit(encoder.encode_text(LABELS))
    columns = np.repeat(np.arange(len(LABELS)), 12)
    mean = texts[columns] @ way
    noise = random.normal(size=(len(columns), T, 40))
    return (mean[:, None] + 0.4 * noise).astype(np.float32), columns


def unseen_accuracy(adapter, clips, left):
    features, columns = clips
    kept = ~np.isin(columns, left)
    names, place = np.unique(columns[kept], return_inverse=True)
    adapter.solve(features[kept], place.astype(np.int64), [LABELS[i] for i in names])
    words = adapter.encode_text([LABELS[i] for i in left])
    answers = np.array(left)[(adapter.pool(features[~kept]) @ words.T).argmax(axis=1)]
    return float((answers == columns[~kept]).mean())


QUICK = {"own": 0.0, "stacking": 0.0, "text": "own"}
SMALL = {"components": 16, "latent": 12, "irrelevant": 3, "cycles": 2, "steps": 120, "rate": 4e-3}


LEFT = [8, 9]


@pytest.fixture(scope="module", params=[("aligned", {}), ("sa-dvae", SMALL)], ids=lambda p: p[0])
def solved(request, clips):
    """An adapter that has met eight labels, and its accuracy on the other two."""
    method, more = request.param
    adapter = registry.get("adapter", method).attach(WordsEncoder(), QUICK | more)
    return adapter, unseen_accuracy(adapter, clips, LEFT)


def test_labels_without_examples_are_found_and_shuffled_ones_are_not(solved, clips):
    adapter, right = solved
    features, columns = clips
    mixed, kept = columns.copy(), ~np.isin(columns, LEFT)
    mixed[kept] = np.random.default_rng(3).permutation(columns[kept])
    settings = {**adapter.settings, "labels": []}
    wrong = unseen_accuracy(type(adapter).attach(WordsEncoder(), settings), (features, mixed), LEFT)
    assert right > 0.9
    assert wrong < right - 0.2


def test_a_solved_adapter_survives_its_state(solved, clips):
    adapter, _ = solved
    loaded = type(adapter).attach(WordsEncoder(), adapter.settings)
    loaded.load_state_dict(adapter.state_dict())
    assert loaded.fingerprint == adapter.fingerprint
    rows = clips[0][:3]
    np.testing.assert_array_equal(loaded.pool(rows), adapter.pool(rows))
    np.testing.assert_array_equal(loaded.encode_text(LABELS[:2]), adapter.encode_text(LABELS[:2]))


def test_only_labels_with_examples_lose_in_a_mixed_list(solved):
    adapter, _ = solved
    adapter.config = dataclasses.replace(adapter.config, stacking=0.2)
    assert adapter.label_offsets(["wave", "lift", "clap"]).tolist() == [0.2, 0.0, 0.2]


@pytest.mark.parametrize("method", ["aligned", "sa-dvae"])
def test_before_it_is_solved_cosines_are_those_of_the_encoder(clips, method):
    encoder = WordsEncoder()
    adapter = registry.get("adapter", method).attach(encoder)
    features = clips[0][:4]
    own = encoder.pool(features) @ encoder.encode_text(LABELS).T
    found = adapter.pool(features) @ adapter.encode_text(LABELS).T
    np.testing.assert_allclose(found, own, atol=1e-6)


def test_the_seed_decides(clips):
    features, columns = clips
    part = registry.get("adapter", "sa-dvae")
    tiny = QUICK | SMALL | {"cycles": 1, "steps": 5}
    found = [part.attach(WordsEncoder(), tiny) for _ in range(3)]
    for adapter, seed in zip(found, (0, 0, 1), strict=True):
        adapter.solve(features, columns.astype(np.int64), LABELS, seed=seed)
    first, again, other = (adapter.fingerprint for adapter in found)
    assert first == again != other


def test_one_label_is_too_few(clips):
    adapter = registry.get("adapter", "aligned").attach(WordsEncoder(), QUICK)
    with pytest.raises(SupportError, match="more actions"):
        adapter.solve(clips[0][:12], np.zeros(12, np.int64), LABELS[:1])


def test_ridge_without_penalty_is_least_squares_and_with_much_is_nothing():
    random = np.random.default_rng(0)
    x, way = random.normal(size=(40, 5)), random.normal(size=(5, 3))
    weights = np.full(40, 1 / 40)
    np.testing.assert_allclose(ridge_map(x, x @ way, weights, 1e-9).T, way, atol=1e-5)
    assert np.abs(ridge_map(x, x @ way, weights, 1e9)).max() < 1e-6


# Labels held out


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 15), st.integers(4, 9), st.integers(0, 99))
def test_held_out_labels_are_apart(n_labels, clips_a_label, seed):
    columns = np.random.default_rng(seed).permutation(np.repeat(np.arange(n_labels), clips_a_label))
    splits = pretended(columns, n_labels)
    assert np.array([~split.seen for split in splits]).sum(axis=0).tolist() == [1] * n_labels
    for split in splits:
        assert not set(split.kept) & set(split.asked)
        assert split.seen[columns[split.kept]].all()
        assert (~split.seen[columns[split.asked]]).sum() == (~split.seen).sum() * clips_a_label


def test_the_offset_makes_up_for_what_seen_labels_have_too_much():
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 20)
    seen = np.array([True, True, False, False])
    cosines = np.eye(4)[truth] * 0.3 + 0.02 * random.normal(size=(80, 4)) + 0.5 * seen
    rounds = [Round(np.zeros_like(cosines), cosines, truth, seen)]
    offset = best_offset(rounds, 0.0)
    assert 0.2 < offset < 0.8
    assert best_share(rounds) < 1.0
    assert best_share([Round(cosines, np.zeros_like(cosines), truth, seen)]) == 1.0
    assert (best_offset([], 0.0), best_share([])) == (0.0, 0.5)


# SA-DVAE


def test_the_network_has_the_published_size():
    network = SaDvaeNetwork(256, 160, 8, 1024)
    assert sum(p.numel() for p in network.parameters()) == 622_480
    encoder = WordsEncoder()
    encoder.dim = 1024
    module = registry.get("adapter", "sa-dvae").attach(encoder, {"text": "own"}).module
    assert sum(p.numel() for p in module.parameters()) == 622_480


def test_the_schedule_of_a_cycle():
    config = SaDvaeConfig(cycles=4, steps=101, divergence=0.5, cross=2.0)
    assert factors(config, 0, 20).clips == 0
    assert factors(config, 0, 100) == factors(config, 1, 100)
    late = factors(config, 3, 100)
    assert (late.clips, late.texts, late.cross) == pytest.approx((0.5, 0.5, 2.0))
    assert factors(config, 3, 70).texts == factors(config, 3, 70).cross == 0


def test_the_divergence_of_a_standard_normal_is_nothing():
    zeros = torch.zeros(5, 3)
    assert Gaussian(zeros, zeros).divergence() == 0
    assert Gaussian(zeros + 1, zeros).divergence() == pytest.approx(1.5)
    assert Gaussian(zeros + 2, zeros - 50).draw().std() < 1e-6


def test_a_judge_learns_to_tell_pairs_that_belong_together():
    torch.manual_seed(0)
    shared = torch.randn(256, 4)
    other = shared[:, :2] + 0.1 * torch.randn(256, 2)
    judge = Judge(4, 2)
    adam = torch.optim.Adam(judge.parameters(), 0.02)
    first = float(judge.loss(shared, other).detach())
    for _ in range(200):
        adam.zero_grad()
        loss = judge.loss(shared, other)
        loss.backward()
        adam.step()
    apart = judge(shared, other).mean() - judge(shared, other[torch.randperm(256)]).mean()
    assert float(loss.detach()) < 0.8 * first
    assert apart > 1


def test_what_no_text_describes_is_found_in_its_own_part(clips):
    """Who moves shows in a few entries of a clip that no label has to do with."""
    features, columns = clips
    person = np.arange(len(columns)) % 2
    features = features.copy()
    features[..., :6] += 3.0 * person[:, None, None]
    adapter = registry.get("adapter", "sa-dvae").attach(WordsEncoder(), QUICK | SMALL)
    adapter.solve(features, columns.astype(np.int64), LABELS)
    x = adapter.clip_vectors(features)

    def probe(rows):
        design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)[:, :]
        half = np.arange(len(rows)) % 4 < 2
        weights = np.linalg.lstsq(design[half], 2.0 * person[half] - 1, rcond=1e-3)[0]
        return float(((design[~half] @ weights > 0) == person[~half]).mean())

    assert probe(adapter.irrelevant(x)) > 0.8


@pytest.mark.parametrize("solved", [("sa-dvae", SMALL)], indirect=True, ids=["sa-dvae"])
def test_the_published_classifier_knows_the_texts_that_it_was_made_of(solved):
    adapter, _ = solved
    weights, bias = adapter.classifier(LABELS)
    means = adapter._words(adapter.label_vectors(LABELS))
    assert ((means @ weights + bias).argmax(axis=1) == np.arange(len(LABELS))).all()
    other, _ = adapter.classifier(LABELS, seed=1)
    assert not np.array_equal(weights, other)


# Parts


class BodyEncoder(WordsEncoder):
    """Bodies whose arms or legs move."""

    dim = 24
    frame_blocks = (FrameBlock("pose", POSE_WIDTH, "pose"),)
    frame_dim = POSE_WIDTH


def bodies(moving, n, seed=0):
    """(n, T, POSE_WIDTH) features of bodies of which some joints move up and down."""
    random = np.random.default_rng(seed)
    points = np.zeros((n, 16, 33, 3), np.float32)
    points[..., 0] = np.linspace(0.3, 0.7, 33)
    points[..., 1] = np.linspace(0.1, 0.9, 33)
    points[..., 2] = 1.0
    swing = 0.2 * np.sin(np.linspace(0, 6, 16) + random.uniform(0, 6, (n, 1)))
    for joint in moving:
        points[:, :, joint, 1] += swing
    points[..., :2] += 0.01 * random.normal(size=points[..., :2].shape)
    rows = np.zeros((n, 16, POSE_WIDTH), np.float32)
    rows[..., :99] = points.reshape(n, 16, 99)
    rows[..., 99] = 1.0
    rows[..., -2], rows[..., -1] = np.linspace(0, 2, 16), 1.0
    return rows


def test_parts_are_named_groups_of_joints():
    names = {part: [BLAZEPOSE_33.joints[at] for at in part_joints(part)] for part in PARTS}
    assert {"nose", "left_ear"} <= set(names["head"])
    assert {"left_wrist", "right_thumb", "right_elbow"} <= set(names["hand"])
    assert names["hip"] == ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    assert {"left_knee", "right_heel"} <= set(names["foot"])
    assert not set(names["head"]) & set(names["hand"] + names["foot"])


def test_a_part_is_blind_to_the_others():
    encoder = BodyEncoder()
    still, arms = bodies([], 1), bodies(part_joints("hand")[2:], 1)
    widths = part_widths(encoder.frame_blocks)
    cuts = np.cumsum(widths)[:-1]
    a, b = (np.split(part_vectors(x, encoder.frame_blocks), cuts, axis=1) for x in (still, arms))
    changed = [not np.allclose(x, y, atol=1e-6) for x, y in zip(a, b, strict=True)]
    assert changed == [True, False, True, False, False]


def test_clauses_of_parts_follow_the_verb_table():
    table = VerbTable.packaged()
    clap, kick = (part_clauses(table.lookup(text)) for text in ("clapping hands", "kicking a ball"))
    assert set(clap) == set(PARTS)
    assert "palms strike each other" in clap["hand"]
    assert "foot is lifted" in kick["foot"]
    assert clap["head"] == "the head does not move"
    assert part_clauses(table.lookup("photosynthesis")) == {}


def test_parts_learn_and_say_what_they_read():
    encoder = BodyEncoder()
    part = registry.get("adapter", "parts")
    adapter = part.attach(encoder, {**QUICK, "components": 8, "steps": 60})
    features = np.concatenate(
        [bodies(part_joints("hand")[2:], 12, 1), bodies(part_joints("foot")[2:], 12, 2)]
    )
    columns = np.repeat([0, 1], 12)
    adapter.solve(features, columns.astype(np.int64), ["clapping", "kicking a ball"])
    words = adapter.encode_text(["clapping", "kicking a ball"])
    assert ((adapter.pool(features) @ words.T).argmax(axis=1) == columns).all()
    assert adapter.solved.objective[-1] < adapter.solved.objective[0]
    rows = adapter.part_texts(["clapping"])[0]
    assert rows[0] == "clapping"
    assert all(row.startswith("clapping, ") for row in rows[1:])


def test_parts_need_bodies():
    with pytest.raises(ModelError, match="lite-motion"):
        registry.get("adapter", "parts").attach(WordsEncoder())
