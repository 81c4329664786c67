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
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
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
NO_TESTS = 5  # a status of pytest
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

    def put(self, text: str, into: bytes) -> bytes:
        return into[: self.start] + text.encode() + into[self.end :]


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


def changes(node: Any) -> Iterator[tuple[str, Any, Any]]:
    """Kind, the node that goes, and what comes: a node, or the text of a statement."""
    match node:
        case ast.Compare(ops=[op]):
            for kind, table in (("comparison turned", TURNED), ("border moved", BORDER)):
                if type(op) in table:
                    new = ast.Compare(node.left, [table[type(op)]()], node.comparators)
                    yield kind, node, new
        case ast.BoolOp():
            yield "and for or", node, ast.BoolOp(TURNED[type(node.op)](), node.values)
        case ast.BinOp() if type(node.op) in TURNED:
            new = ast.BinOp(node.left, TURNED[type(node.op)](), node.right)
            yield "arithmetic turned", node, new
        case ast.UnaryOp(op=ast.Not()):
            yield "not dropped", node, node.operand
        case ast.If() | ast.While() | ast.IfExp() if "TYPE_CHECKING" not in ast.unparse(node.test):
            yield "condition negated", node.test, ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant(value=bool()):
            yield "constant turned", node, ast.Constant(not node.value)
        case ast.Constant(value=int(value)):
            yield "constant off by one", node, ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield "constant changed", node, ast.Constant(2 * value or 1.0)
        case ast.Return() if node.value and ast.unparse(node.value) != "None":
            yield "None returned", node, "return None"
        case ast.Expr(value=ast.Call() as call) if getattr(call.func, "attr", "") not in MESSAGES:
            yield "statement removed", node, "pass"
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            yield "statement removed", node, "pass"
        case _:
            pass


def mutations(path: str, source: bytes) -> Iterator[Mutation]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    places = (change for node in code(ast.parse(source)) for change in changes(node))
    for kind, old, new in places:
        start = starts[old.lineno - 1] + old.col_offset
        end = starts[old.end_lineno - 1] + old.end_col_offset
        text = new if isinstance(new, str) else f"({ast.unparse(new)})"
        yield Mutation(path, old.lineno, kind, start, end, source[start:end].decode(), text)


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


