"""Reports of Milvus as errors of a library: one line with the address and what to do."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from vlar.errors import LibraryError

_LOST = ("unavailable", "failed to connect", "deadline", "retry timeout", "fail connecting", "eof")
_REFUSED = ("unauthenticated", "auth check failure", "permission", "authentication")
_FULL = ("quota", "rate limit", "force deny", "memory limit", "disk", "slowdown", "503")
_LONGEST = 200


@contextmanager
def guard(address: str, doing: str) -> Generator[None, None, None]:
    """Turn errors of Milvus into one line with advice.

    Args:
        address: Of the library.
        doing: ``read``, ``write to`` or another verb before ``the library``.
    """
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        raise explained(error, address, doing) from error
    except ValueError as error:
        # What pymilvus raises for a channel that was closed under it.
        if "closed channel" not in str(error).lower():
            raise
        raise explained(error, address, doing) from error


def explained(error: Exception, address: str, doing: str) -> LibraryError:
    """The error of a library that an error of Milvus means."""
    reason = reason_of(error)
    text = f"{reason} {getattr(error, 'code', '')}".lower()
    if "closed channel" in text or any(sign in text for sign in _LOST):
        return LibraryError(
            f"lost Milvus at {address} while trying to {doing} the library ({reason}); what was "
            "committed is kept, once: check the server, then run the same command again"
        )
    if any(sign in text for sign in _REFUSED):
        return LibraryError(
            f"Milvus at {address} refuses the login ({reason}); set VLAR_MILVUS_TOKEN to "
            "user:password or to an API key"
        )
    if any(sign in text for sign in _FULL):
        return LibraryError(
            f"Milvus at {address} cannot {doing} the library now ({reason}); what was committed is "
            "kept: look at the server's memory, disk and object store, then run the same command "
            "again"
        )
    return LibraryError(
        f"Milvus at {address} cannot {doing} the library ({reason}); what was committed is kept: "
        "look at the server's log, then run the same command again"
    )


def reason_of(error: Exception) -> str:
    """The first line of what was reported, without the frame of pymilvus."""
    message: Any = getattr(error, "message", None)
    details: Any = getattr(error, "details", None)
    if not isinstance(message, str) or not message:
        message = details() if callable(details) else str(error)
    line = " ".join(str(message).split("\n")[0].split())
    return line[:_LONGEST] or type(error).__name__
