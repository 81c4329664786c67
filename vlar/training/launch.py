"""Starts the processes of a training on this machine, and ends them together.

``accelerate launch`` and ``torchrun`` start processes too, on one machine or several.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from vlar.errors import TrainingError

_EVERY_S = 0.1  # between two looks at the processes
_LAST_WORDS_S = 5.0  # that the others have to end by themselves
#: Exit code of a process that ended because another one did; the launcher tells what happened.
PEER_GONE = 3
#: Set in the environment of the processes that ``launch`` starts.
OURS = "VLAR_TRAINING_LAUNCHED"


def launch(arguments: Sequence[str], count: int) -> int:
    """Train in ``count`` processes of this machine; one that dies ends the others.

    Args:
        arguments: Of ``vlar train``, without the number of processes.
        count: Processes.

    Returns:
        The exit code of the first process, or of the one that failed.

    Raises:
        TrainingError: a process was killed.
    """
    port, command = _free_port(), [sys.executable, "-m", "vlar.training", *arguments]
    children = [
        subprocess.Popen(command, env=_environment(rank, count, port), stdin=subprocess.DEVNULL)
        for rank in range(count)
    ]
    try:
        while any(child.poll() is None for child in children):
            if any(child.returncode for child in children):
                break
            time.sleep(_EVERY_S)
    finally:
        _end(children)
    codes = [child.returncode for child in children]
    told = [code for code in codes if code > 0 and code != PEER_GONE]
    killed = [rank for rank, code in enumerate(codes) if code < 0]
    if any(codes) and not told and killed:
        raise TrainingError(
            f"process {killed[0] + 1} of {count} was ended by signal {-codes[killed[0]]} (9 "
            "is often a lack of memory), so the training stopped; the newest checkpoint stays: run "
            "the same command again to go on from it, with as many processes as you like"
        )
    return told[0] if told else codes[0]


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let the processes that still run end by themselves, then kill them."""
    deadline = time.monotonic() + _LAST_WORDS_S
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, deadline - time.monotonic()))
            continue
        child.kill()
        child.wait()


def _environment(rank: int, count: int, port: int) -> Mapping[str, str]:
    """What a process finds in its environment, by the names that torch reads."""
    cores = os.cpu_count() or 1
    numbers = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
    named = {name: str(number) for name, number in numbers.items()}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), OURS: "1"}
    threads = {"OMP_NUM_THREADS": str(max(1, cores // count))}
    return {**threads, **os.environ, **named, **place}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
