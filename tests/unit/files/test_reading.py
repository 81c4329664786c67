"""Files of others: regular, of bounded size, and JSON without surprises."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import kit
from tests.refusals import refused
from vlar.files.opening import open_input, special_kind
from vlar.files.reading import (
    DEEPEST,
    check_file,
    parse_json,
    read_file,
    walk,
)


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    assert check_file(tmp_path / "a", 5) == 5
    assert special_kind(tmp_path / "a") is None


def test_one_byte_more_is_too_much(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456")
    refused(OSError, "at most", read_file, tmp_path / "a", 5)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (kit.fifo, "a named pipe"), (kit.zeros, "a device"), (kit.folder, "a folder"),
    ],
)  # fmt: skip
def test_what_is_not_a_file_is_named(
    tmp_path: Path, make: Callable[[Path], None], kind: str
) -> None:
    make(tmp_path / "a")
    for read in (read_file, check_file):
        refused(OSError, f"it is {kind}, not a file", read, tmp_path / "a", 100)
    assert special_kind(tmp_path / "a") == kind


def test_a_link_is_followed_only_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_file(tmp_path / "b", 9) == b"1"
    refused(OSError, "it is a link", read_file, tmp_path / "b", 9, links=False)


def test_a_file_that_becomes_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    real = os.open

    def swap(path: Path, flags: int) -> int:
        (tmp_path / "a").unlink()
        (tmp_path / "a").symlink_to("/dev/zero")
        return real(path, flags)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(OSError), open_input(tmp_path / "a", 9, links=False):
        pass


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


def test_what_is_refused():
    for text, says in [
        ("[" * 100_000, "nested"), ('{"a":' * 100_000, "nested"),
        ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "nested"),
        ("NaN", "not a number"), ("[-Infinity]", "not a number"), ("1e999", "not finite"),
        ('{"a": 1, "a": 2}', "'a' twice"), ("9" * 100_000, "digits"), ("9" * 400, "400 digits"),
        ("[-1" + "0" * 400 + "]", "401 digits"), ("," * 40_000_000, "1.5 GB"),
        ("", "Expecting value"),
    ]:  # fmt: skip
        refused(ValueError, says, parse_json, text)


def test_a_name_that_stands_twice_is_found_in_linear_time() -> None:
    names = ",".join(f'"{number}": 0' for number in range(100_000))
    begin = time.process_time()
    refused(ValueError, "'99999' twice", parse_json, "{" + names + ', "99999": 1}')
    assert time.process_time() - begin < 2


def test_the_deepest_value_that_is_allowed() -> None:
    value = parse_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    assert max(depth for depth, _, _ in walk(value)) == DEEPEST


def test_walk_names_the_places() -> None:
    assert {place for _, place, inner in walk({"a": [1, {"b": 2}]}) if inner == 2} == {
        ("a", 1, "b")
    }
