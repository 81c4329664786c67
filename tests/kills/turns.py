"""Several processes of which one goes on at a time, from one call of the system to the next.

Which one goes on, for how many calls, and which calls meet a fault is drawn from a seed. Time is
virtual: a sleep costs nothing, and a process that sleeps goes on when the others have come so far.
So a seed repeats a run call by call, whatever else the machine does.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import os
import random
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kills import calls
from tests.kills.faults import DRAWN

_PREAD, _FCNTL, _NANOSLEEP, _CLOCK_NANOSLEEP = 17, 72, 35, 230
_LOCKS = frozenset({6, 7, 37, 38})  # commands of ``fcntl``
_LONGEST_TURN = 40  # calls in a row of one process
_CALL_S = 0.001  # of the virtual clock
_START_S = 1_700_000_000.0
_FULL_CALLS = 3  # for which a disk stays full
_KILLS = ("kill", "torn")


class Voice:
    """What a process tells the one that runs it, and its clock."""

    def __init__(self, pipe: int, clock: mmap.mmap) -> None:
        """Take the end of a pipe to write to, and virtual seconds in memory that both see."""
        self._pipe, self._clock = pipe, clock

    def say(self, **message: Any) -> None:
        """Tell facts that JSON holds."""
        os.write(self._pipe, json.dumps(message).encode() + b"\n")

    def sleep(self, seconds: float) -> None:
        """Let the others go on for so long."""
        self.say(sleep=seconds)

    def seconds(self) -> float:
        """Seconds of the virtual clock."""
        return struct.unpack("d", self._clock[:8])[0]

    def live_by_clock(self) -> None:
        """Give this process the virtual clock for its own."""
        time.time = time.monotonic = time.perf_counter = self.seconds
        time.sleep = self.sleep


@dataclass
class Actor:
    """A process of a simulation.

    Attributes:
        name: A letter.
        work: What it does; it begins again after a kill.
        pid: Its process; 0 without one.
        reads: End of its pipe.
        due: Virtual second before which it sleeps.
        ended: Whether its work was done.
        call: Name of the call before which it stopped.
        path: File of that call, below the folder.
        full: Calls for which its disk stays full.
        met: Faults that it met; the caller clears them.
    """

    name: str
    work: Callable[[Voice], None]
    pid: int = 0
    reads: int = 0
    due: float = 0.0
    ended: bool = False
    call: str = ""
    path: str = ""
    full: int = 0
    met: list[str] = field(default_factory=list[str])


class Scheduler(calls.Tracing):
    """Actors that take turns.

    Attributes:
        trace: Actor, call and path of each step, with its fault.
        faults: Numbers of faults by kind.
    """

    others = frozenset({_PREAD, _FCNTL, _NANOSLEEP, _CLOCK_NANOSLEEP})

    def __init__(self, folder: Path, seed: int, chance: float) -> None:
        """Use ``play``.

        Args:
            folder: Calls at files below it are steps; resolved.
            seed: Of all that is drawn.
            chance: Of a fault, at each call that changes a file.
        """
        super().__init__(folder)
        self._draw, self._chance = random.Random(seed), chance
        self._memory = mmap.mmap(-1, 8)
        self._clock = _START_S
        self._tick(0)
        self.trace: list[str] = []
        self.faults: Counter[str] = Counter()

    def play(
        self, actors: list[Actor], seen: Callable[[Actor, list[dict[str, Any]]], None]
    ) -> None:
        """Run actors until their work is done.

        Args:
            actors: Each begins when it is first drawn.
            seen: Called after each step with the actor and what it said. An actor that was killed
                has said ``{"killed": fault}``, one whose work raised ``{"raised": exit code}``.
        """
        while alive := [actor for actor in actors if not actor.ended]:
            ready = [actor for actor in alive if actor.due <= self._clock]
            if not ready:
                self._tick(min(actor.due for actor in alive) - self._clock)
                continue
            actor = self._draw.choice(ready)
            for _ in range(self._draw.randint(1, _LONGEST_TURN)):
                seen(actor, self._step(actor))
                if actor.ended or not actor.pid or actor.due > self._clock:
                    break

    def _tick(self, seconds: float) -> None:
        self._clock += seconds
        self._memory[:8] = struct.pack("d", self._clock)

    def _begin(self, actor: Actor) -> None:
        actor.reads, writes = os.pipe()
        os.set_blocking(actor.reads, False)
        voice = Voice(writes, self._memory)

        def work() -> int:
            voice.live_by_clock()
            actor.work(voice)
            return 0

        actor.pid = self.begin(work)
        os.close(writes)
        self.go_on(actor.pid)

    def _step(self, actor: Actor) -> list[dict[str, Any]]:
        """What an actor said from its present call to its next one."""
        self._tick(_CALL_S)
        if not actor.pid:
            self._begin(actor)
        elif fault := self._let_go(actor):
            os.kill(actor.pid, signal.SIGKILL)
            self.wait(actor.pid)
            return [*self._end(actor), {"killed": fault}]
        while True:
            status = self.wait(actor.pid)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                code = os.waitstatus_to_exitcode(status)
                actor.ended = True
                return [*self._end(actor), *([{"raised": code}] if code else [])]
            if calls.is_at_call(status):
                actor.call, actor.path = self._call(actor.pid)
                if actor.path:
                    return self._said(actor)
                self.go_on(actor.pid)
            elif status >> 16:
                raise RuntimeError(f"{actor.name} made a process or a thread")
            else:
                self.go_on(actor.pid, calls.signal_of(status))

    def _end(self, actor: Actor) -> list[dict[str, Any]]:
        said = self._said(actor)
        os.close(actor.reads)
        actor.pid = actor.full = 0
        return said

    def _said(self, actor: Actor) -> list[dict[str, Any]]:
        content = b""
        while True:
            try:
                part = os.read(actor.reads, 1 << 16)
            except BlockingIOError:
                break
            if not part:
                break
            content += part
        said = [json.loads(line) for line in content.splitlines()]
        for message in said:
            if "sleep" in message:
                actor.due = self._clock + message["sleep"]
        return said

    def _call(self, pid: int) -> tuple[str, str]:
        """Name and path of the call before which a process stopped; no path: not a step."""
        registers = self.registers(pid)
        number, arguments = calls.number_of(registers), calls.arguments_of(registers)
        if number in (_NANOSLEEP, _CLOCK_NANOSLEEP):
            return "sleep", "-"
        if number in (_PREAD, _FCNTL):
            is_step = number == _PREAD or arguments[1] in _LOCKS
            path = self.file(pid, arguments[0]) if is_step else ""
            return ("pread" if number == _PREAD else "lock"), path
        return self.change(pid, number, arguments)

    def _let_go(self, actor: Actor) -> str:
        """Let an actor make its call, or meet a fault; the name of a fault that must end it."""
        registers = self.registers(actor.pid)
        fault = self._fault(actor)
        path = DRAWN.sub("*", actor.path)
        self.trace.append(f"{actor.name} {actor.call} {path} {fault}".rstrip())
        if fault in _KILLS:
            if fault == "torn":
                self.cut(actor.pid, registers)
                self.wait(actor.pid)
            return fault
        if fault:
            self.answer(actor.pid, registers, -getattr(errno, fault))
        elif actor.call == "sleep":
            actor.due = self._clock + self._asleep(actor.pid, registers)
            self.answer(actor.pid, registers, 0)
        else:
            self.go_on(actor.pid)
        return ""

    def _fault(self, actor: Actor) -> str:
        """Name of the fault that an actor's call meets; mostly none."""
        name = actor.call
        opens_what_is_there = name == "open" and self.is_there(actor.path)
        grows = name in calls.FAULTS["ENOSPC"] and not opens_what_is_there
        if actor.full and grows:
            actor.full -= 1
            actor.met.append("ENOSPC")
            return "ENOSPC"
        if name in ("sleep", "pread", "lock") or self._draw.random() >= self._chance:
            return ""
        kinds = [kind for kind, names in calls.FAULTS.items() if name in names]
        kinds = [kind for kind in kinds if kind != "ENOSPC" or grows]
        if not kinds:
            return ""
        fault = self._draw.choice(kinds)
        self.faults[fault] += 1
        actor.met.append(fault)
        if fault == "ENOSPC":
            actor.full = _FULL_CALLS - 1
        return fault

    def _asleep(self, pid: int, registers: calls.Registers) -> float:
        """Seconds, in steps of a millisecond, of a call that sleeps."""
        arguments = calls.arguments_of(registers)
        is_clock = calls.number_of(registers) == _CLOCK_NANOSLEEP
        content = self.bytes_at(pid, arguments[2 if is_clock else 0], 16)
        seconds, nanoseconds = struct.unpack("qq", content)
        asked = seconds + nanoseconds / 1e9
        if is_clock and arguments[1] & 1:  # until a time
            asked -= time.monotonic()
        return max(0.0, math.ceil(asked * 1000) / 1000)
