"""What the pages show: their fenced blocks, the commands in them and in the prose, their links.

A block that cannot run on any machine says so in the line before it, with the reason::

    <!-- not run: needs weights of a model hub -->

A server has `<!-- in the background -->` there: it is stopped after the last block of its page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?:<!-- (?:not run: (?P<reason>[^\n]*?)|(?P<background>in the background)) -->\n)?"
    r"^```(?P<language>[\w-]*)(?: title=\"(?P<file>[\w.]+)\")?[^\n]*\n(?P<text>.*?)^```$",
    re.M | re.S,
)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LANGUAGES = ("bash", "python", "toml", "text", "csv", "json")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        file: The name it is saved under; None for most.
        reason: Why it is not run; None where it is.
        background: Whether it runs until the page ends.
    """

    page: str
    line: int
    language: str
    text: str
    file: str | None
    reason: str | None
    background: bool = False

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page a reader may open."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/**/*.md")]
    return sorted({path for path in found if not name_of(path).startswith(".")})


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(
            name_of(page),
            text.count("\n", 0, found.start("language")) + 1,
            *(found["language"], found["text"], found["file"], found["reason"]),
            background=found["background"] is not None,
        )
        for found in FENCE.finditer(text)
    ]


def all_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks(page)]


def prose(page: Path) -> str:
    """The text without fenced blocks and HTML comments."""
    return re.sub(r"<!--.*?-->", "", FENCE.sub("", page.read_text("utf-8")), flags=re.S)


def lines(script: str) -> Iterator[str]:
    r"""The lines of a shell script; one that ends with a backslash continues."""
    for line in script.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def vlar_commands(line: str) -> list[str]:
    """The calls of ``vlar`` in a line of shell: at its start, after ``&&``, ``|``, ``;``, ``{``.

    What is quoted is not looked into, and a comment is cut off.
    """
    quoted: list[str] = []

    def hide(found: re.Match[str]) -> str:
        quoted.append(found[0])
        return f"\0{len(quoted) - 1}\0"

    hidden = re.sub(r"'[^']*'|\"[^\"]*\"", hide, line)
    hidden = re.sub(r"(^|\s)#.*", "", hidden)
    parts = re.split(r"&&|\|\||[;|{}]|(?<!&)&(?!&)", hidden)
    shown = (re.sub(r"\0(\d+)\0", lambda m: quoted[int(m[1])], part).strip() for part in parts)
    calls = (re.sub(r"^(\w+=\S+ )*\S*/?vlar ", "vlar ", part) for part in shown)
    return [re.sub(r"\s(\d?>|<)\s*\S+", "", call) for call in calls if call.startswith("vlar ")]
