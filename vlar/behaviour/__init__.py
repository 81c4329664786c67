"""Behaviour: tracks of points, annotated recordings, bouts, time budgets, agreement.

Five uses::

    mine = vlar.behaviour.learn("tracks/", "project.boris", minutes=10)  # annotated recordings
    bouts = vlar.behaviour.bouts(mine, "new.csv")
    vlar.behaviour.review(mine, "tracks/", minutes=5)  # spans to annotate next
    vlar.behaviour.ethogram(bouts, duration_s=600)
    vlar.behaviour.evaluate("tracks/", truth="project.boris", model=mine)

``formats`` reads and writes what annotation tools keep, ``tracks`` what pose tools keep;
``annotated`` learns from both; ``timeline`` finds segments by words; ``candidates`` are the clips
that teach most; ``measures`` are time budgets, agreement and their pages; ``verbs`` are on the
command line. The core of vlar imports nothing of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlar.behaviour.annotated.evaluate import evaluate
    from vlar.behaviour.annotated.learn import learn
    from vlar.behaviour.annotated.recordings import bouts
    from vlar.behaviour.annotated.review import review
    from vlar.behaviour.measures.agreement import agreement
    from vlar.behaviour.measures.ethogram import ethogram

__all__ = ["agreement", "bouts", "ethogram", "evaluate", "learn", "review"]
_WHERE = {
    "agreement": "measures.agreement",
    "bouts": "annotated.recordings",
    "ethogram": "measures.ethogram",
    "evaluate": "annotated.evaluate",
    "learn": "annotated.learn",
    "review": "annotated.review",
}


def __getattr__(name: str) -> Any:
    # Names load on first use: the command line reads the list of verbs without numpy.
    if name not in _WHERE:
        raise AttributeError(f"module 'vlar.behaviour' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vlar.behaviour.{_WHERE[name]}"), name)
