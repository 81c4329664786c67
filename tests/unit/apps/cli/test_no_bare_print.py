"""Only ``vlar/apps/cli/output.py`` prints: everything that reaches a terminal is escaped there."""

from __future__ import annotations

import ast
from pathlib import Path

import vlar

PACKAGE = Path(vlar.__file__).parent


def prints(path: Path) -> list[int]:
    """Lines of calls of ``print``, ``sys.stdout.write`` and ``sys.stderr.write``."""
    calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    named = ("print", "sys.stdout.write", "sys.stderr.write")
    return [call.lineno for call in calls if ast.unparse(call.func) in named]


def test_nothing_else_prints():
    allowed = {PACKAGE / "apps" / "cli" / "output.py"}
    found = {path for path in PACKAGE.rglob("*.py") if path not in allowed and prints(path)}
    assert not found
    assert prints(PACKAGE / "apps" / "cli" / "output.py")
