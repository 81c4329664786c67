"""``vlar classify`` through the real command: people, scores, captions, second opinions."""

from __future__ import annotations

import csv
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vlar
from tests import videos
from tests.conftest import SHARED
from tests.unit.encoders.clip import models
from tests.unit.generators.descriptions.chat_server import Reply, chat_server, message
from tests.unit.people.made import scene
from tests.videos import make_video
from vlar.numeric import softmax, unit
from vlar.pose import networks
from vlar.types import Clip, Window

from .conftest import cache_but

LABELS = "street traffic, a man talking, a cartoon rabbit, playing the piano"


def test_json_lines_are_as_designed(vlar_command, sparse_clips: dict[str, Path], tmp_path: Path):
    table = tmp_path / "answers.csv"
    done = vlar_command(
        *("classify", *sparse_clips.values(), "--labels", LABELS, "--top", 2, "--json"),
        *("--csv", table),
    )
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["label"] for row in rows] == [r["predictions"][0]["label"] for r in done.rows]
    assert done.code == 0
    assert done.notes == ""
    assert [row["path"] for row in done.rows] == [str(path) for path in sparse_clips.values()]
    for row in done.rows:
        assert list(row) == [
            "path", "start_s", "end_s", "model", "calibrated", "predictions", "unknown",
            "unknown_probability", "lost",
        ]  # fmt: skip
        assert row["lost"] == 0.0
        assert len(row["predictions"]) == 2
        assert row["start_s"] == 0.0
        assert row["model"] == "lite"
        probabilities = [p["probability"] for p in row["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) + row["unknown_probability"] <= 1.00001


@pytest.fixture(scope="module")
def real(vlar_command, demo_clips: dict[str, Path]) -> dict[str, Any]:
    """The answers for the clips at full rate, by name."""
    done = vlar_command("classify", *demo_clips.values(), "-l", LABELS, "--json")
    return {Path(row["path"]).stem: row for row in done.rows}


def test_real_clips_are_recognised(real: dict[str, Any]):
    best = {name: row["predictions"][0]["label"] for name, row in real.items()}
    assert best == {
        "bikes": "street traffic",
        "carphone_pristine": "a man talking",
        "bigbuckbunny": "a cartoon rabbit",
    }


def test_python_gives_what_the_command_gives(real: dict[str, Any], demo_clips: dict[str, Path]):
    import vlar

    labels = [label.strip() for label in LABELS.split(",")]
    answer = vlar.load().classify(demo_clips["carphone_pristine"], labels)
    assert json.loads(json.dumps(answer.to_dict())) == real["carphone_pristine"]


def test_a_folder_is_searched(vlar_command, sparse_clips: dict[str, Path]):
    folder = sparse_clips["bikes"].parent
    done = vlar_command("classify", folder, "-l", LABELS, "--json")
    assert {row["path"] for row in done.rows} == {str(path) for path in sparse_clips.values()}


def test_every_gives_a_timeline(vlar_command, sparse_clips: dict[str, Path]):
    done = vlar_command("classify", sparse_clips["bikes"], "-l", LABELS, "--every", "2s", "--json")
    spans = [(row["start_s"], row["end_s"]) for row in done.rows]
    assert len(spans) > 3
    assert spans[0] == (0.0, 2.0)
    for (_, end_s), (start_s, _) in pairwise(spans):
        assert start_s == pytest.approx(end_s, abs=1e-3)


def test_text_output_names_the_answer(vlar_command, sparse_clips: dict[str, Path]):
    done = vlar_command("classify", sparse_clips["bikes"], "-l", LABELS, "--top", 1)
    assert done.code == 0
    verdict, best, unknown = done.out.splitlines()
    assert re.match(r"street traffic, \d+ %  ", verdict)  # the answer first, then its file
    assert f"  {sparse_clips['bikes']}  0:" in verdict
    assert "street traffic" in best
    assert "%" in best
    assert "(unknown)" in unknown


@pytest.mark.parametrize("label", ["street traffic", "knitting"])
def test_text_output_answers_one_label_with_yes_or_no(vlar_command, sparse_clips, label: str):
    asked = ("classify", sparse_clips["bikes"], "-l", label)
    word = vlar_command(*asked, "--json").rows[0]["verdict"]
    (line,) = vlar_command(*asked).out.splitlines()
    texts = {"yes": rf"yes: {label} \(\d+ %\)"}
    assert re.match(texts.get(word, rf'{word} \(\d+ % for "{label}"\)') + "  ", line)


def test_text_output_says_that_nothing_fits(vlar_command, sparse_clips):
    done = vlar_command("classify", sparse_clips["bikes"], "-l", "knitting, chess")
    assert done.out.startswith("unknown: nothing in the list fits (best: ")


def test_a_blank_clip_is_unknown_for_that_reason(vlar_command, sparse_clips, tmp_path: Path):
    black = videos.make_video(
        tmp_path / "black.mp4", 16, picture=lambda _: np.zeros((64, 96, 3), np.uint8)
    )
    done = vlar_command("classify", black, sparse_clips["bikes"], "-l", "knitting, chess", "--json")
    blank, bikes = done.rows
    assert blank["unknown"]
    assert blank["notes"] == ["nothing to recognise: the clip is blank or noise"]
    assert "notes" not in bikes


def test_same_answer_alone_and_in_a_batch(vlar_command, sparse_clips: dict[str, Path]):
    clips = [sparse_clips["bigbuckbunny"], sparse_clips["carphone_pristine"]]
    together = vlar_command("classify", *clips, "-l", LABELS, "--json")
    alone = [vlar_command("classify", clip, "-l", LABELS, "--json") for clip in clips]
    assert together.out == "".join(done.out for done in alone)


def test_bank_as_labels(vlar_command, sparse_clips: dict[str, Path]):
    done = vlar_command(
        "classify", sparse_clips["carphone_pristine"], "-l", "bank:hmdb51", "--top", 3, "--json"
    )
    assert done.code == 0
    assert len(done.rows[0]["predictions"]) == 3


def without_bodies(folder: Path) -> tuple[str, str]:
    """Prefix of a command that finds no lite-motion, as one who just installed vlar."""
    cache = cache_but(folder / "cache", networks.lite_motion().folder.name, "lite-motion-offered")
    return "env", f"VLAR_CACHE={cache}"


def test_lite_motion_is_offered_once(vlar_command, sparse_clips: dict[str, Path], tmp_path: Path):
    fresh = without_bodies(tmp_path)
    first = vlar_command("classify", sparse_clips["carphone_pristine"], "-l", LABELS, prefix=fresh)
    assert first.err.count("vlar models get lite-motion") == 1
    second = vlar_command("classify", sparse_clips["carphone_pristine"], "-l", LABELS, prefix=fresh)
    assert second.notes == ""
    assert first.out == second.out


def needs_bodies() -> None:
    if not networks.is_installed():
        pytest.skip("lite-motion was not fetched")


def test_explain_says_what_was_understood_and_what_decided(vlar_command, real_videos: Path):
    needs_bodies()
    clip = next((real_videos / "weizmann" / "walk").iterdir())
    labels = "she walked off, perambulating on foot, quantum chromodynamics"
    done = vlar_command("classify", clip, "-l", labels, "--explain", "--json")
    assert done.code == 0
    assert len(done.rows) == 1
    walked, like, unknown, decided = done.notes.splitlines()
    assert walked.startswith("vlar: 'she walked off' is 'walk")
    assert "is like '" in like
    assert unknown == "vlar: 'quantum chromodynamics' says nothing of motion"
    best = done.rows[0]["predictions"][0]["label"]
    assert decided.startswith(f"vlar: {clip}: {best!r}: objects ")
    assert "travel +" in decided


def test_explain_without_bodies_says_so(
    vlar_command, sparse_clips: dict[str, Path], tmp_path: Path
):
    fresh = without_bodies(tmp_path)
    done = vlar_command(
        "classify", sparse_clips["carphone_pristine"], "-l", LABELS, "--explain", prefix=fresh
    )
    assert done.code == 0
    assert "no motion is read from labels here (vlar models get lite-motion)" in done.err
    assert done.err.count("no motion is read") == 1


LABELS_WHO = "a red square, a blue square"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("who")
    made = {"two": scene([(15, 2), (130, -1.5)], count=32), "still": scene([], count=32)}
    paths = {}
    for name, frames in made.items():
        paths[name] = videos.make_video(
            folder / f"{name}.mp4", 32, fps=16, size=(160, 96), picture=lambda n, f=frames: f[n]
        )
    return paths


def test_one_person_of_two_is_judged(vlar_command, recordings: dict[str, Path]):
    asked = ("--labels", LABELS_WHO, "--detector", "motion", "--json")
    done = vlar_command(
        "classify", *recordings.values(), *asked, "--who", "the person on the right"
    )
    assert done.code == 0
    two, still = done.rows
    assert (two["person"]["number"], two["person"]["of"]) == (2, 2)
    assert two["person"]["box"][0] > 0.4
    assert "person" not in still
    assert "the whole picture is judged" in still["notes"][0]


def test_a_person_who_is_not_there_ends_nothing(vlar_command, recordings: dict[str, Path]):
    done = vlar_command(
        *("classify", recordings["two"], recordings["still"], "--labels", LABELS_WHO, "--json"),
        *("--detector", "motion", "--who", "person 3"),
    )
    assert done.code == 1
    assert done.rows[0]["error"]["kind"] == "person"
    assert "2 people are found" in done.rows[0]["error"]["message"]
    assert "predictions" in done.rows[1]
    assert "Traceback" not in done.notes


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (("--who", "person 1", "--zoom", "auto"), "give one"),
        (("--who", "the dog"), "is not a person"),
    ],
)
def test_wrong_uses_end_before_a_model_is_loaded(vlar_command, recordings, wrong, reason: str):
    done = vlar_command("classify", recordings["two"], "--labels", LABELS_WHO, *wrong)
    assert done.code == 2
    assert reason in done.notes


