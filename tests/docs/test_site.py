"""The documentation site: every page is in it, it builds without a warning, and it asks no one."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

import vlar
from tests.docs.pages import ROOT

CONFIG = (ROOT / "mkdocs.yml").read_text("utf-8")
NAV = re.findall(r"^\s+- [^:\n]+: (\S+\.md)$", CONFIG.partition("\nnav:")[2], re.M)


def test_every_page_is_in_the_navigation_once():
    pages = sorted(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md"))
    assert sorted(NAV) == pages


def test_fonts_of_other_sites_are_off():
    assert re.search(r"^  font: false", CONFIG, re.M)


def test_the_page_of_the_interface_names_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    named = set(re.findall(r"^::: vlar\.(\w+)$", page, re.M))
    for members in re.findall(r"members: \[(.*?)\]", page):
        named |= set(members.split(", "))
    assert "::: vlar.errors" in page  # VlarError and those derived from it
    assert set(vlar.__all__) - {"VlarError"} <= named


def dependencies() -> set[str]:
    """Names of everything that vlar and its extras for users need."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    core = re.search(r"^dependencies = \[(.*?)^\]", text, re.M | re.S)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", text, re.M | re.S)
    assert core is not None
    assert extras is not None
    rows = re.findall(r"^([\w-]+) = \[(.*?)\]$", extras[1], re.M | re.S)
    listed = [core[1], *(packages for name, packages in rows if name not in ("test", "dev"))]
    named = {name for packages in listed for name in re.findall(r'"([\w-]+)[^"]*"', packages)}
    return named - {"vlar"}  # extras that hold others


def test_the_page_of_licences_names_every_dependency():
    page = (ROOT / "docs" / "support.md").read_text("utf-8")
    assert {"torch", "onnxruntime", "fastapi"} <= dependencies()
    assert not {name for name in dependencies() if f"`{name}`" not in page}


class Assets(HTMLParser):
    """Addresses of what a browser loads to show a page: scripts, styles, pictures, frames."""

    LOADED: ClassVar = {
        "script": "src",
        "img": "src",
        "iframe": "src",
        "link": "href",
        "source": "src",
    }

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "link" and named.get("rel") in ("canonical", "prev", "next"):
            return
        self.found.append(named.get(self.LOADED.get(tag, "")) or "")


def foreign(html: str) -> list[str]:
    """What a page loads from other sites."""
    assets = Assets()
    assets.feed(html)
    return [address for address in assets.found if re.match(r"(\w+:)?//", address)]


def test_an_asset_of_another_site_is_found():
    assert foreign('<script src="https://cdn.example.org/x.js"></script><img src="a.png">')
    assert not foreign('<a href="https://example.org">text</a><script src="assets/x.js"></script>')


@pytest.mark.slow
def test_the_site_builds_without_warnings_or_foreign_assets(tmp_path: Path):
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'vlar[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        env=dict(os.environ, NO_MKDOCS_2_WARNING="1"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    built = {path: path.read_text("utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert len(built) > len(NAV)
    for path, html in built.items():
        assert not foreign(html), path
        assert "```" not in re.sub(r"<(code|pre)\b.*?</\1>", "", html, flags=re.S), path
    api = built[tmp_path / "site" / "api.html"]
    for name in ("vlar.Model.classify", "vlar.Library.query", "vlar.types.Hit"):
        assert f'id="{name}"' in api
    assert (tmp_path / "site" / "search" / "search_index.json").is_file()
