"""Scripts of ``evals/`` and ``benchmarks/``: they start, and their figures hold."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import mutants as mutation

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


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_script_takes_from_others_is_there(path: Path):
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and not (path.parent / f"{node.module}.py").exists():
            top = str(node.module).partition(".")[0]
            assert top in sys.stdlib_module_names or importlib.util.find_spec(top), node.module


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["evals", "benchmarks"])
def test_scripts_show_their_help(folder: str):
    asked = [
        path
        for path in SCRIPTS
        if path.parent.name == folder
        and re.search(r"parse_args|= arguments\(|\(arguments\(", path.read_text("utf-8"))
        and "__main__" in path.read_text("utf-8")
    ]
    assert len(asked) > 10
    # One process for a folder: heavy libraries are imported once, and two folders may share a name.
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


RESULTS = sorted(
    p for folder in ("evals", "benchmarks") for p in ROOT.glob(f"{folder}/results/*.json")
)


@pytest.mark.parametrize("file", RESULTS, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_a_result_keeps_the_command_and_the_commit_that_made_it(file: Path):
    content = json.loads(file.read_text("utf-8"))
    assert re.fullmatch(r"[0-9a-f]{12}", content["commit"])
    script = re.match(r"python ((?:evals|benchmarks)/\w+\.py)\b", content["command"])
    assert script, content["command"]
    if "figures" in content and isinstance(content["figures"], str):
        page = ROOT / content["figures"]
        assert f"results/{file.name}" in page.read_text("utf-8")


def test_the_command_of_execution_providers_makes_every_row():
    """Without ``--device`` the script makes the rows of noise, with it the row of one provider."""
    content = json.loads((ROOT / "benchmarks/results/providers.json").read_text("utf-8"))
    named = set(re.findall(r"--device (\w+)", content["command"]))
    assert {name for name in content["rows"] if not name.startswith("noise ")} == named
    assert any(" --device " not in part for part in content["command"].split(";"))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_result_has_the_script():
    """A copy without the history has none of the commits, and says nothing."""
    named: dict[str, str | None] = {}
    for file in RESULTS:
        content = json.loads(file.read_text("utf-8"))
        script = content["command"].split()[1]
        commit = content["commit"]
        # A commit of a branch that was rebased is here until it is pruned, and nowhere else.
        merged = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
        command = ["git", "ls-tree", "-r", "--name-only", commit, script]
        failed = subprocess.run(merged, capture_output=True, cwd=ROOT, check=False).returncode
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        named[file.name] = None if failed else done.stdout.strip() or f"no {script}"
    if not any(named.values()):
        pytest.skip("the commits of the project are not here")
    assert not {k: v for k, v in named.items() if v is None or v.startswith("no ")}


def test_every_result_has_its_place_on_a_page():
    texts = [path.read_text("utf-8") for path in ROOT.glob("**/*.md") if ".venv" not in str(path)]
    lost = [
        file.name for file in RESULTS if not any(f"results/{file.name}" in text for text in texts)
    ]
    assert not lost


EVALS = Path(__file__).resolve().parents[2] / "evals"


@pytest.fixture(scope="module")
def composites() -> ModuleType:
    sys.path.insert(0, str(EVALS))
    try:
        import composites
    finally:
        sys.path.remove(str(EVALS))
    return composites


def plain(value: int, frames: int = 6, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((frames, height, width, 3), value, np.uint8)


def slope(frames: int = 8) -> np.ndarray:
    """A picture that becomes brighter to the right, the same in every frame."""
    row = np.linspace(0, 255, 60).astype(np.uint8)
    return np.broadcast_to(row[None, None, :, None], (frames, 40, 60, 3)).copy()


def test_movements_keep_count_and_size(composites: ModuleType):
    sizes = {composites.moved(slope(), verb, "key").shape for verb in composites.VERBS}
    assert sizes == {(8, 28, 42, 3)}


def test_a_pan_to_the_right_is_the_one_to_the_left_played_backwards(composites: ModuleType):
    right = composites.moved(slope(), "panning right")
    left = composites.moved(slope(), "panning left")
    np.testing.assert_array_equal(right, left[::-1])
    bright = right.mean(axis=(1, 2, 3))
    assert np.all(np.diff(bright) > 0)


def test_a_frozen_clip_does_not_move_and_a_zoom_narrows(composites: ModuleType):
    frozen = composites.moved(slope(), "freezing")
    assert np.ptp(frozen, axis=0).max() == 0
    near = composites.moved(slope(), "zooming in")
    contrast = near.reshape(8, -1).std(axis=1)
    assert contrast[-1] < contrast[0]


sys.path.insert(0, str(ROOT / "evals"))
harness, cached = map(importlib.import_module, ("harness", "cached"))
sys.path.pop(0)


def test_options_are_made_from_their_defaults(monkeypatch: pytest.MonkeyPatch):
    def asked(*given: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["script", *given])
        return harness.arguments(
            "Text", "videos", "model", "cache!", "json", shots=3, share=0.5, sets=["a"], draw=False,
            seeds=harness.some([0, 1]), limit_s=(float, "seconds"),
            question={"positional": True, "choices": ["x", "y"]},
        )  # fmt: skip

    found = asked("x", "--videos", "v", "--cache", "c")
    assert (found.videos, found.model, found.cache, found.json) == (
        Path("v"),
        "lite",
        Path("c"),
        None,
    )
    assert (found.shots, found.sets, found.draw, found.seeds) == (3, ["a"], False, [0, 1])
    more = ("--shots", "4", "--sets", "--draw", "--seeds", "7", "--limit-s", "2", "--json", "j")
    found = asked("y", "--videos", "v", "--cache", "c", *more)
    assert (found.shots, found.sets, found.draw, found.seeds) == (4, [], True, [7])
    assert (found.question, found.limit_s, found.json) == ("y", 2.0, Path("j"))
    for wrong in (["x"], ["z", "--videos", "v", "--cache", "c"], ["x", "--videos", "v"]):
        with pytest.raises(SystemExit):
            asked(*wrong)


def test_results_and_arrays_stay_in_their_files(tmp_path: Path):
    file = tmp_path / "deep" / "found.json"
    assert harness.stored(file, {"new": 1}) == {"new": 1}
    harness.store(file, {"top1": 0.5})
    harness.store(None, {"top1": 0.5})
    assert harness.stored(file, {}) == {"top1": 0.5}
    assert list(json.loads(file.read_text("utf-8"))) == [*harness.MADE_BY, "top1"]
    harness.store(file, [1, 2])
    assert harness.stored(file, []) == [1, 2]
    place = cached.file_of(tmp_path / "kept", "a clip")
    first = cached.array_of(place, lambda: np.arange(3))
    assert cached.array_of(place, lambda: np.zeros(3)).tolist() == first.tolist() == [0, 1, 2]
    assert harness.half_of(["b", "a", "c", "b"]).tolist() == [1, 0, 0, 1]


def test_a_film_has_its_pictures_and_even_sides(tmp_path: Path):
    pictures = [np.full((33, 41, 3), 20 * n, np.uint8) for n in range(5)]
    file = cached.write_film(tmp_path / "film.mp4", iter(pictures), 25, crf="18")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    with cached.av.open(str(file)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in shown] == [(32, 40, 3)] * 5
    assert [round(float(frame.mean()), -1) for frame in shown] == [0, 20, 40, 60, 80]


def loaded(script: str) -> Any:
    name = f"benchmarks_{script}"
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


MODEL = loaded("scale_model")

SMALL = MODEL.Plan(files=40, workers=3, mean_s=10, restart_s=2, seed=5)


@pytest.mark.parametrize("page", MODEL.TABLES)
def test_the_page_has_the_tables_of_the_script_word_for_word(page: str):
    text = (MODEL.DOCS / page).read_text("utf-8")
    assert MODEL.filled(page, text) == text, "run: python benchmarks/scale_model.py --write"


def test_a_changed_figure_changes_the_page(monkeypatch: pytest.MonkeyPatch):
    page = (MODEL.DOCS / "planning.md").read_text("utf-8")
    slower = replace(MODEL.MEASURED["encode_bodies"], value=0.6)
    monkeypatch.setitem(MODEL.MEASURED, "encode_bodies", slower)
    assert MODEL.per_million() not in page


def test_measured_sizes_are_those_of_the_pages_of_a_library():
    pages = (ROOT / "docs" / name for name in ("library.md", "engines.md"))
    text = "".join(page.read_text("utf-8") for page in pages)
    for words in ("2209", "555 / 1137", "205 s", "8.0 ms", "18.6 ms", "11.8 ms", "take 136 s"):
        assert words in text, words
    assert MODEL.value("cache_ivf") + MODEL.value("database") == 2209
    # The formula of ivf, against the largest index that was measured.
    assert MODEL.ivf_query_s(5e6) == pytest.approx(MODEL.value("query_sq8"), rel=0.05)


@given(
    st.floats(0.0, 0.05), st.sampled_from([0.0, 0.002, 0.01]), st.sampled_from([0.0, 0.1]),
    st.floats(0.01, 4.0), st.integers(0, 100),
)  # fmt: skip
@settings(max_examples=25, deadline=None, derandomize=True)
def test_every_file_is_written_once_or_given_up(
    poison: float, dies_h: float, driver_h: float, write_s: float, seed: int
):
    plan = replace(
        SMALL, poison=poison, dies_h=dies_h, driver_h=driver_h, driver_s=5.0, write_s=write_s,
        queue_mb=2.0, seed=seed,
    )  # fmt: skip
    out = MODEL.simulate(plan)
    assert out.written + out.given_up == plan.files
    assert out.twice == 0
    assert out.most_mb <= plan.queue_mb
    assert out.seconds >= out.busy_s / plan.workers
    assert out.given_up >= round(poison * plan.files)


def test_a_file_that_outlives_every_driver_is_refused():
    with pytest.raises(ValueError, match="a file of 100 s never ends before the driver restarts"):
        MODEL.simulate(replace(SMALL, driver_h=0.02), [100.0])


def test_without_failures_it_is_the_work_of_the_workers():
    work = [10.0] * 30
    out = MODEL.simulate(replace(SMALL, write_s=0.0), work)
    assert (out.seconds, out.deaths, out.again, out.waited_s) == (100.0, 0, 0, 0.0)


def test_a_killed_worker_costs_its_file_and_its_start():
    out = MODEL.simulate(replace(SMALL, workers=1, write_s=0.0), [10.0] * 3, kills=[(15.0, 0)])
    assert out.seconds == 10 + 5 + 2 + 20  # half a file lost, two seconds to start
    assert (out.deaths, out.again, out.written) == (1, 1, 3)


def test_a_slow_writer_makes_workers_wait():
    out = MODEL.simulate(replace(SMALL, write_s=10.0, queue_mb=1.0), [10.0] * 30)
    assert out.seconds >= 300
    assert out.waited_s > 100
    assert out.most_mb <= 1.0


# Columns of the table of few-shot figures, and the names of its rows in the result files.
FAULTY = """
def f(rows: list[int] = 3, *, é=None):
    if not rows or (rows < 2 and é):
        raise ValueError(f"{rows + 1} rows, below 2")
    rows += 1; g(rows); log.warning(1)
    return rows * 2.5
