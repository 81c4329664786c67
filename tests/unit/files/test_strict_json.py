"""JSON of others: sound values come back, everything else is a ValueError with a sentence."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.files.reading import DEEPEST, parse_json, walk

FINITE = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    FINITE | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_a_sound_value_comes_back(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_json(data)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nested"), ('{"a":' * 100_000, "nested"),
        ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "nested"),
        ("NaN", "not a number"), ("[-Infinity]", "not a number"), ("1e999", "not finite"),
        ('{"a": 1, "a": 2}', "'a' twice"), ("9" * 100_000, "digits"), ("9" * 400, "400 digits"),
        ("[-1" + "0" * 400 + "]", "401 digits"), ("," * 40_000_000, "1.5 GB"),
        ("", "Expecting value"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(text)


def test_a_name_that_stands_twice_is_found_in_linear_time() -> None:
    names = ",".join(f'"{number}": 0' for number in range(100_000))
    begin = time.process_time()
    with pytest.raises(ValueError, match="'99999' twice"):
        parse_json("{" + names + ', "99999": 1}')
    assert time.process_time() - begin < 2


def test_the_deepest_value_that_is_allowed() -> None:
    value = parse_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    assert max(depth for depth, _, _ in walk(value)) == DEEPEST


def test_walk_names_the_places() -> None:
    assert {place for _, place, inner in walk({"a": [1, {"b": 2}]}) if inner == 2} == {
        ("a", 1, "b")
    }
