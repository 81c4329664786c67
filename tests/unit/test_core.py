"""The core runs without the shelves: it names none of them, and does not load one.

The core is all but training, methods, behaviour, generators, evaluation, plugins and the
applications other than the command line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.library.fakes import tiny_video
from tests.unit.test_layout import COMMAND_LINE, MODULES, source
from vlar import registry
from vlar.apps.cli import shelves
from vlar.errors import PackageError

# The contract of parts (testing) reads every kind, so it goes with them.
SHELVES = ("training", "methods", "behaviour", "generators", "evaluation", "plugins", "testing")
# Folders of the shelves that can be deleted alone, and a call that needs one, with its refusal.
HOOKS = {
    "plugins/export": (("export", "mine", "mine.onnx"), "No such command 'export'"),
    "plugins/photos": (("index", "tag", "l.vlar"), "No such command 'tag'"),
    "plugins/streams": (
        ("classify", "tcp://127.0.0.1:9", "--labels", "a, b"),
        "tcp://127.0.0.1:9 needs vlar.plugins.streams.answers, which",
    ),
    "plugins/integrity": (("check", "a.mp4"), "No such command 'check'"),
    "plugins/robots": (
        ("bundle", "run.mcap", "--out", "pairs"),
        "run.mcap needs vlar.plugins.robots.bundle, which",
    ),
    "methods/events": (("events", "a.mp4", "--out", "a.npz"), "No such command 'events'"),
    "plugins/sources": (
        ("index", "add", "new.vlar", "memory://a.mp4"),
        "memory://a.mp4 needs vlar.plugins.sources.remote, which",
    ),
    "training": (("train", "mine.toml"), "No such command 'train'"),
}
ROOT = Path(__file__).resolve().parents[2]


def is_core(module: str) -> bool:
    """Whether a module stays where the shelves are deleted."""
    if module.split(".")[1:2] == ["apps"]:
        return module in ("vlar.apps", *COMMAND_LINE) or module.startswith("vlar.apps.cli")
    return module.split(".")[1:2] != [] and module.split(".")[1] not in SHELVES


def test_the_core_imports_no_shelf():
    named = {
        f"{name} imports {other}"
        for name, path in MODULES.items()
        if name == "vlar" or is_core(name)
        for other in source(name, path).imports
        if not is_core(other)
    }
    assert not named


def test_a_shelf_is_told_from_the_core():
    assert [is_core(name) for name in ("vlar.model.model", "vlar.apps.cli.app")] == [True, True]
    shelf = ("vlar.methods.som", "vlar.apps.serve.http", "vlar.behaviour.verbs.review")
    assert not any(is_core(name) for name in shelf)


@pytest.mark.parametrize("code", ["import vlar", "import vlar; vlar.load().classify(CLIP, 'a, b')"])
def test_import_and_classify_load_no_shelf_and_no_application(tmp_path: Path, code: str):
    clip = tiny_video(tmp_path / "a.mp4", 1)
    shown = (
        "import sys\n"
        "print(sorted(m for m in sys.modules if m.startswith(('vlar.methods', 'vlar.apps', "
        "'vlar.plugins', 'vlar.evaluation', 'vlar.behaviour'))))"
    )
    call = [sys.executable, "-c", f"CLIP = {str(clip)!r}\n{code}\n{shown}"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def test_a_missing_shelf_is_one_line_that_names_the_option():
    with pytest.raises(PackageError, match=r"--audit needs vlar\.apps\.gone, .*pip install"):
        registry.shelf("apps.gone", "--audit")


def test_a_shelf_adds_a_verb_to_a_group(monkeypatch: pytest.MonkeyPatch):
    assert list(shelves.verbs("index")) == ["tag"]
    assert "tag" not in shelves.verbs()
    monkeypatch.setattr(shelves, "is_installed", lambda name: False)
    assert not list(shelves.verbs("index"))


def test_verbs_of_a_missing_shelf_are_not_listed(monkeypatch: pytest.MonkeyPatch):
    listed = set(shelves.verbs())
    assert {"timeline", "eval", "serve", "describe", "review", "train"} <= listed
    monkeypatch.setattr(shelves, "is_installed", lambda name: name != "evaluation")
    assert listed - set(shelves.verbs()) == {"evaluate", "eval", "report"}
    monkeypatch.setattr(shelves, "is_installed", lambda name: False)
    assert not list(shelves.verbs())


def copied(root: Path) -> Path:
    for name in ("vlar", "tests", "prompts", "text_banks", "docs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package without the shelves."""
    root = copied(tmp_path_factory.mktemp("core"))
    for name in SHELVES:
        shutil.rmtree(root / "vlar" / name)
    for path in (root / "vlar" / "apps").iterdir():
        if path.is_dir() and path.name not in ("cli", "__pycache__"):
            shutil.rmtree(path)
        elif path.suffix == ".py" and path.stem not in ("__init__", "answers"):
            path.unlink()
    return root


def run(core: Path, *arguments: object, fine: tuple[int, ...] = (0,)) -> str:
    call = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(core)}
    done = subprocess.run(
        call, capture_output=True, text=True, check=False, cwd=core, env=environment
    )
    assert done.returncode in fine, done.stdout[-4000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def vlar(core: Path, *words: object, fine: tuple[int, ...] = (0,)) -> str:
    code = (
        f"import vlar; assert {str(core)!r} in vlar.__file__\n"
        "from vlar.apps.cli import main; main()"
    )
    return run(core, "-c", code, *words, fine=fine)


def five_verbs(core: Path) -> None:
    clips = [
        tiny_video(core / "clips" / label / f"{n}.mp4", 10 * seed + n)
        for seed, label in enumerate(("red", "blue"))
        for n in range(3)
    ]
    assert "walking" in vlar(core, "classify", clips[0], "--labels", "walking, sitting")
    vlar(core, "adapt", core / "clips", "--out", core / "mine")
    assert "red" in vlar(core, "classify", clips[0], "--model", core / "mine")
    vlar(core, "index", "add", core / "l.vlar", core / "clips", fine=(0, 1))
    assert ".mp4" in vlar(core, "query", core / "l.vlar", "a street", "--min-probability", "0")


@pytest.mark.slow
def test_the_command_line_of_the_core_runs_without_the_shelves(core: Path):
    listed = vlar(core, "--help")
    assert "classify" in listed
    assert "serve" not in listed
    five_verbs(core)
    missing = vlar(core, "doctor", "--audit", core / "mine", fine=(2,))
    assert "--audit needs vlar.apps.audit" in missing
    for call, refusal in HOOKS.values():
        assert refusal in vlar(core, *call, fine=(2,))


@pytest.mark.slow
@pytest.mark.parametrize("folder", HOOKS)
def test_a_folder_of_a_shelf_is_deleted_alone(tmp_path: Path, folder: str):
    root = copied(tmp_path)
    call, refusal = HOOKS[folder]
    assert refusal not in vlar(root, *call, fine=(0, 1, 2))
    shutil.rmtree(root / "vlar" / folder)
    assert "serve" in vlar(root, "--help")
    five_verbs(root)
    assert refusal in vlar(root, *call, fine=(2,))
