"""The release, rehearsed: its workflow's commands run, and what a stranger installs must answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def call(*command: object, **more) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=3600, **more
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


class Rehearsal(NamedTuple):
    artifacts: Path
    outcomes: dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """The commands of the release workflow on each Python of this machine; minutes for each."""
    pytest.importorskip("yaml")
    if not (CHECKOUT / ".git").exists():
        pytest.skip("only a commit can be rehearsed")
    artifacts = tmp_path_factory.mktemp("release") / "artifacts"
    text = call(sys.executable, CHECKOUT / ".ci" / "rehearse", "--keep", artifacts)
    rows = [line.split(" | ") for line in text.rpartition("\nof commit ")[2].splitlines()[1:]]
    return Rehearsal(artifacts, {(job, step): outcome for job, step, outcome in rows})


def test_the_release_passes_here_on_each_python(rehearsal: Rehearsal):
    outcomes = rehearsal.outcomes
    host = {step.partition("@")[0] for (_, step), o in outcomes.items() if "only the host" in o}
    assert host == {
        "Attest where the files come from",
        "Attest the bill of materials",
        "pypa/gh-action-pypi-publish",
    }
    passed = {job for (job, _), o in outcomes.items() if o.startswith("passed")}
    lacking = {job for (job, _), o in outcomes.items() if "no Python" in o}
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert {"build", f"wheel {minor}"} <= passed - lacking
    for (job, step), outcome in outcomes.items():
        assert job in lacking or outcome.startswith(("passed", "not run: only the host")), step
    names = {path.name for path in rehearsal.artifacts.rglob("*") if path.is_file()}
    assert {"SHA256SUMS", "sbom.cdx.json"} < names


def test_the_wheel_answers_in_an_empty_environment(rehearsal: Rehearsal, tmp_path: Path):
    (wheel,) = rehearsal.artifacts.glob("dist/*.whl")
    assert wheel.stat().st_size < 6_000_000  # text banks take 2.8 MB
    venv.create(tmp_path / "env", with_pip=True)
    commands = tmp_path / "env" / "bin"
    call(commands / "pip", "install", "-q", wheel)
    own = {"HOME": str(tmp_path), "VLAR_CACHE": str(tmp_path / "cache")}
    where = {"cwd": tmp_path, "env": {"PATH": "/usr/bin:/bin", **own}}
    settings = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    get = {"cwd": tmp_path, "env": {**where["env"], **settings}}
    call(commands / "vlar", "models", "get", "lite", **get)
    rows = call(commands / "vlar", "doctor", "--json", **where).splitlines()
    assert all(json.loads(row)["ok"] for row in rows)
    listed = call(commands / "python", "-c", LOAD_EVERYTHING, **where).split()
    assert "everyday_actions" in listed
    assert "plain" in listed


LOAD_EVERYTHING = """
from vlar.files import resources
from vlar.generators.descriptions.chat_describer import Instructions
from vlar.language.bank import load_bank
from vlar.language.prompts import load_templates
banks, prompts = resources.names("text_banks", ".json"), resources.names("prompts", ".txt")
for name in banks:
    if name != "imagenet_objects":
        load_bank(name)
for name in prompts:
    load_templates(name)
Instructions.packaged()
print(*banks, *prompts)
"""
