"""Exit codes and errors of the command line; it imports little, for ``vlar --help``."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from vlar.apps.cli import output
from vlar.errors import VlarError, one_line
from vlar.version import package_fault

EXIT_FINE, EXIT_SOME_FAILED, EXIT_NOTHING_USABLE, EXIT_INTERRUPTED = 0, 1, 2, 130


def exit_code(done: int, failed: int) -> int:
    """0 where all inputs were handled, 1 where some failed, 2 where none could be used."""
    if not failed:
        return EXIT_FINE
    return EXIT_SOME_FAILED if done else EXIT_NOTHING_USABLE


def run(function: Callable[[], int], *, debug: bool = False) -> int:
    """Run a function to its exit code; an error is one line on stderr.

    Args:
        function: Returns an exit code.
        debug: Print the traceback of an error too.
    """
    try:
        code = function()
        sys.stdout.flush()
    except KeyboardInterrupt:
        output.error("stopped; finished work is saved, run the same command again to resume")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; keep the interpreter's own flush quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FINE
    except Exception as problem:  # noqa: BLE001 - a traceback is useless to most people
        if debug:
            output.error_lines(traceback.format_exc().rstrip())
        output.error(_message(problem, debug))
        return EXIT_NOTHING_USABLE
    return code


def _message(problem: Exception, debug: bool) -> str:
    if isinstance(problem, VlarError):
        return problem.message
    if (fault := package_fault(problem)) is not None:
        return one_line(fault)
    if isinstance(problem, OSError) and problem.errno == errno.ENAMETOOLONG:
        file_name = str(problem.filename)
        return one_line(
            f"{file_name[:60]!r} ... is longer than the name of a file can be; give another"
        )
    text = one_line(str(problem))
    frame = traceback.extract_tb(problem.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    hint = "" if debug else "; run with --debug for the traceback"
    return f"unexpected {type(problem).__name__}: {text or 'no message'} ({where}){hint}"
