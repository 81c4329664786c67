"""Links: maps from recordings of another sensor to the vectors of a library, learned from pairs.

A pair is one moment that two sensors recorded, without a label. Ridge regression leads from the
temporal statistics of one (``vlar.heads.signatures``) to the vector of the other, less the mean of
all; what it predicts is the query. The penalty has the least error of the left-out pair, in closed
form. Five folds of recordings, each left out in turn, give the figure that answers state.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.spec import BUNDLE
from vlar.errors import DecodeError, QueryError, UsageError
from vlar.heads.signatures import available_terms, signature
from vlar.library.connection import LibraryConnection
from vlar.library.maintain.mapping import ridge
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import DEFAULT_MODEL
from vlar.library.rows import RowFilter
from vlar.library.store.base import LibraryStore
from vlar.library.store.paths import place
from vlar.media.bundle import BundlePart, bundle_parts, is_bundle
from vlar.media.bundle_table import sensor_table
from vlar.media.lookup import reader
from vlar.numeric import unit
from vlar.types import Failure, Float32, Float64, JsonDict, Window

if TYPE_CHECKING:
    from vlar.model.library_model import LibraryModel

Pairs = str | Path | Sequence[Mapping[str, str | Path]]
_KEY = "link:"  # in the manifest of the library, before the sensor
_FEWEST, _MOST = 8, 4000  # moments
_WINDOWS = 16  # of a recording
_FOLDS = 5
_RANK = 48  # of the map that is kept
_MOST_TEXT = 1 << 23


@dataclass(frozen=True)
class Link:
    """A map from recordings of a sensor to vectors of a library's model.

    Attributes:
        sensor: Sensor of the recordings.
        fingerprint: Fingerprint of the library's model.
        encoder: Fingerprint of the encoder that reads the sensor.
        pairs: Moments that it was learned from.
        recordings: Recordings that they lie in.
        held_out: Mean share, 0 to 1, of other recordings before which a left-out pair finds its
            own; .5 by chance.
        mean: (S,) of the signatures.
        left: (S, R) from signatures less the mean.
        right: (R, D) to vectors.
    """

    sensor: str
    fingerprint: str
    encoder: str
    pairs: int
    recordings: int
    held_out: float
    mean: Float32
    left: Float32
    right: Float32

    def query(self, signatures: Float32) -> Float32:
        """Unit vectors (N, D) that signatures (N, S) ask for."""
        return unit((signatures - self.mean) @ self.left @ self.right).astype(np.float32)

    @property
    def learned_from(self) -> str:
        """A sentence for people."""
        return (
            f"{self.sensor} is read by a link that was learned from {self.pairs} pairs in "
            f"{self.recordings} recordings; of a left-out pair the right recording comes before "
            f"{self.held_out:.0%} of the others (by chance 50%)"
        )

    def to_dict(self) -> JsonDict:
        """JSON object of the command line."""
        names = ("sensor", "pairs", "recordings", "held_out")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """The text that a library keeps."""
        facts = {k: v for k, v in asdict(self).items() if not isinstance(v, np.ndarray)}
        arrays = {"mean": self.mean[None], "left": self.left, "right": self.right}
        return json.dumps(facts | {name: _text(array) for name, array in arrays.items()})

    @classmethod
    def from_json(cls, text: str) -> Link | None:
        """The link in a text; None where it is not one, as in a library of anybody."""
        try:
            facts = json.loads(text[:_MOST_TEXT])
            mean, left, right = (_array(facts[name]) for name in ("mean", "left", "right"))
            sensor, *made_by = (str(facts[k])[:200] for k in ("sensor", "fingerprint", "encoder"))
            counts, held = (int(facts["pairs"]), int(facts["recordings"])), float(facts["held_out"])
        except (ValueError, TypeError, KeyError):
            return None
        usable = mean.shape == (1, len(left)) and left.shape[1] == len(right)
        if not (usable and 0 <= held <= 1 and sensor in _sensors()):
            return None
        return cls(sensor, made_by[0], made_by[1], *counts, held, mean[0], left, right)


@dataclass(frozen=True)
class LinkReport:
    """Result of ``Library.link``: the links, and recordings of pairs that cannot be read."""

    links: tuple[Link, ...]
    failed: tuple[Failure, ...] = ()


def links(store: LibraryStore) -> dict[str, Link]:
    """The links of a library by their sensors."""
    texts = {k: text for k, text in store.meta().items() if k.startswith(_KEY) and text}
    links_of_files = (Link.from_json(text) for text in texts.values())
    return {link.sensor: link for link in links_of_files if link is not None}


def linked_vector(
    path: Path, window: Window | None, links: Mapping[str, Link], model: LibraryModel
) -> tuple[Float32, Link] | None:
    """The vector (D,) that a recording of a linked sensor asks for, and its link.

    None where the library reads the recording itself, or no link does.

    Raises:
        QueryError: no link reads it, and it is of another sensor than the library's.
        UsageError: the link belongs to another state of the model or of the encoder.
        DecodeError: the recording cannot be read.
    """
    if reader(model.modality).claims(path):
        return None
    link = next((x for name, x in links.items() if reader(name).claims(path)), None)
    if link is None:
        sensor = next((name for name in sorted(_sensors()) if reader(name).claims(path)), None)
        if sensor is None or model.modality == BUNDLE:
            return None
        raise QueryError(
            f"LIKE {path} is a recording of {sensor}, and the library holds {model.modality}; "
            "teach it by moments that both recorded: vlar link LIBRARY PAIRS"
        )
    encoder = sensor_encoder(link.sensor)
    if (link.fingerprint, link.encoder) != (model.fingerprint, encoder.fingerprint):
        raise UsageError(
            f"LIKE {path}: the link of {link.sensor} was learned for another state of the model; "
            "learn it again: vlar link LIBRARY PAIRS"
        )
    clip = reader(link.sensor).read_clip(path, window, encoder.sampling)
    row = encoder.encode([clip])[0].features
    return link.query(_signatures(encoder, [row]))[0], link


def sensor_encoder(sensor: str) -> Encoder:
    """The encoder that reads a sensor where nothing else is said: ``lite`` for video."""
    return load_encoder(DEFAULT_MODEL if sensor == "video" else sensor)


def learn(connection: LibraryConnection, pairs: Pairs | None = None) -> LinkReport:
    """Learn links from pairs, or from the bundles of the library (``Library.link``)."""
    with connection.mutex:
        store, manifest = connection.nonempty()
        model = connection.models.loaded(manifest)
        moments = list(_moments(store, manifest, model, _rows(store, model, pairs)))
    failed = [moment for moment in moments if isinstance(moment, Failure)]
    by_sensor: dict[str, list[_Moment]] = {}
    for moment in moments:
        if not isinstance(moment, Failure):
            by_sensor.setdefault(moment.sensor, []).append(moment)
    learned: list[Link] = []
    for sensor, paired in by_sensor.items():
        link, unreadable = _learned(sensor, paired[:_MOST], model)
        failed += unreadable
        learned.append(link)
    if not learned:
        raise UsageError(
            f"no pair of library {connection.path} can be used; give a table with the columns "
            f"path.{model.modality} and path.SENSOR, or add bundles of several sensors"
        )
    with connection.writing() as writer, writer.transaction():
        writer.set_meta({_KEY + link.sensor: link.to_json() for link in learned})
    return LinkReport(tuple(learned), tuple(failed))


@dataclass(frozen=True)
class _Moment:
    """A recording of a sensor, or a span of it, and the vector (D,) of the library's sensor."""

    sensor: str
    owner: str
    path: Path
    window: Window | None
    vector: Float32 = field(repr=False)


