"""The page as files: it asks nobody else for anything, can be read by all, and holds together."""

from __future__ import annotations

import graphlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import vlar
from vlar.apps.serve.http import packed_page_file, page_file

PAGE = Path(vlar.__file__).parent / "apps" / "serve" / "page"
FIRST = (PAGE / "index.html").read_text("utf-8")
HTML = FIRST + (PAGE / "sections.html").read_text("utf-8")  # loaded when a section is opened
STYLE = (PAGE / "style.css").read_text("utf-8")
SCRIPTS = {path.name: path.read_text("utf-8") for path in sorted(PAGE.glob("*.js"))}
LEAST = 4.5  # WCAG 2.2, 1.4.3: text
LEAST_SHAPES = 3.0  # 1.4.11: borders of inputs, curves
TEXT = [
    (text, ground)
    for text in ("text", "quiet", "accent", "problem", "good")
    for ground in ("ground", "raised")
] + [("on-accent", "accent"), ("problem", "problem-ground")]
SHAPES = [
    (shape, ground)
    for shape in ("line", "accent", "curve-1", "curve-2", "curve-3", "curve-4")
    for ground in ("ground", "raised")
]


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(HTML)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


ELEMENTS = Elements().found


def themes() -> dict[str, dict[str, str]]:
    light = dict(re.findall(r"--([\w-]+): (#\w{6});", STYLE[: STYLE.index("@media")]))
    dark = STYLE[STYLE.index('[data-theme="dark"] {') :]
    return {"light": light, "dark": dict(re.findall(r"--([\w-]+): (#\w{6});", dark))}


def contrast(one: str, other: str) -> float:
    """Of WCAG 2.2: (L1 + 0.05) / (L2 + 0.05), L the relative luminance of sRGB.

    >>> round(contrast("#000000", "#ffffff"), 1)
    21.0
    """

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_what_the_standard_defines():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # known to fail


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(theme: str):
    colours = themes()[theme]
    low = [
        f"{one} on {other}: {contrast(colours[one], colours[other]):.2f}"
        for pairs, least in ((TEXT, LEAST), (SHAPES, LEAST_SHAPES))
        for one, other in pairs
        if contrast(colours[one], colours[other]) < least
    ]
    assert not low


def test_both_dark_themes_are_the_same():
    system = STYLE[
        STYLE.index("@media (prefers-color-scheme") : STYLE.index('[data-theme="dark"] {')
    ]
    assert dict(re.findall(r"--([\w-]+): (#\w{6});", system)) == themes()["dark"]
    assert themes()["dark"].keys() == themes()["light"].keys()


def test_nothing_comes_from_the_net_and_nothing_is_inline():
    everything = [
        HTML,
        *(path.read_text("utf-8") for path in PAGE.glob("*.css")),
        *SCRIPTS.values(),
    ]
    for text in everything:
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, addresses
        assert "@import" not in text
    for tag, attributes in ELEMENTS:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "script":
            assert attributes["src"]
    for name, text in SCRIPTS.items():
        for risky in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert risky not in text, name


def test_every_input_has_a_label_and_every_picture_a_text():
    labelled = {attributes.get("for") for tag, attributes in ELEMENTS if tag == "label"}
    for tag, attributes in ELEMENTS:
        if tag in ("input", "select", "textarea"):
            assert attributes.get("id") in labelled, attributes
        if tag == "img":
            assert "alt" in attributes
        if tag in ("section", "nav", "progress", "video", "dialog"):
            assert {"aria-label", "aria-labelledby"} & attributes.keys(), attributes


def test_results_and_errors_are_announced():
    roles = {a.get("id"): a.get("role") for _, a in ELEMENTS if a.get("role")}
    assert roles["search-status"] == roles["classify-status"] == roles["job-status"] == "status"
    assert roles["text-problem"] == roles["problem"] == "alert"


def test_ids_are_there_once_and_scripts_use_only_those():
    ids = [a["id"] for _, a in ELEMENTS if "id" in a]
    assert len(ids) == len(set(ids))
    used = {name for text in SCRIPTS.values() for name in re.findall(r"\$\(\"([\w-]+)\"\)", text)}
    assert used <= set(ids), used - set(ids)
    refers = [
        a.get(name)
        for _, a in ELEMENTS
        for name in ("for", "aria-labelledby", "list", "aria-describedby")
    ]
    assert {each for each in refers if each} <= set(ids)


def test_scripts_import_only_each_other_and_all_are_served():
    for text in SCRIPTS.values():
        for name in re.findall(r'from "\./([\w.]+)"', text):
            assert name in SCRIPTS
    for path in PAGE.iterdir():
        content, kind = page_file(path.name)
        assert content == path.read_bytes()
        assert kind


IMPORTS = {name: set(re.findall(r'from "\./([\w-]+\.js)"', text)) for name, text in SCRIPTS.items()}


def test_scripts_of_the_page_import_one_way():
    assert IMPORTS["app.js"]
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises where they form a circle


def loaded_with(*scripts: str) -> set[str]:
    """Files that a browser has once these scripts run."""
    names, waiting = set[str](), list(scripts)
    while waiting:
        names.add(name := waiting.pop())
        waiting += IMPORTS.get(name, set()) - names
    return names


def test_a_first_search_needs_at_most_80_kilobytes():
    first = loaded_with("index.html", *re.findall(r'"page/([\w.]+)"', FIRST))
    assert "search.js" in first
    assert not first & {"player.js", "spans.js", "map.js", "evaluate.js", "sections.css"}
    assert sum((PAGE / name).stat().st_size for name in first) <= 80_000
    assert sum(len(packed_page_file(name)) for name in first) < 30_000  # on the wire
    player = loaded_with("player.js", "sections.css", "sections.html") - first
    assert sum((PAGE / name).stat().st_size for name in player) < 55_000
