"""``--quiet``, ``--verbose`` and colours: what reaches a terminal, and what a file."""

from __future__ import annotations

import logging
import sys

import pytest

from vlar.apps.cli import output
from vlar.apps.cli.progress import Progress, progress


@pytest.fixture(autouse=True)
def volume():
    """Levels as they were."""
    loggers = [logging.getLogger(name) for name in ("vlar", "vlar.apps.cli")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def test_quiet_hides_notes_and_keeps_errors_and_answers(capsys: pytest.CaptureFixture[str]):
    output.set_volume(quiet=True, verbose=True)
    output.note("a remark")
    output.error("a fault")
    output.line("an answer")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("an answer\n", "vlar: a fault\n")
    with progress("working") as quiet:
        assert type(quiet) is Progress  # it prints nothing


def test_without_an_option_nothing_changes():
    output.set_volume(quiet=True, verbose=False)
    output.set_volume(quiet=False, verbose=False)
    assert output.is_quiet()


def test_verbose_shows_what_is_being_done():
    output.set_volume(quiet=False, verbose=True)
    assert logging.getLogger("vlar.encoders").isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize(
    ("terminal", "environment", "bold"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_bold_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    environment: dict[str, str],
    bold: bool,
):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    output.line("clip.mp4  wave\x1b[2J", strong=8)
    shown = capsys.readouterr().out
    assert shown == (
        "clip.mp4  \x1b[1mwave\\x1b[2J\x1b[0m\n" if bold else "clip.mp4  wave\\x1b[2J\n"
    )
