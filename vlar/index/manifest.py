"""What every row of a library has in common: the model and the windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import EncoderMismatchError, LibraryError
from vlar.index.ingest.reader import Cut
from vlar.index.protocol import LibraryModel
from vlar.index.search_cache import blocks
from vlar.index.store.database import VECTOR_TYPE

DEFAULT_WINDOW_S = 4.0
DEFAULT_STRIDE_S = 2.0


@dataclass(frozen=True)
class Manifest:
    """Fixed by the first video of a library.

    Attributes:
        model: The spec that loads the model again.
        fingerprint: Of the model; vectors of another one are not comparable.
        dim: D.
        cut: Windows and frames.
        blocks: The parts of its vectors, as ``vlar.index.search_cache.blocks`` writes them; empty
        where the
            model does not tell.
    """

    model: str
    fingerprint: str
    dim: int
    cut: Cut
    blocks: str = ""

    @classmethod
    def read(cls, meta: Mapping[str, str], folder: Path) -> Manifest | None:
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
            cut = Cut(
                float(meta["window_s"]),
                float(meta["stride_s"]),
                int(meta["n_frames"]),
                int(meta["shorter_side"]),
                float(meta.get("long_times", "1")),
            )
            facts = meta["model"], meta["fingerprint"], int(meta["dim"])
            return cls(*facts, cut, meta.get("blocks", ""))
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
    ) -> Manifest:
        """For a library that holds nothing yet; ``spec`` loads the model again."""
        cut = Cut(
            window_s or DEFAULT_WINDOW_S,
            stride_s or DEFAULT_STRIDE_S,
            model.n_frames,
            model.shorter_side,
            long_times or 1.0,
        )
        return cls(spec, model.fingerprint, model.dim, cut, blocks.to_text(blocks.declared(model)))

    def to_meta(self) -> dict[str, str]:
        """For the store."""
        return {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "dim": str(self.dim),
            "vector_type": VECTOR_TYPE,
            "blocks": self.blocks,
            "window_s": repr(self.cut.window_s),
            "stride_s": repr(self.cut.stride_s),
            "n_frames": str(self.cut.n_frames),
            "shorter_side": str(self.cut.shorter_side),
            "long_times": repr(self.cut.long_times),
        }

    def require_model(self, model: LibraryModel, folder: Path) -> None:
        """Refuse a model whose vectors do not belong here.

        Raises:
            EncoderMismatchError: it names both and the commands that mend it.
        """
        if model.fingerprint == self.fingerprint:
            return
        old, new = blocks.from_text(self.blocks), blocks.declared(model)
        if blocks.can_upgrade(old, new, self.model == model.name):
            missing = ", ".join(blocks.missing(old, new)) or "nothing but how texts are read"
            how = f"{missing} is made anew, the rest is kept"
            if not blocks.shared(old, new):
                how = "every video is read again, its tags are kept"
            raise EncoderMismatchError(
                f"library {folder} was made by an earlier state of model {self.model!r}; bring it "
                f"up to date ({how}): vlar index upgrade {folder}"
            )
        raise EncoderMismatchError(
            f"library {folder} was made by model {self.model!r} (fingerprint "
            f"{self.fingerprint[:12]}), the model at hand is {model.name!r} (fingerprint "
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
        """Refuse windows other than the library's (None: whatever it has).

        Raises:
            LibraryError: they differ.
        """
        cut = self.cut
        if (
            window_s in (None, cut.window_s)
            and stride_s in (None, cut.stride_s)
            and long_times in (None, cut.long_times)
        ):
            return
        raise LibraryError(
            f"library {folder} was made with windows of {cut.window_s:g} s every {cut.stride_s:g} "
            f"s, and windows {cut.long_times:g} times as long; use --window {cut.window_s:g}s "
            f"--stride {cut.stride_s:g}s --long-windows {cut.long_times:g}, or make a new library"
        )