GOLDEN = SHARED / "golden" / "numpyclip"

TEXTS = ["a diagram", "a dog", "a cat"]

PROBABILITY = [0.9928, 0.0042, 0.0030]

SPECS = ["openclip:ViT-B-32/openai", "hf:openai/clip-vit-base-patch32"]


@pytest.fixture(scope="module", params=SPECS)
def model(request) -> vlar.Model:
    if not GOLDEN.is_dir():
        pytest.skip("NumPyCLIP's picture is not on this machine (VLAR_SHARED)")
    try:
        return vlar.load(request.param)
    except vlar.VlarError as error:
        pytest.skip(f"the weights of {request.param} are not installed: {error.message}")


def test_a_picture_and_three_texts(model: vlar.Model):
    picture = np.asarray(Image.open(GOLDEN / "CLIP.png").convert("RGB"))
    clip = Clip(GOLDEN / "CLIP.png", Window(0, 1), "video", picture[None], np.zeros(1))
    (encoded,) = model.words.encode([clip])
    texts = model.encoder.encode_text(TEXTS)
    their_texts = unit(np.load(GOLDEN / "text_features.npy"))
    (their_picture,) = unit(np.load(GOLDEN / "image_features.npy"))
    assert np.abs(texts - their_texts).max() < 1e-3
    # Pictures are resized as integers, within 2 grey levels of PIL.
    assert float(encoded.vector @ their_picture) > 0.998
    (probability,) = softmax(100.0 * encoded.vector[None] @ texts.T)
    assert probability == pytest.approx(PROBABILITY, abs=0.01)
    assert model.classify(picture, TEXTS).predictions[0].label == "a diagram"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for label, value in (("red bar", 250), ("green bar", 5)):
        (folder / label).mkdir()
        for i in range(2):
            picture = np.full((48, 64, 3), 90, np.uint8)
            picture[10 + 5 * i : 30, 10:40] = (value, 255 - value, 60)
            make_video(folder / label / f"{i}.mp4", 8, picture=lambda _, p=picture: p)
    return folder


