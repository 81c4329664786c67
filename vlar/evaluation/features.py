"""Encoded clips, computed once and shared over protocols and runs.

A row is kept on disk under the encoder's fingerprint, the recording's content, its span, how it is
sampled and how it was changed. All rows together take at most what ``VLAR_CACHE_LIMIT`` allows (1
GB by default); those unused for the longest time go first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.errors import ProtocolError
from vlar.evaluation.corruptions.base import corrupt
from vlar.evaluation.datasets.base import TEST, VALIDATION, DatasetSplit, Subset
from vlar.files import resources
from vlar.files.opening import open_input
from vlar.files.replacing import replacing
from vlar.heads.support import SupportItem
from vlar.language.clean import clean_label
from vlar.media.views import Views, ViewSampler
from vlar.model.core import EncodedSpan, ModelCore
from vlar.types import Encoded, Failure, JsonDict

_NAMED = 3


def scored_subset(data: DatasetSplit, wanted: str | None) -> str:
    """The subset that is scored: the one asked for, else ``test``, else ``val``."""
    if wanted is not None or TEST in data.subsets:
        return wanted or TEST
    return VALIDATION


def spelled_as(labels: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Labels in the spelling of a data set; lists spell ``brush_hair`` as ``Brush Hair``.

    A label that the data set has in no spelling stays as it is.

    >>> spelled_as(["Brush Hair", "YoYo"], ["brush_hair", "yo_yo"])
    ('brush_hair', 'yo_yo')
    """
    names = set(known)
    by_letters = {_letters(label): label for label in known}
    return tuple(
        label if label in names else by_letters.get(_letters(label), label) for label in labels
    )


def _letters(label: str) -> str:
    return "".join(c for c in label.casefold() if c.isalnum())


def check_overlap(
    first: Sequence[str], second: Sequence[str], what: str, settings: JsonDict
) -> list[str]:
    """Labels that two lists share after cleaning; refused unless ``overlap = "report"``.

    Raises:
        ProtocolError: they share some.
    """
    keys = {_plain(label) for label in first}
    shared = [label for label in second if _plain(label) in keys]
    if shared and settings.get("overlap", "refuse") != "report":
        raise ProtocolError(
            f"{what} share {len(shared)} of {len(second)} labels "
            f"({', '.join(map(repr, shared[:_NAMED]))}); a label must not be learned and then "
            'called unseen (overlap = "report" counts them instead)'
        )
    return shared


def _plain(label: str) -> str:
    return " ".join(clean_label(label).casefold().split())


def draw_shots(
    items: Sequence[SupportItem], labels: Sequence[str], shots: int, seed: int
) -> list[SupportItem]:
    """Exactly ``shots`` clips a label, from different groups as far as there are enough.

    Raises:
        ProtocolError: a label has fewer.
    """
    random = np.random.default_rng(seed)
    drawn: list[SupportItem] = []
    short: list[str] = []
    for label in labels:
        of_label = [item for item in items if item.labels == (label,)]
        order = [of_label[i] for i in random.permutation(len(of_label))]
        turn: list[int] = []  # the first clip of each group, then the second of each, ...
        of_group = Counter[str]()
        for item in order:
            turn.append(of_group[item.group])
            of_group[item.group] += 1
        chosen = [order[i] for i in np.argsort(turn, kind="stable")[:shots]]
        drawn += chosen
        if len(chosen) < shots:
            short.append(f"{label} ({len(chosen)})")
    if short:
        raise ProtocolError(
            f"{len(short)} labels have fewer than {shots} training clips here: "
            f"{', '.join(short[:_NAMED])}; fill them up or ask for fewer shots"
        )
    return drawn


def check_exact(items: Sequence[SupportItem], labels: Sequence[str], shots: int) -> None:
    """Refuse a few-shot list in which a label has not exactly K clips.

    Raises:
        ProtocolError: the message names the labels.
    """
    count = Counter(item.label for item in items)
    wrong = [f"{label} ({count[label]})" for label in labels if count[label] != shots]
    if wrong:
        raise ProtocolError(
            f"{len(wrong)} labels have not exactly {shots} clips: {', '.join(wrong[:_NAMED])}"
        )


