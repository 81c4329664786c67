"""``local``: reads ahead in one thread and encodes in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from vlar.index.ingest.runners.base import Lost, Runner, RunnerOptions, refuse
from vlar.index.ingest.stages import DecodedPart, EncodedPart, Job, PartEncoder, Setup, decode
from vlar.registry import register
from vlar.sensors import Reader, reader
from vlar.sensors.isolated import IsolatedReader, isolated
from vlar.video.prefetch import prefetch

_WAITING_BYTES = 16 << 20


@register("runner", "local")
class LocalRunner(Runner):
    """One encoder in this process; recordings are decoded in a worker process ahead of it."""

    name = "local"
    in_process = True

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._encoder: PartEncoder | None = None

    @classmethod
    def from_options(cls, options: RunnerOptions) -> LocalRunner:
        """Takes ``device``."""
        refuse(
            cls.name,
            address=options.address,
            workers=options.workers,
            gpus_per_worker=options.gpus,
            devices=options.devices,
        )
        return cls(options.device)

    def run(self, jobs: Sequence[Job], *, alone: bool = False) -> Iterator[EncodedPart | Lost]:
        """In the order of the jobs; a decoder that crashes ends its own recording alone."""
        del alone
        self._encoder = self._encoder or PartEncoder(self._setup, self._device)
        with ExitStack() as stack:
            source = reader(self._setup.manifest.modality)
            paths = [Path(job.path) for job in jobs]
            source, _ = stack.enter_context(isolated(source, paths, Path))
            parts = prefetch(_decoded(jobs, self._setup, source), _nbytes, _WAITING_BYTES)
            stack.enter_context(closing(parts))
            if isinstance(source, IsolatedReader):
                stack.callback(source.close)
            for part in parts:
                yield from self._encoder.encode([part])


def _decoded(jobs: Sequence[Job], setup: Setup, source: Reader) -> Iterator[DecodedPart]:
    for job in jobs:
        yield from decode(job, setup, source)


def _nbytes(part: DecodedPart) -> int:
    return part.nbytes
