from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests import videos
from tests.refusals import refused
from vlar.errors import LabelError, SupportError
from vlar.model.model import Model


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small clips: two of noise, two of bars, one that is not a video."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(2):
        videos.make_video(folder / f"noise{number}.mp4", 4, picture=lambda i: videos.noise(i))
        videos.make_video(folder / f"bars{number}.mp4", 4)
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


def table(folder: Path, name: str, *rows: tuple[object, ...], header: str = "path,label") -> Path:
    with (folder / f"{name}.csv").open("w", newline="") as file:
        file.write(header + "\n")
        csv.writer(file).writerows(rows)
    return folder / f"{name}.csv"


GOOD = [("noise0.mp4", "snow"), ("bars0.mp4", "curtain"), ("noise1.mp4", "snow")]


def test_answers_are_those_of_classify(lite_model: Model, clips: Path):
    result = lite_model.evaluate(table(clips, "good", *GOOD))
    assert result.labels == ("curtain", "snow")
    for row in result.clips:
        answer = lite_model.classify(row.path, result.labels)
        assert row.answer == answer.predictions[0].label
        assert row.probability == answer.predictions[0].probability
        assert (row.unknown, row.unknown_probability) == (
            answer.unknown,
            answer.unknown_probability,
        )
        assert (row.start_s, row.end_s) == (answer.start_s, answer.end_s)
    right = [row.answer == truth for row, (_, truth) in zip(result.clips, GOOD, strict=True)]
    assert result.top1 == sum(right) / 3
    assert result.to_dict() == lite_model.evaluate(table(clips, "good", *GOOD)).to_dict()


def test_labels_in_any_spelling_and_more_of_them(lite_model: Model, clips: Path):
    rows = [("noise0.mp4", "falling_snow"), ("bars0.mp4", "OpenCurtain")]
    given = ["open curtain", "riding a bike", "Falling snow"]
    result = lite_model.evaluate(table(clips, "spelled", *rows), given)
    assert result.labels == tuple(given)
    assert [clip.truth for clip in result.clips] == [("Falling snow",), ("open curtain",)]
    assert [row.n for row in result.per_label] == [1, 0, 1]


def test_unreadable_clips_are_named_and_not_counted(lite_model: Model, clips: Path):
    rows = [*GOOD, ("broken.mp4", "snow"), ("absent.mp4", "curtain")]
    result = lite_model.evaluate(table(clips, "some", *rows))
    assert result.n == 3
    assert [row.path.name for row in result.failed] == ["broken.mp4", "absent.mp4"]
    assert result.top1 == lite_model.evaluate(table(clips, "good", *GOOD)).top1
    assert "2 clips could not be read" in result.summary()


def test_a_label_whose_clips_cannot_be_read_is_named(lite_model: Model, clips: Path):
    result = lite_model.evaluate(table(clips, "lost", *GOOD, ("broken.mp4", "rain")))
    assert "without a clip, and not in any mean: rain" in result.summary()


def test_nothing_readable_is_an_error_that_names_all(lite_model: Model, clips: Path):
    rows = [("broken.mp4", "snow"), ("absent.mp4", "curtain")]
    with pytest.raises(SupportError, match=r"none of the 2 .*broken\.mp4.*absent\.mp4"):
        lite_model.evaluate(table(clips, "none", *rows))


def test_several_labels_a_clip(lite_model: Model, clips: Path):
    rows = [("noise0.mp4", "snow|curtain"), ("bars0.mp4", "curtain")]
    several = table(clips, "several", *rows, header="path,labels")
    result = lite_model.evaluate(several, mode="multi")
    assert result.clips[0].truth == ("curtain", "snow")
    assert result.micro_map is not None
    refused(SupportError, r"noise0\.mp4 shows 2 labels", lite_model.evaluate, several)


def test_parts_and_groups(lite_model: Model, clips: Path):
    rows = [("noise0.mp4", "open", "door", "a"), ("bars0.mp4", "close", "door", "a")]
    result = lite_model.evaluate(table(clips, "parts", *rows, header="path,verb,object,group"))
    assert result.parts["object"] == 1
    assert result.parts["verb"] == result.top1
    assert result.groups == 1


