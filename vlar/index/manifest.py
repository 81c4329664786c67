"""What all rows of a library have in common: the model, the sensor and the windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import EncoderMismatchError, LibraryError
from vlar.index import vector_blocks
from vlar.index.protocol import LibraryModel
from vlar.index.store.database import VECTOR_TYPE
from vlar.types import Sampling, Window

DEFAULT_WINDOW_S = 4.0
DEFAULT_STRIDE_S = 2.0
DEFAULT_MODALITY = "video"  # of libraries whose manifest does not name one


@dataclass(frozen=True)
class WindowSpec:
    """How recordings are cut into rows.

    Attributes:
        window_s: Length of a window in seconds.
        stride_s: Seconds from one window to the next.
        n_frames: T, samples of a window.
        shorter_side: Pixels that frames are shrunk to while decoding; 0 for other sensors.
        long_times: Also windows this many times as long and as far apart; 1 for none.
    """

    window_s: float
    stride_s: float
    n_frames: int
    shorter_side: int
    long_times: float = 1.0

    @property
    def sampling(self) -> Sampling:
        """What the reader must give for a window."""
        return Sampling(self.n_frames, shorter_side=self.shorter_side or None)

    def spans(self, duration_s: float) -> list[Window]:
        """The windows of a recording, those of the first scale first; none twice."""
        from vlar.video import windows

        spans = windows(duration_s, self.window_s, self.stride_s)
        if self.long_times > 1.0 and duration_s > self.window_s:
            times = self.long_times
            spans += windows(duration_s, times * self.window_s, times * self.stride_s)
        return spans


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
    """

    model: str
    fingerprint: str
    dim: int
    spec: WindowSpec
    blocks: str = ""
    modality: str = DEFAULT_MODALITY

    @classmethod
    def read(cls, meta: Mapping[str, str], folder: Path) -> LibraryManifest | None:
        """From the store; None for an empty library.

        Raises:
            LibraryError: it is incomplete or holds values of another kind.
        """
        if "fingerprint" not in meta:
            return None
        if meta.get("vector_type") != VECTOR_TYPE:
            raise LibraryError(
                f"library {folder} holds vectors of type {meta.get('vector_type')!r}, this vlar "
                f"reads {VECTOR_TYPE!r}; upgrade with 'pip install --upgrade vlar'"
            )
        try:
            spec = WindowSpec(
                float(meta["window_s"]),
                float(meta["stride_s"]),
                int(meta["n_frames"]),
                int(meta["shorter_side"]),
                float(meta.get("long_times", "1")),
            )
            facts = meta["model"], meta["fingerprint"], int(meta["dim"])
            modality = meta.get("modality", DEFAULT_MODALITY)
            return cls(*facts, spec, meta.get("blocks", ""), modality)
        except (KeyError, ValueError) as error:
            raise LibraryError(
                f"library {folder} is damaged (its manifest: {error}); restore a copy of the "
                "folder, or move it away and index the videos again"
            ) from error

    @classmethod
    def new(
        cls,
        model: LibraryModel,
        spec: str,
        window_s: float | None,
        stride_s: float | None,
        long_times: float | None = None,
    ) -> LibraryManifest:
        """For a library that holds nothing yet; ``spec`` loads the model again."""
        windows = WindowSpec(
            window_s or DEFAULT_WINDOW_S,
            stride_s or DEFAULT_STRIDE_S,
            model.n_frames,
            model.shorter_side,
            long_times or 1.0,
        )
        blocks = vector_blocks.to_text(vector_blocks.declared(model))
        return cls(spec, model.fingerprint, model.dim, windows, blocks, model.modality)

    def to_meta(self) -> dict[str, str]:
        """For the store."""
        return {
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

    def require_model(self, model: LibraryModel, folder: Path) -> None:
        """Refuse a model whose vectors do not belong to this library.

        Raises:
            EncoderMismatchError: the message names both models and the commands that help.
        """
        if model.fingerprint == self.fingerprint:
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
        folder: Path,
        long_times: float | None = None,
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
        ):
            return
        raise LibraryError(
            f"library {folder} was made with windows of {spec.window_s:g} s every "
            f"{spec.stride_s:g} s, and windows {spec.long_times:g} times as long; use "
            f"--window {spec.window_s:g}s --stride {spec.stride_s:g}s "
            f"--long-windows {spec.long_times:g}, or make a new library"
        )
