"""The model's ways from a clip to an answer, with the offline encoder and a tiny TC-CLIP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import videos
from tests.refusals import refused
from tests.unit.methods import golden
from vlar.errors import DecodeError, ModelError, UsageError
from vlar.media.video.decode import read_clip
from vlar.model.model import Model
from vlar.types import Classification, Failure

LABELS = ["running", "cooking", "playing chess"]


@pytest.fixture
def lite(lite_model: Model) -> Model:
    return lite_model


@pytest.fixture(scope="module")
def tc_clip(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("tc-clip")
    base = golden.save_base(folder / "base")
    names = ("seed_fraction", "context_tokens", "merge_step")
    options = "&".join(f"{name}={golden.settings()[name]}" for name in names)
    checkpoint = golden.save_checkpoint(folder / "best.pth")
    return vlar.load(f"tc-clip:{checkpoint}?base=openclip:{base}&{options}")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    pictures = [lambda _, s=seed: videos.noise(s) for seed in (1, 2)]
    return [
        videos.make_video(folder / f"{number}.mp4", 4, fps=5, picture=picture)
        for number, picture in enumerate(pictures)
    ]


def total(answer: Classification) -> float:
    return sum(p.probability for p in answer.predictions) + answer.unknown_probability


@pytest.mark.parametrize("name", ["lite", "tc_clip"])
def test_answers_sum_to_one_and_are_the_same_alone(name, request, clips):
    model = request.getfixturevalue(name)
    together = model.classify(clips, LABELS)
    assert together == [model.classify(clip, LABELS) for clip in clips]
    for answer in together:
        assert total(answer) == pytest.approx(1, abs=1e-6)
        assert {p.label for p in answer.predictions} == set(LABELS)


def test_conditioned_text_answers_for_its_own_video(tc_clip: Model, clips):
    assert tc_clip.words.conditions_text
    seen = tc_clip.words.encode(
        [read_clip(clip, n_frames=tc_clip.encoder.n_frames) for clip in clips]
    )
    words = [tc_clip.words.conditioned_queries(LABELS, one.context[None]) for one in seen]
    assert not np.allclose(words[0], words[1], atol=1e-4)
    answer = tc_clip.classify(clips[0], LABELS)
    similarity = {p.label: p.similarity for p in answer.predictions}
    expected = seen[0].vector @ words[0][0].T
    assert [similarity[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-5)


def test_lite_conditions_no_text(lite: Model, clips):
    assert not lite.words.conditions_text
    with pytest.raises(UsageError, match="does not depend on the video"):
        lite.words.conditioned_queries(LABELS, np.zeros((1, 1, 4), np.float32))


def test_bad_videos_are_values_in_a_batch_and_errors_alone(lite: Model, clips, tmp_path: Path):
    missing = tmp_path / "nowhere.mp4"
    rows = lite.classify([missing, clips[0]], LABELS)
    assert isinstance(rows[0], Failure)
    assert isinstance(rows[1], Classification)
    rows = lite.classify([missing, clips[0]], LABELS, every_s=0.2)
    assert isinstance(rows[0], Failure)
    assert len(rows) > 2
    refused(DecodeError, r"nowhere\.mp4", lite.classify, missing, LABELS)


def test_labels_are_checked_before_any_video_is_opened(lite: Model, tmp_path: Path):
    refused(UsageError, "no labels of its own", lite.classify, [tmp_path / "nowhere.mp4"])


def test_where_a_model_may_be_saved(lite: Model, tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    refused(ModelError, "holds other files", lite.save, tmp_path / "other", replace=True)
    saved = lite.save(tmp_path / "deep" / "zero-shot")
    again = vlar.load(saved)
    assert again.labels is None
    assert again.fingerprint == lite.fingerprint
    refused(ModelError, "force=True", lite.save, saved)


def test_a_saved_tc_clip_is_found_again(tc_clip: Model, clips, tmp_path: Path):
    again = vlar.load(tc_clip.save(tmp_path / "tc"))
    assert again.fingerprint == tc_clip.fingerprint
    first, second = (model.classify(clips[0], LABELS) for model in (tc_clip, again))
    assert first.predictions == second.predictions


def test_no_clip_gives_no_row(lite: Model):
    assert lite.words.encode([]) == []


def test_a_query_scores_batch_after_batch_as_in_one(lite_model):
    from vlar.heads.zero_shot import AskedScorer, EvidenceCurve
    from vlar.numeric import unit

    rows = unit(np.random.default_rng(0).normal(size=(20, lite_model.words.dim)).astype(np.float32))
    for query in lite_model.words.encode_queries(["running", "cooking", "running"]):
        whole = lite_model.words.match_probability(rows, query)
        parts = [lite_model.words.match_probability(rows[i : i + 7], query) for i in (0, 7, 14)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
        asked, encoder = lite_model.words.asked, lite_model.encoder
        fresh = AskedScorer(
            query[None], lite_model.words.background, logit_scale=encoder.logit_scale,
            curve=EvidenceCurve(asked.discount, asked.slope, asked.offset),
            content_free=lite_model.words.content_free,
        ).score(rows).probability[:, 0]  # fmt: skip
        np.testing.assert_array_equal(whole, fresh)
