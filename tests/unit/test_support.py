"""The page of tried versions, its figures and the ranges of ``pyproject.toml`` agree."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import support

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
REPORT = json.loads(support.RESULT.read_text("utf-8"))


def test_page_and_figures_agree():
    page = support.PAGE.read_text("utf-8")
    assert support.table(REPORT) in page
    assert REPORT["ranges"] == support.ranges()
    assert set(REPORT["ranges"]) == set(support.PACKAGES)
    for row in REPORT["rows"]:
        for name, version in row["versions"].items():
            assert support.requirements()[name].specifier.contains(version.partition("+")[0]), row


def test_pythons_that_passed_are_named():
    # Where no wheel of torch was at hand, the light core alone was tried.
    fine = {"passed", f"{support.NO_TORCH}; the rest passed"}
    whole = {row["python"] for row in REPORT["rows"] if row["outcome"] in fine}
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for minor in support.MINORS:
        named = f'"Programming Language :: Python :: {minor}"' in project
        assert named == (minor in whole), minor
    assert f"Python {', '.join(sorted(whole))}" in (ROOT / "README.md").read_text("utf-8")


def test_the_table_of_extras_is_that_of_the_project():
    """What stands above ``all`` in the table is what ``all`` brings, and no extra is left out."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    page = support.PAGE.read_text("utf-8")
    table = page.partition("| extra |")[2].partition("\n\n")[0].splitlines()[2:]
    names = [re.findall(r"`([a-z]+)`", line.split("|")[1]) for line in table]
    listed = [name for row in names for name in row]
    assert sorted(listed) == sorted(extras)
    (brought,) = (re.search(r"^vlar\[(.*)\]$", line) for line in extras["all"] if "vlar[" in line)
    assert brought is not None
    assert set(brought[1].split(",")) == set(listed[: listed.index("all")])


def test_a_row_replaces_its_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page, file = tmp_path / "page.md", tmp_path / "rows.json"
    page.write_text(f"above\n{support.BEGIN}{support.END}below\n")
    monkeypatch.setattr(support, "PAGE", page)
    for outcome in ("failed: x", "passed"):
        for minor in ("3.13", "3.10"):
            row = {"python": minor, "end": "oldest", "versions": {"av": "15"}, "outcome": outcome}
            support.store(file, [row])
    rows = json.loads(file.read_text())["rows"]
    assert [(row["python"], row["outcome"]) for row in rows] == [
        ("3.10", "passed"), ("3.13", "passed"),
    ]  # fmt: skip
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "failed" not in text
    assert text.count("| passed |") == 2


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("pip: ERROR: No matching distribution", "not installed"),
        ("pip: out of time", "not finished"),
        ("vlar adapt clips: out of time", "not finished"),
        ("vlar adapt clips: TypeError: a", "failed"),
    ],
)
def test_only_a_newest_row_that_fails_fails(
    text: str, outcome: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    found = support.outcome_of(support.CommandError(text))
    assert found == f"{outcome}: {text}"
    for end, code in (("newest", int(outcome == "failed")), ("oldest", 0)):
        row = {"python": "{}.{}".format(*sys.version_info), "end": end, "outcome": found}
        monkeypatch.setattr(support, "row_of", lambda *_, row=row: row)
        monkeypatch.setattr(sys, "argv", ["support.py", "--ends", end])
        assert support.main() == code
    assert capsys.readouterr().out.count(text) == 2


def test_a_missing_python_is_a_row_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["support.py", "--minors", "3.99", "--ends", "oldest"])
    assert support.main() == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "skipped: no such Python here"


def test_core_dependencies_have_no_upper_bound():
    for wanted in support.requirements().values():
        assert all(bound.operator == ">=" for bound in wanted.specifier), wanted