def _rows(
    store: LibraryStore, model: LibraryModel, pairs: Pairs | None
) -> Iterator[tuple[Path, dict[str, BundlePart]]]:
    """Each recording of the library's sensor, and what other sensors took meanwhile."""
    if pairs is None:
        for path in map(Path, sorted(store.paths().values())):
            if is_bundle(path):
                yield path, bundle_parts(path)
        return
    if isinstance(pairs, str | Path):
        rows = sensor_table(Path(pairs))
    else:
        rows = [{name: BundlePart(Path(path)) for name, path in row.items()} for row in pairs]
    for row in rows:
        if unknown := sorted(row.keys() - _sensors()):
            raise registry.unknown_name("sensor", unknown[0], sorted(_sensors()))
        if (own := row.pop(model.modality, None)) is not None and row:
            yield own.path, row


def _moments(
    store: LibraryStore,
    manifest: LibraryManifest,
    model: LibraryModel,
    rows: Iterator[tuple[Path, dict[str, BundlePart]]],
) -> Iterator[_Moment | Failure]:
    for path, parts in rows:
        try:
            windows, vectors = _vectors(store, manifest, model, path)
        except DecodeError as error:
            yield Failure(path, error.kind, error.message)
            continue
        whole = unit(vectors.mean(axis=0))
        for sensor, part in parts.items():
            if len(windows) < 2 or part.by_share:
                yield _Moment(sensor, str(path), part.path, None, whole)
                continue
            for index in np.unique(np.linspace(0, len(windows) - 1, _WINDOWS).astype(int)):
                start_s, end_s = (time - part.offset_s for time in windows[index])
                if start_s >= 0:
                    window = Window(float(start_s), float(end_s))
                    yield _Moment(sensor, str(path), part.path, window, vectors[index])


