"""Runs the command line in this process. Its verbs are put together once: that takes longer than
most commands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import typer.main
import typer.testing

from vlar.apps.cli.app import app

_together = cache(typer.main.get_command)


def invoke(arguments: Sequence[str], **more: Any) -> typer.testing.Result:
    """What ``vlar`` does with these arguments: ``exit_code`` and ``output``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", _together)
        return typer.testing.CliRunner().invoke(app, arguments, **more)
