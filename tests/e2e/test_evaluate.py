from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

LABELS = {
    "bikes": "people riding bicycles",
    "carphone_pristine": "talking on the phone",
    "bigbuckbunny": "cartoon rabbit",
}
KEYS = [
    "n",
    "top1",
    "top5",
    "macro",
    "map",
    "unknown_rate",
    "ece",
    "threshold",
    "labels",
    "confusions",
]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, sparse_clips: dict[str, Path]) -> Path:
    """A folder for each label with the demo clip, and one of them under a wrong label too."""
    folder = tmp_path_factory.mktemp("labelled")
    for name, label in LABELS.items():
        (folder / label).mkdir()
        (folder / label / f"{name}.mp4").symlink_to(sparse_clips[name])
    wrong = sparse_clips["bikes"].read_bytes()
    (folder / LABELS["bigbuckbunny"] / "wrong.mp4").write_bytes(wrong)
    return folder


@pytest.fixture(scope="module")
def table(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a CSV, with a clip that cannot be read."""
    file = tmp_path_factory.mktemp("table") / "rows.csv"
    broken = file.with_name("broken.mp4")
    broken.write_bytes(b"not a video")
    clips = sorted(labelled.glob("*/*.mp4"))
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "group"])
        writer.writerows([(clip, clip.parent.name, clip.stem) for clip in clips])
        writer.writerow(["broken.mp4", LABELS["bikes"], "x"])
    return file


def test_top1_is_what_counting_the_answers_of_classify_gives(vlar_command, labelled: Path):
    done = vlar_command("evaluate", "lite", labelled, "--json")
    assert done.code == 0
    (found,) = done.rows
    assert set(KEYS) <= set(found)
    assert (found["n"], found["failed"]) == (4, [])
    clips = sorted(labelled.glob("*/*.mp4"))
    given = ", ".join(found["labels"])
    answers = vlar_command("classify", *clips, "--labels", given, "--json", "--top", 3).rows
    best = [row["predictions"][0]["label"] for row in answers]
    right = [label == clip.parent.name for label, clip in zip(best, clips, strict=True)]
    assert found["top1"] == sum(right) / 4
    assert found["unknown_rate"] == sum(row["unknown"] for row in answers) / 4
    assert found["top5"] == 1  # three labels
    assert sum(row["count"] for row in found["confusions"]) == 4 - sum(right)
    assert 0 < sum(right) < 4  # one clip lies under a wrong label


def test_unreadable_clips_are_named_and_not_counted(vlar_command, table: Path, tmp_path: Path):
    rows, page = tmp_path / "rows.csv", tmp_path / "page.html"
    done = vlar_command("evaluate", "lite", table, "--csv", rows, "--html", page)
    assert done.code == 1
    assert "broken.mp4" in done.advice
    lines = done.out.splitlines()
    assert lines[0].startswith("4 clips of 3 labels: top-1 ")
    assert "1 clip could not be read" in lines[-1]
    assert len(lines) <= 6
    with rows.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 5
    assert written[-1]["error"].endswith(done.advice.removeprefix("vlar: "))
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") >= 3
    assert "broken.mp4" in text


@pytest.mark.slow
def test_an_adapted_model_is_evaluated_over_its_labels(
    vlar_command, labelled: Path, tmp_path: Path
):
    mine = tmp_path / "mine"
    assert vlar_command("adapt", labelled, "--out", mine, "--method", "prototype").code == 0
    done = vlar_command("evaluate", mine, labelled, "--json")
    assert done.code == 0
    assert done.rows[0]["labels"] == sorted(LABELS.values())
    assert done.rows[0]["settings"]["adapted"]
    assert json.loads((mine / "vlar.json").read_text())["labels"] == done.rows[0]["labels"]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("path\nclip.mp4\n", (), "no column 'label'"),
        ("path,label\nclip.mp4,a\nclip.mp4,b\n", (), "the classes overlap"),
        ("path,label\nx.mp4,a\ny.mp4,b\n", (), "none of the 2 clips"),
        ("path,label\nx.mp4,a\ny.mp4,b\n", ("--html", "absent/page.html"), "absent/page.html"),
    ],
)
def test_bad_input_is_one_line(vlar_command, tmp_path: Path, content: str, options, said: str):
    (tmp_path / "rows.csv").write_text(content)
    done = vlar_command("evaluate", "lite", "rows.csv", *options, "--json", folder=tmp_path)
    assert done.code == 2
    assert said in done.advice
    assert done.out == ""


@pytest.mark.slow
def test_a_table_of_labels_teaches_a_model_and_measures_its_segments(
    vlar_command, tmp_path: Path, demo_clips: dict[str, Path]
):
    """The form ``video,label,start,end``, as support set and as truth of whole recordings."""
    for name in ("bikes", "carphone_pristine"):
        (tmp_path / f"{name}.mp4").symlink_to(demo_clips[name])
    rows = [f"bikes.mp4,bicycle,{s},{s + 2}" for s in (0, 2, 4)]
    rows += [f"carphone_pristine.mp4,phone,{s},{s + 1}" for s in (0, 1, 2)]
    table = tmp_path / "spans.csv"
    table.write_text("\n".join(["video,label,start,end", *rows, ""]))
    done = vlar_command("adapt", table, "--out", tmp_path / "mine", "--method", "ridge", "--json")
    assert done.rows[0]["examples"] == {"bicycle": 3, "phone": 3}
    (clips,) = vlar_command("evaluate", tmp_path / "mine", table, "--json").rows
    assert clips["n"] == 6
    whole = ("evaluate", tmp_path / "mine", tmp_path, "--truth", table, "--json")
    (found,) = vlar_command(*whole).rows
    assert found["n"] == 2
    assert all(0 <= value <= 1 for value in found["segments"].values())
    assert set(found["segments"]) >= {"mAP@0.3", "mAP@0.7", "F1@0.1", "F1@0.25", "F1@0.5", "edit"}


def test_accuracy_at_a_place_is_estimated_without_labels(vlar_command, labelled: Path):
    """The keys of the figures are public; a second call is equal."""
    place = ("evaluate", "lite", labelled, "--unlabelled", "--labels", ", ".join(LABELS.values()))
    done = vlar_command(*place, "--json")
    assert done.code == 0
    (found,) = done.rows
    assert {"estimate", "low", "high", "labels", "differs", "label_next"} <= set(found)
    assert 0 <= found["low"] <= found["estimate"] <= found["high"] <= 1
    assert set(found["labels"]) == set(LABELS.values())
    assert {Path(path).name for path in found["label_next"]} == {
        path.name for path in labelled.glob("*/*.mp4")
    }
    assert vlar_command(*place, "--json").out == done.out
    refused = vlar_command(*place, "--by", "light")
    assert (refused.code, refused.out) == (2, "")
    assert "--unlabelled reads no labels" in refused.advice
