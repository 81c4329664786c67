"""Runs vlar commands in forks of one warm process, with limits of time and memory on request.

Started as ``python -m tests.command_server``: one JSON request a line on stdin, one answer a line
on stdout. A fork starts in milliseconds, where a new interpreter takes seconds.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from vlar.errors import VlarError

MORE_MEMORY = 1 << 30  # bytes of address space that a command may take beyond the warm process


# Imported where a command first needs them; the folders stand for all modules in them.
LAZY = (
    *("torch.utils.serialization", "safetensors.numpy", "platformdirs"),
    *("onnx", "pydantic.dataclasses", "typer._click.decorators", "typer._adapters"),
    *("vlar.methods", "vlar.apps.cli", "vlar.encoders.lite"),
    *("vlar.heads", "vlar.library", "vlar.model", "vlar.language.motion", "vlar.pose"),
    *(
        "vlar.library.query",
        "vlar.media",
        "vlar.behaviour.timeline",
        "vlar.training",
        "vlar.media.video",
    ),
    *("vlar.encoders.clip.hf_loader", "vlar.encoders.clip.openclip_loader"),
    *("vlar.encoders.openclip", "vlar.library.library"),
)


def preload(modules: list[str]) -> None:
    """Import once what the commands need, and some modules."""
    import av  # noqa: F401
    import onnxruntime  # noqa: F401
    import PIL.Image
    import torch
    import transformers  # noqa: F401
    import typer.main

    from vlar import registry
    from vlar.apps.cli.app import app
    from vlar.encoders.lite import towers
    from vlar.files.fetched_weights import packages
    from vlar.language import descriptions

    for name in (*LAZY, *modules):
        import_all(name)
    PIL.Image.init()  # imports what reads each format
    for kind in registry.KINDS:
        registry.names(kind)  # looks through the installed packages once
    # What is the same for every command: the tree of verbs, the packaged descriptions, and the
    # installed weights, whose hashes the tests of the encoder compare.
    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(app).commands.values()
    descriptions._packaged()
    packages.Extra.verified_path = functools.cache(packages.Extra.verified_path)
    for file in towers.LITE.files:
        with contextlib.suppress(VlarError):  # it is not here
            towers.LITE.verified_path(file.name)
    torch.set_num_threads(1)


def import_all(name: str) -> None:
    """Import a module and, where it is a package of vlar, what is in it and can be imported."""
    module = importlib.import_module(name)
    if not name.startswith("vlar.") or not hasattr(module, "__path__"):
        return
    for found in pkgutil.iter_modules(module.__path__, f"{name}."):
        with contextlib.suppress(ImportError, VlarError):  # a library of an extra is missing
            import_all(found.name)


def address_space() -> int:
    """Bytes of address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit(seconds: int) -> None:
    """Let this process take no more than a time of processor and ``MORE_MEMORY``."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + MORE_MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def child(request: dict[str, Any]) -> None:
    """Run one command and end the process with its exit code; never returns."""
    if request.get("limited"):
        limit(int(request["seconds"]))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(request["answers"], os.O_RDONLY), 0)
    code: Any = 99
    try:
        from vlar.apps.cli import main

        sys.argv = ["vlar", *request["arguments"]]
        sys.stdin = os.fdopen(0)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")
        main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # noqa: BLE001 - whatever it is, the test reports it
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = 98
        os._exit(code if isinstance(code, int) else 97)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Fork, wait, and end what does not end by itself."""
    started = time.monotonic()
    patience = 3 if request.get("limited") else 1  # processor seconds, on a busy machine
    pid = os.fork()
    if pid == 0:
        child(request)
    while True:
        found, status, used = os.wait4(pid, os.WNOHANG)
        late = time.monotonic() - started > patience * request["seconds"]
        if found:
            break
        if late:
            os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
            break
        time.sleep(0.005)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "late": late,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
    }


class CommandServer:
    """A warm process, from the side of the tests.

    Args:
        modules: Modules that it imports besides vlar, such as one that registers a part.
    """

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server", *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[1], env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        assert json.loads(self._pipe("stdout").readline())["ready"]

    def run(
        self,
        arguments: list[str],
        out: Path,
        err: Path,
        *,
        seconds: float,
        limited: bool = False,
        answers: Path = Path(os.devnull),
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run a command; ``code``, ``late``, ``cpu_s`` and ``peak_mb`` of it."""
        request = {
            "arguments": arguments, "out": str(out), "err": str(err), "answers": str(answers),
            "seconds": seconds, "limited": limited, "folder": str(folder or Path.cwd()),
            "environment": {**os.environ, **(environment or {})},
        }  # fmt: skip
        self._pipe("stdin").write(json.dumps(request) + "\n")
        self._pipe("stdin").flush()
        return json.loads(self._pipe("stdout").readline())

    def close(self) -> None:
        """End the process."""
        self._pipe("stdin").close()
        self._process.wait(timeout=30)

    def _pipe(self, name: str) -> Any:
        return getattr(self._process, name)


def main() -> None:
    """Answer until stdin ends."""
    preload(sys.argv[1:])
    gc.collect()
    gc.freeze()  # else the first collection of each fork copies the memory of all these modules
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
