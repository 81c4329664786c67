"""The contract of every kind of part, as checks that anybody can run.

``check_<kind>(part)`` tries a part and raises ``AssertionError`` with one sentence where it breaks
its contract; ``check(kind, part)`` finds the check of a kind. Neither pytest nor data is needed:
a reader writes an example recording, everything else is generated. Keywords replace what is
generated::

    from vlar.testing import check_encoder

    check_encoder(MyEncoder)
    check_encoder(MyEncoder, argument="ViT-B-32/openai")

A part that cannot be tried here, for want of weights for example, raises ``unittest.SkipTest``,
which pytest and unittest report as skipped.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vlar import registry

if TYPE_CHECKING:
    from vlar.testing.adapters import check_adapter as check_adapter
    from vlar.testing.annotations import check_annotation as check_annotation
    from vlar.testing.answerers import check_answerer as check_answerer
    from vlar.testing.attacks import check_attack as check_attack
    from vlar.testing.backends import check_backend as check_backend
    from vlar.testing.captioners import check_captioner as check_captioner
    from vlar.testing.corruptions import check_corruption as check_corruption
    from vlar.testing.datasets import check_dataset as check_dataset
    from vlar.testing.describers import check_describer as check_describer
    from vlar.testing.detectors import check_detector as check_detector
    from vlar.testing.encoders import check_encoder as check_encoder
    from vlar.testing.engines import check_engine as check_engine
    from vlar.testing.fewshots import check_fewshot as check_fewshot
    from vlar.testing.heads import check_head as check_head
    from vlar.testing.learners import check_learner as check_learner
    from vlar.testing.objectives import check_objective as check_objective
    from vlar.testing.protocols import check_protocol as check_protocol
    from vlar.testing.readers import check_reader as check_reader
    from vlar.testing.recipes import check_recipe as check_recipe
    from vlar.testing.rejectors import check_rejector as check_rejector
    from vlar.testing.rerankers import check_reranker as check_reranker
    from vlar.testing.runners import check_runner as check_runner

_PREFIX = "check_"

__all__ = [
    "check",
    "check_adapter",
    "check_annotation",
    "check_answerer",
    "check_attack",
    "check_backend",
    "check_captioner",
    "check_corruption",
    "check_dataset",
    "check_describer",
    "check_detector",
    "check_encoder",
    "check_engine",
    "check_fewshot",
    "check_head",
    "check_learner",
    "check_objective",
    "check_protocol",
    "check_reader",
    "check_recipe",
    "check_rejector",
    "check_reranker",
    "check_runner",
]


def check(kind: str, part: Any, **example: Any) -> None:
    """Try a part of a kind.

    Args:
        kind: One of ``vlar.registry.KINDS``.
        part: The part: a class, an object of it, or a registered name.
        **example: What the check of the kind takes in place of generated material.

    Raises:
        AssertionError: the part breaks the contract of its kind; one sentence.
        UnknownNameError: no such kind, or no part of this name.
        unittest.SkipTest: the part cannot be tried here.
    """
    if kind not in registry.KINDS:
        raise registry.unknown_name("kind of part", kind, registry.KINDS)
    __getattr__(_PREFIX + kind)(part, **example)


def __getattr__(name: str) -> Any:
    # One module a kind, imported when it is used: the checks of networks import torch.
    if not name.startswith(_PREFIX) or name.removeprefix(_PREFIX) not in registry.KINDS:
        raise AttributeError(f"module 'vlar.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vlar.testing.{name.removeprefix(_PREFIX)}s"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