def test_a_library_is_searched_by_captions_of_a_file(vlar_command, clips: Path, tmp_path: Path):
    rows = [{"path": str(clips / "red bar" / "0.mp4"), "sentence": "A red bar stands there."}]
    (tmp_path / "captions.json").write_text(json.dumps(rows))
    library = tmp_path / "l.vlar"
    name = f"file:{tmp_path / 'captions.json'}"
    done = vlar_command("index", "add", library, clips, "--captions", name)
    assert done.code == 0, done.err
    found = vlar_command("query", library, "says: standing bars", "--json")
    assert found.code == 0, found.err
    assert [Path(row["path"]).parent.name for row in found.rows] == ["red bar"]
    assert found.rows[0]["caption"] == "A red bar stands there."
    shown = vlar_command("query", library, "says: red", "--html", tmp_path / "found.html")
    assert "A red bar stands there." in shown.out
    assert "A red bar stands there." in (tmp_path / "found.html").read_text()
    wrong = vlar_command("index", "add", library, clips, "--captions", "concept")
    assert wrong.code == 2
    assert "concepts" in wrong.advice


@pytest.mark.slow
@pytest.mark.parametrize("method", ["multitask", "coco"])
def test_labels_without_examples(vlar_command, clips: Path, tmp_path: Path, method: str):
    done = vlar_command("adapt", clips, "--out", tmp_path / "m", "--method", method)
    assert done.code == 0, done.err
    told = {"red bar": ["A red block."], "riding a bike": ["A person pedals.", "Wheels turn."]}
    (tmp_path / "told.json").write_text(json.dumps(told))
    clip = clips / "red bar" / "0.mp4"
    own = vlar_command("classify", clip, "--model", tmp_path / "m", "--json")
    assert {row["label"] for row in own.rows[0]["predictions"]} == {"red bar", "green bar"}
    labels = ("--labels", tmp_path / "told.json")
    other = vlar_command("classify", clip, "--model", tmp_path / "m", *labels, "--json")
    assert other.code == 0, other.err
    assert {row["label"] for row in other.rows[0]["predictions"]} == set(told)
    model = f"captioned:file:{tmp_path / 'captions.json'}"
    (tmp_path / "captions.json").write_text(json.dumps({str(clip): ["A person rides a bike."]}))
    spoken = vlar_command("classify", clip, "--model", model, *labels, "--json")
    assert spoken.rows[0]["predictions"][0]["label"] == "riding a bike"


