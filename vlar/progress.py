"""Progress of work below what was asked for: a download, or texts encoded at first use.

The application shows it (``shown_by``). Without one, a script gets a bar of tqdm in its terminal
where the size is known, else one line on stderr when the work takes longer than two seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from vlar.version import is_installed

if TYPE_CHECKING:  # a help reads this file, and types import NumPy
    from vlar.types import ProgressCallback

_log = logging.getLogger("vlar")
_PATIENCE_S = 2.0
#: Takes the work, its units in all (or None) and their name; gives what counts them.
Display = Callable[[str, "int | None", str], "AbstractContextManager[ProgressCallback]"]
_displays: list[Display] = []


def no_progress(count: int = 0, total: int | None = None) -> None:
    """Progress that nobody is shown."""
    del count, total


@contextmanager
def shown_by(display: Display) -> Generator[None]:
    """Show the stages of any thread by a display while the block runs."""
    _displays.append(display)
    try:
        yield
    finally:
        _displays.remove(display)


@contextmanager
def stage(what: str, total: int | None = None, unit: str = "files") -> Generator[ProgressCallback]:
    """Show work inside of other work while the block runs; gives what counts its units.

    Args:
        what: The work, such as ``fetching clip``.
        total: Units in all; None where they are not counted.
        unit: What is counted, in the plural.
    """
    if _displays:
        with _displays[-1](what, total, unit) as count:
            yield count
    elif total is not None and is_installed("tqdm"):
        from tqdm import tqdm

        with tqdm(total=total, desc=what, unit=f" {unit}", disable=None) as bar:

            def count(count: int = 0, total: int | None = None) -> None:
                bar.update(count)

            yield count
    else:
        timer = threading.Timer(_PATIENCE_S, _log.warning, [what])
        timer.daemon = True
        timer.start()
        try:
            yield no_progress
        finally:
            timer.cancel()
