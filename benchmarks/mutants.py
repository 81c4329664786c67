"""Share of faults put into a package, one at a time, that its default tests notice.

    python benchmarks/mutants.py PACKAGE ... [--mutants 40] [--seed 0] [--json FILE]

The committed tree is copied to a temporary folder. Lines of code of ``vlar/PACKAGE`` are drawn,
then a change of each: a comparison turned or its border moved, ``and`` for ``or``, a condition
negated, a number changed, arithmetic turned, ``None`` returned, a statement removed.

1. Without a change, ``tests/unit/PACKAGE`` and the files of ``tests/unit`` that import a drawn
   module run once. Probes tell which tests reach a place. Tests that fail here are left out.
2. With each change, the tests that reach it run until the first fails, then those of the files
   that import the module: from the cheapest file on, up to ``--seconds`` of what the tests took
   before. A run that takes too long counts as killed.
3. Tests that noticed a change run without it. Where one fails, the change counts as survived.

Two controls end the script: a comment must survive, and a module that raises must not. mutmut
rewrites each function (vlar reads its own sources) and draws no sample. cosmic-ray has no such
choice of tests and needs thirteen packages.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MESSAGES = {"debug", "info", "warning", "error", "exception", "warn", "note"}
TURNED: dict[type, type] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip
BORDER: dict[type, type] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
# The plugin of the copy: reports of tests, and what reached a probe, also in child processes.
PLUGIN = """
import json, os
from contextlib import suppress

known = set()

def write(kind, *row):
    with suppress(Exception), open(f"{os.environ['VLAR_MUTANTS']}.{kind}", "a") as file:
        file.write(json.dumps(row) + "\\n")

def hit(number):
    test, _, stage = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
    if (number, test, stage) not in known:
        known.add((number, test, stage))
        write("hits", number, test, stage)

def pytest_runtest_logreport(report):
    write("reports", report.nodeid, report.outcome, report.duration)
"""


class Mutation(NamedTuple):
    path: str
    line: int
    kind: str
    start: int  # bytes of the file
    end: int
    before: str
    after: str

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def put(self, text: str, into: bytes) -> bytes:
        return into[: self.start] + text.encode() + into[self.end :]

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


def code(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that a change may be made in: no annotation, no text of a message."""
    yield node
    if isinstance(node, (ast.JoinedStr, ast.Raise, ast.Assert, ast.pattern)):
        return
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in MESSAGES:
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from code(child)


