"""Webhooks: each change as a signed JSON object, posted until the receiver takes it."""

from __future__ import annotations

import hashlib
import hmac
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from vlar.apps.publish.outbox import Message, Outbox
from vlar.errors import UsageError
from vlar.files.http import ask

_TIMEOUT_S = 15
_AGAIN = (408, 425, 429)


def check_address(address: str) -> str:
    """The address of a webhook.

    Raises:
        UsageError: it is not one of HTTP.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--webhook {address[:200]!r} is not an address of http or https")
    return address


def signature(body: bytes, secret: str) -> str:
    """The header ``X-Vlar-Signature``: HMAC-SHA256 of the body.

    >>> signature(b"{}", "secret")[:20]
    'sha256=77325902caca8'
    """
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def post_all(address: str, secret: str, outbox: Outbox, stop: threading.Event) -> None:
    """Post what waits, in order, until ``stop`` is set.

    Args:
        address: Address of the receiver.
        secret: Key of the signatures; empty for none.
        outbox: The queue. A message that is refused for good (4xx) stays in its file, out of the
            way.
        stop: Ends it.

    Raises:
        OSError: the receiver cannot be reached or is not ready; it is tried again.
    """
    while not stop.is_set():
        outbox.news.clear()
        message = outbox.first()
        if message is None:
            outbox.news.wait(1.0)
            continue
        _post(address, secret, outbox, message)


def _post(address: str, secret: str, outbox: Outbox, message: Message) -> None:
    headers = {
        "Content-Type": "application/json",
        "X-Vlar-Delivery": f"{outbox.file.stem}-{message.number}",
    }
    if secret:
        headers["X-Vlar-Signature"] = signature(message.body, secret)
    request = urllib.request.Request(address, message.body, headers, method="POST")
    try:
        with ask(request, _TIMEOUT_S):
            outbox.delivered(message)
    except urllib.error.HTTPError as error:
        if error.code >= 500 or error.code in _AGAIN:
            raise OSError(f"the webhook answered {error.code}") from error
        outbox.refused(message, f"status {error.code}")
    except (urllib.error.URLError, TimeoutError) as error:
        raise OSError(f"the webhook cannot be reached ({error})") from error
