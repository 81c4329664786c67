"""The rules of the tree that a reader relies on: direction of imports, sizes, lightness."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Every module of vlar that a file imports, wherever in the file, for whatever purpose."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and number of lines of every function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.end_lineno:
            yield node.name, node.end_lineno - node.lineno + 1


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes without a docstring."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name


@dataclass(frozen=True)
class Source:
    """What the rules ask about a file, which is parsed once for all of them."""

    imports: frozenset[str]
    lines: int
    functions: list[tuple[str, int]]
    undocumented: list[str]
    relative: bool


def source(name: str, path: Path) -> Source:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    return Source(
        frozenset(there for there in imported_modules(tree) if there in MODULES) - {name, "vlar"},
        text.count("\n"),
        list(functions(tree)),
        list(undocumented(tree)),
        any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree)),
    )


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    """Every file of the package, by the name of its module."""
    assert len(MODULES) > 500
    return {name: source(name, path) for name, path in MODULES.items()}


def stage(module: str) -> str:
    """The longest name in ``ORDER`` that a module begins with."""
    parts = module.split(".")[1:]
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in RANK), parts[0])


def against_the_order(module: str, imports: Iterable[str]) -> list[str]:
    """The imports of a module that come after it in ``ORDER``."""
    here = stage(module)
    later = (there for there in imports if stage(there) != here)
    return [there for there in later if RANK[stage(there)] >= RANK[here]]


def test_imports_go_one_way(sources: dict[str, Source]):
    faults = [
        f"{module} imports {there}, which comes after it"
        for module in sorted(sources.keys() - {"vlar"})
        for there in against_the_order(module, sources[module].imports)
    ]
    assert not faults, "\n".join(faults)
    # The control: an import of a later stage is found, one of an earlier stage is not.
    assert against_the_order("vlar.video.read", ["vlar.urls", "vlar.cli.app"]) == ["vlar.cli.app"]


def test_no_files_import_each_other_in_a_circle(sources: dict[str, Source]):
    """Local imports and those under TYPE_CHECKING count: a circle is one thought in two files."""
    try:
        graphlib.TopologicalSorter({n: s.imports for n, s in sources.items()}).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_every_module_has_a_place():
    assert {stage(module) for module in MODULES.keys() - {"vlar"}} <= set(RANK)


def test_relative_imports_are_not_used(sources: dict[str, Source]):
    assert not [name for name, source in sources.items() if source.relative]


def test_sizes(sources: dict[str, Source]):
    """A file that outgrows 600 lines does two jobs."""
    assert not {name: source.lines for name, source in sources.items() if source.lines > 600}
    long = [
        f"{name}: {function} has {length} lines"
        for name, source in sources.items()
        for function, length in source.functions
        if length > 80
    ]
    assert not long, "\n".join(long)
    assert max(length for source in sources.values() for _, length in source.functions) > 40


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


def test_public_definitions_have_docstrings(sources: dict[str, Source]):
    missing = [
        f"{name}: {d} has no docstring" for name, s in sources.items() for d in s.undocumented
    ]
    assert not missing, "\n".join(missing)
    assert list(undocumented(ast.parse("def clear(): ...\ndef _own(): ..."))) == ["clear"]
