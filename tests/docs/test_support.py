"""The README's table of versions agrees with pyproject.toml."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT
from tests.docs.support import TABLE, least


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def test_the_table_of_versions_states_the_lower_bounds_and_newer_ones_that_were_tried():
    found = TABLE.search((ROOT / "README.md").read_text("utf-8"))
    assert found is not None
    rows = re.findall(r"^\| ([\w-]+) \| (\S+) \| (\S+) \|$", found[0], re.M)
    assert {name: low for name, low, _ in rows} == least()
    for name, low, newest in rows:
        assert number(newest) >= number(low), name


def test_core_dependencies_have_no_upper_bound():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    core = re.search(r"^dependencies = \[(.*?)^\]", text, re.M | re.S)
    assert core is not None
    for wanted in re.findall(r'"(.*?)"', core[1]):
        assert not re.search(r"<|==|~=|!=", wanted.partition(";")[0]), wanted
