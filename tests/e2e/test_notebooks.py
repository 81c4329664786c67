"""The notebooks: small, without outputs, of public names; the slow test executes them."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
ids = [path.stem for path in NOTEBOOKS]


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    found = json.loads(path.read_text("utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def imported(path: Path) -> list[tuple[str, str]]:
    """Module and name of everything that a notebook takes from vlar."""
    found: list[tuple[str, str]] = []
    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vlar":
                found += [(str(node.module), alias.name) for alias in node.names]
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "vlar":
                found.append(("vlar", node.attr))
    return found


def test_there_are_eight():
    assert [name[:2] for name in ids] == ["01", "02", "03", "04", "05", "06", "07", "08"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_a_notebook_is_short_and_has_no_outputs(path: Path):
    assert path.stat().st_size < 20_000
    assert sum(len(cell["source"]) for cell in cells(path, "code")) <= 120
    for cell in cells(path, "code"):
        assert not cell["outputs"], (
            "commit notebooks without outputs: pictures make a repository heavy"
        )
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_a_notebook_takes_public_names_only(path: Path):
    taken = imported(path)
    assert taken
    for module, name in taken:
        assert not any(part.startswith("_") for part in [*module.split("."), name])
        home = importlib.import_module(module)
        assert hasattr(home, name), f"{module} has no {name}"
        shelf = module == "vlar" and (Path(str(home.__file__)).parent / name).is_dir()
        public = shelf or name in getattr(home, "__all__", [name])
        assert public, f"{name} is not a public name of {module}"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_a_notebook_runs_and_shows_a_picture(path: Path, demo_clips: dict[str, Path]):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    kinds = {
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    }
    assert "image/png" in kinds
