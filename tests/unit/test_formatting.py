"""Characters that act on a terminal are found, shown or left out; all others stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import ModelError, one_line
from vlar.formatting import acts, escaped, fault, without

ANY = st.text(st.characters(exclude_categories=()), max_size=40)


@given(ANY)
def test_what_is_shown_can_be_printed_and_does_nothing(text: str) -> None:
    for shown in (escaped(text), without(text), one_line(text)):
        shown.encode("utf-8")
        assert not any(acts(c) for c in shown)
        assert fault(shown) is None
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
