"""Addresses of files that are not on this machine: ``s3://bucket/clip.mp4``, ``https://host/a.mp4``.

A ``pathlib.Path`` made of an address loses one of its slashes; ``as_url`` gives it back.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

# What fsspec opens, without the forms that a shell or a drive letter could mean.
SCHEMES = frozenset(
    {
        *("abfs", "abfss", "adl", "az", "dbfs", "file", "ftp", "gcs", "gs", "hdfs", "hf", "http"),
        *("https", "memory", "oci", "oss", "r2", "s3", "s3a", "sftp", "smb", "tar", "webhdfs"),
    }
)
"""Names of file systems that an address may begin with."""

_URL = re.compile(r"([a-z][a-z0-9]+):/+(.*)", re.DOTALL)
_CHAIN = "::"


def as_url(path: str | Path) -> str | None:
    """The address that a text or a path stands for; None where it is a path of this machine.

    >>> as_url(Path("s3://bucket/a.mp4")), as_url("clips/a.mp4")
    ('s3://bucket/a.mp4', None)
    >>> as_url(Path("tar://a.mp4::s3://bucket/0.tar"))
    'tar://a.mp4::s3://bucket/0.tar'
    """
    text = os.fspath(path)
    match = _URL.fullmatch(text)
    if match is None or match[1] not in SCHEMES:
        return None
    here, chain, rest = match[2].partition(_CHAIN)
    if match[1] != "tar":
        return f"{match[1]}://{_absolute(match[1], match[2])}"
    return f"tar://{here}{chain}{as_url(rest) or rest}"


def is_url(path: str | Path) -> bool:
    """Whether a text or a path is an address."""
    return as_url(path) is not None


def shown(path: str | Path) -> str:
    """A path or an address as people write it."""
    return as_url(path) or os.fspath(path)


def _absolute(scheme: str, rest: str) -> str:
    return f"/{rest}" if scheme == "file" else rest
