"""Annotated recordings to a model in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlar.model.model import Model, load
from vlar.segments import Segment


def adapt(
    recordings: str | Path | Sequence[str | Path],
    *,
    truth: str | Path | Sequence[Segment],
    model: str | Path | Model = "tracks",
    **options: Any,
) -> Model:
    """A model of bouts from whole recordings with annotations, as ``vlar adapt --truth`` makes it.

    Args:
        recordings: A path, or several; folders are searched.
        truth: A file of annotations of any format, a folder of them, or segments.
        model: The model to adapt, or its name.
        options: ``minutes``, ``ignore``, ``tier``, ``background``, ``within``, ``fps``, ``layout``
            and ``seed`` of ``vlar.model.annotated_request.AnnotatedRequest``; ``add``: a model to
            go on from, or its folder, whose recordings are learned again with these.

    Returns:
        A model whose ``timeline`` answers recordings of this kind.

    Raises:
        UsageError: the annotations or the recordings cannot be used.
    """
    base = model if isinstance(model, Model) else load(model)
    paths: Any = recordings
    return base.adapt(paths, truth=truth, **options)
