"""Examples with labels to encoded rows: what adapting, calibrating and training read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from vlar.adapters.statistics import Statistics
from vlar.errors import DecodeError, SupportError
from vlar.heads.support import Support, SupportItem
from vlar.media.video.files import content_hash, frame_files, is_folder, require_readable
from vlar.media.views import Views, ViewSampler
from vlar.model.core import EncodedSpan, ModelCore
from vlar.model.people import about
from vlar.types import Clip, Encoded, Failure, Float32, ProgressCallback


@dataclass(frozen=True)
class EncodedExamples:
    """The examples of a support set that could be read, encoded.

    Attributes:
        items: n examples.
        encoded: n rows; a row from a cache of features has no context tokens.
        failed: The examples that could not be read, and the parts of others that could not.
        synthetic: Examples that were made from recordings of another sensor.
        statistics: Moments of the norms of an adapter on them, where it names some.
        facts: Medians of ``clip_facts`` of those that were read.
    """

    items: Sequence[SupportItem]
    encoded: Sequence[Encoded]
    failed: tuple[Failure, ...]
    synthetic: int = 0
    statistics: Statistics = field(default_factory=Statistics)
    facts: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def features(self) -> Float32:
        """(n, T, F) float32 frame features."""
        return np.stack([row.features for row in self.encoded])

    @property
    def vectors(self) -> Float32:
        """(n, D) float32 unit vectors."""
        return np.stack([row.vector for row in self.encoded])


def clip_facts(clip: Clip) -> dict[str, float]:
    """Facts that differ from place to place: samples a second, pixels, light (0 to 1), points."""
    facts = {"rate": float(clip.meta["rate_hz"])} if clip.meta.get("rate_hz") else {}
    if clip.modality == "video":
        facts["size"] = float(min(clip.data.shape[1:3]))
        facts["light"] = float(clip.data[:, ::16, ::16].mean()) / 255
    elif clip.modality == "skeleton":
        facts["points"] = float(np.isfinite(clip.data[..., 0]).mean() * clip.data.shape[-2])
    return facts


def with_facts(
    views: Iterable[Views | Failure], facts: list[dict[str, float]]
) -> Iterator[Views | Failure]:
    """The same views; the facts of the first clip of each are appended to ``facts``."""
    for clips in views:
        if not isinstance(clips, Failure):
            facts.append(clip_facts(clips[0]))
        yield clips


def median_facts(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Medians of the facts of clips, by name."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.median([row[name] for row in rows if name in row])) for name in names}


class FeatureCache(Protocol):
    """Frame features that were computed before."""

    def get(self, item: SupportItem) -> Float32 | None:
        """(T, F) of an example, or None."""
        ...

    def put(self, item: SupportItem, features: Float32) -> None:
        """Store (T, F) of an example."""
        ...


def check_memory(core: ModelCore, items: Sequence[SupportItem], where: str = "") -> None:
    """Refuse examples whose features cannot be held, before the first of days of reading.

    Recordings that are absent need no memory. A machine that does not report its memory is trusted.

    Args:
        core: The core that encodes them.
        items: The examples.
        where: Beginning of the message.

    Raises:
        SupportError: the features of the examples that exist would take more than the machine has.
    """
    bytes_each = 4 * core.encoder.feature_rows * core.encoder.frame_dim
    memory = _memory_bytes()
    if memory is None or len(items) * bytes_each <= memory:
        return
    absent = absent_recordings(items)
    count = sum(item.path not in absent for item in items)
    if count * bytes_each <= memory:
        return
    shots = max(
        1, memory // (2 * bytes_each * len({label for item in items for label in item.labels}))
    )
    raise SupportError(
        f"{where}the features of {count:,} examples take {count * bytes_each / 1e9:,.0f} GB, and "
        f"this machine has {memory / 1e9:,.0f} GB of memory; use fewer, for example "
        f"--shots {min(shots, 100)}"
    )


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this system
        return None


def absent_recordings(items: Sequence[SupportItem]) -> set[Path]:
    """The recordings that do not exist; each path is looked up once."""
    paths = {item.path for item in items}
    return {path for path in paths if not os.path.exists(path)}  # noqa: PTH110 - half the time


def _absent(path: Path) -> Failure:
    """Failure of a recording that does not exist, with the reason."""
    try:
        require_readable(path)
    except DecodeError as error:
        return Failure(path, error.kind, error.message)
    return Failure(path, DecodeError.kind, f"{path}: it came while others were read; start again")


def read_examples(
    core: ModelCore,
    items: Sequence[SupportItem],
    progress: ProgressCallback | None = None,
    cache: FeatureCache | None = None,
    *,
    sampler: ViewSampler | None = None,
) -> EncodedExamples:
    """Read and encode examples, in batches across recordings.

    Args:
        core: What encodes them.
        items: Recordings and spans.
        progress: Called once with the total, then after each example.
        cache: Features that need no encoding; the rest is stored in it.
        sampler: Reads the views of each example; None reads one view each, as methods learn from.
    """
    if progress is not None:
        progress(0, total=len(items))
    absent = absent_recordings(items)
    cached = [_cached(core, cache.get(item) if cache else None) for item in items]
    missing = [
        item
        for item, had in zip(items, cached, strict=True)
        if had is None and item.path not in absent
    ]
    sampler = sampler or core.view_sampler.one_view
    views = sampler.sample_each((item.path, item.window) for item in missing)
    facts: list[dict[str, float]] = []
    spans = core.encode_spans(with_facts(about(views, missing, sampler.reader), facts))
    used: list[SupportItem] = []
    encoded: list[Encoded] = []
    failed: list[Failure] = []
    synthetic = 0
    for item, had in zip(items, cached, strict=True):
        row = had or (_absent(item.path) if item.path in absent else next(spans))
        if isinstance(row, Failure):
            failed.append(row)
        else:
            used.append(item)
            encoded.append(row.encoded if isinstance(row, EncodedSpan) else row)
            failed += row.failed if isinstance(row, EncodedSpan) else ()
            synthetic += isinstance(row, EncodedSpan) and row.synthetic
            if cache is not None and had is None:
                cache.put(item, encoded[-1].features)
        if progress is not None:
            progress(1)
    return EncodedExamples(used, encoded, tuple(failed), synthetic, facts=median_facts(facts))


def read_complete(
    core: ModelCore,
    support: Support,
    items: Sequence[SupportItem],
    progress: ProgressCallback | None = None,
    cache: FeatureCache | None = None,
    *,
    sampler: ViewSampler | None = None,
) -> EncodedExamples:
    """``read_examples`` of a support set, in which every label keeps an example.

    Raises:
        SupportError: a label has no example that can be read. Where all of them are absent, no
            other recording is read first.
    """
    if cache is None:
        absent = absent_recordings(items)
        present = [item for item in items if item.path not in absent]
        gone = (_absent(item.path) for item in items if item.path in absent)
        _check_labels(support, present, gone)
    examples = read_examples(core, items, progress, cache, sampler=sampler)
    check_complete(support, examples)
    return examples


def _cached(core: ModelCore, features: Float32 | None) -> Encoded | None:
    if features is None:
        return None
    return Encoded(features, core.encoder.pool(features[None])[0])


def recording_hashes(items: Sequence[SupportItem]) -> list[str]:
    """16 hex digits for each example, equal where the recordings hold the same bytes."""
    hashes = {path: _content(path) for path in {item.path for item in items}}
    return [hashes[item.path] for item in items]


def _content(path: Path) -> str:
    files = [path]
    if is_folder(path) and not frame_files(path):  # a folder with files of another sensor
        files = sorted(file for file in path.rglob("*") if file.is_file())
    try:
        text = "\n".join(content_hash(file) for file in files)
    except DecodeError:  # a part of a file, which its path names
        text = str(path.absolute())
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def draw(support: Support, shots: int, seed: int) -> list[SupportItem]:
    """Draw at most ``shots`` examples a label, from different groups as far as there are enough.

    Args:
        support: The examples.
        shots: Most examples of a label.
        seed: Decides which ones.
    """
    random = np.random.default_rng(seed)
    of_label: dict[str, list[SupportItem]] = {label: [] for label in support.labels}
    for item in support.items:
        for label in item.labels:
            of_label[label].append(item)
    drawn: list[SupportItem] = []
    keys: set[object] = set()
    for label in support.labels:
        items = [item for item in of_label[label] if _key(item) not in keys]
        order = [items[i] for i in random.permutation(len(items))]
        counts: dict[str, int] = {}
        ranked: list[tuple[int, SupportItem]] = []
        for item in order:
            ranked.append((counts.setdefault(item.group, 0), item))
            counts[item.group] += 1
        ranked.sort(key=lambda pair: pair[0])
        drawn += [item for _, item in ranked[:shots]]
        keys.update(_key(item) for _, item in ranked[:shots])
    return drawn


def _key(item: SupportItem) -> object:
    parts = tuple(item.parts.items())
    return item.path, item.window, item.labels, item.group, parts, item.who, item.person


def check_complete(support: Support, examples: EncodedExamples) -> None:
    """Refuse examples in which a label of the support set has none left.

    Raises:
        SupportError: the message names the label and the first failure.
    """
    _check_labels(support, examples.items, examples.failed)


def _check_labels(
    support: Support, items: Iterable[SupportItem], failed: Iterable[Failure]
) -> None:
    example_labels = {label for item in items for label in item.labels}
    lost = sorted(set(support.labels) - example_labels)
    if lost:
        raise SupportError(
            f"{support.source}: no example of {lost[0]!r} can be read "
            f"({next(iter(failed)).message}); replace the broken recordings"
        )
