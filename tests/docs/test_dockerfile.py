"""The Dockerfile: held to the rules that a linter has, and built where docker is installed."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and arguments of each instruction; lines that end with a backslash continue."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M))
    found = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest.strip()) for name, _, rest in found]


def faults(text: str) -> list[str]:
    """What a linter would name."""
    rows = instructions(text)
    names = [name for name, _ in rows]
    found = [] if "HEALTHCHECK" in names else ["nothing asks for its health"]
    defaults = dict(rest.split("=", 1) for name, rest in rows if name == "ARG" and "=" in rest)
    for line in (rest for name, rest in rows if name == "FROM"):
        base = re.sub(r"\$\{(\w+)\}", lambda match: defaults.get(match[1], ""), line)
        tag = base.split()[0].partition(":")[2]
        if not re.match(r"\d+\.\d+", tag):
            found.append(f"the base {base!r} has no pinned tag")
    users = [rest for name, rest in rows if name == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        found.append("the image runs as root")
    if "ADD" in names:
        found.append("ADD may fetch or unpack; COPY does not")
    found += [f"unsafe: {rest}" for name, rest in rows if name == "RUN" and unsafe(rest)]
    found += [
        f"{n} is not a list" for n, rest in rows if n in ("CMD", "ENTRYPOINT") and rest[:1] != "["
    ]
    return found


def unsafe(command: str) -> bool:
    return bool(re.search(r"(curl|wget)[^|;&]*\|\s*(ba)?sh|\bsudo\b|chmod\s+777", command))


DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def test_the_dockerfile_has_no_faults():
    assert faults(DOCKERFILE) == []


def test_faults_are_found():
    wrong = "FROM python\nADD https://example.org/x.tar /x\nRUN curl https://x.org | sh\nCMD vlar\n"
    assert len(faults(wrong)) == 6
    healthy = 'HEALTHCHECK CMD ["true"]\n'
    assert faults(f"FROM python:3.12-slim\n{healthy}USER root\n") == ["the image runs as root"]
    assert faults(f"ARG BASE=python\nFROM ${{BASE}}\n{healthy}USER vlar\n") == [
        "the base 'python' has no pinned tag"
    ]


def test_the_health_check_is_a_program_that_runs():
    check = next(rest for name, rest in instructions(DOCKERFILE) if name == "HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    # Process 1 of this machine is not a server of vlar, so nothing is asked.
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asking = [sys.executable, "-c", command[2].replace("/proc/1/cmdline", "/dev/stdin")]
    done = subprocess.run(asking, input="vlar\0serve\0x", capture_output=True, text=True)
    assert "URLError" in done.stderr or done.returncode == 0  # a server may run on this machine


def copied() -> list[str]:
    """What the image is built from."""
    return [
        path
        for name, rest in instructions(DOCKERFILE)
        if name == "COPY"
        for path in rest.split()[:-1]
    ]


def test_the_context_holds_what_is_copied_and_nothing_else():
    rules = (ROOT / ".dockerignore").read_text("utf-8").split()
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert "*" in rules
    assert kept == set(copied())
    for path in kept:
        assert (ROOT / path).exists()
    assert any(fnmatch.fnmatch("vlar/__pycache__", rule) for rule in rules)


@pytest.mark.slow
def test_the_copied_files_are_enough_for_a_wheel(tmp_path: Path):
    pytest.importorskip("build")
    for path in copied():
        source = ROOT / path
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / path)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--outdir",
            str(tmp_path / "dist"),
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert list((tmp_path / "dist").glob("vlar-*.whl"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
def test_the_image_builds_and_answers():
    for command in (["build", "-t", "vlar-test", "."], ["run", "--rm", "vlar-test", "demo"]):
        done = subprocess.run(
            ["docker", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
