"""The contract of a runner: jobs in, encoded parts of recordings out, in any order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import Self

from vlar.errors import DecodeCrash, DecodeOutOfMemory, UsageError
from vlar.index.ingest.stages import EncodedPart, Job, LoadModel, Setup

CRASH, MEMORY = DecodeCrash.kind, DecodeOutOfMemory.kind


@dataclass(frozen=True)
class Lost:
    """Jobs whose worker is gone before they were done.

    Attributes:
        jobs: Their numbers; any of them may be the reason.
        kind: ``crash`` or ``memory``.
        why: What is known of the reason.
    """

    jobs: tuple[int, ...]
    kind: str = CRASH
    why: str = ""


@dataclass(frozen=True)
class RunnerOptions:
    """Options of a runner; each takes what it needs and refuses the rest.

    Attributes:
        address: Of a cluster; None for one that is started here.
        workers: How many encode at a time; None for as many as suit.
        gpus: Share of a GPU that each of them takes.
        devices: Where workers of this machine compute.
        device: Where a single model computes.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    devices: tuple[str, ...] = ()
    device: str | None = None


class Runner(ABC):
    """Carries out jobs: ``@register("runner", NAME)``.

    Use it as a context; workers live as long as it lasts. It decides where and when, never what:
    ``vlar.index.ingest.stages`` decodes and encodes, ``vlar.index.ingest.driver`` decides which
    recordings are read and what becomes of those that were lost.

    Attributes:
        name: As registered.
        in_process: It uses the model and the captioner of the library itself; others load their
            own by name.
        load: Loads the model on a device in a worker; None loads it by the library's name.
    """

    name: ClassVar[str]
    in_process: ClassVar[bool] = False
    load: LoadModel | None = None
    _setup: Setup

    @classmethod
    @abstractmethod
    def from_options(cls, options: RunnerOptions) -> Runner:
        """Make one.

        Raises:
            UsageError: an option is not for this runner, or not usable.
        """

    def start(self, setup: Setup) -> Self:
        """Remember what workers need to know, and start what must run; called once, if at all.

        Raises:
            UsageError: it cannot run here; the message says what to do.
        """
        self._setup = setup
        return self

    def close(self) -> None:  # noqa: B027 - a runner in this process has none
        """End all workers; nothing that was started stays."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], *, alone: bool = False) -> Iterator[EncodedPart | Lost]:
        """Carry out jobs; parts come in any order, those of one job also from several workers.

        A job of which the last part, one between or any is missing at the end was lost.

        Args:
            jobs: The recordings.
            alone: One recording at a time: none may be lost because of another.

        Raises:
            VlarError: no worker can do its work, such as one without the model.
        """


def refuse(runner: str, **given: object) -> None:
    """Refuse options that a runner does not have.

    Raises:
        UsageError: one is given.
    """
    for option, value in given.items():
        if value not in (None, ()):
            raise UsageError(f"--{option.replace('_', '-')} {value} is not for runner {runner!r}")
