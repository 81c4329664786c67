"""Every script of evals/ and benchmarks/ starts: its imports exist and its help is printed."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for folder in ("evals", "benchmarks") for path in ROOT.glob(f"{folder}/*.py"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of everything a script takes from vlar, also inside its functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vlar":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "vlar")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_script_takes_only_what_vlar_has(path: Path):
    for module, name in imports(path):
        found = importlib.import_module(module)
        if name and not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")


def test_scripts_show_their_help():
    asked = [
        path
        for path in SCRIPTS
        if "parse_args" in path.read_text("utf-8") and "__main__" in path.read_text("utf-8")
    ]
    assert len(asked) > 15
    # One process for all: heavy libraries are imported once.
    code = (
        "import runpy, sys\n"
        "for path in sys.argv[1:]:\n"
        "    sys.argv, sys.path[0] = [path, '--help'], path.rpartition('/')[0]\n"
        "    try:\n"
        "        runpy.run_path(path, run_name='__main__')\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code, f'{path}: exit code {ended.code}'\n"
    )
    command = [sys.executable, "-c", code, *map(str, asked)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(asked)


def test_every_evaluation_has_its_place_on_the_page():
    page = (ROOT / "evals" / "README.md").read_text("utf-8")
    named = {path.name for path in SCRIPTS if path.parent.name == "evals"}
    assert not [name for name in sorted(named) if f"`{name}`" not in page]
