"""The main loop of a worker process."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlar.errors import VlarError
from vlar.files.opening import restrict
from vlar.files.resources import peak_bytes
from vlar.files.workers import transfer
from vlar.files.workers.transfer import N_BLOCKS, Channel, SharedBlock, packed

_LOOK_S = 0.1
_FIRST_TO_END = "500"  # of -1000 to 1000; a program has 0
_EXTRA_S = 30.0


def main(arguments: list[str]) -> None:
    """Run jobs until the program that started this process is gone.

    Args:
        arguments: Descriptors of the socket, of the pipe to watch and of the shared blocks; bytes
            of memory to allow; folders to read from as JSON; a module to import first.
    """
    control, lifeline, *blocks, memory = map(int, arguments[:-2])
    restrict(json.loads(arguments[-2]), everything=True)
    os.environ["VLAR_DECODE_WORKERS"] = "0"  # what runs here is isolated
    # Ctrl-C reaches the whole group of processes; the program decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch = threading.Thread(target=_watch, args=(lifeline, memory), daemon=True)
    channel = Channel(socket.socket(fileno=control))
    try:
        importlib.import_module(arguments[-1])
        _limit_memory(memory)
        watch.start()
    except Exception as error:  # noqa: BLE001 - the program reads files itself then
        channel.send(transfer.ERROR, f"{type(error).__name__}: {error}".encode())
        return
    channel.send(transfer.READY)
    shared = [SharedBlock(descriptor) for descriptor in blocks]
    with suppress(EOFError, OSError):
        while True:
            _, content = channel.receive()
            _run(content, channel, shared)
    os._exit(transfer.EXIT_ALONE)


def _run(content: bytes, channel: Channel, blocks: list[SharedBlock]) -> None:
    """Run one job and send what it gives."""
    waiting = 0
    try:
        function, arguments, limit_s, folder = pickle.loads(content)
        if folder is not None:  # the program may have changed its own since the last job
            os.chdir(folder)
        # Should native code hang and hold the interpreter, and the program be gone, no thread
        # of Python can end this process any more. This timer of the interpreter's own C code can.
        faulthandler.dump_traceback_later(limit_s + _EXTRA_S, file=sys.stderr, exit=True)
        for number, item in enumerate(_items(function(*arguments))):
            if waiting == N_BLOCKS:
                channel.receive()
                waiting -= 1
            channel.send(transfer.ITEM, packed(item, blocks[number % N_BLOCKS]))
            waiting += 1
        answer = transfer.END, b""
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - it is raised in the program
        answer = transfer.ERROR, _pickled(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
    for _ in range(waiting):
        channel.receive()
    channel.send(*answer)


def _items(result: Any) -> Iterator[Any]:
    return result if isinstance(result, Iterator) else iter([result])


def _pickled(error: Exception) -> bytes:
    """The exception as it is where it is vlar's own or a full memory, else in words; its origin."""
    origin = "".join(traceback.format_exception(error))
    if not isinstance(error, (VlarError, MemoryError)):
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return pickle.dumps((error, origin))


def _limit_memory(extra_bytes: int) -> None:
    """Let allocations fail beyond a limit, and be the process that a full machine ends first."""
    if sys.platform != "linux":
        return  # other systems accept the limit and ignore it
    import resource

    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_END)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _watch(lifeline: int, extra_bytes: int) -> None:
    """End this process where the program is gone or, without a limit of the system's, memory."""
    look_s = None if sys.platform == "linux" else _LOOK_S
    most = (peak_bytes() or 0) + extra_bytes
    while True:
        if select.select([lifeline], [], [], look_s)[0]:
            os._exit(transfer.EXIT_ALONE)
        if (peak_bytes() or 0) > most:
            os._exit(transfer.EXIT_MEMORY)
