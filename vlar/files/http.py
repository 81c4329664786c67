"""Requests by HTTP that follow no redirect and end in time."""

from __future__ import annotations

import urllib.request
from typing import Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect: it takes a key or a message to another host."""


def ask(request: str | urllib.request.Request, timeout_s: float) -> Any:
    """The answer to a request, a context manager with ``read``.

    Args:
        request: An address that the user names, or a request to it.
        timeout_s: Limit for the connection and for each read.

    Raises:
        OSError: no answer, a redirect, or a status of 400 or more (``urllib.error.HTTPError``).
    """
    return urllib.request.build_opener(_NoRedirect()).open(request, timeout=timeout_s)
