"""A name that goes works for two minor versions, and its warning names the successor."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import vlar
from vlar.deprecation import (
    Deprecation,
    VlarDeprecationWarning,
    deprecated,
    deprecated_names,
)


@deprecated("vlar.load", since="0.2", name="vlar.open_model")
def open_model(spec: str, *, device: str = "cpu") -> tuple[str, str]:
    """Model of a name."""
    return spec, device


@deprecated("vlar.Library", since="0.9")
class Index:
    """Collection of windows."""

    def __init__(self, path: str) -> None:
        self.path = path

    @deprecated("Index.query", since="1.0")
    def search(self, text: str) -> str:
        return f"{self.path}: {text}"


def test_a_deprecated_function_works_and_names_its_successor():
    with pytest.warns(VlarDeprecationWarning) as caught:
        assert open_model("lite", device="cuda") == ("lite", "cuda")
    (warning,) = caught
    assert str(warning.message) == (
        "vlar.open_model is deprecated since vlar 0.2 and goes with 0.4; use vlar.load"
    )
    assert warning.filename == __file__  # the line of the caller
    assert open_model.__name__ == "open_model"
    assert open_model.__doc__ == (
        "Model of a name.\n\nDeprecated: vlar.open_model is deprecated since vlar 0.2 and goes with"
        " 0.4; use vlar.load."
    )


def test_a_deprecated_class_and_method_work():
    with pytest.warns(VlarDeprecationWarning, match="Index is deprecated.*0.11; use vlar.Library"):
        index = Index("a")
    assert isinstance(index, Index)
    with pytest.warns(VlarDeprecationWarning, match=r"goes with 1\.2; use Index\.query"):
        assert index.search("x") == "a: x"


def test_a_name_that_moved_is_given_with_a_warning():
    module = types.ModuleType("old_place")
    moved = {"opener": "vlar.model.model.load"}
    module.__getattr__ = deprecated_names("old_place", moved, since="0.2")
    with pytest.warns(VlarDeprecationWarning, match="use vlar.model.model.load") as caught:
        assert module.opener is vlar.load
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        module.other  # noqa: B018


def test_an_option_a_key_or_a_path_warns_by_hand():
    def query(*, top: int | None = None) -> int | None:
        if top is not None:
            Deprecation("--top", "--k", "0.3").warn()
        return top

    with pytest.warns(VlarDeprecationWarning, match=r"--top .* goes with 0\.5; use --k") as caught:
        assert query(top=3) == 3
    assert caught[0].filename == __file__


def test_users_see_it_without_a_switch():
    script = "from vlar.deprecation import Deprecation as D; D('a', 'b', '0.2').warn(0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "VlarDeprecationWarning: a is deprecated since vlar 0.2" in done.stderr
