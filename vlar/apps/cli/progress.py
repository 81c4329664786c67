"""Progress on stderr: a bar in a terminal, elsewhere a plain line after 1 s, then every 10 s."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from vlar.apps.cli import output
from vlar.progress import shown_by

T = TypeVar("T")

FIRST_S = 1.0  # seconds until the first plain line
EVERY_S = 10.0  # seconds between two plain lines
_SURE_S = 5.0  # of a stage, from which the time that it still takes is stated
_MINUTES_S = 120.0  # from which that is in minutes


class Progress:
    """Work that proceeds in stages, each with a name and, where it is known, a number of units.

    A ``vlar.types.ProgressCallback``: calling it counts units of the current stage.
    """

    def __init__(self) -> None:
        self._what, self._unit, self._more = "", "files", ""
        self._depth = 0  # stages inside of stages
        self._total: int | None = None
        self._done = 0
        self._begin_s = time.monotonic()

    def stage(self, what: str, total: int | None = None, unit: str = "files") -> None:
        """Begin another stage.

        Args:
            what: The work, such as ``loading lite``.
            total: Units in all; None where that is not known.
            unit: What is counted, in the plural.
        """
        self._what, self._total, self._unit, self._more = what, total, unit, ""
        self._done, self._begin_s = 0, time.monotonic()
        output.detail(self.text())
        self._changed()

    @contextmanager
    def inside(
        self, what: str, total: int | None = None, unit: str = "files"
    ) -> Generator[Progress]:
        """Show a stage inside of the present one, which goes on where it was."""
        self._depth += 1
        before = self._what, self._unit, self._more, self._total, self._done, self._begin_s
        self.stage(what, total, unit)
        try:
            yield self
        finally:
            self._what, self._unit, self._more, self._total, self._done, self._begin_s = before
            self._depth -= 1
            self._changed()

    def note(self, more: str) -> None:
        """Set the text after the number of units: ``96 clips``."""
        self._more = more

    def __call__(self, count: int = 0, total: int | None = None) -> None:
        """Count units, and correct their total."""
        self._done += count
        self._total = self._total if total is None else total
        self._changed()

    def counted(self, rows: Iterable[T]) -> Iterator[T]:
        """Pass rows through and count each as one unit."""
        for row in rows:
            yield row
            self(1)

    def text(self) -> str:
        """The state in words: ``indexing: 3 of 40 files``."""
        text = f"{self._what}: {self._done} {self._unit}" if self._done else self._what
        if self._total == 1:  # it is done when the line is gone
            text = self._what
        elif self._total is not None:
            text = f"{self._what}: {self._done} of {self._total} {self._unit}"
        return output.plain(", ".join(filter(None, (text, self._more, self._left()))))

    def _left(self) -> str:
        """The time that the other units take at the pace of those before: ``about 40 s left``."""
        spent_s = time.monotonic() - self._begin_s
        if not self._done or self._total is None or spent_s < _SURE_S or self._done >= self._total:
            return ""
        left_s = spent_s / self._done * (self._total - self._done)
        if left_s < _MINUTES_S:
            return f"about {left_s:.0f} s left"
        return f"about {left_s / 60:.0f} min left"

    def _changed(self) -> None:
        """Show the new state."""


class _Lines(Progress):
    """Plain lines, for a log file or a program that reads stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Print nothing more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        """Print a line every 10 s, and one 1 s after a stage inside of another began."""
        wait_s, shown_s, depth = min(FIRST_S, EVERY_S), -math.inf, 0
        while not self._ended.wait(wait_s):
            now_s = time.monotonic()
            if self._depth > depth or now_s - shown_s >= EVERY_S:
                output.note(f"{self.text()}, {max(now_s - self._begin_s, wait_s):.0f} s")
                shown_s = now_s
            depth = self._depth


class _Bar(Progress):
    """A bar in a terminal, gone when the work is done."""

    def __init__(self, bar: Any, task: Any) -> None:
        super().__init__()
        self._bar, self._task = bar, task

    def _changed(self) -> None:
        total = self._total if self._total is not None and self._total > 1 else None
        self._bar.update(
            self._task, description=self.text(), total=total, completed=min(self._done, total or 0)
        )


@contextmanager
def progress(
    what: str, total: int | None = None, unit: str = "files"
) -> Generator[Progress, None, None]:
    """Show progress while the block runs; see ``Progress.stage`` for the arguments."""
    if output.is_quiet():
        quiet = Progress()
        with shown_by(quiet.inside):
            yield quiet
        return
    if not sys.stderr.isatty():
        lines = _Lines()
        lines.stage(what, total, unit)
        try:
            with shown_by(lines.inside):
                yield lines
        finally:
            lines.end()
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    shown = RichProgress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        # A terminal wraps long lines itself; a path that is copied from it then stays whole.
        console=Console(stderr=True, soft_wrap=True),
        transient=True,
        # Results printed to a file must not pass through the bar's console, which is stderr.
        redirect_stdout=sys.stdout.isatty(),
    )
    with shown:
        bar = _Bar(shown, shown.add_task(what, total=total))
        bar.stage(what, total, unit)
        with shown_by(bar.inside):
            yield bar


def track(rows: Iterable[T], what: str, total: int | None, unit: str = "files") -> Iterator[T]:
    """Pass rows through and count each as one unit."""
    with progress(what, total, unit) as shown:
        yield from shown.counted(rows)
