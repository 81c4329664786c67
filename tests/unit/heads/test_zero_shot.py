from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import videos
from tests.refusals import refused
from vlar.errors import UsageError
from vlar.heads.logistic import fit_temperature
from vlar.heads.zero_shot import (
    ContentFree,
    ZeroShotScorer,
    kept_background,
    match_probability,
    score,
    softmax_with_unknown,
)
from vlar.metrics.calibration import expected_calibration_error
from vlar.numeric import unit

SCALE = 20.0
seeds = st.integers(0, 10_000)
few = settings(max_examples=25, deadline=None)


def vectors(seed: int, n: int, width: int = 48):
    return unit(np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32))


@few
@given(seeds, st.integers(1, 5), st.integers(1, 30), st.integers(0, 60), st.integers(0, 6))
def test_every_row_sums_to_one(seed: int, n: int, c: int, b: int, m: int):
    scores = score(
        vectors(seed, n),
        vectors(seed + 1, c),
        vectors(seed + 2, b),
        logit_scale=100.0,
        content_free=vectors(seed + 3, m),
    )
    total = scores.probability.sum(axis=1) + scores.unknown
    np.testing.assert_allclose(total, 1.0, atol=1e-9)
    assert scores.similarity.shape == scores.probability.shape == (n, c)
    assert (scores.probability >= 0).all()


@few
@given(seeds)
def test_order_of_labels_rows_and_background_does_not_matter(seed: int):
    random = np.random.default_rng(seed)
    video, concepts, background = vectors(seed, 4), vectors(seed + 1, 7), vectors(seed + 2, 60)
    rows, labels, others = random.permutation(4), random.permutation(7), random.permutation(60)
    plain = score(video, concepts, background, logit_scale=SCALE)
    mixed = score(video[rows], concepts[labels], background[others], logit_scale=SCALE)
    np.testing.assert_allclose(mixed.probability, plain.probability[rows][:, labels], atol=1e-5)
    np.testing.assert_allclose(mixed.unknown, plain.unknown[rows], atol=1e-5)


@few
@given(seeds)
def test_a_row_scores_the_same_alone(seed: int):
    video, concepts, background = vectors(seed, 4), vectors(seed + 1, 7), vectors(seed + 2, 60)
    scorer = ZeroShotScorer(
        concepts, background, logit_scale=SCALE, content_free=vectors(seed + 3, 5)
    )
    together, alone = scorer.score(video), scorer.score(video[2:3])
    np.testing.assert_allclose(alone.probability[0], together.probability[2], atol=1e-6)


@few
@given(seeds)
def test_a_second_copy_of_a_background_entry_changes_little(seed: int):
    video, concepts, background = vectors(seed, 4), vectors(seed + 1, 7), vectors(seed + 2, 600)
    more = np.concatenate([background, background[:1]])
    before = score(video, concepts, background, logit_scale=SCALE).unknown
    after = score(video, concepts, more, logit_scale=SCALE).unknown
    # Even the best fitting entry counts no more than twice; one of 600 is hardly ever that.
    odds = (after / (1 - after)) / (before / (1 - before))
    assert odds.max() < 2
    assert odds.min() > 0.95
    assert np.median(np.abs(after - before)) < 0.01


@few
@given(seeds)
def test_the_size_of_list_and_bank_hardly_moves_unknown_for_labels_that_fit_no_better(seed: int):
    video = vectors(seed, 50)
    unknown = [
        score(
            video, vectors(seed + 1, c), vectors(seed + 2, b), logit_scale=10.0, unknown_prior=p
        ).unknown.mean()
        for c, b, p in ((100, 100, 0.5), (1000, 100, 0.5), (100, 1000, 0.5), (1000, 1000, 0.2))
    ]
    assert np.allclose(unknown, [0.5, 0.5, 0.5, 0.2], atol=0.08)


def test_a_label_that_fits_is_known_and_a_stranger_is_not():
    background, concepts = vectors(0, 300), vectors(1, 5)
    stranger = unit(background[:1] + 0.3 * vectors(2, 1))
    fitting = unit(concepts[3:4] + 0.3 * vectors(3, 1))
    scores = score(np.concatenate([fitting, stranger]), concepts, background, logit_scale=SCALE)
    assert scores.is_unknown.tolist() == [False, True]
    assert scores.probability[0].argmax() == 3