@pytest.mark.parametrize(
    ("rows", "labels", "error", "said"),
    [
        ([("noise0.mp4", "snow"), ("bars0.mp4", "Snow")], None, LabelError, "read the same"),
        (GOOD, ["snow", "rain"], LabelError, r"1 of its labels .* 'curtain' \(1\)"),
        (GOOD[:1], None, LabelError, "only the label 'snow'"),
        ([*GOOD, ("noise0.mp4", "curtain")], None, SupportError, "the classes overlap"),
        ([*GOOD, ("../clips0/noise0.mp4", "curtain")], None, SupportError, "classes overlap"),
        ([], None, SupportError, "no example in it"),
        ([("noise0.mp4", "")], None, SupportError, "column 'label': empty"),
    ],
)
def test_bad_input_is_named(lite_model: Model, clips: Path, rows, labels, error, said: str):
    rows = [(path.replace("clips0", clips.name), label) for path, label in rows]
    refused(error, said, lite_model.evaluate, table(clips, "bad", *rows), labels)


def test_a_table_without_labels_is_named(lite_model: Model, clips: Path):
    with pytest.raises(SupportError, match="no column 'label'"):
        lite_model.evaluate(table(clips, "bare", ("noise0.mp4",), header="path"))


def test_an_empty_class_is_named(lite_model: Model, tmp_path: Path):
    videos.make_video(tmp_path / "clip.mp4", 4)
    (tmp_path / "set" / "snow").mkdir(parents=True)
    (tmp_path / "set" / "snow" / "a.mp4").symlink_to(tmp_path / "clip.mp4")
    (tmp_path / "set" / "curtain").mkdir()
    refused(SupportError, "'curtain' has no example", lite_model.evaluate, tmp_path / "set")


def test_one_label_is_enough_where_others_are_given(lite_model: Model, clips: Path):
    result = lite_model.evaluate(table(clips, "one", *GOOD[:1]), ["snow", "curtain"])
    assert result.n == 1
    assert result.intervals["top1"] is None


def test_an_adapted_model_has_its_own_labels(lite_model: Model, clips: Path):
    support = table(clips, "support", *GOOD, ("bars1.mp4", "curtain"))
    adapted = lite_model.adapt(support, method="prototype")
    result = adapted.evaluate(support)
    assert result.labels == ("curtain", "snow")
    assert result.settings["adapted"]
    for row in result.clips:
        assert row.answer == adapted.classify(row.path).predictions[0].label
    with pytest.raises(LabelError, match="'rain'"):
        adapted.evaluate(table(clips, "other", *GOOD, ("bars1.mp4", "rain")))


def test_accuracy_by_any_column(lite_model: Model, clips: Path, tmp_path: Path):
    rows = [(*row, light, "") for row, light in zip(GOOD, ("day", "night", "day"), strict=True)]
    file = table(clips, "lit", *rows, header="path,label,light,note")
    refused(SupportError, "unknown column 'light'", lite_model.evaluate, file)
    result = lite_model.evaluate(file, by=("light", "label"))
    plain = lite_model.evaluate(table(clips, "good", *GOOD))
    assert result.top1 == plain.top1
    assert [(s.where["by"], s.where["value"], s.n) for s in result.slices] == [
        ("light", "day", 2), ("light", "night", 1), ("label", "curtain", 1), ("label", "snow", 2),
    ]  # fmt: skip
    right = [clip.right for clip in result.clips]
    assert result.slices[0].value == (right[0] + right[2]) / 2
    assert result.to_dict()["slices"][1]["where"]["value"] == "night"
    assert "light = night: " in result.summary()
    assert "slices" not in plain.to_dict()
    with pytest.raises(SupportError, match=r"no column 'scene' to slice by; there are .*light"):
        lite_model.evaluate(file, by=("scene",))
