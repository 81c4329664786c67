"""Requests to a model: made at the edge (Python, command line, HTTP, MCP) and passed whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import TypedDict

from vlar.fewshot.support import Support
from vlar.text.labels import LabelSet
from vlar.text.tree import TreeSource
from vlar.types import ProgressCallback

DEFAULT_FPS = 25.0


class ClassifyOptions(TypedDict, total=False):
    """Options of ``Model.classify`` that every form of it takes."""

    top: int
    mode: str
    descriptions: str | Sequence[str]
    tree: TreeSource | None
    fps: float
    shots: bool
    who: str | None
    zoom: str | None
    detector: str | None


@dataclass(frozen=True)
class ClassifyRequest:
    """A request to say which label fits; ``Model.classify`` describes the fields."""

    labels: LabelSet
    top: int = 5
    every_s: float | None = None
    fps: float = DEFAULT_FPS
    shots: bool = False
    who: str | None = None
    zoom: str | None = None
    detector: str | None = None


@dataclass(frozen=True)
class EvaluateRequest:
    """A request to score a model on labelled recordings, as ``Model.evaluate`` describes."""

    labelled: str | Path | Support
    labels: LabelSet
    progress: ProgressCallback | None = None
