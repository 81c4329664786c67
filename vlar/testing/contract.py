"""Machinery of the checks: steps whose docstring is the sentence that a broken contract gives.

A check runs its steps in order on one material (a part, and what it is tried with). A step asserts
in plain statements; its docstring states what is expected and why. Whatever fails in a step, an
assertion or any other error of the part, becomes one ``AssertionError`` with that sentence.
"""

from __future__ import annotations

import re
import traceback
import unittest
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from vlar import registry
from vlar.errors import VlarError

M = TypeVar("M")
_LONGEST = 200  # characters of a detail
_MISSING = object()


def run(kind: str, name: str, steps: Sequence[Callable[[M], None]], material: M) -> None:
    """Run the steps of a check.

    Args:
        kind: Kind of the part.
        name: Name of the part, for messages.
        steps: Functions of the material, each with a docstring.
        material: The part, and what it is tried with.

    Raises:
        AssertionError: the first step that fails; one sentence.
        unittest.SkipTest: the part cannot be tried here.
    """
    if not __debug__:
        raise unittest.SkipTest("the checks are assertions; run Python without -O")
    for step in steps:
        with expecting(f"{kind} {name!r}: {_sentence(step)}"):
            step(material)


@contextmanager
def expecting(sentence: str) -> Generator[None]:
    """Context in which any error is an ``AssertionError`` that begins with a sentence."""
    try:
        yield
    except unittest.SkipTest:
        raise
    except Exception as error:
        raise AssertionError(f"{sentence} ({_detail(error)}).") from error


def same(one: Any, other: Any, encoder: Any) -> None:
    """Compare arrays: bit for bit on a CPU, within 1e-5 where clips run in batches.

    Raises:
        AssertionError: they differ.
    """
    towers = getattr(encoder, "towers", None)
    on_cpu = towers is None or towers.device.type == "cpu"
    np.testing.assert_allclose(one, other, rtol=0, atol=0 if on_cpu else 1e-5)


def refused(
    error: type[Exception] | tuple[type[Exception], ...],
    message: str,
    call: Callable[..., Any],
    /,
    *arguments: Any,
    **keywords: Any,
) -> Exception:
    """The error of a call, whose message matches an expression.

    Args:
        error: Its class.
        message: Expression that the message holds; empty for any.
        call: What must be refused.
        *arguments: Of the call.
        **keywords: Of the call.

    Raises:
        AssertionError: nothing is raised, or another error.
    """
    try:
        call(*arguments, **keywords)
    except error as refusal:
        text = str(refusal)
        assert re.search(message, text), f"the message {text!r} does not hold {message!r}"
        return refusal
    names = [one.__name__ for one in (error if isinstance(error, tuple) else (error,))]
    raise AssertionError(f"{' or '.join(names)} is not raised")


@contextmanager
def registered(kind: str, name: str, part: Any) -> Generator[None]:
    """Context in which a part is known by a name, whatever else has that name outside of it."""
    parts = registry.loaded.setdefault(kind, {})
    before = parts.get(name, _MISSING)
    parts[name] = part
    try:
        yield
    finally:
        if before is _MISSING:
            del parts[name]
        else:
            parts[name] = before


def name_of(kind: str, part: Any) -> str:
    """Registered name of a part: its own, else that under which the registry holds it."""
    name = getattr(part, "name", None)
    if isinstance(name, str) and name:
        return name.partition(":")[0]
    parts: dict[str, Any] = registry.loaded.get(kind, {})
    cls = part if isinstance(part, type) else type(part)
    for part_name, other in parts.items():
        if other is part or other is cls:
            return part_name
    return str(getattr(part, "__name__", cls.__name__)).lower()


def lengths_are_one(vectors: Any, tolerance: float = 1e-5) -> None:
    """Assertion that vectors (..., D) are finite and of length 1."""
    assert np.isfinite(vectors).all(), "some numbers are NaN or infinite"
    length = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1)
    assert np.allclose(length, 1, rtol=0, atol=tolerance), (
        f"lengths from {np.min(length):.3g} to {np.max(length):.3g}"
    )


def skip(sentence: str) -> unittest.SkipTest:
    """The exception for a part that cannot be tried here; ``pytest`` reports it as skipped."""
    return unittest.SkipTest(sentence)


def _sentence(step: Callable[..., Any]) -> str:
    text = (step.__doc__ or step.__name__.strip("_").replace("_", " ")).strip()
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".")


def _detail(error: Exception) -> str:
    """Words for what failed: the message of an assertion or its source line, or another error."""
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError):
        text = text or traceback.extract_tb(error.__traceback__)[-1].line or "an assertion failed"
    elif not isinstance(error, VlarError):
        text = f"{type(error).__name__}: {text}"
    text = text.rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
