"""The simulation of ``scale_model.py`` against real processes that are killed with SIGKILL.

    python benchmarks/scale_check.py            # about half a minute, hardly any CPU

Two worker processes take files from a queue. A file is a sleep of a known length, so that a busy
machine does not disturb the comparison; deaths, lost work, new starts and the limit of two deaths
are real. The same lengths and the same times of death go into the simulation.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection, wait
from typing import Any

from scale_model import Outcome, Plan, durations, simulate

PLAN = Plan(files=60, workers=2, mean_s=0.25, spread=0.8, restart_s=0.5, write_s=0.0)
KILLS = {
    "no death": [],
    "one death": [(2.0, 0)],
    "five deaths": [(1.0, 0), (2.0, 1), (3.0, 0), (4.5, 1), (6.0, 0)],
}
POISON = 7  # this file kills every worker that takes it, in the middle of its work


def work(pipe: Connection, starts_s: float) -> None:
    time.sleep(starts_s)
    pipe.send(None)  # it is ready
    while True:
        number, seconds, kills = pipe.recv()
        time.sleep(seconds)
        if kills:
            os.kill(os.getpid(), signal.SIGKILL)
        pipe.send(number)


class Driver:
    """Gives files to workers, one at a time, and replaces workers that die."""

    def __init__(self, lengths: list[float], poison: int | None) -> None:
        self.lengths, self.poison, self.out = lengths, poison, Outcome()
        self.waiting = list(range(len(lengths)))[::-1]
        self.deaths: dict[int, int] = {}
        self.done: set[int] = set()
        self.workers: list[Any] = [None] * PLAN.workers
        self.pipes: list[Connection] = [None] * PLAN.workers  # type: ignore[list-item]
        self.file: list[int | None] = [None] * PLAN.workers
        self.idle: set[int] = set()

    def start(self, worker: int, starts_s: float) -> None:
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.workers[worker] = context.Process(target=work, args=(there, starts_s), daemon=True)
        self.workers[worker].start()
        there.close()
        self.pipes[worker] = here

    def give(self, worker: int) -> None:
        if not self.waiting:
            self.idle.add(worker)
            return
        number = self.waiting.pop()
        self.file[worker] = number
        kills = number == self.poison
        try:
            self.pipes[worker].send((number, self.lengths[number] / (1 + kills), kills))
        except OSError:  # it has just died; its end of the pipe is closed
            self.file[worker] = None
            self.waiting.append(number)

    def lost(self, worker: int) -> None:
        number, self.file[worker] = self.file[worker], None
        self.out.deaths += 1
        if number is not None:
            self.deaths[number] = self.deaths.get(number, 0) + 1
            if self.deaths[number] >= PLAN.tries:
                self.out.given_up += 1
                self.done.add(number)
            else:
                self.out.again += 1
                self.waiting.append(number)
        self.workers[worker].join()
        self.start(worker, PLAN.restart_s)
        if self.idle and self.waiting:
            self.give(self.idle.pop())

    def run(self, kills: list[tuple[float, int]]) -> Outcome:
        for worker in range(PLAN.workers):
            self.start(worker, 0.0)
        begin, left = time.monotonic(), sorted(kills)
        while len(self.done) < len(self.lengths):
            now = time.monotonic() - begin
            if left and now >= left[0][0]:
                self.workers[left.pop(0)[1]].kill()
            ready = wait(self.pipes, timeout=max(0.0, left[0][0] - now) if left else None)
            for pipe in ready:
                worker = self.pipes.index(pipe)  # type: ignore[arg-type]
                try:
                    number = pipe.recv()  # type: ignore[union-attr]
                except (EOFError, OSError):
                    self.lost(worker)
                    continue
                if number is not None:
                    self.out.twice += number in self.done
                    self.done.add(number)
                    self.out.written += 1
                    self.file[worker] = None
                self.give(worker)
        self.out.seconds = time.monotonic() - begin
        for process in self.workers:
            process.kill()
        return self.out


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    lengths = durations(PLAN)
    print("| two workers, 60 files | seconds, real | simulated | deaths | begun again | given up |")
    print("|---|---|---|---|---|---|")
    for name, kills in KILLS.items():
        for poison in (None, POISON):
            real = Driver(lengths, poison).run(list(kills))
            said = simulate(PLAN, lengths, kills, poisoned=() if poison is None else (poison,))
            what = name if poison is None else f"{name}, and a file that kills"
            counts = [
                f"{a} / {b}"
                for a, b in (
                    (real.deaths, said.deaths),
                    (real.again, said.again),
                    (real.given_up, said.given_up),
                )
            ]
            assert real.written + real.given_up == PLAN.files
            assert real.twice == said.twice == 0
            print(
                f"| {what} | {real.seconds:.2f} | {said.seconds:.2f} | {' | '.join(counts)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
