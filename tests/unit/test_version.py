"""The command that adds an extra fits the place vlar runs from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlar.version import package_command, package_fault, pip_install

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_fits_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert pip_install("eval", tmp_path) == "pip install 'vlar[eval]'"
    assert pip_install(root=tmp_path) == "pip install vlar"
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "another"\n')  # a stray file of site-packages
    assert pip_install("eval", tmp_path) == "pip install 'vlar[eval]'"
    project.write_text('[project]\nname = "vlar"\n')
    assert pip_install("eval", tmp_path) == f"pip install -e '{tmp_path}[eval]'"
    monkeypatch.chdir(tmp_path)
    assert pip_install("eval", tmp_path) == "pip install -e '.[eval]'"
    assert pip_install(root=tmp_path) == "pip install -e '.'"


def test_messages_take_the_command_from_one_function():
    extras = (ROOT / "pyproject.toml").read_text("utf-8").partition("optional-dependencies]")[2]
    asked = 0
    for source in (ROOT / "vlar").rglob("*.py"):
        text = re.sub(r'"""(.|\n)*?"""', "", source.read_text("utf-8"))
        for extra in re.findall(r"pip_install\(['\"]([\w-]+)['\"]\)", text):
            assert re.search(rf"^{extra} = \[", extras, re.M), f"{source}: {extra}"
            asked += 1
        assert source.name == "version.py" or "'vlar[" not in text, source
    assert asked > 10


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("av", "pip install av"),
        ("faiss", "pip install faiss-cpu"),
        ("matplotlib", pip_install("eval")),
        ("scipy.stats", pip_install("eval")),
        ("torch", pip_install("clip")),
        ("open_clip", pip_install("clip")),
        ("peft", pip_install("clip")),
        ("sentence_transformers", pip_install("st")),
        ("some_reader", "pip install some-reader"),
    ],
)
def test_a_missing_library_is_a_line_with_the_command(
    module: str, command: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vlar.version.is_installed", lambda _: False)
    line = package_fault(ModuleNotFoundError("no module", name=module))
    top = module.partition(".")[0]
    assert line == f"the library {top!r} is not installed; run: {command}"


def test_a_wheel_reads_its_metadata(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    listed = ["numpy>=1", 'torch>=2.6; extra == "all"', 'torch>=2.6; extra == "clip"']
    monkeypatch.setattr("vlar.version._ROOT", tmp_path)
    monkeypatch.setattr("importlib.metadata.requires", lambda _: listed)
    assert package_command("numpy") == "pip install numpy"
    assert package_command("torch") == pip_install("clip")


@pytest.mark.parametrize(
    "fault",
    [
        "raise OSError('libtorch_cpu.so: cannot open shared object file')",
        "raise ImportError('DLL load failed')",
        "import halves._C",
        "raise ImportError('cannot import name', name='halves')",
        "import ctypes; ctypes.CDLL('/no/such/library.so')",
        "raise AttributeError('partially initialized module')",
    ],
)
def test_a_broken_library_is_a_line_with_the_command(
    fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    package = tmp_path / "halves"
    package.mkdir()
    (package / "__init__.py").write_text(f"{fault}\n")
    monkeypatch.syspath_prepend(tmp_path)
    caller = compile("import halves", "part.py", "exec")
    with pytest.raises((OSError, ImportError, AttributeError)) as caught:
        exec(caller, {"__name__": "vlar.part"})
    line = package_fault(caught.value)
    assert line is not None
    assert line.startswith("the library 'halves' is installed but cannot be imported (")
    assert line.endswith("run: pip install --force-reinstall halves")
    assert "\n" not in line


def test_other_errors_are_not_about_a_library():
    assert package_fault(ModuleNotFoundError("no module", name="vlar.nowhere")) is None
    with pytest.raises(OSError, match="nowhere") as caught:
        exec(compile("open('/nowhere')", "part.py", "exec"), {"__name__": "vlar.part"})
    assert package_fault(caught.value) is None
    with pytest.raises(ValueError, match="Expecting") as caught:
        exec("import json; json.loads('{')", {"__name__": "vlar.part"})
    assert package_fault(caught.value) is None
