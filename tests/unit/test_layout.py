"""The rules of the tree that a reader relies on: direction of imports, sizes, lightness."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import vlar

PACKAGE = Path(vlar.__file__).parent
# A package imports from itself and from the packages above it in this list. The first row are files
# of the top level; two packages of one row do not import each other.
ORDER = [
    [
        "version",
        "cancellation",
        "numeric",
        "formatting",
        "errors",
        "notebook",
        "hits",
        "types",
        "registry",
        "options",
        "progress",
        "toml",
    ],
    ["files"],
    ["segments"],
    ["metrics", "pose", "results"],
    ["media", "language"],
    ["people"],
    ["encoders"],
    ["adapters"],
    ["heads"],
    ["model"],
    ["training"],
    ["methods"],
    ["generators"],
    ["library"],
    ["cli"],  # the command line, which the verbs of shelves use
    ["evaluation"],
    ["behaviour"],
    ["plugins"],
    ["apps"],
    ["testing"],  # the checks of parts: nothing of the package imports them
]
# Files that a query writes belong to the command line.
COMMAND_LINE = ("vlar.apps.answers", "vlar.apps.otio")
RANK = {name: rank for rank, group in enumerate(ORDER) for name in group}
# Its names are loaded when they are used.
STARTS = {"vlar"}
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
    assert len(MODULES) > 300
    return {name: source(name, path) for name, path in MODULES.items()}


def package(module: str) -> str:
    """The package of a module, or the file of the top level; the command line is one."""
    if module.startswith("vlar.apps.cli") or module in COMMAND_LINE:
        return "cli"
    return module.split(".")[1]


def against_the_order(module: str, imports: Iterable[str]) -> list[str]:
    """The imports of a module that come after it in ``ORDER``; the top level has one row."""
    here = package(module)
    later = (there for there in imports if package(there) != here)
    rank = RANK[here]
    return [t for t in later if RANK[package(t)] > rank or (rank and RANK[package(t)] == rank)]


def circles(imports: dict[str, frozenset[str]]) -> list[str]:
    """A circle of packages, if there is one."""
    between: dict[str, set[str]] = {}
    for module, there in imports.items():
        packages = {package(each) for each in there} - {package(module)}
        between.setdefault(package(module), set()).update(packages)
    try:
        graphlib.TopologicalSorter(between).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_imports_go_one_way(sources: dict[str, Source]):
    faults = [
        f"{module} imports {there}, which comes after it"
        for module in sorted(sources.keys() - STARTS)
        for there in against_the_order(module, sources[module].imports)
    ]
    assert not faults, "\n".join(faults)
    # The control: an import of a later stage is found, one of an earlier stage is not.
    assert against_the_order("vlar.media.read", ["vlar.errors", "vlar.apps.cli"]) == [
        "vlar.apps.cli"
    ]


def test_no_packages_import_each_other_in_a_circle(sources: dict[str, Source]):
    inside = {name: s.imports for name, s in sources.items() if name not in STARTS}
    assert not circles(inside)
    # The control: a circle of two packages, of which no two files import each other.
    made = {"vlar.a.x": frozenset({"vlar.b.y"}), "vlar.b.z": frozenset({"vlar.a.w"})}
    assert set(circles(made)) == {"a", "b"}


def test_no_files_import_each_other_in_a_circle(sources: dict[str, Source]):
    """Local imports and those under TYPE_CHECKING count: a circle is one thought in two files."""
    try:
        graphlib.TopologicalSorter({n: s.imports for n, s in sources.items()}).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_every_module_has_a_place():
    assert {package(module) for module in MODULES.keys() - {"vlar"}} == set(RANK)


def test_relative_imports_are_not_used(sources: dict[str, Source]):
    assert not [name for name, source in sources.items() if source.relative]


def test_sizes(sources: dict[str, Source]):
    """A file that outgrows 600 lines likely does two jobs; one of 800 does."""
    lines = {name: source.lines for name, source in sources.items() if source.lines > 600}
    assert not [name for name, count in lines.items() if count > 800]
    for name, count in lines.items():
        warnings.warn(f"{name} has {count} lines: split it by thought", stacklevel=1)
    long = [
        f"{name}: {function} has {length} lines"
        for name, source in sources.items()
        for function, length in source.functions
        if length > 80
    ]
    assert not long, "\n".join(long)
    assert max(length for source in sources.values() for _, length in source.functions) > 40


def test_the_formatter_lays_out_the_package():
    assert sum(path.read_text("utf-8").count("# fmt: skip") for path in FILES) < 40


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
        "from vlar.apps.cli.app import app\n"
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
