"""The rules of the tree that a reader relies on: direction of imports, sizes, lightness."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlar

PACKAGE = Path(vlar.__file__).parent
# Each stage imports from its own folder and from the stages before it, never from one after it.
# Stages in one row do not import each other, but for the first row, where the order is as written.
# A file of a folder has a place of its own where it is named: metrics are plain functions that the
# model reports by, and what runs whole evaluations stands above the library.
METRICS = [
    "calibration",
    "compositional",
    "intervals",
    "multilabel",
    "openset",
    "retrieval",
    "spans",
]
ORDER = [
    ["person", "hits"],
    ["urls"],
    ["types"],
    ["characters"],
    ["errors"],
    ["tables"],
    ["safety"],
    ["numeric"],
    ["registry"],
    ["resources"],
    ["extras"],
    ["evaluation.checks"],
    ["evaluation.classification"],
    [f"evaluation.{name}" for name in METRICS],
    ["evaluation.scene_bias"],
    ["workers"],
    ["evaluation.result"],
    ["evaluation.figures"],
    ["video", "text"],
    ["pose"],
    ["shot_detection"],
    ["motion_language"],
    ["sensors"],
    ["detecting"],
    ["captioning.base"],
    ["encoders"],
    ["captioning"],
    ["losses"],
    ["adapters"],
    ["scoring"],
    ["fewshot"],
    ["model"],
    ["training"],
    ["describing"],
    ["answering"],
    ["index"],
    ["query"],
    ["discovery"],
    ["library"],
    ["timeline"],
    ["live"],
    ["answers"],
    ["review"],
    ["audit"],
    ["evaluation"],
    ["contrib"],
    ["serve"],
    ["cli"],
    ["training.__main__"],
]
RANK = {name: rank for rank, group in enumerate(ORDER) for name in group}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("vlar", *parts)).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def imported_modules(path: Path) -> Iterator[str]:
    """Every module of vlar that a file imports, wherever in the file, for whatever purpose."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


IMPORTS = {
    name: {there for there in imported_modules(path) if there in MODULES} - {name, "vlar"}
    for name, path in MODULES.items()
}


def stage(module: str) -> str:
    """The longest name in ``ORDER`` that a module begins with."""
    parts = module.split(".")[1:]
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in RANK), parts[0])


@pytest.mark.parametrize("module", sorted(IMPORTS.keys() - {"vlar"}))
def test_imports_go_one_way(module: str):
    here = stage(module)
    for there in IMPORTS[module]:
        if stage(there) != here:
            assert RANK[stage(there)] < RANK[here], (
                f"{module} imports {there}, which comes after it"
            )


def test_no_files_import_each_other_in_a_circle():
    """Local imports and those under TYPE_CHECKING count: a circle is one thought in two files."""
    try:
        graphlib.TopologicalSorter(IMPORTS).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_every_module_has_a_place():
    assert {stage(module) for module in MODULES.keys() - {"vlar"}} <= set(RANK)


def test_relative_imports_are_not_used():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


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
