"""Facts that all rows of a library share: the model, the sensor and the windows."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from vlar.encoders.base import Encoder
from vlar.encoders.model_spec import ModelSpec
from vlar.encoders.spec import PRECISION
from vlar.errors import EncoderMismatchError, LibraryError, UsageError
from vlar.files.reading import parse_json
from vlar.heads.logistic import logit
from vlar.library.store.base import LibraryStore
from vlar.library.store.row_check import MOST_SECONDS
from vlar.library.store.sqlite import VECTOR_TYPE
from vlar.library.store.values import is_number
from vlar.model.library_model import LibraryModel
from vlar.numeric import sigmoid, unit
from vlar.types import Float32, Float64, JsonDict, Sampling, Window


@dataclass(frozen=True)
class BlockSlice:
    """A block of a vector: ``vector[..., start:start + width]``, a unit vector times ``weight``."""

    name: str
    start: int
    width: int
    weight: float
    fingerprint: str

    @property
    def place(self) -> slice:
        """Slice of the block in a vector."""
        return slice(self.start, self.start + self.width)


def declared(model: object) -> tuple[BlockSlice, ...]:
    """The parts of a model's vectors; none where it has no public encoder."""
    encoder: Encoder | None = getattr(model, "encoder", None)
    if encoder is None:
        return ()
    prints = encoder.block_fingerprints()
    parts: list[BlockSlice] = []
    start = 0
    for block in encoder.blocks:
        parts.append(BlockSlice(block.name, start, block.width, block.weight, prints[block.name]))
        start += block.width
    return tuple(parts)


def to_text(parts: Sequence[BlockSlice]) -> str:
    """Text of blocks for the manifest of a library."""
    return json.dumps([[p.name, p.start, p.width, p.weight, p.fingerprint] for p in parts])


def from_text(text: str) -> tuple[BlockSlice, ...]:
    """Blocks from the manifest; none where the text is not usable, as in older libraries."""
    try:
        return tuple(BlockSlice(*row) for row in parse_json(text or "[]"))
    except (TypeError, ValueError):
        return ()


def shared(
    old: Sequence[BlockSlice], new: Sequence[BlockSlice]
) -> list[tuple[BlockSlice, BlockSlice]]:
    """Blocks that did not change: their parts of the old and of the new vectors."""
    parts_by_key = {(part.name, part.fingerprint, part.width): part for part in old}
    keys = [(part.name, part.fingerprint, part.width) for part in new]
    return [
        (parts_by_key[key], part)
        for key, part in zip(keys, new, strict=True)
        if key in parts_by_key
    ]


def missing_blocks(old: Sequence[BlockSlice], new: Sequence[BlockSlice]) -> list[str]:
    """Names of the blocks that must be computed."""
    names = {part.name for _, part in shared(old, new)}
    return [part.name for part in new if part.name not in names]


def can_upgrade(old: Sequence[BlockSlice], new: Sequence[BlockSlice], same_model: bool) -> bool:
    """Return whether no block would be lost, and the model is the same or shares a block."""
    lost = {part.name for part in old} - {part.name for part in new}
    return bool(old) and not lost and (same_model or bool(shared(old, new)))


def merged_vectors(
    vectors: Float32, into: Float32, pairs: Sequence[tuple[BlockSlice, BlockSlice]]
) -> Float32:
    """Put blocks of stored vectors (N, D) into new ones (N, E); the result has unit length."""
    merged = into.astype(np.float32, copy=True)
    for old, new in pairs:
        merged[:, new.place] = vectors[:, old.place] * np.float32(new.weight / old.weight)
    return unit(merged)


@dataclass(frozen=True)
class WindowSpec:
    """Rule that cuts recordings into rows.

    Attributes:
        window_s: Length of a window in seconds.
        stride_s: Seconds from one window to the next.
        sampling: Samples that the reader gives for a window.
        long_times: Also windows this many times as long and as far apart; 1 for none.
        shots: Whether recordings are cut at their shots first, so that no window crosses a cut.
    """

    window_s: float
    stride_s: float
    sampling: Sampling
    long_times: float = 1.0
    shots: bool = False

    def spans(self, duration_s: float, shots: Sequence[Window] = ()) -> Iterator[Window]:
        """The windows of a recording, those of the first scale first; none twice.

        Args:
            duration_s: Its length.
            shots: Its shots by time, each of which has windows of its own; empty for one.
        """
        whole = shots or [Window(0.0, duration_s)]
        yield from _windows_of(whole, self.window_s, self.stride_s)
        if self.long_times > 1.0:
            times = self.long_times
            longer = [shot for shot in whole if shot.duration_s > self.window_s]
            yield from _windows_of(longer, times * self.window_s, times * self.stride_s)


