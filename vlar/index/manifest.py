"""Facts that all rows of a library share: the model, the sensor and the windows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from vlar.errors import EncoderMismatchError, LibraryError
from vlar.index import vector_blocks
from vlar.index.protocol import LibraryModel, sampling_of
from vlar.index.store.row_check import MOST_SECONDS
from vlar.index.store.sqlite import VECTOR_TYPE
from vlar.index.store.values import is_number
from vlar.index.window_spec import WindowSpec
from vlar.types import Sampling

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


class HasManifest(Protocol):
    """A store that keeps a manifest."""

    @property
    def address(self) -> str:
        """The library, for messages."""
        ...

    def meta(self) -> Mapping[str, str]:
        """The manifest as texts."""
        ...

    def has_rows(self) -> bool:
        """Return whether there is any row."""
        ...


@dataclass(frozen=True)
class LibraryManifest:
    """Fixed by the first video of a library.

    Attributes:
        model: The spec that loads the model again.
        fingerprint: Of the model; vectors of another one are not comparable.
        dim: D.
        spec: Windows and samples.
        blocks: The parts of its vectors (``vlar.index.vector_blocks``); empty where the model
            does not declare any.
        modality: The sensor of the recordings: the name of their reader.
        persons: Spec of the detector that finds the people of every window, each of whom has a
            row of their own; empty where rows are whole frames only.
    """

    model: str
    fingerprint: str
    dim: int
    spec: WindowSpec
    blocks: str = ""
    modality: str = DEFAULT_MODALITY
    persons: str = ""

    @classmethod
    def of(cls, store: HasManifest) -> LibraryManifest | None:
        """The manifest of a library; None for one that holds nothing yet.

        Raises:
            LibraryError: it is absent although there are rows, incomplete, or holds values that no
                library has.
        """
        meta, folder = store.meta(), store.address
        if "fingerprint" not in meta:
            if store.has_rows():
                raise _damaged(folder, "there are rows, but no fingerprint of their model")
            return None
        if meta.get("vector_type") != VECTOR_TYPE:
            raise LibraryError(
                f"library {folder} holds vectors of type {meta.get('vector_type', '')[:80]!r}, "
                f"this vlar reads {VECTOR_TYPE!r}; upgrade with 'pip install --upgrade vlar'"
            )
        number = partial(_number, meta, folder)
        fps = most_frames = None
        if "fps" in meta:
            fps = number("fps", _LEAST_FPS, _MOST_FPS)
            most_frames = int(number("max_frames", 1, _MOST_FRAMES, whole=True))
        spec = WindowSpec(
            number("window_s", _SHORTEST_S, MOST_SECONDS),
            number("stride_s", _SHORTEST_S, MOST_SECONDS),
            int(number("n_frames", 1, _MOST_FRAMES, whole=True)),
            int(number("shorter_side", 0, _MOST_PIXELS, whole=True)),
            number("long_times", 1, 100, default="1"),
            fps,
            most_frames,
            _parts(meta.get("parts", "[]"), folder),
            meta.get("shots", "") == _YES,
            meta.get("all_samples", "") == _YES,
        )
        dim = int(number("dim", 1, _WIDEST, whole=True))
        modality = meta.get("modality", DEFAULT_MODALITY)
        if "model" not in meta or not _SENSOR.fullmatch(modality):
            raise _damaged(folder, f"its model or its sensor {modality[:80]!r}")
        blocks, persons = meta.get("blocks", ""), meta.get("persons", "")
        if len(persons) > _MOST_TEXT:
            raise _damaged(folder, f"persons is {persons[:40]!r}")
        return cls(meta["model"], meta["fingerprint"], dim, spec, blocks, modality, persons)

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
        """For a library that holds nothing yet; ``spec`` loads the model again."""
        wanted = sampling_of(model)
        windows = WindowSpec(
            window_s or DEFAULT_WINDOW_S,
            stride_s or DEFAULT_STRIDE_S,
            wanted.n_frames,
            wanted.shorter_side or 0,
            long_times or 1.0,
            wanted.fps,
            wanted.max_frames,
            wanted.parts,
            shots,
            wanted.all_samples,
        )
        blocks = vector_blocks.to_text(vector_blocks.declared(model))
        return cls(spec, model.fingerprint, model.dim, windows, blocks, model.modality)

    def to_meta(self) -> dict[str, str]:
        """For the store."""
        rate = {"fps": self.spec.fps, "max_frames": self.spec.max_frames}
        parts = [[part.n_frames, part.fps, part.max_frames] for part in self.spec.parts]
        return {
            **{name: repr(value) for name, value in rate.items() if value is not None},
            **({"parts": json.dumps(parts)} if parts else {}),
            **({"shots": _YES} if self.spec.shots else {}),
            **({"all_samples": _YES} if self.spec.all_samples else {}),
            **({"persons": self.persons} if self.persons else {}),
            "model": self.model,
            "fingerprint": self.fingerprint,
            "dim": str(self.dim),
            "vector_type": VECTOR_TYPE,
            "blocks": self.blocks,
            "modality": self.modality,
            "window_s": repr(self.spec.window_s),
            "stride_s": repr(self.spec.stride_s),
            "n_frames": str(self.spec.n_frames),
            "shorter_side": str(self.spec.shorter_side),
            "long_times": repr(self.spec.long_times),
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
        old, new = vector_blocks.from_text(self.blocks), vector_blocks.declared(model)
        if vector_blocks.can_upgrade(old, new, self.model == model.name):
            missing = ", ".join(vector_blocks.missing(old, new)) or "only how texts are read"
            how = f"{missing} is computed again, the rest is kept"
            if not vector_blocks.shared(old, new):
                how = "every video is read again, its tags are kept"
            raise EncoderMismatchError(
                f"library {folder} was made by an earlier state of model {self.model!r}; bring it "
                f"up to date ({how}): vlar index upgrade {folder}"
            )
        raise EncoderMismatchError(
            f"library {folder} was made by model {self.model!r} (fingerprint "
            f"{self.fingerprint[:12]}), but the model of this call is {model.name!r} (fingerprint "
            f"{model.fingerprint[:12]}); use --model {self.model}, or index the videos again: "
            f"vlar index add NEW.vlar VIDEOS --model {model.name}"
        )

    def require_windows(
        self,
        window_s: float | None,
        stride_s: float | None,
        folder: object,
        long_times: float | None = None,
        shots: bool | None = None,
    ) -> None:
        """Refuse windows other than the library's; None accepts what the library has.

        Raises:
            LibraryError: they differ.
        """
        spec = self.spec
        if (
            window_s in (None, spec.window_s)
            and stride_s in (None, spec.stride_s)
            and long_times in (None, spec.long_times)
            and shots in (None, spec.shots)
        ):
            return
        raise LibraryError(
            f"library {folder} was made with windows of {spec.window_s:g} s every "
            f"{spec.stride_s:g} s, and windows {spec.long_times:g} times as long, "
            f"{'cut at' if spec.shots else 'whatever'} the shots; use "
            f"--window {spec.window_s:g}s --stride {spec.stride_s:g}s "
            f"--long-windows {spec.long_times:g}{' --shots' if spec.shots else ''}, or make a new "
            "library"
        )


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
        found = [_part(*row) for row in json.loads(text[:_MOST_TEXT])]
    except (ValueError, TypeError):
        found = [None]
    parts = tuple(part for part in found if part is not None)
    if len(parts) < len(found):
        raise _damaged(folder, f"parts is {text[:40]!r}")
    return parts


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
