"""A second opinion on answers of ``classify``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.evaluation import colours
from tests.unit.generators.opinions.test_asking import Scripted, clip
from vlar.errors import UsageError
from vlar.generators.chat import AnswerTimeoutError, RefusedError
from vlar.generators.opinions.another_model import ModelAnswerer
from vlar.generators.opinions.asking import ask
from vlar.generators.opinions.base import Answer, FunctionAnswerer, MediaItem, load_answerer
from vlar.generators.opinions.question import Question
from vlar.generators.opinions.rerank import SecondOpinion
from vlar.language.tree import Tree
from vlar.model.model import Model
from vlar.types import Classification, Failure, Prediction

LABELS = ["red left", "red right", "blue left", "blue right", "green left"]
SHARES = (0.4, 0.3, 0.1, 0.06, 0.04)
ROW = Classification(
    Path("a.mp4"), 0.0, 1.0, "m",
    tuple(Prediction(label, p, 0.1) for label, p in zip(LABELS, SHARES, strict=True)),
    unknown=False, unknown_probability=0.1,
)  # fmt: skip


def second(*answers: object, **options: object) -> SecondOpinion:
    return SecondOpinion(Scripted(*answers), "scripted", **options)  # type: ignore[arg-type]


def prefers(option: str) -> FunctionAnswerer:
    return FunctionAnswerer(lambda _, q: [3.0 if o == option else 1.0 for o in q.options])


def test_the_opinions_are_mixed_and_ordered():
    judge = SecondOpinion(prefers("red right"), "mine", k=3, weight=1.0)
    row = judge.review(ROW, MediaItem.of(clip()))
    assert row.label == "red right"
    total = sum(p.probability for p in row.predictions)
    assert total == pytest.approx(0.9)
    new = {p.label: p.probability for p in row.predictions}
    assert new["blue right"] == 0.06  # not asked about
    assert new["green left"] == 0.04
    assert row.unknown_probability == 0.1
    assert row.second_opinion is not None
    assert row.second_opinion["label"] == "red right"
    assert set(row.second_opinion["probability"]) == set(LABELS[:3])
    assert row.to_dict()["second_opinion"]["answerer"] == "mine"


def test_without_a_fit_a_clear_answer_stands_and_a_close_one_moves():
    judge = SecondOpinion(prefers("red right"), "mine", k=3)
    row = judge.review(ROW, MediaItem.of(clip()))
    assert row.label == "red left"
    assert [p.probability for p in row.predictions] != list(SHARES)  # heard, if only just
    shares = (0.34, 0.33, *SHARES[2:])
    given = tuple(replace(p, probability=q) for p, q in zip(ROW.predictions, shares, strict=True))
    assert judge.review(replace(ROW, predictions=given), MediaItem.of(clip())).label == "red right"


def test_without_a_fit_an_unsure_opinion_leaves_the_answer_bit_for_bit():
    unsure = FunctionAnswerer(lambda _, q: [0.35 if o == "red right" else 0.3 for o in q.options])
    row = SecondOpinion(unsure, "mine").review(ROW, MediaItem.of(clip()))
    assert row.predictions == ROW.predictions
    assert row.second_opinion is not None
    assert row.second_opinion["unsure"]
    fitted = SecondOpinion(unsure, "mine", weight=1.0).review(ROW, MediaItem.of(clip()))
    assert fitted.predictions != ROW.predictions
    assert "unsure" not in (fitted.second_opinion or {})


def test_no_weight_leaves_every_number_as_it_is():
    judge = SecondOpinion(prefers("blue left"), "mine", weight=0.0)
    assert judge.review(ROW, MediaItem.of(clip())).predictions == ROW.predictions


@pytest.mark.parametrize(
    "error", [AnswerTimeoutError("too late"), RefusedError("no key"), Answer(text="lorem ipsum")]
)
def test_without_an_opinion_the_answer_stands_and_says_so(error: object):
    row = second(*[error] * 5).review(ROW, MediaItem.of(clip()))
    assert row.predictions == ROW.predictions
    assert row.second_opinion is not None
    assert row.second_opinion["error"]
    assert row.second_opinion["label"] is None


def test_after_a_refusal_or_three_silences_nobody_is_asked():
    refused = second(RefusedError("no key"))
    rows = [refused.review(ROW, MediaItem.of(clip(n))) for n in range(3)]
    assert [row.second_opinion["error"] for row in rows if row.second_opinion] == ["no key"] * 3
    assert refused.tally.clips == 1
    silent = second(*[AnswerTimeoutError("late")] * 9)
    for n in range(5):
        silent.review(ROW, MediaItem.of(clip(n)))
    assert silent.tally.clips == 3
    unread = second(*[Answer(text="?")] * 25)  # it answers, though nobody understands it
    for n in range(5):
        unread.review(ROW, MediaItem.of(clip(n)))
    assert unread.tally.clips == 5


def test_labels_that_read_the_same_or_have_no_share_are_not_options():
    twice = (
        Prediction("red_left", 0.5, 0),
        Prediction("Red left", 0.3, 0),
        Prediction("x", 0.0, 0),
    )
    row = second().review(replace(ROW, predictions=twice), MediaItem.of(clip()))
    assert row.second_opinion is not None
    assert "fewer than two" in row.second_opinion["error"]


def test_coarse_labels_follow():
    tree = Tree({label: label.split()[0] for label in LABELS})
    coarse = tuple(Prediction(c, p, 0) for c, p in (("red", 0.7), ("blue", 0.16), ("green", 0.04)))
    judge = SecondOpinion(prefers("blue left"), "mine")
    row = judge.review(replace(ROW, coarse=coarse), MediaItem.of(clip()), tree)
    fine = {p.label: p.probability for p in row.predictions}
    for each in row.coarse:
        own = sum(p for label, p in fine.items() if label.startswith(each.label))
        assert each.probability == pytest.approx(own)


def test_failures_pass_and_top_is_kept(tmp_path: Path):
    model = colours.model()
    path = colours.make_clip(tmp_path / "a.mp4", "red left")
    rows = model.classify([str(path), str(tmp_path / "none.mp4")], LABELS, top=len(LABELS))
    judge = SecondOpinion(prefers("red left"), "mine")
    good, bad = judge.reviewed(rows, model, top=2)
    assert isinstance(good, Classification)
    assert len(good.predictions) == 2
    assert isinstance(bad, Failure)


def test_another_model_answers_from_its_own_look_at_the_recording(tmp_path: Path):
    path = colours.make_clip(tmp_path / "a.mp4", "blue left")
    model = colours.model()
    judge = ModelAnswerer(model)
    question = Question(("red right", "blue left", "green left"))

    def never() -> None:
        raise AssertionError("it reads the recording by itself")

    shown = MediaItem(path, None, never)  # type: ignore[arg-type]
    found = ask(judge, shown, question)
    assert found.probability is not None
    assert found.asked == 1  # the order makes no difference to it
    assert found.probability.argmax() == 1
    answer = model.classify(path, list(question.options), top=3)
    shares = {p.label: p.probability for p in answer.predictions}
    wanted = np.array([shares[option] for option in question.options])
    np.testing.assert_allclose(found.probability, wanted / wanted.sum(), atol=1e-6)
    before = model.encoder.encoded  # type: ignore[attr-defined]
    ask(judge, shown, question.rotated(1))
    assert model.encoder.encoded == before  # type: ignore[attr-defined]


def test_an_adapted_model_answers_about_its_labels_only(tmp_path: Path):
    root = colours.folder(tmp_path / "s", ("red_left", "blue_left", "blue_right"), 2)
    adapted: Model = colours.model().adapt(root / "train", method="prototype")
    path = next((root / "test" / "red_left").glob("*.mp4"))
    shown = MediaItem(path, None, clip)
    found = ask(ModelAnswerer(adapted), shown, Question(("blue left", "red left")))
    assert found.probability is not None
    answer = adapted.classify(path, ["blue_left", "red_left"])
    shares = {p.label: p.probability for p in answer.predictions}
    wanted = np.array([shares["blue_left"], shares["red_left"]])
    np.testing.assert_allclose(found.probability, wanted / wanted.sum(), atol=1e-6)
    missing = ask(ModelAnswerer(adapted), shown, Question(("blue left", "swimming")))
    assert missing.error is not None
    assert "no examples of swimming" in missing.error[1]


def test_too_many_options_are_refused():
    refused(UsageError, "27 options", SecondOpinion, load_answerer("openai:m"), "x", k=27)
