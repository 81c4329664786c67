from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vlar
from tests.refusals import refused
from vlar import registry
from vlar.errors import UnknownNameError
from vlar.files import resources

KIND = "captioner"


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> str:
    """A kind that forgets after the test what was registered in it."""
    monkeypatch.setitem(registry.loaded, KIND, registry.parts(KIND))
    return KIND


def test_a_registered_part_is_found_by_name(kind: str):
    @vlar.register(kind, "alpha")
    class Alpha:
        pass

    assert registry.get(kind, "alpha") is Alpha
    assert "alpha" in registry.names(kind)
    assert vlar.parts(kind)["alpha"] is Alpha
    assert list(vlar.parts()) == list(registry.KINDS)
    assert "alpha" in vlar.parts()[kind]


def test_an_unknown_name_lists_the_known_and_the_nearest(kind: str):
    @registry.register(kind, "prototype")
    class Prototype:
        pass

    with pytest.raises(
        UnknownNameError, match=r"'protype'; did you mean 'prototype'\? Known: .*pro"
    ):
        registry.get(kind, "protype")


def test_a_name_is_taken_once(kind: str):
    @registry.register(kind, "one")
    class First:
        pass

    with pytest.raises(ValueError, match="already registered"):

        @registry.register(kind, "one")
        class Second:
            pass


@pytest.mark.parametrize("name", ["Upper", ""])
def test_a_name_is_lower_case(kind: str, name: str):
    refused(ValueError, "lower case", registry.register, kind, name)


def test_an_unknown_kind_raises():
    for ask in [
        registry.names,
        registry.parts,
        lambda kind: registry.get(kind, "lite"),
        lambda kind: registry.register(kind, "lite"),
    ]:
        refused(UnknownNameError, "no kind of part is called 'encodr'; did you mean", ask, "encodr")


def test_a_kind_without_parts_yet_has_no_names():
    empty = [kind for kind in registry.KINDS if not registry.names(kind)]
    for kind in empty:
        refused(UnknownNameError, "", registry.get, kind, "any")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_names_in_the_source_are_the_parts_that_importing_gives(kind: str):
    for name, part in registry.parts(kind).items():
        assert part.__module__.startswith(("vlar.", "tests.")), f"{kind} {name}"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_kind_with_parts_has_a_contract_a_test_and_a_page(kind: str):
    row = registry.KINDS[kind]
    if not registry.names(kind):
        return
    module, _, name = row.contract.partition(":")
    assert hasattr(__import__(module, fromlist=["_"]), name), row.contract
    root = Path(__file__).resolve().parents[2]
    assert (root / row.test).is_file(), row.test
    assert (root / row.docs).is_file(), row.docs


def test_listing_names_imports_nothing():
    script = (
        "import sys; from vlar import registry\n"
        "for kind in registry.KINDS: registry.names(kind)\n"
        "print(sorted(name for name in sys.modules if name.startswith('vlar.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['vlar.errors', 'vlar.registry', 'vlar.toml', 'vlar.version']"


def test_another_package_adds_a_part_by_an_entry_point(tmp_path: Path):
    (tmp_path / "gym_parts.py").write_text(
        "from vlar import register\n@register('captioner', 'gym')\nclass Gym: ...\n"
    )
    facts = tmp_path / "gym_parts-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gym-parts\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[vlar.captioner]\ngym = gym_parts:Gym\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import vlar\n"
        "print('gym' in vlar.registry.names('captioner'), 'gym_parts' in sys.modules)\n"
        "print(vlar.registry.get('captioner', 'gym').__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False", "Gym"]


def test_data_folders_are_found():
    assert "plain" in resources.names("prompts", ".txt")
    with pytest.raises(UnknownNameError, match="no prompt is called 'plane'; did you mean 'plain'"):
        resources.find("prompts", "plane", ".txt")


def test_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "here"))
    assert resources.cache_dir() == tmp_path / "here"
