"""Files that a host of code runs or reads: their form, and what must hold of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import yaml

import vlar
from tests.docs.pages import ROOT
from vlar.version import is_installed

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
#: Published schemas, inside the package check-jsonschema.
SCHEMAS = [
    *((path, "github-workflows") for path in WORKFLOWS),
    *((p, "github-issue-config" if p.stem == "config" else "github-issue-forms") for p in FORMS),
    (ROOT / "CITATION.cff", "citation-file-format"),
    (ROOT / "deploy" / "compose.yaml", "compose-spec"),
]


def departures(path: Path, schema: str) -> str:
    """Departures of a file from its published schema; empty for none."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.fixture(scope="module", autouse=True)
def _tree() -> None:
    if not WORKFLOWS:
        pytest.skip("these files are not part of a source distribution")


@pytest.mark.skipif(not is_installed("check_jsonschema"), reason="check-jsonschema is missing")
@pytest.mark.parametrize(("path", "schema"), SCHEMAS, ids=lambda value: Path(value).name)
def test_they_follow_their_schema(path: Path, schema: str):
    assert departures(path, schema) == ""


@pytest.mark.skipif(not is_installed("check_jsonschema"), reason="check-jsonschema is missing")
def test_a_departure_from_a_schema_is_named(tmp_path: Path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text("utf-8").replace("runs-on:", "runs_on:"))
    assert "runs_on" in departures(wrong, "github-workflows")


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_has_no_complaint():
    done = subprocess.run(
        ["actionlint", *map(str, WORKFLOWS)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout


def faults(text: str) -> list[str]:
    """Rules of this project that a workflow breaks."""
    workflow: dict[Any, Any] = yaml.safe_load(text)
    found = [] if "# Not run here" in text else ["it does not state that it was not run"]
    if workflow.get("permissions") != {"contents": "read"}:
        found.append("its jobs may do more than read")
    if "secrets." in text:
        found.append("it needs a stored secret")
    for name, job in workflow["jobs"].items():
        found += [] if "timeout-minutes" in job else [f"{name} has no limit of time"]
        for step in job["steps"]:
            words = step.get("run", "")
            if re.search(r"\$\{\{\s*github\.(event|ref_name|head_ref)", words):
                found.append(f"{name}: a shell gets what others wrote")
            if not re.search(r"@(v\d+|release/v\d+|[0-9a-f]{40})$", step.get("uses", "@v1")):
                found.append(f"{name}: {step['uses']} is not pinned")
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_no_faults(path: Path):
    assert faults(path.read_text("utf-8")) == []


def test_faults_of_a_workflow_are_named():
    wrong = (
        "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - uses: a/b@main\n"
        "      - run: echo ${{ github.event.issue.title }} ${{ secrets.TOKEN }}\n"
    )
    assert len(faults(wrong)) == 6


def test_the_light_core_is_tested_on_three_systems_and_both_ends_of_python():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))
    matrix = workflow["jobs"]["light-core"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    named = re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text("utf-8"))
    ends = sorted(named, key=lambda minor: int(minor[2:]))
    assert matrix["python"] == [ends[0], ends[-1]]


def test_a_release_is_published_without_a_token_and_with_its_materials():
    text = (ROOT / ".github/workflows/release.yml").read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    used = [
        step.get("uses", "").partition("@")[0] for job in jobs.values() for step in job["steps"]
    ]
    assert {"actions/attest-build-provenance", "actions/attest-sbom"} <= set(used)
    assert "pypa/gh-action-pypi-publish" in used
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


def rehearse() -> Any:
    """The module of ``.ci/rehearse``, which has no ending."""
    path = str(ROOT / ".ci" / "rehearse")
    loader = SourceFileLoader("rehearse", path)
    spec = spec_from_loader("rehearse", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_wheel_is_tried_on_each_python_that_is_promised():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))["jobs"]
    named = re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert jobs["wheel"]["strategy"]["matrix"]["python"] == named
    assert jobs["publish"]["needs"] == ["build", "wheel"]


REHEARSED = """
jobs:
  lacking:
    strategy: {matrix: {python: ["3.0"]}}
    steps:
      - uses: actions/setup-python@v5
        with: {python-version: "${{ matrix.python }}"}
      - name: write
        run: exit 1
  write:
    steps:
      - name: write
        env: {TAG: "${{ github.ref_name }}"}
        run: mkdir out && echo "$TAG" > out/tag
      - uses: actions/upload-artifact@v4
        with: {name: made, path: out/}
  read:
    steps:
      - uses: actions/download-artifact@v4
        with: {name: made, path: in/}
      - name: compare
        run: grep -q WORD in/tag | cat
      - uses: pypa/gh-action-pypi-publish@release/v1
"""


@pytest.mark.parametrize(("word", "status"), [(vlar.__version__, 0), ("another", 1)])
def test_commands_of_a_workflow_are_rehearsed_and_a_fault_stops_the_job(
    word: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    module = rehearse()
    (tmp_path / "w.yml").write_text(REHEARSED.replace("WORD", word), "utf-8")
    monkeypatch.setattr(module, "WORKFLOW", tmp_path / "w.yml")
    monkeypatch.setattr(sys, "argv", ["rehearse", "--keep", str(tmp_path / "kept")])
    assert module.main() == status
    text = capfd.readouterr().out
    assert "lacking 3.0 | actions/setup-python@v5 | not run: no Python 3.0 on this" in text
    assert "lacking 3.0 | write | not reached" in text
    assert (tmp_path / "kept/made/tag").read_text() == f"v{vlar.__version__}\n"
    last = "not reached" if status else "not run: only the host can"
    assert f"read | pypa/gh-action-pypi-publish@release/v1 | {last}" in text


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == vlar.__version__
    assert citation["license"] == "Apache-2.0"


def test_hooks_run_the_tools_of_the_extra_dev():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    entries = [hook["entry"].split()[0] for repo in hooks["repos"] for hook in repo["hooks"]]
    assert set(entries) == {"ruff", "pyright", "codespell"}
    extra = re.search(r"^dev = (\[.*\])$", (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert extra
    assert all(f'"{tool}>=' in extra[1] for tool in (*entries, "pre-commit"))
