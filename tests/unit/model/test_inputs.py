"""What ``classify`` takes: one or many paths, arrays, pictures and clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vlar
from tests.fixtures.models_1 import tiny
from tests.refusals import refused
from vlar.errors import DecodeError, UsageError
from vlar.media.lookup import read_clip
from vlar.model.core import ModelCore
from vlar.model.inputs import is_one
from vlar.types import Classification, Failure

LABELS = ["falling", "rising", "staying"]


@pytest.fixture(scope="module")
def model() -> vlar.Model:
    return vlar.load("tiny-for-fixtures")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tiny.queries(tmp_path_factory.mktemp("queries"))


def frames(label: str, example: int = 5):
    return np.stack([tiny.picture(label, example, frame) for frame in range(8)])


def test_an_array_a_clip_and_a_path_of_the_same_frames_answer_alike(model, clips):
    path = next(clip for clip in clips if clip.parts[-2:] == ("fall", "5"))
    by_path = model.classify(path, LABELS)
    by_array = model.classify(frames("fall"), LABELS)
    by_clip = model.classify(read_clip(path, n_frames=model.words.n_frames), LABELS)
    assert by_path.predictions == by_array.predictions == by_clip.predictions
    assert (by_array.start_s, by_array.end_s) == (0.0, pytest.approx(8 / 25))
    assert model.classify(frames("fall"), LABELS, fps=4).end_s == 2.0


def test_a_picture_is_a_clip_that_stands_still(model):
    picture = tiny.picture("rise", 5, 3)
    still = model.classify(np.stack([picture] * 8), LABELS)
    assert model.classify(picture, LABELS).predictions == still.predictions
    assert model.classify(Image.fromarray(picture), LABELS).predictions == still.predictions
    pictures = [tiny.picture("rise", 5, n) for n in range(2)]
    assert len(model.classify(pictures, LABELS)) == 2


def test_pil_frames_tensors_and_floats_are_the_clip_of_their_frames(model):
    torch = pytest.importorskip("torch")
    clip = frames("rise")
    wanted = model.classify(clip, LABELS)
    pictures = [Image.fromarray(frame) for frame in clip]
    floats = clip.astype(np.float32) / 255
    first = torch.from_numpy(clip).permute(0, 3, 1, 2)
    alike = [pictures, floats, floats.astype(np.float64), first, first / 255]
    alike += [clip.transpose(0, 3, 1, 2), (first.double() / 255).requires_grad_()]
    for given in alike:
        assert model.classify(given, LABELS) == wanted
    assert list(model.classify([pictures, first], LABELS)) == [wanted, wanted]
    other = [Image.fromarray(frame) for frame in frames("fall")]
    assert model.classify(other, LABELS) != wanted  # the control
    picture = model.classify(clip[0], LABELS)
    assert model.classify(first[0], LABELS) == picture == model.classify(pictures[:1], LABELS)


def test_vectors_and_similarities(model, clips):
    words = model.encode_text(LABELS)
    assert words.shape == (3, model.words.dim)
    assert np.allclose(np.linalg.norm(words, axis=1), 1, atol=1e-6)
    assert (model.encode_text(LABELS[1]) == model.encode_text([LABELS[1]])[0]).all()
    seen = model.encode_video(clips[:2])
    assert seen.shape == (2, model.words.dim)
    assert np.allclose(model.encode_video(clips[1]), seen[1], atol=1e-6)
    assert np.allclose(model.encode_video(frames("rise")), model.encode_video(frames("rise") / 255))
    found = model.similarity(clips[:2], LABELS)
    assert np.allclose(found, seen @ words.T)
    assert np.allclose(model.similarity(seen, words), found)
    assert model.similarity(clips[0], LABELS[0]).shape == (1, 1)
    answer = model.classify(clips[0], LABELS)
    stated = {each.label: each.similarity for each in answer.predictions}
    assert [stated[label] for label in LABELS] == pytest.approx(found[0].tolist(), abs=1e-5)
    assert model.encode_video([]).shape == (0, model.words.dim)
    refused(DecodeError, "nowhere", model.encode_video, [clips[0], "nowhere.mp4"])


def test_a_list_gives_a_list_and_an_iterator_an_iterator(model, clips, tmp_path):
    missing = tmp_path / "nowhere.mp4"
    mixed = [clips[0], frames("rise"), missing, str(clips[1])]
    answers = model.classify(mixed, LABELS)
    assert [type(answer) for answer in answers] == [
        Classification,
        Classification,
        Failure,
        Classification,
    ]
    assert answers[0] == model.classify(clips[0], LABELS)
    stream = model.classify(iter(mixed), LABELS)
    assert isinstance(stream, Iterator)
    assert list(stream) == answers
    assert model.classify([], LABELS) == []
    refused(DecodeError, r"nowhere\.mp4", model.classify, missing, LABELS)


def test_every_few_seconds_of_an_array(model):
    long = np.concatenate([frames("fall"), frames("rise")])
    answers = model.classify(long, LABELS, every_s=8 / 25)
    assert [(a.start_s, round(a.end_s, 2)) for a in answers] == [(0.0, 0.32), (0.32, 0.64)]
    assert answers[0].predictions == model.classify(frames("fall"), LABELS).predictions


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((4, 8, 8, 3), 200.0), "float64 with values from 200 to 200"),
        (np.full((4, 8, 8, 3), np.nan), "floats in 0..1"),
        (np.zeros((4, 8, 8, 3), np.int64), "give uint8 in 0..255"),
        (np.zeros((2, 4, 8, 8, 3), np.uint8), "of several clips, a list"),
        ([Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))], "2 sizes"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is not a video"),
        ([3], "cannot classify a int"),
    ],
)
def test_what_is_not_a_recording(model, bad, message):
    refused(UsageError, message, model.classify, bad, LABELS)


def test_clips_of_another_sensor_and_impossible_rates_are_refused(model, clips):
    from dataclasses import replace

    clip = replace(read_clip(clips[0], n_frames=8), modality="imu")
    refused(UsageError, "clip is of the sensor 'imu'", model.classify, clip, LABELS)
    refused(UsageError, "fps is 0", model.classify, frames("fall"), LABELS, fps=0)


def test_clips_of_several_recordings_are_encoded_together(model, clips, monkeypatch):
    sizes: list[int] = []
    encode = ModelCore.encode

    def counted(self, batch):
        sizes.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(ModelCore, "encode", counted)
    many = [*clips, *clips]
    together = model.classify(many, LABELS)
    assert max(sizes) == 8
    assert sum(sizes) == len(many)
    assert [a.predictions for a in together[: len(clips)]] == [
        model.classify(clip, LABELS).predictions for clip in clips
    ]


def test_a_single_label_is_a_yes_no_question(model, clips):
    for mode in ("one", "multi"):
        alone = model.classify(clips[0], "falling", mode=mode)
        among = model.classify(clips[0], LABELS, mode="multi")
        (same,) = (p for p in among.predictions if p.label == "falling")
        # Alone it is as likely as not before the clip is seen; among several, one in twenty.
        odds = [p / (1 - p) for p in (alone.predictions[0].probability, same.probability)]
        assert odds[0] == pytest.approx(19 * odds[1], rel=1e-6)
        assert len(alone.predictions) == 1
        assert alone.unknown_probability == pytest.approx(1 - alone.predictions[0].probability)


def test_a_classifier_can_be_inspected_saved_and_restored(model, clips):
    from vlar.errors import EncoderMismatchError, ModelError
    from vlar.model.label_heads import LabelClassifier

    classifier = model.classifier(LABELS)
    encoded = model.words.encode([read_clip(clip, n_frames=8) for clip in clips])
    scores = classifier.scores(encoded)
    assert classifier.labels == tuple(LABELS)
    assert scores.probability.shape == scores.similarity.shape == (len(clips), 3)
    np.testing.assert_allclose(scores.probability.sum(axis=1) + scores.unknown, 1, atol=1e-9)
    config, state = classifier.config(), classifier.state()
    again = LabelClassifier.restore(model.words, config, state)
    np.testing.assert_array_equal(again.scores(encoded).probability, scores.probability)
    with pytest.raises(EncoderMismatchError, match="another encoder"):
        LabelClassifier.restore(model.words, {**config, "fingerprint": "other"}, state)
    refused(ModelError, "", LabelClassifier.restore, model.words, config, {})


@pytest.mark.parametrize("given", [b"clip.mp4", {"path": "clip.mp4"}, 3, None, bytearray(b"x")])
def test_what_is_no_recording_is_a_sentence(given: object):
    kind = type(given).__name__
    refused(UsageError, f"cannot read a {kind} as a recording; give a path", is_one, given)
    with pytest.raises(UsageError, match=f"cannot read a {kind} as a recording"):
        vlar.read_clip(given)  # pyright: ignore[reportArgumentType]
