"""The help of every verb: it shows what is typed, its examples work, names come with choices."""

from __future__ import annotations

import os
import shlex
import shutil
from functools import cache
from pathlib import Path

import pytest

from tests import videos

from .conftest import run_vlar

VERBS = (
    *("classify", "adapt", "calibrate", "evaluate", "train", "query", "describe", "check", "pose"),
    *("eval", "report"),
    *("doctor", "demo", "models", "models get", "models trust", "index"),
    *(f"index {verb}" for verb in ("add", "list", "info", "upgrade", "verify", "compact")),
    "index remove",  # last: the others need what it removes
)
# They take minutes, need the network, or have tests of their own.
NOT_RUN = (
    "vlar train",
    "vlar demo",
    "vlar doctor",
    "vlar models get",
    "vlar models trust",
    "vlar pose",
)


@cache
def help_of(verb: str) -> str:
    done = run_vlar(*verb.split(), "--help")
    assert done.code == 0
    return done.out


def examples(text: str) -> list[str]:
    """The lines after ``Examples:``."""
    lines = [line.strip() for line in text.partition("Examples:\n")[2].splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_two_examples(verb: str):
    found = examples(help_of(verb))
    assert len(found) == 2
    assert all(line.startswith(f"vlar {verb}") for line in found)


def test_brackets_stand_in_the_help():
    assert "[verb=cut|peel object=apple]" in help_of("query")
    assert "path,label[,start_s,end_s]" in help_of("adapt")


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("adapt", "One of: balanced-softmax, consistency"),
        ("adapt", "One of: auto, bi-mhm, cache, diag, hybrid"),
        ("classify", "One of: one, multi"),
        ("describe", "One of: local, offline, openai"),
        ("index compact", "One of: auto, flat, ivf, ivf-sq8"),
    ],
)
def test_names_come_with_their_choices(verb: str, names: str):
    assert names in " ".join(help_of(verb).split())


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("adapt", "support", "--out", "x", "--method", "prototyp"), "prototype"),
        (("adapt", "support", "--out", "x", "--objective", "consistancy"), "consistency"),
        (("classify", "a.mp4", "-l", "a, b", "--mode", "mult"), "multi"),
        (("classify", "a.mp4", "-l", "a, b", "--dtype", "float23"), "float32"),
        (("describe", "a, b", "--out", "x.json", "--llm", "ofline"), "offline"),
        (("index", "compact", "x.vlar", "--type", "ifv"), "ivf"),
    ],
)
def test_other_names_are_refused_with_the_nearest(arguments: tuple[str, ...], near: str):
    done = run_vlar(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert f"did you mean '{near}'" in done.advice


@pytest.mark.parametrize(
    "verb",
    ["classify", "adapt", "calibrate", "evaluate", "query", "index add"],
)
def test_verbs_with_a_model_take_a_device(verb: str):
    text = help_of(verb)
    assert "--device" in text
    assert "--dtype" in text


@pytest.fixture(scope="module")
def place(vlar_command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "labels.txt").write_text("dancing\ntalking\n")
    for name in ("clip.mp4", "other.mp4", "videos/2023/a.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        videos.make_video(folder / name, n_frames=12)
    rows = ["path,label"]
    for seed, label in enumerate(("left", "right", "still")):
        for kind in ("support", "checked"):
            (folder / kind / label).mkdir(parents=True)
            for i in range(2):
                clip = folder / kind / label / f"{i}.mp4"
                videos.make_video(clip, 4, picture=lambda _, s=10 * seed + i: videos.noise(s))
        rows += [f"checked/{label}/{i}.mp4,{label}" for i in range(2)]
    for table in ("support.csv", "checked.csv"):
        (folder / table).write_text("\n".join(rows))
    added = ("index", "add", "holiday.vlar", "other.mp4", "videos")
    assert vlar_command(*added, folder=folder).code == 0
    tagged = ("index", "add", "holiday.vlar", "clip.mp4", "--tag", "year=2024")
    assert vlar_command(*tagged, folder=folder).code == 0
    assert vlar_command("adapt", "support", "--out", "mine", folder=folder).code == 0
    scored = ("eval", "zero-shot", "--data", "checked", "--no-controls", "--out")
    for name in ("run.json", "other.json"):
        assert vlar_command(*scored, name, folder=folder).code == 0
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_work(vlar_command, place: Path, tmp_path: Path, verb: str):
    new = verb in ("adapt", "index add")  # their examples start without the others' results
    folder = Path(shutil.copytree(place, tmp_path / "place")) if new else place
    for line in examples(help_of(verb)):
        if line.startswith(NOT_RUN):
            continue
        for out in ("mine", "holiday.vlar") if new else ():
            shutil.rmtree(folder / out, ignore_errors=True)
        done = vlar_command(*shlex.split(line)[1:], folder=folder)
        assert done.code == 0, f"{line}\n{done.err}"


def test_the_shell_completes_verbs_options_and_names():
    def completed(line: str) -> list[str]:
        words = line.split(" ")
        asked = {
            "_VLAR_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        return run_vlar(prefix=("env", *(f"{k}={v}" for k, v in asked.items()))).out.split()

    assert completed("vlar cl") == ["classify"]
    assert "--labels" in completed("vlar classify --la")
    assert completed("vlar adapt --method pro") == ["prototype"]


def test_completion_can_be_installed():
    text = help_of("")
    assert "--install-completion" in text
    # The shell is found among the parents of the process; "; true" keeps it there.
    done = run_vlar(prefix=("bash", "-c", '"$0" --show-completion; true'))
    assert "_VLAR_COMPLETE=complete_bash" in done.out


def test_help_is_fast_and_plain():
    done = run_vlar("--help", prefix=("env", "PYTHONPROFILEIMPORTTIME=1"))
    heavy = {"numpy", "torch", "onnxruntime", "faiss", "av"}
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
    assert "typer" in imported
    assert not heavy & imported


def test_a_wrong_verb_names_the_nearest():
    done = run_vlar("clasify", "a.mp4")
    assert done.code == 2
    assert "classify" in done.err
    assert os.linesep.join(done.err.splitlines()[:1]).startswith("Usage: vlar")
