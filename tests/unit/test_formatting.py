"""Characters that act on a terminal are found, and addresses keep no secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import ModelError, one_line
from vlar.formatting import acts, as_url, escaped, fault, is_url, shown, without

ANY = st.text(st.characters(exclude_categories=()), max_size=40)


@given(ANY)
def test_what_is_shown_can_be_printed_and_does_nothing(text: str) -> None:
    for text_shown in (escaped(text), without(text), one_line(text)):
        text_shown.encode("utf-8")
        assert not any(acts(c) for c in text_shown)
        assert fault(text_shown) is None
    assert (fault(text) is None) == (escaped(text) == text == without(text))


@pytest.mark.parametrize(
    "text", ["run", "跳舞", "👨\u200d👩\u200d👧", "می\u200cکند", "a\\x1b", "é"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert escaped(text) == without(text) == one_line(text) == text


@given(st.text(max_size=20_000))
def test_a_message_is_one_line_of_a_bounded_length(text: str) -> None:
    line = ModelError(text).message
    assert "\n" not in line
    assert len(line) <= 500


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
