"""Every fault at every call of a command, and what must hold after it.

The state is the old or the new one (or, part by part, one of both), ``verify`` finds nothing, the
same command completes, its result equals that of an undisturbed run, and no other file stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kills import calls
from tests.kills.commands import DEFECT, Command
from vlar.errors import LibraryError
from vlar.files import replacing
from vlar.library.library import Library

_MOST = 2000  # calls of a command
# Drawn parts, and numbers of processes, of names of temporary files.
DRAWN = re.compile(r"[0-9a-f]{12,}|(?<=/)\d{10}-[0-9a-f]{8}|(?<=-)\d+(?=-)")


def _is_cached(path: Path) -> bool:
    return path.parts[0] == "cache" and (path.name[0] == "." or "unsaved" in path.parts)


@dataclass
class Met:
    """Places of one command, faults at them, and what did not hold."""

    calls: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Bench:
    """One command, brought to its old state before each fault."""

    def __init__(self, command: Command, files: Path, root: Path) -> None:
        self.command, self._files = command, files
        self.work, self._old, self._look = root / "work", root / "old", root / "look"
        os.environ["VLAR_CACHE"] = str(self.work / "cache")
        self.work.mkdir(parents=True)
        self.command.prepare(self.work, files)
        self.before = self.command.state(self.work)
        shutil.copytree(self.work, self._old)
        self._run()  # imports all that it needs, so that a fork does not
        self.restore()
        assert self._run() == 0
        self.after, self._listing = self.command.state(self.work), self.listing()
        assert self.after != self.before or not self.command.whole

    def restore(self) -> None:
        """Bring the folder to its old state."""
        shutil.rmtree(self.work)
        shutil.copytree(self._old, self.work)

    def _run(self) -> int:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123
            return self.command.run(self.work, self._files)

    def listing(self) -> list[str]:
        """Files and folders, without the drawn parts of their names; a name once.

        What a kill leaves in the user's cache is of a bounded size: the oldest goes first. A model
        that could not be saved is kept there, under ``unsaved``, and the message says so.
        """
        paths = (path.relative_to(self.work) for path in self.work.rglob("*"))
        names = (str(p) for p in paths if not _is_cached(p))
        return sorted({DRAWN.sub("*", name) for name in names})

    def fault(self, nth: int, fault: str) -> tuple[calls.Outcome, list[str]]:
        """The n-th call meets a fault; what does not hold then."""
        self.restore()
        errors = self.work.with_name("errors.txt")
        with errors.open("w") as stream:

            def redirected() -> int:
                os.dup2(stream.fileno(), 2)
                sys.stderr = os.fdopen(2, "w", closefd=False)
                return self.command.run(self.work, self._files)

            outcome = calls.run(redirected, self.work, nth, fault)
        wrong = list(self._wrong(outcome, fault))
        lines = errors.read_text().strip().splitlines()[-1:]
        return outcome, [f"{fault} {nth} at {outcome.fault}: {row} {lines}" for row in wrong]

    def _wrong(self, outcome: calls.Outcome, fault: str) -> Iterator[str]:
        if outcome.code >= DEFECT or (outcome.code < 0) != (
            fault in ("kill", "torn") and bool(outcome.fault)
        ):
            yield f"ends with {outcome.code}"
        shutil.rmtree(self._look, ignore_errors=True)
        shutil.copytree(self.work, self._look)
        state: object = None
        try:
            state = self.command.state(self._look)
        except Exception as error:  # noqa: BLE001 - reported
            yield f"state cannot be read: {error!r}"
        else:
            if not self._is_sound(state):
                yield f"neither old nor new: {state}, not {self.before} or {self.after}"
            if outcome.code == 0 and state != self.after:
                yield f"claims success, and has {state}"
        if state:  # before the first commit there is nothing to verify
            yield from (f"after it, {row}" for row in _faults(self.command, self._look))
        replacing._remove_stale.cache_clear()  # a command is a process of its own
        code = self._run()
        is_done = not self.command.repeats and state == self.after
        if code and not is_done:
            yield f"the same command ends with {code}"
        if (state := self.command.state(self.work)) != self.after:
            yield f"the same command gives {state}, not {self.after}"
        yield from (f"at the end, {row}" for row in _faults(self.command, self.work))
        if rows := set(self.listing()) - set(self._listing):
            yield f"stays: {sorted(rows)}"

    def _is_sound(self, state: object) -> bool:
        before, after = self.before, self.after
        if self.command.whole or not isinstance(state, dict):
            return state in (before, after)
        keys = {*before, *after, *state}
        return all(state.get(key) in (before.get(key), after.get(key)) for key in keys)


def _faults(command: Command, folder: Path) -> Iterator[str]:
    for name in command.libraries:
        if (folder / name / "library.sqlite").exists() and (
            folder / name / "library.sqlite"
        ).stat().st_size:
            try:
                with Library(folder / name, create=False) as library:
                    yield from (f"verify of {name}: {fault}" for fault in library.verify())
            except LibraryError as error:
                yield f"verify of {name}: {error}"


def meet(
    command: Command,
    files: Path,
    root: Path,
    faults: Sequence[str] = tuple(calls.FAULTS),
    first: int = 1,
    step: int = 1,
) -> Met:
    """Meet calls of a command with faults: all of them, or every ``step``-th from a first on."""
    bench, met = Bench(command, files, root), Met()
    for fault in faults:
        for nth in range(first, _MOST, step):
            outcome, wrong = bench.fault(nth, fault)
            met.wrong += wrong
            met.calls = max(met.calls, outcome.calls)
            if not outcome.fault:
                break
            met.faults[fault] = met.faults.get(fault, 0) + 1
        else:
            met.wrong.append(f"{fault}: faults never end")
    return met
