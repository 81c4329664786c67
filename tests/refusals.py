"""Refusals as rows: the error, what its message has to hold, and the call that is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def refused(
    error: type[BaseException] | tuple[type[BaseException], ...],
    says: str,
    call: Callable[..., Any],
    /,
    *arguments: Any,
    **keywords: Any,
) -> pytest.ExceptionInfo[Any]:
    """The error of a call; its message matches the expression ``says``, unless that is empty."""
    with pytest.raises(error, match=says or None) as caught:
        call(*arguments, **keywords)
    return caught
