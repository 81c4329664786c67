"""A fault at the n-th call of the system that changes the files of one folder.

A command runs in a fork whose calls a filter of the kernel (seccomp) stops and another process
(ptrace) counts, whatever makes them: Python, SQLite, torch, a worker. The n-th one fails, is cut,
or ends the process before it. With n = 1, 2, ... until no fault fires each call is met.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# By number on x86-64: name, and the pairs (argument of a folder, argument of a path) or a file's.
AT = {
    2: ("open", ((None, 0),)), 257: ("open", ((0, 1),)), 85: ("open", ((None, 0),)),
    82: ("rename", ((None, 0), (None, 1))), 264: ("rename", ((0, 1), (2, 3))),
    316: ("rename", ((0, 1), (2, 3))),
    83: ("mkdir", ((None, 0),)), 258: ("mkdir", ((0, 1),)),
    84: ("rmdir", ((None, 0),)), 87: ("unlink", ((None, 0),)), 263: ("unlink", ((0, 1),)),
    86: ("link", ((None, 1),)), 265: ("link", ((2, 3),)),
    88: ("link", ((None, 1),)), 266: ("link", ((1, 2),)),
    76: ("truncate", ((None, 0),)),
}  # fmt: skip
OF_FILE = {
    1: "write", 18: "write", 20: "write", 296: "write", 328: "write", 40: "write", 326: "write",
    74: "fsync", 75: "fsync", 77: "truncate", 285: "write",
}  # fmt: skip
_CUT = (1, 18)  # whose third argument is a number of bytes
_GROWS = frozenset({"write", "open", "mkdir", "link"})

FAULTS: dict[str, frozenset[str]] = {
    "kill": frozenset({*_GROWS, "rename", "rmdir", "unlink", "truncate", "fsync"}),
    "torn": frozenset({"write"}),
    "EIO": frozenset({*_GROWS, "rename", "rmdir", "unlink", "truncate", "fsync"}),
    "ENOSPC": _GROWS,
    "EINTR": frozenset({"write", "open", "fsync", "truncate"}),
}
"""Faults, and the calls they meet. ENOSPC lasts from the n-th call on, as a full disk does."""

_WRITES = 0o1 | 0o2 | 0o100 | 0o1000  # flags of ``open``: write, read and write, create, truncate
_CREATES = 0o100
_ALL, _SECCOMP_STOP, _OPTIONS = 0x40000000, 7, 0x100000 | 0x80 | 0x2 | 0x4 | 0x8 | 0x10
_CONT, _SYSCALL, _GETREGS, _SETREGS, _SETOPTIONS = 7, 24, 12, 13, 0x4200
_RAX, _ORIG, _ARGUMENTS = 10, 15, (14, 13, 12, 7, 9, 8)  # of the registers
_MOST_S = 120


@dataclass(frozen=True)
class Outcome:
    """End of a command: exit code (below 0: a signal), calls counted, the call of the fault."""

    code: int
    calls: int
    fault: str = ""


class _Filter(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    return libc


@cache
def reason_against() -> str:
    """Reason why this machine cannot count calls; empty where it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "calls are counted on Linux on x86-64"
    outcome = run(lambda: 0, Path("/nowhere"), 0, "kill")
    return "" if outcome.code == 0 else "this machine lets no process trace another one"


def _steps() -> bytes:
    """The program of the filter: stop at calls that change files, let all others go."""
    step = struct.Struct("<HBBI").pack
    load, equal, any_of, give = 0x20, 0x15, 0x45, 0x06
    allow, trace = step(give, 0, 0, 0x7FFF0000), step(give, 0, 0, 0x7FF00000)
    rows = [step(load, 0, 0, 4), step(equal, 1, 0, 0xC000003E), allow, step(load, 0, 0, 0)]
    for number, flags in ((2, 24), (257, 32)):
        rows += [step(equal, 0, 4, number), step(load, 0, 0, flags), step(any_of, 0, 1, _WRITES)]
        rows += [trace, allow]
    for number in (*(set(AT) - {2, 257}), *OF_FILE):
        rows += [step(equal, 0, 1, number), trace]
    return b"".join([*rows, allow])


