"""Where ``vlar index add`` reads and encodes: ``--runner``, ``--devices``, ``--workers``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from vlar import registry
from vlar.cli.choices import Choices
from vlar.errors import UsageError

if TYPE_CHECKING:
    from vlar.index.ingest.runners.base import Runner

_RUNNERS = Choices.of_kinds("runner", "runner")
_MOST_PROCESSES = 256

RunnerName = Annotated[
    str | None,
    typer.Option(
        "--runner",
        metavar="NAME",
        autocompletion=_RUNNERS.complete,
        help="Where recordings are read and encoded. Default: in this process.",
    ),
    _RUNNERS,
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Of a Ray cluster. Default: start Ray."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="How many encode at a time."),
]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus-per-worker", metavar="SHARE", help="Of a GPU, for each: 1 or 0.5."),
]
Devices = Annotated[
    str | None,
    typer.Option(
        "--devices",
        metavar="LIST",
        help="An encoder on each, in a process of its own: cpu:2 (two), cuda:0,cuda:1.",
    ),
]


@dataclass(frozen=True)
class Place:
    """What the user said about where to compute."""

    runner: str | None = None
    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    devices: str | None = None

    def chosen(self, device: str | None = None) -> Runner | None:
        """The runner; None for this process.

        Raises:
            UsageError: an option is not usable, or not for this runner.
        """
        devices = devices_of(self.devices) if self.devices is not None else ()
        name = self.runner
        if name is None and devices:
            name = "processes"
        if name is None:
            for option in ("address", "workers", "gpus"):
                if getattr(self, option) is not None:
                    shown = "gpus-per-worker" if option == "gpus" else option
                    raise UsageError(f"--{shown} needs --runner ray or --runner processes")
            return None
        from vlar.index.ingest.runners.base import RunnerOptions

        given = self.address, self.workers, self.gpus, devices, device
        return registry.get("runner", name).from_options(RunnerOptions(*given))


def devices_of(text: str) -> tuple[str, ...]:
    """A list of devices, one for each encoder.

    >>> devices_of("cpu:2"), devices_of("cuda:0,cuda:1")
    (('cpu', 'cpu'), ('cuda:0', 'cuda:1'))

    Raises:
        UsageError: it is not such a list.
    """
    found: list[str] = []
    for name in (each.strip() for each in text.split(",")):
        match = re.fullmatch(r"(cpu)(?::(\d+))?|(?:cuda|mps)(?::\d+)?", name)
        if match is None:
            raise UsageError(
                f"--devices {text!r}: {name!r} is not a device; write cpu:2 or cuda:0,cuda:1"
            )
        found += ["cpu"] * int(match[2] or 1) if match[1] else [name]
    if not 1 <= len(found) <= _MOST_PROCESSES:
        raise UsageError(
            f"--devices {text!r}: {len(found)} encoders; 1 to {_MOST_PROCESSES} can run"
        )
    return tuple(found)
