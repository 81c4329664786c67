"""The documentation site: every page is in it, it builds without a warning, and it asks no one."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

import vlar
from tests.docs.pages import ROOT
from tests.e2e import browser

CONFIG = (ROOT / "mkdocs.yml").read_text("utf-8")
NAV = re.findall(r"^\s+- [^:\n]+: (\S+\.md)$", CONFIG.partition("\nnav:")[2], re.M)


def test_every_page_is_in_the_navigation_once():
    pages = sorted(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md"))
    assert sorted(NAV) == pages


# Pages for those who use it, for those who train, and for those who keep it running or add to it.
GROUPS = ["Use it", "Train and research", "Operate and extend"]
MOST_WORDS = 2500
# Words of pages that are too long yet: a page is cut, and its number goes down or out.
LONGER = {
    "exchange.md": 4000,
    "figures.md": 2900,
    "second_opinion.md": 2600,
    "security.md": 4400,
    "serve.md": 3900,
}


def test_the_side_bar_has_three_groups():
    assert re.findall(r"^  - ([^:\n]+):$", CONFIG.partition("\nnav:")[2], re.M) == GROUPS


def test_a_page_is_short():
    words = {page: len((ROOT / "docs" / page).read_text("utf-8").split()) for page in NAV}
    long = {page: n for page, n in words.items() if n > LONGER.get(page, MOST_WORDS)}
    assert not long, f"cut these pages: {long}"
    assert LONGER.keys() <= {page for page, n in words.items() if n > MOST_WORDS}


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
    text = re.sub(r"^ *#.*$", "", (ROOT / "pyproject.toml").read_text("utf-8"), flags=re.M)
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, of a folder that holds no more than it is made of."""
    for module in ("zensical", "mkdocstrings_handlers.python"):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed: pip install 'vlar[docs]'")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    (folder / "vlar").symlink_to(ROOT / "vlar")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "-f", "mkdocs.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "site"


@pytest.mark.slow
def test_the_site_builds_without_warnings_or_foreign_assets(site: Path):
    built = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    assert len(built) > len(NAV)
    for path, html in built.items():
        assert not foreign(html), path
        assert "```" not in re.sub(r"<(code|pre)\b.*?</\1>", "", html, flags=re.S), path
    api = built[site / "api.html"]
    for name in ("vlar.Model.classify", "vlar.Library.query", "vlar.types.Hit"):
        assert f'id="{name}"' in api
    assert (site / "search.json").is_file()
    assert (site / "search.js").is_file()  # for pages that are opened from a folder


# What a person types, and the pages of which one is among the first three hits.
ASKED = {
    "threshold": "scores",
    "unknown": "scores",
    "GPU": "support",
    "timestamps": "classify",
    "subtitles": "classify",
    "label list": "text",
    "proxy": "index serve",
    "offline": "index",
    "licence": "support",
    "Windows": "support",
    "webcam": "answers",
    "BORIS": "exchange",
    "backup": "operating",
    "password": "serve",
    "exit code": "classify",
    "Excel": "answers",
    "two people": "who",
    "accuracy": "evaluation",
    "few examples": "teach",
    "S3": "scale",
    "audio": "sensors",
    "Docker": "serve",
    "speech": "written_words",
    "OCR": "written_words",
    "install": "index",
    "languages": "choosing figures text",
}


@pytest.mark.slow
def test_a_search_of_the_site_finds_what_a_person_asks(site: Path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = ROOT / "tests" / "docs" / "search.js"
    done = subprocess.run(
        [node, script, site, *ASKED], capture_output=True, text=True, timeout=60, check=True
    )
    hits = json.loads(done.stdout)
    first = {asked: [re.split("[.#]", hit)[0] for hit in hits[asked][:3]] for asked in ASKED}
    lost = {a: first[a] for a, pages in ASKED.items() if not set(first[a]) & set(pages.split())}
    assert not lost


@pytest.mark.slow
@pytest.mark.skipif(not (browser.CHROMIUM and browser.DRIVER), reason="Chromium is not installed")
def test_pages_that_are_opened_from_a_folder_can_be_searched(site: Path):
    worker = next((site / "assets" / "javascripts" / "workers").glob("search.*.js"))
    driver = browser.new_driver(browser.DESKTOP)
    try:
        driver.get((site / "index.html").as_uri())
        hits = driver.execute_async_script(
            "const [address, done] = arguments, worker = new Worker(address);"
            "const script = document.createElement('script'); script.src = 'search.js';"
            "script.onload = () => worker.postMessage({type: 0, data: __index});"
            "worker.onmessage = ({data: {type, data}}) => type === 3 ? done(data.items.length)"
            " : worker.postMessage({type: 2, data: {input: 'threshold'}});"
            "document.body.append(script)",
            worker.relative_to(site).as_posix(),
        )
    finally:
        driver.quit()
    assert hits > 3