def run(command: Callable[[], int], folder: Path, nth: int, fault: str) -> Outcome:
    """Outcome of a command in a process of its own.

    Args:
        command: Gives an exit code.
        folder: Calls that change files below it count; resolved.
        nth: Number of the call at which the fault happens; 0 for none.
        fault: A name of ``FAULTS``.
    """
    receiver, sender = os.pipe()
    tracer = os.fork()
    if tracer == 0:
        try:
            outcome = _Tracer(folder, nth, fault).trace(command)
            answer = json.dumps([outcome.code, outcome.calls, outcome.fault])
        except BaseException:  # noqa: BLE001 - a fault of the counting itself
            answer = json.dumps([255, 0, traceback.format_exc()])
        os.write(sender, answer.encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        answer = stream.read()
    os.waitpid(tracer, 0)
    code, calls, place = json.loads(answer)
    return Outcome(code, calls, place)


class _Tracer:
    def __init__(self, folder: Path, nth: int, fault: str) -> None:
        self._folder, self._nth, self._fault = str(folder), nth, fault
        self._names, self._libc = FAULTS[fault], _libc()
        self._calls, self._place, self._dies = 0, "", False

    def trace(self, command: Callable[[], int]) -> Outcome:
        main = os.fork()
        if main == 0:
            self._be_traced(command)
        running, code = {main}, 0
        signal.alarm(_MOST_S)  # ends the tracer, and with it what it traces
        os.waitpid(main, _ALL)
        self._ask(_SETOPTIONS, main, _OPTIONS)
        self._ask(_CONT, main)
        while running:
            pid, status = os.waitpid(-1, _ALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                running.discard(pid)
                if pid == main:
                    code = os.waitstatus_to_exitcode(status)
                continue
            running.add(pid)
            event, number = status >> 16, os.WSTOPSIG(status)
            if self._dies:  # the call that was cut is over
                self._kill(running)
            elif event == _SECCOMP_STOP:
                self._at_call(pid, running)
            else:  # a new process or thread stops once
                is_own = event or number in (signal.SIGSTOP, signal.SIGTRAP)
                self._ask(_CONT, pid, 0 if is_own else number)
        return Outcome(code, self._calls, self._place)

    def _be_traced(self, command: Callable[[], int]) -> None:
        steps = _steps()
        self._libc.ptrace(0, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._libc.prctl(38, 1, 0, 0, 0)  # no new privileges, which a filter asks for
        if self._libc.prctl(22, 2, ctypes.byref(_Filter(len(steps) // 8, steps)), 0, 0):
            os._exit(254)
        try:
            code = command()
        except BaseException:  # noqa: BLE001 - reported by its exit code
            traceback.print_exc()
            code = 253
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _ask(self, what: int, pid: int, data: object = None) -> None:
        if self._libc.ptrace(what, pid, None, data) and ctypes.get_errno() != errno.ESRCH:
            raise OSError(ctypes.get_errno(), f"ptrace {what}")

    def _kill(self, running: set[int]) -> None:
        for pid in running:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _at_call(self, pid: int, running: set[int]) -> None:
        registers = (ctypes.c_ulonglong * 27)()
        self._ask(_GETREGS, pid, ctypes.byref(registers))
        arguments = [registers[index] for index in _ARGUMENTS]
        number = registers[_ORIG]
        name, target = self._changes(pid, number, arguments)
        if not target or name not in self._names:
            self._ask(_CONT, pid)
            return
        self._calls += 1
        lasts = self._fault == "ENOSPC" and 0 < self._nth < self._calls
        if self._calls != self._nth and not lasts:
            self._ask(_CONT, pid)
            return
        self._place = self._place or f"{name} {target}"
        if self._fault == "kill":
            self._kill(running)
        elif self._fault == "torn":
            self._dies = True
            if number in _CUT:
                registers[12] //= 2
                self._ask(_SETREGS, pid, ctypes.byref(registers))
            self._ask(_SYSCALL, pid)
        else:
            registers[_ORIG] = (1 << 64) - 1  # no call
            registers[_RAX] = (1 << 64) - getattr(errno, self._fault)
            self._ask(_SETREGS, pid, ctypes.byref(registers))
            self._ask(_CONT, pid)

    def _changes(self, pid: int, number: int, arguments: list[int]) -> tuple[str, str]:
        """Name of a call, and the path below the folder that it changes; empty for another."""
        if number in OF_FILE:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{arguments[0] & 0xFFFFFFFF}")  # noqa: PTH115
            except OSError:
                return OF_FILE[number], ""
            return OF_FILE[number], self._below(target.removesuffix(" (deleted)"))
        name, places = AT[number]
        for base, path in places:
            target = self._path(pid, None if base is None else arguments[base], arguments[path])
            if below := self._below(target):
                if name == "open" and self._fault == "ENOSPC" and os.path.lexists(target):
                    return name, ""  # a full disk opens what is there
                return name, below
        return name, ""

    def _path(self, pid: int, base: int | None, address: int) -> str:
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:  # noqa: PTH123
            memory.seek(address)
            content = b""
            while b"\0" not in content and len(content) < 4096:
                content += memory.read(256 - (address + len(content)) % 256)
        path = os.fsdecode(content.partition(b"\0")[0])
        number = None if base is None else ctypes.c_int(base & 0xFFFFFFFF).value
        start = "cwd" if number is None or number < 0 else f"fd/{number}"
        return os.path.normpath(os.path.join(os.readlink(f"/proc/{pid}/{start}"), path))  # noqa: PTH115, PTH118

    def _below(self, path: str) -> str:
        return path[len(self._folder) + 1 :] if path.startswith(f"{self._folder}/") else ""
