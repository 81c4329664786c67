"""The rules of the tree that a reader relies on: direction of imports, sizes, lightness."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlar

PACKAGE = Path(vlar.__file__).parent
# Each stage may import from its own group and from the groups before it.
ORDER = [
    {"types", "errors", "registry", "resources", "numeric"},
    {"video", "text"},
    {"pose"},
    {"motion_language"},
    {"sensors"},
    {"encoders"},
    {"losses"},
    {"adapters"},
    {"scoring"},
    {"fewshot"},
    {"model"},
    {"training", "describing"},
    {"index"},
    {"query"},
    {"library"},
    {"evaluation"},
    {"serve", "cli"},
]
RANK = {name: rank for rank, group in enumerate(ORDER) for name in group}
FILES = sorted(PACKAGE.rglob("*.py"))


def stage(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_stages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
            if node.module == "vlar":
                modules = [f"vlar.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            head, _, rest = module.partition(".")
            if head == "vlar" and rest:
                yield rest.split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path):
    here = stage(path)
    if here in {"__init__", "__main__"}:
        return
    for there in imported_stages(path):
        if there in RANK:
            assert RANK[there] <= RANK[here], f"{here} imports {there}, which comes after it"


def test_every_module_has_a_place():
    stages = {stage(path) for path in FILES} - {"__init__", "__main__"}
    assert stages <= set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_sizes(path: Path):
    source = path.read_text("utf-8")
    assert source.count("\n") <= 330, "a file that outgrows 300 lines does two jobs"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


def test_importing_vlar_and_its_help_import_nothing_heavy():
    heavy = [
        "torch",
        "timm",
        "transformers",
        "onnxruntime",
        "faiss",
        "av",
        "numpy",
        "PIL",
        "open_clip",
        "pydantic",
    ]
    script = (
        "import sys, vlar, contextlib, io\n"
        "from vlar.cli.app import app\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    app(['--help'])\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_names_exist_and_are_documented():
    for name in vlar.__all__:
        assert (getattr(vlar, name).__doc__ or "").strip(), name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_definitions_have_docstrings(path: Path):
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"
