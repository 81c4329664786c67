"""The README's table of versions: the least ones of pyproject.toml, the newest that tests ran with.

``python -m tests.docs.support README.md`` writes it with the versions that are installed; the
continuous integration does so after all tests have passed.
"""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from tests.docs.pages import ROOT

SHOWN = ("torch", "torchvision", "transformers", "open-clip-torch", "numpy", "av", "onnxruntime",
         "faiss-cpu")  # fmt: skip
HEAD = "| | at least | newest that the tests ran with |\n|---|---|---|\n"
TABLE = re.compile(re.escape(HEAD) + r"(?:\| .*\n)+")


def least() -> dict[str, str]:
    """Lower bounds of Python and of the packages that are shown."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    bounds = dict(re.findall(r'^    "([\w-]+)>=([\d.]+)"', text.partition("[project.opt")[0], re.M))
    (python,) = re.findall(r'^requires-python = ">=([\d.]+)"', text, re.M)
    return {"Python": python, **{name: bounds[name] for name in SHOWN}}


def row(name: str, low: str, newest: str) -> str:
    """A line of the table."""
    return f"| {name} | {low} | {newest} |\n"


def installed(name: str) -> str:
    """Version of a package here, without a local suffix such as ``+cpu``."""
    found = platform.python_version() if name == "Python" else metadata.version(name)
    return found.partition("+")[0]


def table() -> str:
    """The table with the versions that are installed."""
    return HEAD + "".join(row(name, low, installed(name)) for name, low in least().items())


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(TABLE.sub(lambda _: table(), page.read_text("utf-8"), count=1), "utf-8")
