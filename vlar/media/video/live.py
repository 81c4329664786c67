"""Addresses of streams and numbers of cameras, told from paths of files."""

from __future__ import annotations

import re
from pathlib import Path

ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?:[^/@]*@)?(?P<rest>.*)", re.IGNORECASE)
# Protocols that a scheme may use; all others are refused by FFmpeg, those of files among them.
PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp",
    "rtp": "rtp,udp",
    "udp": "udp",
    "tcp": "tcp",
    "srt": "srt",
    "http": "http,tcp",
    "https": "https,http,tcp,tls",
}


def is_live(text: str) -> bool:
    """Return whether a text names a stream or a camera and not a file: ``rtsp://host/1``, ``0``.

    >>> is_live("rtsp://camera/1"), is_live("0"), is_live("clip.mp4")
    (True, True, False)
    """
    match = ADDRESS.fullmatch(text)
    if match:
        return match["scheme"].lower() in PROTOCOLS
    return text.isdecimal() and len(text) <= 2 and not Path(text).exists()


def shown_address(text: str) -> str:
    """An address without the name and password in it.

    >>> shown_address("rtsp://me:secret@camera:554/1")
    'rtsp://camera:554/1'
    """
    match = ADDRESS.fullmatch(text)
    return f"{match['scheme']}://{match['rest']}" if match else f"camera {text}"
