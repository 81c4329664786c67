"""Executes docs/extending.md and extending_apps.md: parts of another package, by real commands."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.contract.test_methods import faults
from tests.e2e.conftest import COMMAND
from tests.unit.methods.test_docstrings import parts_of, require_reference
from tests.unit.test_language import beginnings, faults_of_source, humans
from tests.unit.test_layout import MODULES, against_the_order, imported_modules
from tests.unit.test_words import vague
from vlar import registry

ROOT = Path(__file__).resolve().parents[2]
TEXT = "".join(
    (ROOT / "docs" / page).read_text("utf-8") for page in ("extending.md", "extending_apps.md")
)
# Where a part stands in vlar itself.
PLACES = {
    "wrist_reader.py": "media/readers/wrist_reader.py",
    "wrist_encoder.py": "encoders/wrist_encoder.py",
    "chroma_encoder.py": "encoders/chroma_encoder.py",
    "pace.py": "heads/pace.py",
    "warping.py": "heads/fewshot/warping.py",
    "swings.py": "methods/swings/adapter.py",
    "rocchio.py": "library/query/rocchio.py",
    "lengths.py": "plugins/verbs/lengths.py",
    "longest.py": "apps/serve/longest.py",
}
NO_PARTS = {"lengths.py", "longest.py"}  # a verb and a route
BLOCKS = re.findall(r'^```(\w+)(?: title="([\w.]+)")?\n(.*?)^```', TEXT, re.M | re.S)
FILES = {name: source for language, name, source in BLOCKS if language == "python" and name}
PARTS = re.compile(
    r'^@register\("(\w+)", "([\w-]+)"(?:, status="[\w ]+")?\)\n(?:class|def) (\w+)', re.M
)
MOST_LINES = 45
COMMANDS = [
    line for language, _, text in BLOCKS if language == "bash" for line in text.splitlines() if line
]
(METHOD_README,) = [text for _, name, text in BLOCKS if name == "README.md"]
(VERB_ROW,) = [text for _, name, text in BLOCKS if name == "VERBS"]
MOVES = {"rest": (0.0, 0.05), "walk": (1.8, 2.5), "shake": (6.0, 9.0)}  # Hz, m/s²


def recordings(folder: Path) -> None:
    """Three recordings of 8 s of each movement, with noise."""
    draw = np.random.default_rng(0)
    time_s = np.arange(0, 8, 0.02)
    for label, (hertz, strength) in MOVES.items():
        (folder / label).mkdir(parents=True)
        for number in range(1, 4):
            swing = strength * np.sin(2 * np.pi * hertz * time_s + draw.uniform(0, 6))
            axes = np.stack([swing, 0.4 * swing, 9.8 + 0.2 * swing], axis=1)
            table = np.column_stack([time_s, axes + draw.normal(0, 0.03, axes.shape)])
            np.savetxt(folder / label / f"{number}.wrist", table, fmt="%.4f")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recordings, and the files of the page as an installed package."""
    folder = tmp_path_factory.mktemp("extending")
    recordings(folder / "recordings")
    entries: dict[str, list[str]] = {}
    for file, source in FILES.items():
        (folder / file).write_text(source, "utf-8")
        for kind, name, part in PARTS.findall(source):
            entries.setdefault(kind, []).append(f"{name} = {file.removesuffix('.py')}:{part}")
    facts = folder / "wrist_parts-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: wrist-parts\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "\n".join(f"[vlar.{kind}]\n" + "\n".join(lines) for kind, lines in entries.items())
    )
    return folder


