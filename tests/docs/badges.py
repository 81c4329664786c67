"""Badges of the README, drawn from ``pyproject.toml`` (``python -m tests.docs.badges``)."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

FILE = ROOT / "docs" / "images" / "badges.svg"
GREY, BLUE, HEIGHT, LETTER, GAP = "#4b5563", "#1d4ed8", 20, 6.6, 6


def facts() -> list[tuple[str, str]]:
    """Name and value of each badge."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    minors = re.findall(r"Python :: (3\.\d+)\"", project)
    value = {
        name: re.search(rf'^{name} = "([^"]+)"', project, re.M) for name in ("version", "license")
    }
    core = re.search(r"^dependencies = \[(.*?)^\]", project, re.M | re.S)
    assert core
    return [
        *((name, found[1]) for name, found in value.items() if found),
        ("python", f"{minors[0]} to {minors[-1]}"),
        ("torch", "needed" if '"torch' in core[1] else "not needed"),
    ]


def drawn() -> str:
    """The picture."""
    shapes, left = [], 0.0
    for row in facts():
        for text, colour in zip(row, (GREY, BLUE), strict=True):
            width = LETTER * len(text) + 12
            middle = left + width / 2
            shapes.append(
                f'<rect x="{left:g}" width="{width:g}" height="{HEIGHT}" fill="{colour}"/>'
                f'<text x="{middle:g}" y="14">{text}</text>'
            )
            left = round(left + width, 1)
        left += GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left:g}" height="{HEIGHT}" fill="#fff" '
        'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    FILE.write_text(drawn(), "utf-8")