def changed(node: ast.AST, **fields: Any) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def changes(node: Any) -> Iterator[tuple[str, Any, Any]]:
    """Kind, the node that goes, and what comes: a node, or the text of a statement."""
    match node:
        case ast.Compare(ops=[op]):
            yield "comparison turned", node, changed(node, ops=[TURNED[type(op)]()])
            if type(op) in BORDER:
                yield "border moved", node, changed(node, ops=[BORDER[type(op)]()])
        case ast.BoolOp():
            yield "and for or", node, changed(node, op=TURNED[type(node.op)]())
        case ast.BinOp() if type(node.op) in TURNED:
            yield "arithmetic turned", node, changed(node, op=TURNED[type(node.op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield "not dropped", node, node.operand
        case ast.If() | ast.While() | ast.IfExp() if "TYPE_CHECKING" not in ast.unparse(node.test):
            yield "condition negated", node.test, ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant(value=bool()):
            yield "constant turned", node, ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield "constant off by one", node, ast.Constant(node.value + 1)
        case ast.Constant(value=float()):
            yield "constant changed", node, ast.Constant(2 * node.value or 1.0)
        case ast.Return() if node.value and ast.unparse(node.value) != "None":
            yield "None returned", node, "return None"
        case ast.Expr(value=ast.Call() as call) if getattr(call.func, "attr", "") not in MESSAGES:
            yield "statement removed", node, "pass"
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            yield "statement removed", node, "pass"
        case _:
            return


def mutations(path: str, source: bytes) -> Iterator[Mutation]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in code(ast.parse(source)):
        for kind, old, new in changes(node):
            start = starts[old.lineno - 1] + old.col_offset
            end = starts[old.end_lineno - 1] + old.end_col_offset
            text = new if isinstance(new, str) else f"({ast.unparse(new)})"
            before = source[start:end].decode()
            yield Mutation(path, old.lineno, kind, start, end, before, text)


def drawn(tree: Path, package: str, count: int, seed: int) -> list[Mutation]:
    """Lines first, then a kind of the line, then a place, so that no kind or long line prevails."""
    lines: dict[tuple[str, int], dict[str, list[Mutation]]] = defaultdict(dict)
    for file in sorted(tree.glob(f"vlar/{package}/**/*.py")):
        for one in mutations(str(file.relative_to(tree)), file.read_bytes()):
            lines[one.path, one.line].setdefault(one.kind, []).append(one)
    draw = random.Random(f"{seed} {package}")
    chosen = draw.sample(sorted(lines), min(count, len(lines)))
    return [draw.choice(lines[at][draw.choice(sorted(lines[at]))]) for at in chosen]


def probed(numbered: list[tuple[int, Mutation]], source: bytes) -> bytes:
    """The source with a probe at each place; places may lie in each other, but start apart."""
    pieces: list[tuple[int, str]] = []
    for number, one in numbered:
        call = f'__import__("vlar_probes").hit({number})'
        statement = one.after in ("pass", "return None")
        pieces.append((one.start, f"{call}; " if statement else f"({call} or ("))
        pieces.append((one.end, "" if statement else "))"))
    for position, text in sorted(pieces, reverse=True):
        source = source[:position] + text.encode() + source[position:]
    return source


def importing(tree: Path, module: str) -> list[str]:
    """Test files that import a module, or a name of it."""
    parent, _, name = module.rpartition(".")
    files = []
    for file in sorted(tree.glob("tests/unit/**/test_*.py")):
        text = file.read_text("utf-8")
        for node in ast.walk(ast.parse(text)) if name in text else ():
            names = {alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")}
            source = getattr(node, "module", None)
            if source == module or module in names or (source == parent and name in names):
                files.append(str(file.relative_to(tree)))
                break
    return files


class Copy:
    """A copy of the committed tree and runs of its tests."""

    def __init__(self, folder: Path, commit: str):
        self.tree = folder / "tree"
        self.tree.mkdir()
        git = ["git", "archive", commit]
        archive = subprocess.run(git, cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "x"], cwd=self.tree, input=archive.stdout, check=True)
        (self.tree / "vlar_probes.py").write_text(PLUGIN)
        self.log = folder / "log"
        shared = os.environ.get("VLAR_SHARED", str(ROOT.parent / "shared"))
        self.env = {**os.environ, "PYTHONPATH": str(self.tree), "VLAR_MUTANTS": str(self.log)}
        self.env |= {"VLAR_SHARED": shared, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}

    def rows(self, kind: str) -> list[list[Any]]:
        file = Path(f"{self.log}.{kind}")
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def run(self, tests: list[str], limit_s: float, *options: str) -> int | None:
        """Exit status of pytest, None where it ran out of time."""
        for kind in ("hits", "reports"):
            Path(f"{self.log}.{kind}").unlink(missing_ok=True)
        pytest = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "vlar_probes"]
        command = [*pytest, "-p", "no:cacheprovider", *options, *tests]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(
            command, cwd=self.tree, env=self.env, start_new_session=True, **quiet
        ) as process:
            try:
                return process.wait(limit_s)
            except subprocess.TimeoutExpired:
                return None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, 9)

    def failed(self) -> set[str]:
        return {test for test, outcome, _ in self.rows("reports") if outcome == "failed"}

    def status(self, path: str, content: bytes, tests: list[str], limit_s: float) -> int | None:
        """Exit status with another content of one file, which then is as it was."""
        file = self.tree / path
        before = file.read_bytes()
        file.write_bytes(content)
        try:
            return self.run(tests, limit_s, "-x")
        finally:
            file.write_bytes(before)


class Baseline(NamedTuple):
    """Tests that pass without a change, and what they reach."""

    seconds: dict[str, float]  # of each test
    failed: set[str]
    hits: list[tuple[int, str, str]]  # number of a mutation, test, stage

    def reaching(self, number: int) -> set[str]:
        """Tests that reach a place; where a fixture does, all tests of the file."""
        tests = {test for hit, test, _ in self.hits if hit == number}
        files = {
            test.partition("::")[0]
            for hit, test, stage in self.hits
            if hit == number and stage == "(setup)"
        }
        return self.seconds.keys() & tests | self.of(files)

    def of(self, files: set[str]) -> set[str]:
        return {test for test in self.seconds if test.partition("::")[0] in files}

    def cheapest(self, tests: set[str], most_s: float) -> list[str]:
        """Tests up to a sum of seconds, file by file from the cheapest, in the order of a file."""
        files: dict[str, list[str]] = defaultdict(list)
        for test in self.seconds:
            if test in tests:
                files[test.partition("::")[0]].append(test)
        chosen: list[str] = []
        for file in sorted(files, key=lambda name: self.cost(files[name])):
            for test in files[file]:
                if self.cost([*chosen, test]) <= most_s:
                    chosen.append(test)
        return chosen

    def cost(self, tests: list[str]) -> float:
        return sum(self.seconds[test] for test in tests)


def baseline(room: Copy, package: str, mutants: list[Mutation], files: set[str]) -> Baseline:
    sources = {one.path: (room.tree / one.path).read_bytes() for one in mutants}
    for path, source in sources.items():
        here = [(n, one) for n, one in enumerate(mutants) if one.path == path]
        (room.tree / path).write_bytes(probed(here, source))
    mirror = f"tests/unit/{package}"
    others = sorted(file for file in files if not file.startswith(f"{mirror}/"))
    status = room.run([mirror, *others], 1200)
    for path, source in sources.items():
        (room.tree / path).write_bytes(source)
    if status not in (0, 1):
        sys.exit(f"the tests of {package} without a change: pytest ended with {status}")
    seconds: dict[str, float] = defaultdict(float)
    skipped = {test for test, outcome, _ in room.rows("reports") if outcome == "skipped"}
    failed = room.failed()
    for test, _, duration in room.rows("reports"):
        if test not in skipped | failed:
            seconds[test] += duration
    return Baseline(dict(seconds), failed, [tuple(row) for row in room.rows("hits")])


def score(room: Copy, package: str, options: argparse.Namespace) -> dict[str, Any]:
    """Row of a package: counts, and the survivors."""
    began = time.perf_counter()
    mutants = drawn(room.tree, package, options.mutants, options.seed)
    files = {one.path: set(importing(room.tree, one.module)) for one in mutants}
    base = baseline(room, package, mutants, set().union(*files.values()))
    print(f"{package}: {len(base.seconds)} tests pass, {len(base.failed)} fail", flush=True)
    survivors, late, noticed = [], 0, {}
    for number, one in enumerate(mutants):
        source = (room.tree / one.path).read_bytes()
        tests = base.cheapest(base.reaching(number), options.seconds)
        more = base.cheapest(base.of(files[one.path]), options.seconds - base.cost(tests))
        tests += [test for test in more if test not in tests]
        limit_s = 60 + 4 * base.cost(tests)
        if number == 0:
            controls(room, one, source, tests, limit_s)
        status = room.status(one.path, one.put(one.after, source), tests, limit_s)
        late += status is None
        if status in (0, 5):
            survivors.append(one)
        elif status is not None:
            noticed[one] = sorted(room.failed()) or tests
        print(f"  {one.place} {one.kind}: {len(tests)} tests, status {status}", flush=True)
    # What fails on its own without the change has not noticed it.
    room.run(sorted({test for tests in noticed.values() for test in tests}), 600)
    alone = room.failed()
    survivors += [one for one, tests in noticed.items() if alone.intersection(tests)]
    reached = sum(bool(base.reaching(number)) for number in range(len(mutants)))
    return {
        "mutants": len(mutants),
        "killed": len(mutants) - len(survivors),
        "share": round(1 - len(survivors) / len(mutants), 2),
        "by time": late,
        "reached by a probe": reached,
        "tests": len(base.seconds),
        "left out": sorted(base.failed),
        "seconds": round(time.perf_counter() - began),
        "survivors": [
            {"place": s.place, "kind": s.kind, "before": s.before, "after": s.after}
            for s in survivors
        ],
    }


def controls(room: Copy, one: Mutation, source: bytes, tests: list[str], limit_s: float) -> None:
    same = room.status(one.path, source + b"# the same\n", tests, limit_s)
    broken = room.status(one.path, source + b"raise RuntimeError\n", tests, limit_s)
    if same != 0 or broken in (0, 5, None):
        sys.exit(f"{one.path}: a comment gives status {same}, a module that raises {broken}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("packages", nargs="+", metavar="PACKAGE")
    parser.add_argument("--mutants", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=30.0, help="of tests for a change")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    git = ["git", "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    commit = done.stdout.strip()
    rows: dict[str, Any] = {}
    for package in options.packages:
        with tempfile.TemporaryDirectory() as folder:
            rows[package] = score(Copy(Path(folder).resolve(), commit), package, options)
        print(package, json.dumps(rows[package], indent=1), flush=True)
        if options.json:
            names = " ".join(rows)
            asked = (
                f"--mutants {options.mutants} --seed {options.seed} --seconds {options.seconds:g}"
            )
            content = {
                "question": "Which share of faults put into a package do its default tests notice.",
                "command": f"python benchmarks/mutants.py {names} {asked} --json {options.json}",
                "commit": commit,
                "figures": "CONTRIBUTING.md",
                "packages": rows,
            }
            options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
