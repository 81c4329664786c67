"""Modules of vlar import, and the light core answers, without what only some systems have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vlar
from vlar.files.workers.pool import can_isolate
from vlar.version import is_installed

HIDDEN = ("resource", "fcntl", "pwd", "grp", "termios")
#: Functions of ``os`` and ``signal`` that Windows lacks.
LACKING = {
    "os": ("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getpgid", "killpg", "nice",
           "memfd_create", "pread", "sched_getaffinity", "sched_setaffinity", "sched_getscheduler",
           "sched_param", "O_NOFOLLOW", "O_NONBLOCK"),
    "signal": ("SIGALRM", "SIGHUP", "SIGUSR1", "alarm", "setitimer"),
}  # fmt: skip
HIDE = f"""
import importlib, json, os, signal, sys
for name in {HIDDEN!r}:
    sys.modules[name] = None
"""
REMOVE = f"""
for module, lacking in {LACKING!r}.items():
    for name in lacking:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
"""
IMPORT = """
faults = {}
def load(names):
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:
            faults[name] = [type(error).__name__, str(error), getattr(error, "name", None)]
"""
# Libraries of others are built for this system, so they load before its functions go.
TWICE = f"""
names = json.loads(sys.stdin.read())
load(names)
for name in [name for name in sys.modules if name in names or name.startswith("vlar.")]:
    del sys.modules[name]
{REMOVE}
load(names)
print(json.dumps(faults))
"""
PACKAGE = Path(vlar.__file__).parent


def modules() -> list[str]:
    """Every module of vlar, except those that run when they are imported."""
    files = (path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = (".".join(file.parts).removesuffix(".__init__") for file in files)
    return sorted(name for name in names if not name.endswith("__main__"))


@pytest.mark.slow
def test_every_module_imports_without_what_only_some_systems_have(tmp_path: Path):
    names = modules()
    assert len(names) > 300
    # The control: a module that needs a hidden one, and one that needs a function that is gone.
    (tmp_path / "linux_only.py").write_text("import resource\n")
    (tmp_path / "forking.py").write_text("import os\nstart = os.fork\n")
    done = subprocess.run(
        [sys.executable, "-c", HIDE + IMPORT + TWICE],
        input=json.dumps(["linux_only", "forking", *names]), capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}, check=True,
    )  # fmt: skip
    faults: dict[str, list[str | None]] = json.loads(done.stdout.splitlines()[-1])
    assert faults.pop("linux_only")[2] == "resource"
    assert faults.pop("forking")[0] == "AttributeError"
    # A part needs its library, which may be absent; a hidden module is never what is missing.
    absent = {name for name, fault in faults.items() if fault[2] and not is_installed(fault[2])}
    assert {name: faults[name] for name in faults.keys() - absent} == {}
    assert not {name for name in absent if faults[name][2] in HIDDEN}


def test_files_are_read_and_one_line_states_that_they_are_not_isolated(demo_clips: dict[str, Path]):
    command = [sys.executable, "-c", HIDE + REMOVE + "from vlar.apps.cli import main\nmain()"]
    command += ["classify", *map(str, demo_clips.values()), "--labels", "riding a bike, cooking"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(demo_clips)
    assert done.stderr.count("cannot isolate") == 1
    here = os.name == "posix"
    assert can_isolate(Path) == here