LABELS_SCORES = "street traffic, a man talking, riding a bike"


FIELDS = [
    "path", "start_s", "end_s", "model", "calibrated", "predictions", "unknown",
    "unknown_probability", "lost",
]  # fmt: skip


def test_several_labels_at_once_stand_each_for_itself(vlar_command, sparse_clips: dict[str, Path]):
    clip = sparse_clips["carphone_pristine"]
    (row,) = vlar_command("classify", clip, "-l", LABELS_SCORES, "--mode", "multi", "--json").rows
    assert list(row) == FIELDS
    stated = {p["label"]: p["probability"] for p in row["predictions"]}
    assert row["unknown"] == all(p < 0.5 for p in stated.values())
    assert row["unknown_probability"] == pytest.approx(1 - max(stated.values()), abs=1e-5)
    options = ("--mode", "multi", "--descriptions", "none", "--json")
    (all_,) = vlar_command("classify", clip, "-l", LABELS_SCORES, *options).rows
    two = "a man talking, street traffic"
    (fewer,) = vlar_command("classify", clip, "-l", two, *options).rows
    for label in two.split(", "):
        among = [
            p["probability"]
            for answer in (all_, fewer)
            for p in answer["predictions"]
            if p["label"] == label
        ]
        assert among[0] == pytest.approx(among[1], abs=1e-6)


def test_one_label_alone_is_answered_with_a_verdict(vlar_command, sparse_clips: dict[str, Path]):
    asked = ("classify", sparse_clips["bikes"], "-l", "street traffic", "--json")
    (row,) = vlar_command(*asked).rows
    assert list(row) == [*FIELDS[:-1], "verdict", FIELDS[-1]]
    stated = row["predictions"][0]["probability"]
    assert row["verdict"] == "yes"
    assert stated >= 0.55
    assert row["unknown_probability"] == pytest.approx(1 - stated, abs=1e-5)


def test_descriptions_can_be_chosen(vlar_command, sparse_clips: dict[str, Path]):
    clip = sparse_clips["carphone_pristine"]  # the shortest
    labels = ("--labels", "riding a bike, archery, knitting", "--json")
    answers = {
        how: vlar_command("classify", clip, *labels, "--descriptions", how)
        for how in ("auto", "none", "scene,motion", "smell")
    }
    assert [done.code for done in answers.values()] == [0, 0, 0, 2]
    assert len({done.out for how, done in answers.items() if how != "smell"}) == 3
    assert "no label has a description of the kind smell" in answers["smell"].advice
    assert "Known: multi, one" in vlar_command("classify", clip, *labels, "--mode", "x").advice


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, sparse_clips: dict[str, Path]) -> Path:
    table = tmp_path_factory.mktemp("checked") / "checked.csv"
    names = {"bikes": "street traffic", "carphone_pristine": "a man talking"}
    names["bigbuckbunny"] = "a cartoon rabbit"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "start_s", "end_s"])
        for clip, label in names.items():
            writer.writerow([sparse_clips[clip], label, 0, 1])
    return table