def check_no_empty_class(subset: Subset, labels: Sequence[str], what: str) -> None:
    """Refuse labels without any clip that is there.

    Raises:
        ProtocolError: the message names them.
    """
    empty = [label for label in labels if label not in subset.labels]
    if empty:
        raise ProtocolError(
            f"{len(empty)} of {len(labels)} labels have no {what} clip here: "
            f"{', '.join(empty[:_NAMED])}; get their recordings, or list the labels to ask"
        )


ONE_FRAME = "one-frame"
_FOLDER = "features"
_TRIM_EVERY = 200  # rows written between two looks at the size of the folder
_FORMAT = 1


@dataclass(frozen=True)
class Change:
    """Change of a clip's frames before it is encoded.

    Attributes:
        name: A registered corruption, or ``one-frame``: the middle frame in place of all.
        severity: 1 to 5; 5 for ``one-frame``.
        seed: Seed of the corruption; each clip adds its own content.
    """

    name: str
    severity: int = 5
    seed: int = 0

    @property
    def key(self) -> str:
        """Name and severity, as figures give them: ``jpeg/3``."""
        return self.name if self.name == ONE_FRAME else f"{self.name}/{self.severity}"

    def apply(
        self,
        data: npt.NDArray[Any],
        content: str,
        modality: str = "video",
        meta: Mapping[str, Any] | None = None,
    ) -> npt.NDArray[Any]:
        """(T, ...) samples of a clip with this content, changed.

        Raises:
            ProtocolError: the corruption is one of another sensor.
        """
        if self.name == ONE_FRAME:
            return np.repeat(data[len(data) // 2][None], len(data), axis=0)
        seed = zlib.crc32(f"{self.seed} {content}".encode())
        part = registry.get("corruption", self.name)
        if part.modality != "video":
            if part.modality != modality:
                raise ProtocolError(
                    f"corruption {self.name!r} changes clips of the sensor {part.modality!r}; "
                    f"these are of {modality!r}"
                )
            return corrupt(data, self.name, self.severity, seed=seed, meta=meta)
        if data.dtype == np.uint8 and data.ndim == 4:
            return corrupt(data, self.name, self.severity, seed=seed)
        if part.family != "time":
            raise ProtocolError(
                f"corruption {self.name!r} changes pictures; these clips hold {data.dtype} samples"
            )
        return data[self._order(len(data), seed)]

    def _order(self, n: int, seed: int) -> npt.NDArray[np.int64]:
        """(n,) which sample stands where: the corruption of pictures that hold their number."""
        numbers = np.arange(n, dtype=np.uint32).view(np.uint8).reshape(n, 1, 4)[None, ..., :3]
        moved = corrupt(numbers.transpose(1, 0, 2, 3), self.name, self.severity, seed=seed)
        return (moved.reshape(n, 3).astype(np.int64) * [1, 1 << 8, 1 << 16]).sum(axis=1)


@dataclass
class Cost:
    """Cost of the encoding, for the run's file."""

    encoded: int = 0
    reused: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0


@dataclass
class FeatureStore:
    """Rows of clips for any model; see the module.

    Attributes:
        content: Names the content of a recording.
        disk: Whether rows are kept on disk.
        cost: What was computed so far.
    """

    content: Callable[[Path], str]
    disk: bool = True
    cost: Cost = field(default_factory=Cost)
    _written: int = 0

    def rows(
        self,
        core: ModelCore,
        items: Sequence[SupportItem],
        changes: Sequence[Change | None] = (None,),
        sampler: ViewSampler | None = None,
    ) -> Iterator[tuple[int, Change | None, Encoded | Failure]]:
        """The rows of clips, a clip's changes one after the other; a clip is decoded once for all.

        Args:
            core: What encodes.
            items: n clips.
            changes: What is done to each; None is the clip as it is.
            sampler: Reads the views; None reads those that ``classify`` does.

        Yields:
            Number of the clip, the change, and the row or why it cannot be read.
        """
        sampler = sampler or core.view_sampler
        keys = [[self._key(core, item, change, sampler) for change in changes] for item in items]
        missing = [n for n, row in enumerate(keys) if not all(map(self._has, row))]
        spans = core.encode_spans(self._changed(sampler, [items[n] for n in missing], changes))
        computed = set(missing)
        for n, row in enumerate(keys):
            for change, key in zip(changes, row, strict=True):
                stored_row = None if n in computed else self._read(key)
                if stored_row is None and n not in computed:  # it went away or is damaged meanwhile
                    alone = self._changed(sampler, [items[n]], [change])
                    stored_row = self._next(core.encode_spans(alone), key)
                if stored_row is not None:
                    self.cost.reused += 1
                    yield n, change, stored_row
                else:
                    yield n, change, self._next(spans, key)

    def _next(self, spans: Iterator[EncodedSpan | Failure], key: str) -> Encoded | Failure:
        start_s, cpu_s = time.perf_counter(), time.process_time()
        span = next(spans)
        self.cost.seconds += time.perf_counter() - start_s
        self.cost.cpu_s += time.process_time() - cpu_s
        if isinstance(span, Failure):
            return span
        self.cost.encoded += 1
        self._write(key, span.encoded)
        return span.encoded

    def _changed(
        self, sampler: ViewSampler, items: Sequence[SupportItem], changes: Sequence[Change | None]
    ) -> Iterator[Views | Failure]:
        read = sampler.sample_each((item.path, item.window) for item in items)
        for item, views in zip(items, read, strict=True):
            for change in changes:
                if isinstance(views, Failure) or change is None:
                    yield views
                else:
                    content = self.content(item.path)
                    yield [
                        replace(
                            view, data=change.apply(view.data, content, view.modality, view.meta)
                        )
                        for view in views
                    ]

    def _key(
        self, core: ModelCore, item: SupportItem, change: Change | None, sampler: ViewSampler
    ) -> str:
        window = item.window and (item.window.start_s, item.window.end_s)
        sampling = sampler.sampling
        facts = [
            _FORMAT,
            core.fingerprint,
            self.content(item.path),
            window,
            sampling.n_frames,
            sampling.frames_fixed,
            self._longest(item, sampler),
            sampling.shorter_side,
            sampling.size,
            change and (change.name, change.severity, change.seed),
            *((sampling.fps, sampling.max_frames) if sampling.fps else ()),
            *(("all",) if sampling.all_samples else ()),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _longest(self, item: SupportItem, sampler: ViewSampler) -> float | None:
        """Longest view of a span; None where it has one view, since all samplers then read the
        same.
        """
        longest = sampler.sampling.longest_s
        if np.isinf(longest):
            return None
        span = item.window or sampler.whole(item.path)
        return None if span.duration_s <= longest else longest

    def _path(self, key: str) -> Path:
        return resources.cache_dir() / _FOLDER / key[:2] / f"{key}.npz"

    def _has(self, key: str) -> bool:
        return self.disk and self._path(key).is_file()

    def _read(self, key: str) -> Encoded | None:
        path = self._path(key)
        try:
            with open_input(path) as file, np.load(file, allow_pickle=False) as stored:
                row = Encoded(stored["features"], stored["vector"], stored.get("context"))
            os.utime(path)
        except (OSError, KeyError, ValueError, BadZipFile):
            return None
        return row

    def _write(self, key: str, row: Encoded) -> None:
        if not self.disk:
            return
        context: dict[str, Any] = {} if row.context is None else {"context": row.context}
        path = self._path(key)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, durable=False) as part, part.open("wb") as stream:
                np.savez(stream, features=row.features, vector=row.vector, **context)
        self._written += 1
        if self._written % _TRIM_EVERY == 0:
            trim(resources.cache_dir() / _FOLDER, resources.cache_limit())


def trim(folder: Path, limit: int) -> None:
    """Remove the rows used least recently until the others take at most ``limit`` bytes."""
    files: list[tuple[float, int, Path]] = []
    for file in folder.rglob("*.npz"):
        with contextlib.suppress(OSError):
            status = file.stat()
            files.append((status.st_mtime, status.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            file.unlink()
        total -= size
