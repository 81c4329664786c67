"""A cheap model and tiny videos: what a library needs to be tested without an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.videos import make_video
from vlar.library.library import Library
from vlar.testing.material import WIDTH as DIM
from vlar.testing.material import ConditionedModel as ConditionedFake
from vlar.testing.material import NumberCaptioner as FakeCaptioner
from vlar.testing.material import PictureModel as FakeModel

__all__ = ["DIM", "ConditionedFake", "FakeCaptioner", "FakeModel"]


def tiny_video(path: Path, content: int, seconds: int = 8) -> Path:
    """A video of one picture a second, different for each ``content``."""
    draw = np.random.default_rng(content)
    pictures = draw.integers(0, 256, (seconds, 1, 12, 3)).repeat(4, axis=2).repeat(32, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    return make_video(
        path,
        seconds,
        fps=1,
        size=(48, 32),
        codec="mpeg4",
        picture=lambda number: np.ascontiguousarray(pictures[number].astype(np.uint8)),
    )


def store_of(library: Library) -> Any:
    """The store of a library, for what its public face does not show."""
    return library._connection.nonempty()[0]


def stored(library: Library) -> list[tuple[str, float, float, bytes]]:
    """Path, span in seconds and vector of every row, in order."""
    rows = library.to_arrow().to_pylist()
    of = [(r["path"], r["start_s"], r["end_s"], np.float32(r["vector"]).tobytes()) for r in rows]
    return sorted(of)


def load_fake(device: str | None = None) -> FakeModel:
    """What worker processes load."""
    del device
    return FakeModel()


def load_conditioned(device: str | None = None) -> ConditionedFake:
    """The same with contexts."""
    del device
    return ConditionedFake()
