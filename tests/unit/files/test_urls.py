from __future__ import annotations

from pathlib import Path

import pytest

from vlar.formatting import as_url, is_url, shown


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a b/c.mp4", "https://host:1/a.mp4?key=1", "memory://a.mp4", "file:///a/b.mp4",
        "tar://a/b.mp4::s3://bucket/0.tar", "tar://b.mp4::/videos/0.tar",
    ],
)  # fmt: skip
def test_an_address_survives_being_a_path(url: str):
    assert as_url(url) == as_url(Path(url)) == shown(Path(url)) == url


@pytest.mark.parametrize(
    "path", ["a.mp4", "C:/a.mp4", "/s3:/a", "rtsp://camera/1", "s3:a", "x://y"]
)
def test_paths_and_streams_are_none(path: str):
    assert not is_url(path)
    assert shown(Path(path)) == str(Path(path))
