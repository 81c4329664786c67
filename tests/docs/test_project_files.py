"""Files around the code: the changelog and what a host of code reads, held to their forms."""

from __future__ import annotations

import re

import vlar
from tests.docs import badges, verbs
from tests.docs.pages import ROOT

#: Headings of Keep a Changelog 1.1.0.
HEADINGS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
MOST_LINES = 80


def changelog_faults(text: str) -> list[str]:
    """Departures of a changelog from its form."""
    faults = [] if text.startswith("# Changelog\n") else ["it does not begin with its title"]
    _, *sections = re.split(r"^## ", text, flags=re.M)
    if not sections or not sections[0].startswith("[Unreleased]"):
        faults.append("the first section is not [Unreleased]")
    for section in sections:
        title, *lines = section.rstrip().splitlines()
        if not re.fullmatch(r"\[(Unreleased|\d+\.\d+\.\d+)\]( - .+)?", title):
            faults.append(f"a section is called {title!r}")
        if len(lines) + 1 > MOST_LINES:
            faults.append(f"{title} has {len(lines) + 1} lines, above {MOST_LINES}")
        titles = {line[4:] for line in lines if line.startswith("### ")}
        faults += [f"{title}: {name!r} is not a heading" for name in sorted(titles - HEADINGS)]
    return faults


def test_the_changelog_has_its_form_and_this_version():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert changelog_faults(text) == []
    assert f"## [{vlar.__version__}]" in text


def test_faults_of_a_changelog_are_named():
    long = "# Changelog\n## [Unreleased]\n## [1.0.0]\n### Moved\n" + "- a\n" * 80
    assert changelog_faults(long) == [
        "[1.0.0] has 82 lines, above 80",
        "[1.0.0]: 'Moved' is not a heading",
    ]
    assert len(changelog_faults("# History\n## 1.0\n")) == 3


def test_badges_state_what_the_project_declares():
    """``python -m tests.docs.badges`` draws them."""
    assert badges.FILE.read_text("utf-8") == badges.drawn()
    assert dict(badges.facts())["version"] == vlar.__version__


def contents(text: str) -> dict[str, str]:
    """Page of each title in an index of links."""
    return {
        page: title for title, page in re.findall(r"^- \[(.+?)\]\(docs/([\w.]+)\): \S", text, re.M)
    }


def test_the_index_for_language_models_has_every_page_once():
    """``llms.txt`` has the sections and the pages of the site, in their order."""
    text = (ROOT / "llms.txt").read_text("utf-8")
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2].partition("\n\n")[0]
    pages = re.findall(r": (\w+\.md)$", nav, re.M)
    assert list(contents(text)) == pages
    assert len(re.findall(r"^- ", text, re.M)) == len(pages)
    assert set(pages) == {path.name for path in (ROOT / "docs").glob("*.md")}
    assert text.startswith("# vlar\n\n> ")
    assert re.findall(r"^## (.+)$", text, re.M) == re.findall(r"^  - (.+):$", nav, re.M)


def test_notes_for_agents_are_short_and_name_what_exists():
    """Links, commands and file names are checked with those of all pages."""
    text = (ROOT / "AGENTS.md").read_text("utf-8")
    assert len(text.splitlines()) <= 60
    setup = re.search(r"^python3 -m venv .*$", text, re.M)
    assert setup is not None
    assert setup[0] in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    folders = re.findall(r"`((?:vlar|tests|evals|benchmarks)/[\w/.-]*)`", text)
    assert len(folders) > 5
    assert not [name for name in folders if "SHELF" not in name and not (ROOT / name).exists()]
    tests = re.findall(r"(?<= )(tests/[\w/.]+)", text)
    assert not [name for name in tests if not (ROOT / name).exists()]
    assert "skill" in verbs.verbs()