def test_one_label_alone_can_be_right_or_wrong():
    background, concept = vectors(0, 300), vectors(1, 1)
    rows = np.concatenate([concept, vectors(7, 1)])
    scores = score(rows, concept, background, logit_scale=SCALE)
    assert scores.probability[0, 0] > 0.95
    assert scores.probability[1, 0] < scores.probability[0, 0]


def test_background_that_means_the_same_as_a_label_does_not_take_from_it():
    background, concepts = vectors(0, 300), vectors(1, 5)
    same = unit(concepts[:1] + 0.02 * vectors(2, 1))
    with_same = np.concatenate([background, same])
    assert not kept_background(concepts, with_same)[-1]
    assert kept_background(concepts, with_same)[:-1].mean() > 0.8
    plain = score(concepts[:1], concepts, background, logit_scale=SCALE)
    more = score(concepts[:1], concepts, with_same, logit_scale=SCALE)
    np.testing.assert_allclose(more.probability, plain.probability, atol=0.02)


def test_labels_that_cover_the_bank_leave_a_background():
    background = vectors(0, 300)
    assert kept_background(background, background).sum() == 32
    assert kept_background(background[:3], background[:10]).sum() == 10
    assert kept_background(background[:3], background[:0]).shape == (0,)


def test_rows_like_the_content_free_references_are_unknown():
    random = np.random.default_rng(0)
    blank = unit(vectors(5, 1) + 0.04 * random.normal(size=(8, 48)).astype(np.float32))
    noise = unit(vectors(5, 1) + 1.2 * vectors(6, 1) + 0.01 * vectors(7, 8))
    references = np.concatenate([blank[:6], noise[:6]])
    concepts, background = blank[7:8], vectors(0, 300)  # the worst case: blank looks like a label
    rows = np.concatenate([blank[7:8], noise[7:8], vectors(9, 4)])
    scores = score(rows, concepts, background, logit_scale=SCALE, content_free=references)
    nothing = ContentFree(references).probability(rows)
    assert scores.is_unknown[:2].all()
    assert (nothing[:2] > 0.5).all()
    assert (nothing[2:] < 0.05).all()
    assert not score(rows[:1], concepts, background, logit_scale=SCALE).is_unknown[0]


@few
@given(seeds, st.floats(0.0, 0.9), st.floats(0.0, 0.9))
def test_match_probability_rises_with_similarity(seed: int, first: float, second: float):
    row, background = vectors(seed, 1)[0], vectors(seed + 1, 1)
    across = unit(vectors(seed + 2, 1)[0] - (vectors(seed + 2, 1)[0] @ row) * row)
    low, high = (
        match_probability(
            row[None],
            (s * row + math.sqrt(1.0 - s * s) * across).astype(np.float32),
            background,
            logit_scale=SCALE,
        )[0]
        for s in sorted((first, second))
    )
    assert 0.0 <= low <= high + 1e-6 <= 1.0 + 1e-6


def test_match_probability_of_unrelated_rows_is_near_its_prior():
    rows, background = vectors(0, 400), vectors(1, 300)
    mean = match_probability(rows, vectors(2, 1)[0], background, logit_scale=5.0, prior=0.05).mean()
    assert 0.02 < mean < 0.1


def test_softmax_with_unknown_at_the_edges():
    probability, unknown = softmax_with_unknown(np.array([[0.0, 0.0]]), np.array([-np.inf]))
    assert probability.tolist() == [[0.5, 0.5]]
    assert unknown.tolist() == [0.0]
    probability, unknown = softmax_with_unknown(np.array([[1e4, -1e4]]), np.array([0.0]))
    assert np.isfinite(probability).all()