@pytest.fixture(scope="module")
def answers(workplace: Path) -> list[list[dict]]:
    """The JSON lines of each command of the page, in order."""
    environment = dict(os.environ)
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(workplace), known]))
    found: list[list[dict]] = []
    for command in COMMANDS:
        whole = command.replace("vlar ", f"{COMMAND} ", 1)
        done = subprocess.run(
            whole, shell=True, cwd=workplace, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        found.append([json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"])
    return found


def answer(answers: list[list[dict]], begin: str) -> list[dict]:
    """The lines of the one command of the page that begins so."""
    (place,) = [i for i, command in enumerate(COMMANDS) if command.startswith(begin)]
    return answers[place]


def shown(hits: list[dict]) -> list[str]:
    """The movement of every recording that is named, copies included: rhythms are nearly equal."""
    paths = [hit["path"] for hit in hits] + [c["path"] for hit in hits for c in hit.get("also", [])]
    return [Path(path).parent.name for path in paths]


def best(row: dict) -> str:
    return row["predictions"][0]["label"]


@pytest.mark.slow
def test_words_answer_another_sensor(answers: list[list[dict]]):
    (row,) = answer(answers, "vlar classify recordings/shake/1.wrist")
    assert best(row) == "shaking a bottle"


@pytest.mark.slow
def test_examples_of_another_sensor_are_learned(answers: list[list[dict]]):
    (row,) = answer(answers, "vlar classify recordings/walk/2.wrist")
    assert best(row) == "walk"


@pytest.mark.slow
def test_a_library_of_another_sensor_answers_in_words(answers: list[list[dict]]):
    hits = answer(answers, 'vlar query wrist.vlar "someone walks" -k 3')
    assert shown(hits)[:3] == ["walk", "walk", "walk"]


@pytest.mark.slow
def test_a_head_that_compares_sequences_answers(answers: list[list[dict]]):
    (row,) = answer(answers, "vlar classify recordings/shake/2.wrist")
    assert best(row) == "shake"


@pytest.mark.slow
def test_a_tower_learns_from_features_next_to_the_encoders(
    workplace: Path, answers: list[list[dict]]
):
    (row,) = answer(answers, "vlar classify recordings/walk/1.wrist")
    assert best(row) == "walk"
    saved = json.loads((workplace / "swung" / "vlar.json").read_text("utf-8"))
    assert '"swings"' in json.dumps(saved)
    assert '"width": 8' in json.dumps(saved)


@pytest.mark.slow
def test_a_reranker_changes_the_scores_and_keeps_the_right_rows(answers: list[list[dict]]):
    plain = answer(answers, 'vlar query wrist.vlar "someone walks" -k 3')
    again = answer(answers, 'vlar query wrist.vlar "someone walks" --rerank')
    assert shown(again)[:3] == ["walk", "walk", "walk"]
    assert [hit["similarity"] for hit in again] != [hit["similarity"] for hit in plain]


def test_each_part_is_one_short_file_that_the_package_does_not_mention():
    assert set(FILES) == set(PLACES)
    assert all(len(source.splitlines()) <= MOST_LINES for source in FILES.values())
    names = re.compile(r"WristEncoder|ChromaEncoder|PaceHead|[Ww]arping|[Rr]occhio|Swings")
    for source in Path(registry.__file__).parent.rglob("*.py"):
        assert not names.search(source.read_text("utf-8")), source


CHECK = """
import sys
import vlar.testing
from vlar import registry

print(registry.__file__)
for kind, name in [pair.split("/") for pair in sys.argv[1:]]:
    vlar.testing.check(kind, name)
    print(kind, name, registry.source_file(kind, name))
"""
NAMED = [f"{kind}/{name}" for source in FILES.values() for kind, name, _ in PARTS.findall(source)]


def checked(folder: Path) -> list[str]:
    """The lines of the checks of all parts of the page, with a folder first on the path."""
    places = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-c", CHECK, *NAMED]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_parts_of_another_package_keep_the_contract(workplace: Path):
    assert len(NAMED) == 7
    assert [line.split()[-1] for line in checked(workplace)[1:]] == ["None"] * len(NAMED)


@pytest.mark.slow
def test_the_parts_keep_the_contract_in_the_package_itself(tmp_path: Path):
    """Each file stands verbatim where ``CONTRIBUTING.md`` says, in a copy of the package."""
    package = Path(registry.__file__).parent
    copy = Path(shutil.copytree(package, tmp_path / "vlar"))
    for data in ("prompts", "text_banks"):
        shutil.copytree(ROOT / data, tmp_path / data)
    for file, place in PLACES.items():
        (copy / place).parent.mkdir(exist_ok=True)
        (copy / place).write_text(FILES[file], "utf-8")
    (copy / "methods" / "swings" / "__init__.py").write_text(f'"""{METHOD_README[2:9]}."""\n')
    (copy / "methods" / "swings" / "README.md").write_text(METHOD_README, "utf-8")
    lines = checked(tmp_path)
    assert lines[0] == str(copy / "registry.py")
    parts = {str(copy / place) for file, place in PLACES.items() if file not in NO_PARTS}
    assert {line.split()[-1] for line in lines[1:]} == parts
    readme = copy / "methods" / "swings" / "README.md"
    assert not faults(readme, {("adapter", "swings"): "in the spirit"})


def test_the_method_keeps_the_rules_of_docstrings():
    """``tests/unit/methods/test_docstrings.py`` asks this of every method of the tree."""
    ((name, text),) = parts_of(FILES["swings.py"])
    require_reference(name, text)
    with pytest.raises(AssertionError):
        require_reference(name, text.replace("Reference", "By"))


def test_the_sources_are_in_the_english_of_the_tree(tmp_path: Path):
    for file, source in FILES.items():
        (tmp_path / file).write_text(source, "utf-8")
        assert not faults_of_source(tmp_path / file), file
        assert not list(beginnings(source)), file
        assert not list(humans(source)), file
        assert vague([source]) == 0, file


@pytest.mark.slow
def test_a_verb_of_a_shelf_is_found_by_its_row(answers: list[list[dict]], workplace: Path):
    """The file and the row of the page, in a copy of the package."""
    copy = Path(shutil.copytree(Path(registry.__file__).parent, workplace / "copy" / "vlar"))
    (copy / PLACES["lengths.py"]).write_text(FILES["lengths.py"], "utf-8")
    main = "from vlar.apps.cli import main; main()"
    command = [sys.executable, "-c", main, "index", "lengths", "wrist.vlar", "--json"]
    options: dict = {"capture_output": True, "text": True, "cwd": workplace}
    options["env"] = {**os.environ, "PYTHONPATH": str(copy.parent)}
    assert subprocess.run(command, **options).returncode == 2  # not without its row
    verbs = copy / "plugins" / "verbs" / "__init__.py"
    rows = verbs.read_text("utf-8")
    verbs.write_text(rows.rstrip().removesuffix('"""') + VERB_ROW + '"""\n', "utf-8")
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    lengths_s = [json.loads(line)["duration_s"] for line in done.stdout.splitlines()]
    assert len(lengths_s) == 9
    assert lengths_s == sorted(lengths_s, reverse=True)


def test_the_places_are_those_of_the_table_of_kinds():
    """Sources name the folder of their kind; the layout of imports holds there."""
    for file, place in PLACES.items():
        kinds = [kind for kind, _, _ in PARTS.findall(FILES[file])]
        folder = str(Path(place).parent.as_posix())
        if file not in NO_PARTS and folder != "methods/swings":
            (kind,) = kinds
            assert registry.KINDS[kind].package == "vlar." + folder.replace("/", ".")
        module = "vlar." + place.removesuffix(".py").replace("/", ".")
        imports = [name for name in imported_modules(ast.parse(FILES[file])) if name in MODULES]
        assert imports
        assert against_the_order(module, imports) == []
        stated = "methods" if folder == "methods/swings" else folder
        assert f"`vlar/{stated}/`" in TEXT


def test_the_other_blocks_of_python_run():
    names: dict[str, object] = {}
    sources = [text for language, title, text in BLOCKS if language == "python" and not title]
    assert len(sources) == 2
    for source in sources:
        exec(source, names)
    names["test_ridge_keeps_the_contract"]()  # type: ignore[operator]
