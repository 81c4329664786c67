"""A fault at the n-th call of the system that changes the files of one folder.

A command runs in a fork whose calls a filter of the kernel (seccomp) stops and another process
(ptrace) counts, whatever makes them: Python, SQLite, torch, a worker. The n-th one fails, is cut,
or ends the process before it. With n = 1, 2, ... until no fault fires each call is met.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
Registers = ctypes.Array[ctypes.c_ulonglong]  # 27 of them


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


def _steps(others: Iterable[int]) -> bytes:
    """The program of the filter: stop at calls that change files and at others by number."""
    step = struct.Struct("<HBBI").pack
    load, equal, any_of, give = 0x20, 0x15, 0x45, 0x06
    allow, trace = step(give, 0, 0, 0x7FFF0000), step(give, 0, 0, 0x7FF00000)
    rows = [step(load, 0, 0, 4), step(equal, 1, 0, 0xC000003E), allow, step(load, 0, 0, 0)]
    for number, flags in ((2, 24), (257, 32)):
        rows += [step(equal, 0, 4, number), step(load, 0, 0, flags), step(any_of, 0, 1, _WRITES)]
        rows += [trace, allow]
    for number in (*(set(AT) - {2, 257}), *OF_FILE, *others):
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
    tracer = _Tracer(folder, nth, fault)
    return Outcome(*apart(lambda: tracer.trace(command)))


def apart(work: Callable[[], Any]) -> Any:
    """What JSON holds of the answer of a call in a process of its own.

    Raises:
        RuntimeError: with the traceback of what was raised there; it took more than two minutes.
    """
    receiver, sender = os.pipe()
    worker = os.fork()
    if worker == 0:
        signal.alarm(_MOST_S)  # ends it, and with it what it traces
        try:
            answer = json.dumps([work(), ""])
        except BaseException:  # noqa: BLE001 - raised again by the caller
            answer = json.dumps([None, traceback.format_exc()])
        with os.fdopen(sender, "w") as stream:
            stream.write(answer)
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as stream:
        content = stream.read()
    os.waitpid(worker, 0)
    answer, fault = json.loads(content or '[null, "it was killed"]')
    if fault:
        raise RuntimeError(fault)
    return answer


class Tracing:
    """Processes that stop before each call that changes files below a folder.

    Attributes:
        others: Numbers of more calls before which they stop.
    """

    others: frozenset[int] = frozenset()

    def __init__(self, folder: Path) -> None:
        self._folder, self._libc = str(folder), _libc()

    def begin(self, command: Callable[[], int]) -> int:
        """Id of a new process, which waits before the first step of a command."""
        pid = os.fork()
        if pid == 0:
            self._be_traced(command)
        self.wait(pid)
        self.ask(_SETOPTIONS, pid, _OPTIONS)
        return pid

    def _be_traced(self, command: Callable[[], int]) -> None:
        steps = _steps(self.others)
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

    def ask(self, what: int, pid: int, data: object = None) -> None:
        """Ask the kernel for something about a traced process; one that ended is no error."""
        if self._libc.ptrace(what, pid, None, data) and ctypes.get_errno() != errno.ESRCH:
            raise OSError(ctypes.get_errno(), f"ptrace {what}")

    def wait(self, pid: int) -> int:
        """Status of a process once it stops or ends."""
        return os.waitpid(pid, _ALL)[1]

    def go_on(self, pid: int, number: int = 0) -> None:
        """Let a stopped process go on, with a signal or none."""
        self.ask(_CONT, pid, number)

    def registers(self, pid: int) -> Registers:
        """Registers of a process that stopped before a call."""
        registers = (ctypes.c_ulonglong * 27)()
        self.ask(_GETREGS, pid, ctypes.byref(registers))
        return registers

    def answer(self, pid: int, registers: Registers, value: int) -> None:
        """Let a process go on as if its call had answered; below 0: the number of an error."""
        registers[_ORIG] = (1 << 64) - 1  # no call
        registers[_RAX] = value & ((1 << 64) - 1)
        self.ask(_SETREGS, pid, ctypes.byref(registers))
        self.go_on(pid)

    def cut(self, pid: int, registers: Registers) -> None:
        """Let a process write half of what it meant to; it stops after the call."""
        if registers[_ORIG] in _CUT:
            registers[12] //= 2
            self.ask(_SETREGS, pid, ctypes.byref(registers))
        self.ask(_SYSCALL, pid)

    def change(self, pid: int, number: int, arguments: list[int]) -> tuple[str, str]:
        """Name of a call, and the path below the folder that it changes; empty for another."""
        if number in OF_FILE:
            return OF_FILE[number], self.file(pid, arguments[0])
        name, places = AT[number]
        for base, path in places:
            target = self._path(pid, None if base is None else arguments[base], arguments[path])
            if below := self._below(target):
                return name, below
        return name, ""

    def file(self, pid: int, descriptor: int) -> str:
        """Path below the folder of an open file of a process; empty for another."""
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor & 0xFFFFFFFF}")  # noqa: PTH115
        except OSError:
            return ""
        return self._below(target.removesuffix(" (deleted)"))

    def is_there(self, below: str) -> bool:
        """Whether a path below the folder is there."""
        return os.path.lexists(f"{self._folder}/{below}")

    def bytes_at(self, pid: int, address: int, count: int) -> bytes:
        """Bytes in the memory of a process, up to a number of them."""
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:  # noqa: PTH123
            memory.seek(address)
            return memory.read(count)

    def _path(self, pid: int, base: int | None, address: int) -> str:
        content = b""
        while b"\0" not in content and len(content) < 4096:
            place = address + len(content)
            content += self.bytes_at(pid, place, 256 - place % 256)
        path = os.fsdecode(content.partition(b"\0")[0])
        number = None if base is None else ctypes.c_int(base & 0xFFFFFFFF).value
        start = "cwd" if number is None or number < 0 else f"fd/{number}"
        return os.path.normpath(os.path.join(os.readlink(f"/proc/{pid}/{start}"), path))  # noqa: PTH115, PTH118

    def _below(self, path: str) -> str:
        return path[len(self._folder) + 1 :] if path.startswith(f"{self._folder}/") else ""


class _Tracer(Tracing):
    def __init__(self, folder: Path, nth: int, fault: str) -> None:
        super().__init__(folder)
        self._nth, self._fault, self._names = nth, fault, FAULTS[fault]
        self._calls, self._place, self._dies = 0, "", False

    def trace(self, command: Callable[[], int]) -> tuple[int, int, str]:
        """Exit code, number of calls, and the place of the fault."""
        main = self.begin(command)
        running, code = {main}, 0
        self.go_on(main)
        while running:
            pid, status = os.waitpid(-1, _ALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                running.discard(pid)
                if pid == main:
                    code = os.waitstatus_to_exitcode(status)
                continue
            running.add(pid)
            if self._dies:  # the call that was cut is over
                _kill(running)
            elif is_at_call(status):
                self._at_call(pid, running)
            else:
                self.go_on(pid, signal_of(status))
        return code, self._calls, self._place

    def _at_call(self, pid: int, running: set[int]) -> None:
        registers = self.registers(pid)
        name, target = self.change(pid, number_of(registers), arguments_of(registers))
        is_full = self._fault == "ENOSPC"
        if is_full and name == "open" and self.is_there(target):
            target = ""  # a full disk opens what is there
        if not target or name not in self._names:
            self.go_on(pid)
            return
        self._calls += 1
        lasts = is_full and 0 < self._nth < self._calls
        if self._calls != self._nth and not lasts:
            self.go_on(pid)
            return
        self._place = self._place or f"{name} {target}"
        if self._fault == "kill":
            _kill(running)
        elif self._fault == "torn":
            self._dies = True
            self.cut(pid, registers)
        else:
            self.answer(pid, registers, -getattr(errno, self._fault))


def arguments_of(registers: Registers) -> list[int]:
    """Arguments of the call before which a process stopped."""
    return [registers[index] for index in _ARGUMENTS]


def number_of(registers: Registers) -> int:
    """Number of the call before which a process stopped."""
    return registers[_ORIG]


def is_at_call(status: int) -> bool:
    """Whether a process stopped before a call, by the status of ``os.waitpid``."""
    return status >> 16 == _SECCOMP_STOP


def signal_of(status: int) -> int:
    """Signal that a stopped process is owed; a new process or thread stops once without one."""
    number = os.WSTOPSIG(status)
    return 0 if status >> 16 or number in (signal.SIGSTOP, signal.SIGTRAP) else number


def _kill(running: Iterable[int]) -> None:
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
