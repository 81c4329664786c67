"""Skips what needs a library that is missing, without an import: each worker collects all tests."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version

import pytest


def needs(module: str, least: int = 0) -> None:
    """Skip the test, or the module of tests, where a library or its main version is missing.

    Args:
        module: Name that the library has where it is imported, and in ``pip``.
        least: Main version.
    """
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module}", allow_module_level=True)
    if least and int(version(module).partition(".")[0]) < least:
        pytest.skip(f"needs {module} {least}", allow_module_level=True)