def test_a_calibration_is_saved_and_used(
    vlar_command, examples: Path, sparse_clips: dict[str, Path], tmp_path: Path
):
    out = tmp_path / "honest"
    done = vlar_command("calibrate", examples, "--out", out, "--json")
    assert done.code == 0
    (row,) = done.rows
    assert row["failed"] == []
    manifest = json.loads((out / "vlar.json").read_text())
    assert manifest["calibration"] == row["calibration"]
    labels = ("-l", LABELS_SCORES, "--json")
    (plain,) = vlar_command("classify", sparse_clips["bikes"], *labels).rows
    (fitted,) = vlar_command("classify", sparse_clips["bikes"], *labels, "-m", out).rows
    assert list(fitted) == FIELDS
    assert [p["label"] for p in fitted["predictions"]] == [p["label"] for p in plain["predictions"]]
    assert fitted["predictions"] != plain["predictions"]
    total = sum(p["probability"] for p in fitted["predictions"]) + fitted["unknown_probability"]
    assert total == pytest.approx(1, abs=1e-4)
    again = vlar_command("calibrate", examples, "--out", out)
    assert again.code == 2
    assert "--force" in again.advice


def test_percentages_that_follow_a_rule_come_with_a_command_for_a_shell(
    vlar_command, sparse_clips: dict[str, Path], tmp_path: Path
):
    models.save_openclip(tmp_path, models.openclip_config(quick_gelu=True))
    spec = f"openclip:{tmp_path}?precision=bfloat16"
    asked = ("classify", sparse_clips["bikes"], "-l", "a, b", "--json", "--model", spec)
    done = vlar_command(*asked)
    assert done.code == 0
    assert [row["calibrated"] for row in done.rows] == [False]
    command = f"vlar calibrate LABELLED --model {shlex.quote(spec)} --out FOLDER"
    assert f"never compared with clips; fit them: {command}" in done.err
    assert shlex.quote(spec) != spec


def test_examples_that_cannot_calibrate_are_said(
    vlar_command, tmp_path: Path, sparse_clips: dict[str, Path]
):
    table = tmp_path / "two.csv"
    clip = sparse_clips["bikes"]
    table.write_text(f"path,label,start_s,end_s\n{clip},a,0,1\n{clip},b,1,2\n")
    done = vlar_command("calibrate", table, "--out", tmp_path / "model")
    assert done.code == 2
    assert "at least 3" in done.advice


SPARSE_LABELS = "street traffic, a man talking, a cartoon rabbit"


def talking(_: int, body: dict[str, Any]) -> Reply:
    """Sees a man who talks in every clip."""
    text = body["messages"][0]["content"][-1]["text"]
    line = next(line for line in text.splitlines() if line.startswith("A. "))
    letter = next(part[0] for part in line.split(", ") if part[3:] == "a man talking")
    given = message(f"{letter}. a man talking")
    given.body["usage"] = {"prompt_tokens": 100, "completion_tokens": 6}
    return given


def test_a_server_is_asked_with_pictures_and_answers_are_kept(
    vlar_command, sparse_clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    clip = sparse_clips["bikes"]
    arguments = ("classify", clip, "-l", SPARSE_LABELS, "--rerank", "openai:m")
    with chat_server(talking) as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        done = vlar_command(*arguments, "--rerank-weight", 20, "--json")
        assert len(stub.questions) == 3
        again = vlar_command(*arguments, "--rerank-weight", 0)
        assert len(stub.questions) == 3
    assert done.code == 0
    (row,) = done.rows
    assert row["predictions"][0]["label"] == "a man talking"
    assert row["second_opinion"]["probability"]["a man talking"] == 1.0
    assert row["second_opinion"]["tokens"] == 318
    assert "300 tokens in, 18 out" in done.err
    assert "openai:m prefers a man talking, 100 % of its options" in again.out
    assert "0 questions" in again.err
    assert "3 reused" in again.err
    assert "street traffic" in again.out.splitlines()[1]  # the weights leave the first answer


@pytest.mark.slow
def test_a_silent_server_leaves_answers_and_hits_as_they_are(
    vlar_command, sparse_clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    library, clip = tmp_path / "l.vlar", sparse_clips["bikes"]
    assert vlar_command("index", "add", library, clip).code == 0
    plain = vlar_command("query", library, "street traffic", "--json", "--min-probability", 0)
    monkeypatch.setenv("VLAR_LLM_TIMEOUT_S", "0.1")
    with chat_server(lambda *_: Reply(hang=True)) as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        query = ("query", library, "street traffic", "--json", "--min-probability", 0)
        done = vlar_command(*query, "--rerank", "openai:m")
    assert done.code == 1
    assert done.rows == plain.rows
    assert "without opinion: timeout" in done.err
    assert "not asked any more" in done.err
    assert json.loads(done.out.splitlines()[0])["rank"] == 1
