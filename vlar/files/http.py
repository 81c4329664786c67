"""Requests by HTTP that follow no redirect and end in time."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect: it takes a key or a message to another host."""


@contextmanager
def _in_http() -> Generator[None]:
    """Errors of an answer that is not HTTP, or ends too early, as OSError."""
    try:
        yield
    except http.client.HTTPException as error:
        raise OSError(f"the answer is not whole HTTP ({type(error).__name__})") from error


@contextmanager
def _closing(answer: Any) -> Generator[Any]:
    with _in_http(), answer:
        yield answer


def ask(request: str | urllib.request.Request, timeout_s: float) -> AbstractContextManager[Any]:
    """The answer to a request, a context manager with ``read``.

    Args:
        request: An address that the user names, or a request to it.
        timeout_s: Limit for the connection and for each read.

    Raises:
        OSError: no answer, one that is not whole HTTP, a redirect, or a status of 400 or more
            (``urllib.error.HTTPError``).
    """
    with _in_http():
        answer = urllib.request.build_opener(_NoRedirect()).open(request, timeout=timeout_s)
    return _closing(answer)