def test_what_cannot_be_scored():
    rows, some = vectors(0, 2), vectors(1, 3)
    refused(UsageError, "no label", score, rows, some[:0], some, logit_scale=SCALE)
    with pytest.raises(UsageError, match="not of one space"):
        score(rows, some, vectors(1, 3, width=5), logit_scale=SCALE)
    refused(UsageError, "prior", score, rows, some, some, logit_scale=SCALE, unknown_prior=1.0)
    refused(UsageError, "logit_scale", score, rows, some, some, logit_scale=0.0)


@pytest.mark.parametrize("true_scale", [2.0, 15.0, 80.0])
def test_fit_temperature_finds_the_scale_that_made_the_labels(true_scale: float):
    random = np.random.default_rng(0)
    scores = random.uniform(-1, 1, (4000, 6))
    logits = true_scale * scores + random.gumbel(size=scores.shape)
    assert fit_temperature(scores, logits.argmax(axis=1)) == pytest.approx(true_scale, rel=0.15)


def test_fit_temperature_needs_rows_that_agree():
    with pytest.raises(UsageError, match="calibration needs"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))
    with pytest.raises(UsageError, match="calibration needs"):
        fit_temperature(np.zeros((2, 3)), np.zeros(3, np.int64))


def test_expected_calibration_error():
    random = np.random.default_rng(0)
    stated = random.uniform(size=20_000)
    honest = random.uniform(size=20_000) < stated
    assert expected_calibration_error(stated, honest) < 0.02
    never = np.zeros(4, dtype=bool)
    assert expected_calibration_error(np.ones(4), never) == 1.0
    assert expected_calibration_error(np.array([0.75, 0.75]), np.array([True, False])) == 0.25
    assert expected_calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0.0


def test_a_generic_label_owes_its_nearness_to_all_texts():
    background = unit(vectors(0, 300) + 0.5 * vectors(1, 1))
    specific = unit(vectors(2, 1) + 0.1 * vectors(3, 1))
    generic = unit(background.mean(axis=0, keepdims=True))
    row = unit(0.7 * specific + 0.72 * generic)
    scores = score(row, np.concatenate([specific, generic]), background, logit_scale=SCALE)
    assert scores.similarity[0, 1] > scores.similarity[0, 0]
    assert scores.probability[0, 0] > scores.probability[0, 1]


def test_the_rule_holds_where_texts_and_videos_lie_apart():
    # As in CLIP: all texts share a direction, all videos another.
    def wide(seed: int, n: int):
        return vectors(seed, n, width=128)

    def texts(raw):
        return unit(raw + 1.5 * wide(90, 1))

    def clips(raw):
        return unit(raw + 1.5 * wide(91, 1))

    concepts, background = wide(1, 5), wide(0, 300)
    fitting = unit(concepts + 0.8 * wide(3, 5))
    strangers = unit(background[:40] + 0.8 * wide(4, 40))
    blank = unit(wide(5, 1) + 0.2 * wide(6, 8))
    rows = clips(np.concatenate([fitting, strangers, blank[6:]]))
    scores = score(
        rows,
        texts(concepts),
        texts(background),
        logit_scale=100.0,
        content_free=clips(blank[:6]),
    )
    assert scores.probability[:5].argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    assert not scores.is_unknown[:5].any()
    assert scores.is_unknown[5:45].mean() > 0.9
    assert scores.is_unknown[45:].all()


@pytest.mark.parametrize("size", [(96, 64), (320, 240)])
def test_coded_noise_is_unknown_to_the_default_model(tmp_path, lite_model, size):
    path = videos.make_video(tmp_path / "x.mp4", 20, picture=lambda i: videos.noise(i, size))
    assert answer(lite_model, path).unknown_probability > 0.8


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_blank_video_is_unknown_to_the_default_model(tmp_path, lite_model, grey: int):
    path = videos.make_blank_video(tmp_path / "x.mp4", 20, grey=grey)
    assert answer(lite_model, path).unknown_probability > 0.8


def test_a_real_video_with_fitting_labels_is_known(lite_model, demo_clips):
    assert not answer(lite_model, demo_clips["bikes"]).unknown


def answer(model, path):
    labels = ["riding a bike", "street traffic", "talking", "a dog running", "swimming"]
    return model.classify(path, labels)
