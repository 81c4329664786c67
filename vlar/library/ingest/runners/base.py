"""The contract of a runner: jobs in, encoded parts of recordings out, in any order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import Self

from vlar.errors import DecodeCrash, DecodeOutOfMemory, UsageError
from vlar.library.ingest.reader import prefetch
from vlar.library.ingest.worker_tasks import (
    EncodedPart,
    PartEncoder,
    ReadJob,
    Setup,
    decode,
)
from vlar.library.model_provider import LoadModel
from vlar.media.lookup import IsolatedReader, isolated, reader
from vlar.registry import register

CRASH, MEMORY = DecodeCrash.kind, DecodeOutOfMemory.kind


@dataclass(frozen=True)
class LostJobs:
    """Jobs whose worker is gone before they were done.

    Attributes:
        jobs: Their numbers; any of them may be the reason.
        kind: ``crash`` or ``memory``.
        why: What is known of the reason.
    """

    jobs: tuple[int, ...]
    kind: str = CRASH
    why: str = ""


class Runner(ABC):
    """Carries out jobs: ``@register("runner", NAME)``.

    Use it as a context; workers live as long as it lasts. It decides where and when, never what:
    ``vlar.library.ingest.worker_tasks`` decodes and encodes, ``vlar.library.ingest.ingest``
    decides which recordings are read and what becomes of those that were lost.

    Attributes:
        name: As registered.
        in_process: It uses the model and the captioner of the library itself, and gives the parts
            of a job in order, one job after the other; others load their own by name.
        load: Loads the model on a device in a worker; None loads it by the library's name.
    """

    name: ClassVar[str]
    in_process: ClassVar[bool] = False
    load: LoadModel | None = None
    _setup: Setup

    @classmethod
    @abstractmethod
    def from_spec(cls, argument: str, device: str | None = None) -> Runner:
        """Make one.

        Args:
            argument: What follows its name in ``--runner NAME:ARGUMENT``; empty if nothing does.
            device: Where the model computes; None for the default.

        Raises:
            UsageError: the argument or a device is not usable.
        """

    def start(self, setup: Setup) -> Self:
        """Store the settings of workers, and start what must run; called once, if at all.

        Raises:
            UsageError: it cannot run here; the message names the remedy.
        """
        self._setup = setup
        return self

    def close(self) -> None:  # noqa: B027 - a runner in this process has none
        """End all workers; nothing that was started stays."""

    @abstractmethod
    def run(
        self, jobs: Sequence[ReadJob], *, alone: bool = False
    ) -> Iterator[EncodedPart | LostJobs]:
        """Carry out jobs; parts come in any order, those of one job also from several workers.

        A job of which the last part, one between or any is missing at the end was lost.

        Args:
            jobs: The recordings.
            alone: One recording at a time: none may be lost because of another.

        Raises:
            VlarError: no worker can do its work, such as one without the model.
        """


_WAITING_BYTES = 8 << 20  # of clips that wait for the encoder


@register("runner", "local")
class LocalRunner(Runner):
    """One encoder in this process; recordings are decoded in a worker process ahead of it."""

    name = "local"
    in_process = True

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._encoder: PartEncoder | None = None
        self._running = ExitStack()

    @classmethod
    def from_spec(cls, argument: str, device: str | None = None) -> LocalRunner:
        if argument:
            raise UsageError(f"the runner 'local' has no options; got {argument!r}")
        return cls(device)

    def run(
        self, jobs: Sequence[ReadJob], *, alone: bool = False
    ) -> Iterator[EncodedPart | LostJobs]:
        """Run the jobs in order, a clip a part; a decoder that crashes ends its recording alone.

        Batches cross recordings, and memory is bounded by the look-ahead and one batch.
        """
        self._encoder = self._encoder or PartEncoder(self._setup, self._device)
        with self._running as stack:
            source = reader(self._setup.manifest.modality)
            first = self._setup.first or [Path(job.path) for job in jobs]
            source, _ = stack.enter_context(isolated(source, first, Path))
            decoded = (part for job in jobs for part in decode(job, self._setup, source, 1))
            parts = prefetch(decoded, lambda part: part.nbytes, _WAITING_BYTES)
            stack.enter_context(closing(parts))
            if isinstance(source, IsolatedReader):
                # First of all: the thread that reads ahead may wait for a file that hangs.
                stack.callback(source.close)
            yield from self._encoder.encode(parts)

    def close(self) -> None:
        """End the decoders, also those of a run that was left."""
        self._running.close()
