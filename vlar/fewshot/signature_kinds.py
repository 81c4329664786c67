"""The signature kinds that a support set chooses among, and the one that only compares clips."""

from __future__ import annotations

from collections.abc import Sequence

from vlar.fewshot.temporal_features import BlockLike, available_terms

# Kinds to choose among, in order; the first that an encoder can fill is the default. The order is
# a prior from the "choose" labels of evals/few_shot.py; it matters only where nothing can be held
# out. A kind with a requirement counts only where that block is there; of the others, the terms
# that the features cannot fill are cut.
_KINDS: tuple[tuple[str, str | None], ...] = (
    # Chosen on the half of ESC-10 that teaches (evals/sounds.py).
    ("statistics", "statistics"),
    # Chosen on skeletons, IMU and sound with results of both halves in view (docs/sensors.md).
    ("course+spread+speed+attributes", "signal"),
    ("course+spread+speed+attributes+spectrum", "signal"),
    ("course+spread+speed+level", "signal"),
    ("spread+speed+attributes", "signal"),
    ("spread+speed+clip", "signal"),
    ("level+spread+speed+clip", "signal"),
    ("mean+absdiff+attributes+spectrum", "pose"),
    ("mean+absdiff+attributes:1.5+spectrum", "pose"),
    ("attributes+spectrum", "pose"),
    ("attributes", "pose"),
    ("mean+absdiff+rhythm+motion", None),
    ("mean+absdiff+motion", None),
    ("absdiff+motion", None),
    ("std+motion", None),
    ("mean+absdiff+dct+motion", None),
    ("mean+absdiff+dct", None),
    ("mean+absdiff+dct+order", None),
    ("motion", None),
    ("mean+absdiff", None),
    ("clip", None),
)


def kinds_for(blocks: Sequence[BlockLike]) -> tuple[str, ...]:
    """The signature kinds to choose among for these blocks, the default first, each once."""
    terms_there, blocks_there = available_terms(blocks), {block.kind for block in blocks}
    cut = (
        "+".join(t for t in kind.split("+") if t.partition(":")[0] in terms_there)
        for kind, requires in _KINDS
        if requires is None or requires in blocks_there
    )
    return tuple(dict.fromkeys(kind for kind in cut if kind))


def plain_kind(blocks: Sequence[BlockLike]) -> str:
    """A kind for how alike clips are at large: what is there and what changes, if it is known."""
    there = available_terms(blocks)
    return "mean+absdiff" if "absdiff" in there else there[0]
