"""One job: what it is to do, and how far it is."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field

from vlar.types import JsonDict

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"


@dataclass
class Job:
    """One job.

    Attributes:
        id: Names it.
        kind: ``add`` or ``adapt``.
        title: What it does, for people.
        spec: What its process is given; it is not shown.
        state: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        done: Recordings or examples handled.
        total: Of how many; None before that is known.
        current: What was handled last.
        failures: What could not be read, at most 50.
        failed: How many could not be read.
        report: What it did, at its end.
        error: What ended it: ``error``, ``fix`` and ``kind``.
        created_s: Seconds since 1970.
        ended_s: Likewise; None before its end.
        starts: How often it was started.
    """

    id: str
    kind: str
    title: str
    spec: JsonDict
    state: str = QUEUED
    done: int = 0
    total: int | None = None
    current: str | None = None
    failures: list[str] = field(default_factory=list[str])
    failed: int = 0
    report: JsonDict | None = None
    error: JsonDict | None = None
    created_s: float = field(default_factory=time.time)
    ended_s: float | None = None
    starts: int = 0

    def to_dict(self) -> JsonDict:
        """The JSON object of the server."""
        facts = asdict(self)
        del facts["spec"]
        return facts
