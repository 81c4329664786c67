"""The help of every verb: it shows what is typed, its examples are read, names have choices.

`tests/docs/test_execution.py` runs the examples.
"""

from __future__ import annotations

import os

import pytest

from tests.docs import verbs
from vlar.apps.cli.app import VERBS

from .conftest import run_vlar


@pytest.mark.parametrize("verb", verbs.verbs())
def test_every_help_has_two_or_three_examples_that_the_program_reads(verb: str):
    found = verbs.examples(verb)
    assert len(found) in (2, 3)
    for line in found:
        assert line.startswith(f"vlar {verb}")
        verbs.parse(line)


@pytest.mark.parametrize("verb", verbs.verbs())
def test_every_verb_says_what_it_does_in_one_short_line(verb: str):
    summary = verbs.commands()[verb].get_short_help_str(1000)
    assert len(summary) <= 66, summary  # one line of a list in a narrow terminal
    assert summary.endswith(".")
    if verb in VERBS:  # the list is made without the verbs
        assert VERBS[verb][1] == summary


@pytest.mark.parametrize("verb", [v for v in verbs.verbs() if not verbs.is_group(v)])
def test_every_verb_can_be_quiet_and_verbose(verb: str):
    assert {"-q", "--quiet", "-v", "--verbose", "--debug"} <= verbs.options(verb)


def test_brackets_stand_in_the_help():
    assert "[verb=cut|peel object=apple]" in " ".join(verbs.help_of("query").split())
    assert "path,label[,start_s,end_s]" in " ".join(verbs.help_of("adapt").split())


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("adapt", "One of: atcon, balanced-"),
        ("adapt", "One of: auto, bi-mhm, cache, diag, hybrid"),
        ("classify", "One of: one, multi"),
        ("describe", "One of: local, offline, openai"),
        ("index compact", "One of: auto, hnsw, diskann, flat, ivf, ivf-sq8"),
    ],
)
def test_names_come_with_their_choices(verb: str, names: str):
    done = run_vlar(*verb.split(), "--help")  # parts of other tests are not among these names
    assert names in " ".join(done.out.split())


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
    "verb", ["classify", "adapt", "calibrate", "evaluate", "query", "index add"]
)
def test_verbs_with_a_model_take_a_device(verb: str):
    text = verbs.help_of(verb)
    assert "--device" in text
    assert "--dtype" in text


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
    assert completed("vlar adapt --method prototy") == ["prototype"]


def test_completion_can_be_installed():
    text = verbs.help_of("")
    assert "--install-completion" in text
    # The shell is found among the parents of the process; "; true" keeps it there.
    done = run_vlar(prefix=("bash", "-c", '"$0" --show-completion; true'))
    assert "_VLAR_COMPLETE=complete_bash" in done.out


def test_help_is_fast_and_plain():
    done = run_vlar("--help", prefix=("env", "PYTHONPROFILEIMPORTTIME=1"))
    heavy = {"numpy", "torch", "onnxruntime", "faiss", "av", "vlar.apps.cli.classify"}
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
    assert "typer" in imported
    assert not heavy & imported


def test_a_wrong_verb_names_the_nearest():
    done = run_vlar("clasify", "a.mp4")
    assert done.code == 2
    assert "classify" in done.err
    assert os.linesep.join(done.err.splitlines()[:1]).startswith("Usage: vlar")