"""


def test_a_mutant_changes_one_place_and_a_probe_none():
    source = FAULTY.encode()
    mutants = list(mutation.mutations("a.py", source))
    assert {(one.kind, one.before) for one in mutants} == {
        ("constant off by one", "3"),
        ("constant off by one", "2"),
        ("constant off by one", "1"),
        ("constant changed", "2.5"),
        ("condition negated", "not rows or (rows < 2 and é)"),
        ("and for or", "not rows or (rows < 2 and é)"),
        ("and for or", "rows < 2 and é"),
        ("not dropped", "not rows"),
        ("comparison turned", "rows < 2"),
        ("border moved", "rows < 2"),
        ("statement removed", 'raise ValueError(f"{rows + 1} rows, below 2")'),
        ("statement removed", "rows += 1"),
        ("statement removed", "g(rows)"),
        ("None returned", "return rows * 2.5"),
        ("arithmetic turned", "rows * 2.5"),
    }
    same = ast.dump(ast.parse(source))
    assert all(ast.dump(ast.parse(one.put(one.after, source))) != same for one in mutants)
    lines = {one.line: one for one in mutants}  # a line is drawn once
    probes = re.sub(
        r'__import__\("vlar_probes"\)\.hit\(\d\)',
        "None",
        mutation.probed([*enumerate(lines.values())], source).decode(),
    )
    for rows in (0, 1, 4):
        assert called(probes, rows) == called(FAULTY, rows)


def called(text: str, rows: int) -> list[Any]:
    """What a call of the function ``f`` of a text calls, and its answer."""
    calls: list[Any] = []
    names = {"g": calls.append, "log": SimpleNamespace(warning=calls.append)}
    exec(text, names)
    try:
        calls.append(names["f"](rows, é=True))
    except ValueError as error:
        calls.append(str(error))
    return calls


FILES = ("few_shot_lite", "few_shot_bodies", "few_shot_bodies_disjoint")


POOLS = {
    "JHMDB, 21 labels": "jhmdb",
    "Weizmann, 10 labels": "weizmann",
    "Something-Something V2, 15 labels": "something-something-v2",
}


def measured(file: str, pool: str) -> str:
    results = json.loads((ROOT / "evals" / "results" / f"{file}.json").read_text())["results"]
    asked = {"pool": pool, "labels": "all", "method": "auto"}
    for row in results:
        if asked.items() <= row.items():
            return f"{row['top1']} ± {row['ci95']}"
    return ""


@pytest.mark.parametrize("page", ["docs/figures.md", "docs/fewshot.md"])
def test_few_shot_figures_are_the_measured_ones(page: str):
    lines = (ROOT / page).read_text("utf-8").splitlines()
    for name, pool in POOLS.items():
        cells = [
            [cell.strip() for cell in line.split("|")[2:-1]]
            for line in lines
            if line.startswith(f"| {name} |")
        ]
        few_shot = [row for row in cells if any("±" in cell for cell in row)]
        assert few_shot == [[measured(file, pool) for file in FILES]], name