def importing(tree: Path, path: str) -> set[str]:
    """Test files that import a module, or a name of it."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    parent, _, name = module.rpartition(".")
    imports = rf"(from|import) {module}\b|from {parent} import \(?[\w\s,]*\b{name}\b"
    files = tree.glob("tests/unit/**/test_*.py")
    return {str(f.relative_to(tree)) for f in files if re.search(imports, f.read_text("utf-8"))}


class Copy:
    """A copy of a commit, and runs of its tests."""

    def __init__(self, folder: Path, commit: str):
        self.tree, self.log = folder / "tree", folder / "log"
        self.tree.mkdir()
        archive = output("git", "archive", commit)
        subprocess.run(["tar", "x"], cwd=self.tree, input=archive, check=True)
        (self.tree / "vlar_probes.py").write_text(PLUGIN)
        shared = os.environ.get("VLAR_SHARED", str(ROOT.parent / "shared"))
        self.env = {**os.environ, "PYTHONPATH": str(self.tree), "VLAR_MUTANTS": str(self.log)}
        self.env |= {"VLAR_SHARED": shared, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
        self.seconds: dict[str, float] = {}  # of each test that passes without a change

    def rows(self, kind: str) -> list[list[Any]]:
        return [json.loads(line) for line in Path(f"{self.log}.{kind}").read_text().splitlines()]

    def failed(self) -> set[str]:
        return {test for test, outcome, _ in self.rows("reports") if outcome == "failed"}

    def run(
        self, sources: dict[str, bytes], tests: list[str], limit_s: float, *options: str
    ) -> int | None:
        """Exit status of pytest with other contents of files, None where it ran out of time."""
        for kind in ("hits", "reports"):
            Path(f"{self.log}.{kind}").write_text("")
        if not tests:
            return NO_TESTS  # pytest without a name runs all that there are
        before = {path: (self.tree / path).read_bytes() for path in sources}
        for path, source in sources.items():
            (self.tree / path).write_bytes(source)
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "vlar_probes"]
        process = subprocess.Popen(
            [*command, "-p", "no:cacheprovider", *options, *tests],
            cwd=self.tree, env=self.env, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):  # also children that outlive their test
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for path, source in before.items():
                (self.tree / path).write_bytes(source)

    def cheapest(self, tests: set[str], most_s: float) -> list[str]:
        """Tests up to a sum of seconds, file by file from the cheapest, in the order of a file."""
        costs: dict[str, float] = defaultdict(float)
        for test in tests:
            costs[file_of(test)] += self.seconds[test]
        order = [test for test in self.seconds if test in tests]
        chosen: list[str] = []
        for test in sorted(order, key=lambda test: (costs[file_of(test)], file_of(test))):
            if self.seconds[test] <= most_s:
                most_s -= self.seconds[test]
                chosen.append(test)
        return chosen


def file_of(test: str) -> str:
    return test.partition("::")[0]


def output(*command: str) -> bytes:
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout


def reached(room: Copy, package: str, mutants: list[Mutation], files: set[str]) -> list[set[str]]:
    """Tests that reach each place; where a fixture does, all tests of its file."""
    sources = {one.path: (room.tree / one.path).read_bytes() for one in mutants}
    for path, source in sources.items():
        here = [(n, one) for n, one in enumerate(mutants) if one.path == path]
        sources[path] = probed(here, source)
    mirror = f"tests/unit/{package}"
    others = sorted(file for file in files if not file.startswith(f"{mirror}/"))
    status = room.run(sources, [mirror, *others], 1200)
    if status not in (0, 1):
        sys.exit(f"the tests of {package} without a change: pytest ended with {status}")
    reports = room.rows("reports")
    bad = {test for test, outcome, _ in reports if outcome != "passed"}
    for test, _, duration in reports:
        if test not in bad:
            room.seconds[test] = room.seconds.get(test, 0.0) + duration
    tests: list[set[str]] = [set() for _ in mutants]
    for number, test, stage in room.rows("hits"):
        whole = stage == "(setup)"
        alike = (t for t in room.seconds if t == test or (whole and file_of(t) == file_of(test)))
        tests[number].update(alike)
    return tests


def score(room: Copy, package: str, options: argparse.Namespace) -> dict[str, Any]:
    """Row of a package: counts, and the survivors."""
    mutants = drawn(room.tree, package, options.mutants, options.seed)
    files = [importing(room.tree, one.path) for one in mutants]
    reaching = reached(room, package, mutants, set().union(*files))
    left_out = sorted(room.failed())
    survivors, late, noticed = [], 0, {}
    for number, one in enumerate(mutants):
        source = (room.tree / one.path).read_bytes()
        tests = room.cheapest(reaching[number], options.seconds)
        others = {t for t in room.seconds if file_of(t) in files[number]} - reaching[number]
        cost = sum(map(room.seconds.__getitem__, tests))
        tests += room.cheapest(others, options.seconds - cost)
        limit_s = 60 + 4 * options.seconds
        if number == 0:
            same = room.run({one.path: source + b"# the same\n"}, tests, limit_s, "-x")
            broken = room.run({one.path: source + b"raise RuntimeError\n"}, tests, limit_s, "-x")
            if same != 0 or broken in (0, NO_TESTS, None):
                sys.exit(f"{one.path}: a comment gives {same}, a module that raises {broken}")
        status = room.run({one.path: one.put(one.after, source)}, tests, limit_s, "-x")
        late += status is None
        if status in (0, NO_TESTS):
            survivors.append(one)
        elif status is not None:
            noticed[one] = sorted(room.failed()) or tests
        print(f"  {one.path}:{one.line} {one.kind}: {len(tests)} tests, {status}", flush=True)
    room.run({}, sorted({test for tests in noticed.values() for test in tests}), 600)
    alone = room.failed()
    survivors += [one for one, tests in noticed.items() if alone.intersection(tests)]
    return {
        "mutants": len(mutants),
        "killed": len(mutants) - len(survivors),
        "share": round(1 - len(survivors) / len(mutants), 2),
        "by time": late,
        "reached by a probe": sum(map(bool, reaching)),
        "tests": len(room.seconds),
        "left out": left_out,
        "survivors": [f"{s.path}:{s.line}: {s.kind}, {s.before} -> {s.after}" for s in survivors],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("packages", nargs="+", metavar="PACKAGE")
    parser.add_argument("--mutants", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=30.0, help="of tests for a change")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    commit = output("git", "rev-parse", "--short=12", "HEAD").decode().strip()
    rows: dict[str, Any] = {}
    if options.json and options.json.exists():  # rows of other packages stay
        rows = json.loads(options.json.read_text("utf-8"))["packages"]
    for package in options.packages:
        with tempfile.TemporaryDirectory() as folder:
            rows[package] = score(Copy(Path(folder).resolve(), commit), package, options)
        rows[package]["commit"] = commit
        print(package, json.dumps(rows[package], indent=1), flush=True)
        if options.json:
            asked = (
                f"--mutants {options.mutants} --seed {options.seed} --seconds {options.seconds:g}"
            )
            content = {
                "question": "Which share of faults put into a package do its default tests notice.",
                "command": f"python benchmarks/mutants.py {' '.join(rows)} {asked} --json FILE",
                "commit": commit,
                "figures": "CONTRIBUTING.md",
                "packages": rows,
            }
            options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
