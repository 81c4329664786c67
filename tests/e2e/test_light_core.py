"""The light core: the default model answers, searches and serves without torch and scipy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import skeletons, videos
from tests.command_line import invoke
from vlar.encoders.lite import towers
from vlar.files.fetched_weights import packages
from vlar.files.resources import cache_dir
from vlar.version import pip_install

from .serving import serving

GUARD = Path(__file__).resolve().parents[1] / "light_core"
PATHS = os.pathsep.join([str(GUARD), str(GUARD.parents[1]), os.environ.get("PYTHONPATH", "")])
VERBS = [
    "classify clips/a/0.mp4 --labels waving,sitting --explain",
    "adapt clips --out mine",
    "classify clips/a/0.mp4 --model mine",
    "index add made.vlar clips",
    "query made.vlar waving --min-probability 0",
    "index info made.vlar",
    "evaluate mine clips",
    "classify walker.json --labels wave,sit --model skeleton",
    "models --for query",
]
ALL = """
import json, sys
from tests.command_line import invoke
for words in json.load(sys.stdin):
    done = invoke([*words.split(), "--json"])
    print(json.dumps([words, done.exit_code, done.stdout]), flush=True)
"""
ONE_LINE = [
    ("classify clips/a/0.mp4 -l a,b --model openclip:ViT-B-32", "clip"),
    ("adapt clips --out other --method temporal", "clip"),
    ("train run.toml", "clip"),
    ("classify clips/a/0.mp4 -l a,b --who 1", "eval"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    for name, shift in (("a", 3), ("b", 40)):
        (folder / "clips" / name).mkdir(parents=True)
        for number in range(2):
            path = folder / "clips" / name / f"{number}.mp4"
            videos.make_video(path, 4, picture=lambda t, s=shift: videos.noise(s + t % 2))
    skeletons.write_ucla(folder / "walker.json")
    (folder / "run.toml").write_text('[data]\ntrain = "clips"\n[model]\nmethod = "temporal"\n')
    return folder


def guarded(place: Path, code: str, given: list[str], paths: str = PATHS) -> list[list[Any]]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": paths}, input=json.dumps(given),
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_answers_are_those_of_a_whole_installation(
    lite_model, place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(place)
    expected = []
    for words in VERBS:
        done = invoke([*words.split(), "--json"])
        expected.append([words, done.exit_code, done.stdout])
    assert {code for _, code, _ in expected} == {0}
    for made in ("mine", "made.vlar"):
        (place / made).rename(place / f"{made}.whole")
    for mine, theirs in zip(guarded(place, ALL, VERBS), expected, strict=True):
        assert mine == theirs
    with serving(place / "made.vlar", place / "state", PYTHONPATH=PATHS) as server:
        status, answer = server.ask("api/query", {"text": "waving", "min_probability": 0})
    asked = VERBS.index("query made.vlar waving --min-probability 0")
    rows = [json.loads(line) for line in expected[asked][2].splitlines()]
    assert status == 200
    assert [hit["score"] for hit in answer["hits"]] == [row["score"] for row in rows]


REFUSED = """
import json, sys
from tests.command_line import invoke
for words in json.load(sys.stdin):
    done = invoke(words.split())
    print(json.dumps([done.exit_code, done.stdout, done.stderr]), flush=True)
"""


def test_an_extra_that_is_missing_is_one_line_with_its_command(lite_model, place: Path):
    rows = guarded(place, REFUSED, [words for words, _ in ONE_LINE])
    for (words, extra), (code, out, err) in zip(ONE_LINE, rows, strict=True):
        (line,) = (line for line in err.splitlines() if line.startswith("vlar: "))
        assert (code, out) == (2, ""), words
        assert "is not installed" in line, words
        assert line.endswith(
            f"run: {pip_install(extra)}".replace("'.[", f"'{GUARD.parents[1]}[")
        ), words
        assert "Traceback" not in err


def test_a_torch_that_is_broken_is_one_line_where_it_is_needed(
    lite_model, place: Path, tmp_path: Path
):
    (tmp_path / "torch").mkdir()
    fault = "libtorch_cpu.so: cannot open shared object file"
    (tmp_path / "torch" / "__init__.py").write_text(f"raise OSError({fault!r})")
    given = ["classify clips/a/0.mp4 -l a,b --model openclip:ViT-B-32", "doctor", "models"]
    hub, doctor, models = guarded(
        place, REFUSED, given, os.pathsep.join([str(tmp_path), str(GUARD.parents[1])])
    )
    line = (
        f"the library 'torch' is installed but cannot be imported ({fault}); run: pip install "
        "--force-reinstall torch"
    )
    assert (hub[0], hub[2].splitlines()[-1]) == (2, f"vlar: encoder 'openclip': {line}")
    assert doctor[0] == 1
    assert [row for row in doctor[1].splitlines() if row.startswith("BROKEN")] == [
        f"BROKEN  torch         {line}"
    ]
    assert models[0] == 0


@pytest.mark.slow
def test_fetched_weights_give_the_networks_of_installed_packages(lite_model, tmp_path: Path):
    wanted = [packages.extra(name) for name in ("lite", "demo")]
    modules = {file.member.partition("/")[0] for each in wanted for file in each.files}
    # What pip would fetch lies in the installed packages, under the same paths.
    source = tmp_path / "files"
    for each in wanted:
        for file in each.files:
            place = source / file.member
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(each.verified_path(file.name))

    def vlar(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from vlar.apps.cli import main; main()", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": PATHS, "VLAR_CACHE": str(tmp_path / "cache"),
                 "VLAR_TEST_ABSENT": " ".join(modules)},
        )  # fmt: skip

    (tmp_path / "x.mp4").write_bytes(b"0")
    for words, name in (("demo", "demo"), ("classify x.mp4 -l a", "lite"), ("doctor", "lite")):
        done = vlar(*words.split())
        assert done.returncode != 0
        assert f"is missing; run: vlar models get {name} (a download" in done.stdout + done.stderr
    done = vlar("models", "get", "lite", "demo", "--from", str(source))
    assert done.returncode == 0, done.stderr
    done = vlar("demo")
    assert done.returncode == 0, done.stderr
    assert "vlar query" in done.stdout
    made = sorted((tmp_path / "cache" / "made" / towers.CACHE_FOLDER).glob("*.network"))
    assert len(made) == 3
    for network in made:
        mine = cache_dir() / "made" / towers.CACHE_FOLDER / network.name
        assert network.read_bytes() == mine.read_bytes()