def _windows_of(shots: Sequence[Window], window_s: float, stride_s: float) -> Iterator[Window]:
    from vlar.media.video.sample import windows

    for shot in shots:
        for window in windows(shot.duration_s, window_s, stride_s):
            end_s = min(shot.start_s + window.end_s, shot.end_s)
            yield Window(shot.start_s + window.start_s, end_s)


DEFAULT_WINDOW_S = 4.0
DEFAULT_STRIDE_S = 2.0
DEFAULT_MODALITY = "video"  # of libraries whose manifest does not name one
_SENSOR = re.compile(r"[\w-]{1,64}")
# What a manifest may ask for: more is damage, or an attack that would fill the memory.
_WIDEST = 65_536
_SHORTEST_S = math.ulp(0.0)
_MOST_FRAMES, _MOST_PIXELS = 100_000, 65_536
_LEAST_FPS, _MOST_FPS = 1e-3, 1e3
_MOST_TEXT = 4096
_YES = "yes"
_MAPPED_TYPE = f"{VECTOR_TYPE}, some mapped"  # so that an earlier vlar refuses it


@dataclass(frozen=True)
class VectorMapping:
    """Facts of a library whose rows are predicted from the vectors of an earlier model.

    Attributes:
        model: The earlier model.
        form: ``ridge`` or ``procrustes``.
        windows: Windows that it was learned from.
        same_first: Share, 0 to 1, of phrases with the same first answer among left-out windows.
        slope: Factor of the log odds of a predicted row; above 0.
        offset: Added to them.
        shared: Blocks that were copied.
    """

    model: str
    form: str
    windows: int
    same_first: float
    slope: float
    offset: float
    shared: tuple[str, ...] = ()

    def scaled(self, probability: Float64) -> Float64:
        """Probabilities (N,) of encoded rows to expect where predicted ones have these."""
        return sigmoid(self.slope * logit(probability) + self.offset)

    @property
    def learned_from(self) -> str:
        """A sentence for people."""
        return (
            f"rows of {self.model} are mapped by {self.form}, learned from {self.windows} windows; "
            f"of left-out windows the first one is right for {self.same_first:.0%} of the phrases"
        )

    def to_text(self) -> str:
        """The text that a manifest keeps."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> VectorMapping | None:
        """The mapping of a text; None where it is not one, as in a library of anybody."""
        if not text:
            return None
        try:
            facts: JsonDict = json.loads(text)
            first, slope, offset = (float(facts[k]) for k in ("same_first", "slope", "offset"))
            names = str(facts["model"])[:1000], str(facts["form"])[:20]
            shared = tuple(map(str, facts["shared"]))
            mapping = cls(*names, int(facts["windows"]), first, slope, offset, shared)
        except (ValueError, TypeError, KeyError):
            return None
        is_usable = all(map(math.isfinite, (first, slope, offset))) and slope > 0
        return mapping if is_usable else None


@dataclass(frozen=True)
class LibraryManifest:
    """Fixed by the first video of a library.

    Attributes:
        model: The spec that loads the model again.
        fingerprint: Fingerprint of the model; vectors of another one are not comparable.
        dim: D.
        spec: Windows and samples.
        blocks: The parts of its vectors (``vlar.library.manifest``); empty where the model
            does not declare any.
        modality: The sensor of the recordings: the name of their reader.
        persons: Spec of the detector that finds the people of every window, each of whom has a
            row of their own; empty where rows are whole frames only.
        mapping: Where some rows are predicted from vectors of an earlier model; else None.
    """

    model: str
    fingerprint: str
    dim: int
    spec: WindowSpec
    blocks: str = ""
    modality: str = DEFAULT_MODALITY
    persons: str = ""
    mapping: VectorMapping | None = None

    @classmethod
    def of(cls, store: LibraryStore) -> LibraryManifest | None:
        """The manifest of a library; None for one that holds nothing yet.

        Raises:
            LibraryError: it is absent although there are rows, incomplete, or holds values that no
                library has.
        """
        meta = store.meta()
        if "fingerprint" not in meta and store.has_rows():
            raise _damaged(store.address, "there are rows, but no fingerprint of their model")
        return cls.from_meta(meta, store.address)

    @classmethod
    def from_meta(cls, meta: Mapping[str, str], folder: str) -> LibraryManifest | None:
        """The manifest in the texts of a store or a file; None without one.

        Raises:
            LibraryError: it is incomplete, or holds values that no library has.
        """
        if "fingerprint" not in meta:
            return None
        mapping = VectorMapping.from_text(meta.get("mapping", ""))
        if meta.get("vector_type") != (VECTOR_TYPE if mapping is None else _MAPPED_TYPE):
            raise LibraryError(
                f"library {folder} holds vectors of type {meta.get('vector_type', '')[:80]!r}, "
                f"this vlar reads {VECTOR_TYPE!r}; upgrade with 'pip install --upgrade vlar'"
            )
        number = partial(_number, meta, folder)
        fps = most_frames = None
        if "fps" in meta:
            fps = number("fps", _LEAST_FPS, _MOST_FPS)
            most_frames = int(number("max_frames", 1, _MOST_FRAMES, whole=True))
        sampling = Sampling(
            int(number("n_frames", 1, _MOST_FRAMES, whole=True)),
            shorter_side=int(number("shorter_side", 0, _MOST_PIXELS, whole=True)) or None,
            fps=fps,
            max_frames=most_frames,
            parts=_parts(meta.get("parts", "[]"), folder),
            all_samples=meta.get("all_samples", "") == _YES,
            sensors=_sensors(meta.get("sensors", "[]"), folder),
        )
        spec = WindowSpec(
            number("window_s", _SHORTEST_S, MOST_SECONDS),
            number("stride_s", _SHORTEST_S, MOST_SECONDS),
            sampling,
            number("long_times", 1, 100, default="1"),
            meta.get("shots", "") == _YES,
        )
        dim = int(number("dim", 1, _WIDEST, whole=True))
        modality = meta.get("modality", DEFAULT_MODALITY)
        if "model" not in meta or not _SENSOR.fullmatch(modality):
            raise _damaged(folder, f"its model or its sensor {modality[:80]!r}")
        blocks, persons = meta.get("blocks", ""), meta.get("persons", "")
        if len(persons) > _MOST_TEXT:
            raise _damaged(folder, f"persons is {persons[:40]!r}")
        names = meta["model"], meta["fingerprint"]
        return cls(*names, dim, spec, blocks, modality, persons, mapping)

    @classmethod
    def new(
        cls,
        model: LibraryModel,
        spec: str,
        window_s: float | None,
        stride_s: float | None,
        long_times: float | None = None,
        shots: bool = False,
    ) -> LibraryManifest:
        """Manifest of an empty library; ``spec`` loads the model again."""
        # What an encoder does with the samples is not kept.
        sampling = replace(model.sampling, frames_fixed=False, longest_s=math.inf, size=None)
        span_s = window_s or DEFAULT_WINDOW_S, stride_s or DEFAULT_STRIDE_S
        windows = WindowSpec(*span_s, sampling, long_times or 1.0, shots)
        blocks = to_text(declared(model))
        return cls(spec, model.fingerprint, model.dim, windows, blocks, model.modality)

    def to_meta(self) -> dict[str, str]:
        """Entries of the manifest for the store."""
        sampling = self.spec.sampling
        rate = {"fps": sampling.fps, "max_frames": sampling.max_frames}
        parts = [[part.n_frames, part.fps, part.max_frames] for part in sampling.parts]
        sensors = [
            [name, part.n_frames, part.fps, part.max_frames, part.shorter_side, part.all_samples]
            for name, part in sampling.sensors
        ]
        return {
            **{name: repr(value) for name, value in rate.items() if value is not None},
            **({"parts": json.dumps(parts)} if parts else {}),
            **({"sensors": json.dumps(sensors)} if sensors else {}),
            **({"shots": _YES} if self.spec.shots else {}),
            **({"all_samples": _YES} if sampling.all_samples else {}),
            **({"persons": self.persons} if self.persons else {}),
            "model": self.model,
            "fingerprint": self.fingerprint,
            "dim": str(self.dim),
            "vector_type": VECTOR_TYPE if self.mapping is None else _MAPPED_TYPE,
            **({} if self.mapping is None else {"mapping": self.mapping.to_text()}),
            "blocks": self.blocks,
            "modality": self.modality,
            "window_s": repr(self.spec.window_s),
            "stride_s": repr(self.spec.stride_s),
            "n_frames": str(sampling.n_frames),
            "shorter_side": str(sampling.shorter_side or 0),
            "long_times": repr(self.spec.long_times),
        }

    def table_facts(self) -> dict[str, str]:
        """Metadata of a table of rows: what is needed to read its vectors."""
        return {
            "vlar.manifest": json.dumps(self.to_meta()),
            "vlar.model": self.model,
            "vlar.fingerprint": self.fingerprint,
            "vlar.modality": self.modality,
        }

    def require_model(self, model: LibraryModel, folder: object) -> None:
        """Refuse a model whose vectors do not belong to this library.

        Raises:
            EncoderMismatchError: the message names both models and the commands that help.
        """
        if model.fingerprint == self.fingerprint:
            if model.dim != self.dim:
                raise _damaged(folder, f"dim is {self.dim}, but {model.name} has {model.dim}")
            return
        old, new = from_text(self.blocks), declared(model)
        if can_upgrade(old, new, self.model == model.name):
            missing = ", ".join(missing_blocks(old, new)) or "only how texts are read"
            how = f"{missing} is computed again, the rest is kept"
            if not shared(old, new):
                how = "every video is read again, its tags are kept"
            raise EncoderMismatchError(
                f"library {folder} was made by an earlier state of model {self.model!r}; bring it "
                f"up to date ({how}): vlar index upgrade {folder}"
            )
        ours, other = map(_precision, (self.model, model.name))
        name, stored = (ModelSpec.parse(x, folders=False) for x in (model.name, self.model))
        if ours != other and name.is_but_for_precision(stored):
            raise EncoderMismatchError(
                f"library {folder} was made by model {self.model!r} in {ours}, but the model of "
                f"this call computes in {other}: load it by vlar.load({self.model!r}, "
                f"dtype={ours!r}), or give --dtype {ours}"
            )
        raise EncoderMismatchError(
            f"library {folder} was made by model {self.model!r} (fingerprint "
            f"{self.fingerprint[:12]}), but the model of this call is {model.name!r} (fingerprint "
            f"{model.fingerprint[:12]}); use --model {shlex.quote(self.model)}, or change the "
            f"library's model: vlar index upgrade {folder} --model {shlex.quote(model.name)} --lazy"
        )


def _precision(name: str) -> str:
    """Number type that a model's name states."""
    stated = re.search(rf"\b{PRECISION}=(\w+)", name)
    return stated[1] if stated else "float32"


