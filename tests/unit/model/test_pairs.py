"""A model of verbs and objects: adapted, saved, asked about any pair, and searched by pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import videos
from tests.unit.training.fakes import FakeEncoder
from vlar.errors import LabelError, SupportError, UsageError
from vlar.language.pairs import parse_pairs
from vlar.library.library import Library
from vlar.media.video.decode import read_clip
from vlar.methods.c2c.learner import CLOSED, TRAINED
from vlar.model import folder
from vlar.model.label_heads import LabelClassifier
from vlar.model.model import Model, load
from vlar.training import hyperparameters

UNSEEN = ("rise", "cup")
PAIRS = [("fall", "ball"), ("fall", "cup"), ("rise", "ball"), UNSEEN]
_DARK = {"ball": (3, 4), "cup": (0, 7)}  # bands of the picture
_WAYS = {"fall": -1, "rise": 1}


def draw(pair: tuple[str, str], turn: int, path: Path) -> Path:
    """Eight bands: two of them name the object, a third one grows brighter or darker."""
    verb, noun = pair

    def picture(number: int) -> np.ndarray:
        shown = np.full((64, 96, 3), 120, np.uint8)
        for band in _DARK[noun]:
            shown[8 * band : 8 * band + 8] = 10 + 4 * turn
        shown[16:24] = 125 + _WAYS[verb] * 16 * (number - 4) + 2 * turn
        return shown

    path.parent.mkdir(parents=True, exist_ok=True)
    return videos.make_video(path, 8, picture=picture)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, rows = tmp_path_factory.mktemp("pairs"), ["path,verb,object"]
    for verb, noun in PAIRS:
        for turn in range(4):
            name = f"clips/{verb}_{noun}_{turn}.mp4"
            draw((verb, noun), turn, place / name)
            if (verb, noun) != UNSEEN:
                rows.append(f"{name},{verb},{noun}")
    (place / "pairs.csv").write_text("\n".join(rows))
    return place


@pytest.fixture(scope="module")
def model(place: Path) -> Model:
    known = hyperparameters.recipes()
    numbers = replace(known["c2c/adapt"], epochs=40, warmup_epochs=1, batch=12, learning_rate=4e-3)
    settings = {"components": 12, "hidden": 48, "width": 24}
    short = {**known, "c2c/adapt": replace(numbers, settings=settings)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hyperparameters, "recipes", lambda: short)
        return Model(FakeEncoder()).adapt(place / "pairs.csv", method="c2c")


def test_a_pair_without_examples_is_among_the_answers_and_can_be_the_best(model, place):
    clip = place / "clips" / "rise_cup_0.mp4"
    answer = model.classify(clip)
    assert {p.label for p in answer.predictions} == {f"{verb} {noun}" for verb, noun in PAIRS}
    assert answer.predictions[0].label == "rise cup"
    total = sum(p.probability for p in answer.predictions) + answer.unknown_probability
    assert total == pytest.approx(1, abs=1e-6)
    assert "rise cup" not in model.labels
    report = model.report.training
    assert (report.closed_weight, report.trained_weight) == (CLOSED, TRAINED)
    assert report.held_out is None  # nothing is held out: all examples are learned from


def test_it_is_the_same_alone_in_company_and_after_saving(
    model, place, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    clips = sorted((place / "clips").glob("*_1.mp4"))
    together = model.classify(clips)
    assert [model.classify(clip).predictions for clip in clips] == [
        answer.predictions for answer in together
    ]
    saved = model.save(tmp_path / "m")
    monkeypatch.setattr(folder, "load_encoder", lambda *_: FakeEncoder())
    again = load(saved)
    assert again.classify(clips[0]).predictions == together[0].predictions
    classifier = model.classifier()
    restored = LabelClassifier.restore(
        model.words, classifier.config(), classifier.state(), model.head
    )
    rows = model.words.encode([])
    assert restored.scores(rows).probability.shape == (0, 4)
    assert restored.labels == classifier.labels


@pytest.mark.parametrize(
    ("labels", "best"),
    [
        ("fall cup, rise cup", "rise cup"),
        ("Rise Cup, fall ball", "Rise Cup"),
        (parse_pairs(["fall", "rise"], ["cup", "plate"]), "rise cup"),
    ],
)
def test_lists_of_pairs(model, place, labels, best):
    answer = model.classify(place / "clips" / "rise_cup_2.mp4", labels)
    assert answer.predictions[0].label == best or "plate" in str(labels)
    assert len(answer.predictions) >= 2


def test_several_pairs_at_once_and_a_single_one_stand_for_themselves(model, place):
    clip = place / "clips" / "rise_cup_3.mp4"
    yes, no = (model.classify(clip, [label]).predictions[0] for label in ("rise cup", "fall ball"))
    assert yes.probability > no.probability
    each = {p.label: p.probability for p in model.classify(clip, mode="multi").predictions}
    assert each["rise cup"] == pytest.approx(yes.probability)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [("rise plate", "not a pair of them"), ("dance", "--pairs VERBS OBJECTS")],
)
def test_labels_of_unknown_words_without_parts_are_refused(model, place, labels, reason):
    with pytest.raises(UsageError, match=reason):
        model.classify(place / "clips" / "rise_cup_0.mp4", [labels, "rise cup"])


def test_unseen_pairs_are_evaluated(model, place):
    rows = [f"clips/{v}_{n}_{t}.mp4,{v},{n}" for v, n in PAIRS for t in range(2)]
    (place / "all.csv").write_text("\n".join(["path,verb,object", *rows]))
    found = model.evaluate(place / "all.csv").to_dict()
    assert found


def test_a_library_answers_a_verb_with_an_object_by_both(model, place, tmp_path):
    library = Library(tmp_path / "l.vlar", model=model)
    added = library.add(place / "clips")
    assert not added.failed
    assert library.info().context_rows == 16
    hits = library.query("[verb=rise object=cup]", k=16, min_probability=0)
    seen = {Path(hit.path).stem: hit.probability for hit in hits}
    right = [p for stem, p in seen.items() if stem.startswith("rise_cup")]
    wrong = [p for stem, p in seen.items() if not stem.startswith("rise_cup")]
    assert max(seen, key=seen.__getitem__).startswith("rise_cup")
    assert np.mean(right) > np.mean(wrong)
    clip = place / "clips" / "rise_cup_0.mp4"
    context = model.words.encode([read_clip(clip, None, model.words.sampling)])[0].context
    similarity, probability = model.words.pair_scores(context[None].astype(np.float16), UNSEEN)
    (stated,) = model.words.moment(probability)
    assert stated == pytest.approx(seen["rise_cup_0"], abs=0.05)
    assert -1 <= similarity[0] <= 1
    assert library.query("[verb=rise object=plate]", k=2, min_probability=0)
    plain = Library(tmp_path / "p.vlar", model=model)
    plain.add(place / "clips", keep_context=False)
    assert plain.info().context_rows == 0
    assert plain.query("[verb=rise object=cup]", k=1, min_probability=0)  # by its phrase
    assert Model(FakeEncoder()).words.pair_scores is None


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("path,verb\na.mp4,rise\nb.mp4,fall", "have no 'object'; give a CSV"),
        ("path,label\na.mp4,rise cup\nb.mp4,fall cup", "have no 'verb'; give a CSV"),
        ("path,verb,object\na.mp4,rise,\nb.mp4,fall,cup", "column 'object': empty"),
    ],
)
def test_examples_that_are_not_in_parts_are_refused(tmp_path, table, reason):
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises((UsageError, SupportError), match=reason):
        Model(FakeEncoder()).adapt(tmp_path / "t.csv", method="c2c")


def test_what_the_learner_has_no_use_for_is_refused(place):
    with pytest.raises(UsageError, match="does not balance labels"):
        Model(FakeEncoder()).adapt(place / "pairs.csv", method="c2c", balance="adjust")


def test_pairs_of_two_lists():
    found = parse_pairs("open, close", "door, box")
    assert found.labels == ("open door", "open box", "close door", "close box")
    assert found.parts[1] == {"verb": "open", "object": "box"}
    filled = parse_pairs(["Covering [something] with [something]"], ["glass"])
    assert filled.labels == ("Covering glass with something",)
    with pytest.raises(LabelError, match="1,000 verbs and 1,000 objects"):
        parse_pairs([f"v{i}" for i in range(1000)], [f"o{i}" for i in range(1000)])
    with pytest.raises(LabelError):
        parse_pairs("open", "missing.txt")