def _vectors(
    store: LibraryStore, manifest: LibraryManifest, model: LibraryModel, path: Path
) -> tuple[Float64, Float32]:
    """Spans (N, 2) and vectors (N, D) of a recording; one that the library lacks is encoded."""
    recording = store.at_path(place(path))
    if recording is None:
        clip = reader(model.modality).read_clip(path, None, model.sampling)
        return np.zeros((1, 2)), model.encode([clip])[0].vector[None]
    frames = list(store.scan(manifest.dim, RowFilter(frozenset([recording.id]))))
    masks = [np.array([i not in rows.people for i in rows.ids.tolist()], bool) for rows in frames]
    times_s = [rows.times_s[mask] for rows, mask in zip(frames, masks, strict=True)]
    vectors = [rows.wide[mask] for rows, mask in zip(frames, masks, strict=True)]
    if not sum(map(len, times_s)):
        raise DecodeError(f"{path}: the library has no window of it; index it again")
    return np.concatenate(times_s), np.concatenate(vectors)


def _learned(
    sensor: str, moments: Sequence[_Moment], model: LibraryModel
) -> tuple[Link, list[Failure]]:
    encoder = sensor_encoder(sensor)
    failed: list[Failure] = []
    features, paired = list[Float32](), list[_Moment]()
    requests = [(moment.path, moment.window) for moment in moments]
    for moment, clip in zip(moments, reader(sensor).read(requests, encoder.sampling), strict=True):
        if isinstance(clip, Failure):
            failed.append(clip)
            continue
        features.append(encoder.encode([clip])[0].features)
        paired.append(moment)
    owners = list(dict.fromkeys(moment.owner for moment in paired))
    if len(paired) < _FEWEST or len(owners) < 2:
        why = f"; {failed[0].message}" if failed else ""
        raise UsageError(
            f"{len(paired)} pairs with {sensor} in {len(owners)} recordings; a link needs at least "
            f"{_FEWEST} pairs in two recordings{why}"
        )
    signatures = _signatures(encoder, features)
    vectors = np.stack([moment.vector for moment in paired]).astype(np.float64)
    groups = np.array([owners.index(moment.owner) for moment in paired])
    held = held_out(signatures, vectors, groups)
    mean, coefficients = ridge(signatures, vectors)
    left, scale, right = np.linalg.svd(coefficients, full_matrices=False)
    rank = min(_RANK, len(scale))
    link = Link(
        sensor, model.fingerprint, encoder.fingerprint, len(paired), len(owners), held,
        mean.astype(np.float32), (left[:, :rank] * scale[:rank]).astype(np.float32),
        right[:rank].astype(np.float32),
    )  # fmt: skip
    return link, failed


def held_out(signatures: Float32, vectors: Float64, groups: npt.NDArray[np.int64]) -> float:
    """Mean share of other recordings before which a left-out pair finds its own, 0 to 1.

    Args:
        signatures: (N, S).
        vectors: (N, D).
        groups: (N,) recording of each pair.
    """
    shares: list[float] = []
    folds = min(_FOLDS, len(np.unique(groups)) // 2) or 1
    for fold in range(folds):
        out = groups % folds == fold
        if folds == 1 or out.all() or len(np.unique(groups[out])) < 2:
            continue
        mean, coefficients = ridge(signatures[~out], vectors[~out])
        asked = (signatures[out] - mean) @ coefficients
        scores = asked @ (vectors[out] - vectors[~out].mean(axis=0)).T
        for row, group in enumerate(groups[out]):
            others = scores[row][groups[out] != group]
            shares.append(float((others < scores[row, row]).mean()))
    return float(np.mean(shares)) if shares else 0.5


def _signatures(encoder: Encoder, features: Sequence[Float32]) -> Float32:
    """(N, S) of the frame features (T, F) of N recordings, each of its own length."""
    blocks = encoder.frame_blocks
    kind = "+".join(available_terms(blocks))
    return np.concatenate([signature(rows[None], blocks, kind) for rows in features])


def _sensors() -> set[str]:
    return set(registry.names("reader")) - {BUNDLE}


def _text(array: Float32) -> list[Any]:
    return [*array.shape, base64.b64encode(array.astype("<f4").tobytes()).decode()]


def _array(facts: Sequence[Any]) -> Float32:
    rows, columns, text = facts
    array = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    if not np.isfinite(array).all():
        raise ValueError("not a number")
    return array.reshape(int(rows), int(columns)).astype(np.float32)