def _number(
    meta: Mapping[str, str],
    folder: object,
    key: str,
    least: float,
    most: float,
    *,
    whole: bool = False,
    default: str = "",
) -> float:
    """A number of the manifest within limits, both included."""
    text = meta.get(key, default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not is_number(value, least, most) or (whole and value != int(value)):
        raise _damaged(folder, f"{key} is {text[:40]!r}")
    return value


def _parts(text: str, folder: object) -> tuple[Sampling, ...]:
    """Samples that each of the joined encoders wants, within the limits of a library."""
    try:
        listed = [_part(*row) for row in json.loads(text[:_MOST_TEXT])]
    except (ValueError, TypeError):
        listed = [None]
    parts = tuple(part for part in listed if part is not None)
    if len(parts) < len(listed):
        raise _damaged(folder, f"parts is {text[:40]!r}")
    return parts


def _sensors(text: str, folder: object) -> tuple[tuple[str, Sampling], ...]:
    """Samples that each encoder of a bundle wants, within the limits of a library."""
    sensors: list[tuple[str, Sampling]] = []
    try:
        for name, n_frames, fps, most, side, every in json.loads(text[:_MOST_TEXT]):
            part = _part(n_frames, fps, most)
            if part is None or not (side is None or is_number(side, 1, _MOST_PIXELS)):
                raise ValueError(name)  # noqa: TRY301
            sampling = replace(part, shorter_side=side, all_samples=bool(every))
            sensors.append((str(name), sampling))
    except (ValueError, TypeError):
        raise _damaged(folder, f"sensors is {text[:40]!r}") from None
    return tuple(sensors)


def _part(n_frames: float, fps: float | None, most: float | None) -> Sampling | None:
    if not is_number(n_frames, 1, _MOST_FRAMES):
        return None
    if fps is None or most is None:
        return Sampling(int(n_frames)) if fps is most else None
    if not (is_number(fps, _LEAST_FPS, _MOST_FPS) and is_number(most, 1, _MOST_FRAMES)):
        return None
    return Sampling(int(n_frames), fps=fps, max_frames=int(most))


def _damaged(folder: object, what: str) -> LibraryError:
    return LibraryError(
        f"library {folder} is damaged (its manifest: {what}); restore a copy of the folder, or "
        "move it away and index the videos again"
    )


def require_encoded(store: LibraryStore, manifest: LibraryManifest, done: str) -> None:
    """Refuse a use in which predicted vectors would look like others.

    Raises:
        UsageError: some rows are mapped; the message has the command that encodes them.
    """
    if manifest.mapping is not None and (count := len(store.mapped())):
        raise UsageError(
            f"library {store.address} cannot be {done} while {count} of its rows are mapped from "
            f"{manifest.mapping.model}; encode them: vlar index upgrade {store.address}"
        )
