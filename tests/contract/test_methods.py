"""Every method of a paper states its status, and the README of its folder states the same."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.test_docs_rows import ROOT, rows
from vlar import registry

METHODS = ROOT / "vlar" / "methods"
FOLDERS = sorted(path.parent for path in METHODS.glob("*/__init__.py"))
PAGES = {"adapter": "adapters", "fewshot": "fewshot", "learner": "training"}
PAGES["objective"] = "objectives"
# A recipe holds the numbers of a training of an adapter, which has the status.
KINDS = [kind for kind in registry.KINDS if kind != "recipe"]


@functools.cache
def places() -> dict[tuple[str, str], Path]:
    """Folder of each part that has a file, by kind and name."""
    return {
        (kind, name): file.parent
        for kind in KINDS
        for name in registry.names(kind)
        if (file := registry.source_file(kind, name))
    }


def parts_of(folder: Path) -> dict[tuple[str, str], str | None]:
    """Status of each part in a folder, by kind and name."""
    return {key: registry.status(*key) for key, parent in places().items() if parent == folder}


def faults(readme: Path, parts: dict[tuple[str, str], str | None]) -> list[str]:
    """Faults of a README of a folder with these parts."""
    lines = readme.read_text("utf-8").splitlines()
    found = [] if 10 <= len(lines) <= 30 else [f"{len(lines)} lines"]
    labels = ("**Equal to the original**: ", "**Ours**: ", "**Figures**: ")
    text = "\n".join(lines)
    found += [f"no paragraph {label!r}" for label in labels if f"\n\n{label}" not in text]
    stated = {(row[0], row[1].strip("`")): row[2] for head, row in rows(readme) if head == "kind"}
    return found + ([] if stated == parts else [f"{stated} is not {parts}"])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_folder_has_a_readme_that_states_the_status_of_its_parts(folder: Path):
    parts = parts_of(folder)
    assert parts
    sensors = ("reader", "encoder")  # of a sensor: no paper, so they have no status
    parts = {key: how for key, how in parts.items() if how is not None or key[0] not in sensors}
    assert None not in parts.values(), parts
    assert not faults(folder / "README.md", parts)
    assert all(registry.reference(kind, name) for kind, name in parts)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_readme_names_files_that_exist(folder: Path):
    text = (folder / "README.md").read_text("utf-8")
    named = re.findall(r"`((?:tests|docs|evals|benchmarks|vlar|text_banks)/[\w./-]+)", text)
    assert not [name for name in named if not (ROOT / name).exists()]
    assert re.search(r"`(evals|benchmarks)/(\w+\.py|results/\w+\.json)|docs/adapters.md", text), (
        "no script of figures"
    )


def test_a_readme_with_another_status_or_without_figures_is_found(tmp_path: Path):
    readme = tmp_path / "README.md"
    original = (METHODS / "coco" / "README.md").read_text("utf-8")
    parts = parts_of(METHODS / "coco")
    readme.write_text(original, "utf-8")
    assert not faults(readme, parts)
    readme.write_text(original.replace("null here", "reproduced"), "utf-8")
    assert faults(readme, parts)
    readme.write_text(original.replace("**Figures**: ", ""), "utf-8")
    assert faults(readme, parts) == ["no paragraph '**Figures**: '"]


@pytest.mark.parametrize("kind", PAGES)
def test_the_docs_state_the_status(kind: str):
    table = [row for head, row in rows(ROOT / "docs" / f"{PAGES[kind]}.md") if head == kind]
    stated = {re.split("[`:/]", row[0])[1]: row[1] for row in table}
    assert stated == {name: registry.status(kind, name) or "" for name in stated}
    assert set(stated.values()) & set(registry.STATUSES)


def test_papers_explains_every_status():
    table = [row[0].strip("`") for head, row in rows(ROOT / "docs/papers.md") if head == "status"]
    assert tuple(table) == registry.STATUSES


def test_the_list_of_methods_states_paper_and_status_and_imports_nothing_heavy():
    script = (
        "import sys\n"
        "from vlar.apps.cli.app import app\n"
        "try: app(['models', '--methods', '--json'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'av', 'faiss'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    *lines, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    found = {(row["kind"], row["name"]): row for row in map(json.loads, lines)}
    row = found["adapter", "froster"]
    assert row["status"] == "reproduced"
    assert "ICLR 2024" in row["paper"]
    assert row["summary"].startswith("A student trained on video")
    assert found["fewshot", "ridge"]["status"] == "default"
    assert found["encoder", "lite"]["status"] is None
    assert ("fewshot", "mixture") not in found  # made of other heads
    parts = {key for folder in FOLDERS for key in parts_of(folder)}
    assert parts - set(found) == {("fewshot", "relation")}


@pytest.mark.slow
def test_naming_lora_does_not_import_transformers():
    script = (
        "import sys, vlar.methods.lora.adapter\n"
        "print('transformers' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
