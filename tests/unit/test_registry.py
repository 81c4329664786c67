from __future__ import annotations

import pytest

from vlar import registry, resources
from vlar.errors import UnknownNameError


def test_registered_part_is_found_by_name():
    @registry.register("test-kind", "alpha")
    class Alpha:
        pass

    assert registry.get("test-kind", "alpha") is Alpha
    assert registry.names("test-kind") == ["alpha"]


def test_unknown_name_lists_the_known_and_the_nearest():
    @registry.register("test-kind-2", "prototype")
    class Prototype:
        pass

    with pytest.raises(UnknownNameError, match=r"'protype'; did you mean 'prototype'\? Known: pro"):
        registry.get("test-kind-2", "protype")


def test_a_name_is_taken_once():
    @registry.register("test-kind-3", "one")
    class First:
        pass

    with pytest.raises(ValueError, match="already registered"):

        @registry.register("test-kind-3", "one")
        class Second:
            pass


@pytest.mark.parametrize("name", ["Upper", ""])
def test_a_name_is_lower_case(name: str):
    with pytest.raises(ValueError, match="lower case"):
        registry.register("test-kind-4", name)


def test_data_folders_are_found():
    assert "plain" in resources.names("prompts", ".txt")
    with pytest.raises(UnknownNameError, match="no prompt is called 'plane'; did you mean 'plain'"):
        resources.find("prompts", "plane", ".txt")


def test_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "here"))
    assert resources.cache_dir() == tmp_path / "here"
