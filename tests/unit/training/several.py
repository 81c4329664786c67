"""Runs a function in several processes of this machine, which gloo connects."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch

from vlar.training.distributed import Processes, started


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What a launcher tells a process."""
    numbers = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
    named = {name: str(number) for name, number in numbers.items()}
    return {**named, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def in_processes(count: int, function: Callable[[Processes], Any]) -> list[Any]:
    """What a function gives in each of ``count`` processes, forked from this one."""
    context, port = multiprocessing.get_context("fork"), free_port()
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    children = [
        context.Process(
            target=_run, args=(function, environment(rank, count, port), pipes[rank][1])
        )
        for rank in range(count)
    ]
    for child in children:
        child.start()
    found: list[Any] = []
    try:
        for receive, _ in pipes:
            assert receive.poll(60), "a process gave nothing within a minute"
            fine, value = receive.recv()
            assert fine, value
            found.append(value)
    finally:
        for child in children:
            child.join(5)
            child.kill()
    return found


def _run(function: Callable[[Processes], Any], told: dict[str, str], send: Any) -> None:
    from accelerate.state import AcceleratorState, PartialState

    os.environ.update(told)
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    PartialState._reset_state()
    try:
        with started() as processes:
            send.send((True, function(processes)))
            processes.wait()
    except BaseException:  # noqa: BLE001 - the parent shows it
        send.send((False, traceback.format_exc()))
