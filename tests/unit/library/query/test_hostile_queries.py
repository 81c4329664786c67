"""Queries, filters and paths that nobody means: one short line each, and soon."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library import hostile as h
from tests.unit.library.fakes import DIM, FakeModel
from vlar.errors import UsageError, VlarError
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.types import Window

LONG, SOON_S = 1_000_000, 5.0
TEXTS = {
    "lone surrogate": "a \udcff cat",
    "only surrogates": "\udcff\ud800",
    "surrogate in quotes": '"a \ud800" AND "cat"',
    "surrogate in a pattern": '"a cat" IN "\udcff/*"',
    "surrogate in LIKE": 'LIKE "\udcff.mp4"',
    "1 MB of words": "cat " * (LONG // 4),
    "1 MB of one word": "c" * LONG,
    "1 MB of quotes": '"' * LONG,
    "brackets 100,000 deep": "(" * 100_000 + '"a"' + ")" * 100_000,
    "brackets 4,000 deep": "(" * 4_000 + '"a"' + ")" * 4_000,
    "square brackets": "[" * 9_000,
    "10,000 operators": " AND ".join(["a"] * 10_000),
    "2,000 operators": " OR ".join(["a"] * 1_500),
    "NOT 3,000 times": "NOT " * 2_400 + '"a"',
    "200,000 combinations": "[" + " ".join(f"s{i}=" + "|".join("abcde") for i in range(7)) + "]",
    "16,000 phrases": " OR ".join(
        f"[x=a{i}|b{i}|c{i}|d{i} y=e|f|g|h z=i|j|k|l w=m|n|o|p]" for i in range(60)
    ),
    "weight without an end": '"a"^' + "9" * 5_000,
    "span without an end": '"a" THEN "b" WITHIN ' + "9" * 5_000 + "s",
    "control characters": "\x1b[2J\x00\x07\r\n",
    "escape in a phrase": "a \x1b[31mcat\u202e",
    "LIKE a device": "LIKE /dev/zero",
    "LIKE a folder": "LIKE /etc",
    "backslashes": '"' + "\\" * 9_000,
    "nothing": "",
}
WHERE = {
    "last day": "added>9999-12-31",
    "last second": "added<=9999-12-31T23:59:59",
    "first day": "added<0001-01-01",
    "first day far east": "added>=0001-01-01T00:00+23:59",
    "last day far west": "modified>9999-12-31T23:59:59-23:59",
    "year 10000": "added>10000-01-01",
    "1e999 s": "start_s>=1e999",
    "NaN s": "start_s>=nan",
    "-1e308 s": "end_s>-1e308",
    "400 digits": "duration_s<" + "9" * 400,
    "100,000 digits": "start_s>=" + "9" * 100_000,
    "1 MB": "place=" + "x" * LONG,
    "1 MB of a key": "k" * LONG + "=1",
    "spaces": " " * 100_000 + "x",
    "spaces in a value": "place=" + " " * 100_000 + "x" + " " * 100_000,
    "surrogate in a value": "place=\udcff",
    "surrogate in a key": "\udcff=1",
    "surrogate in a path": "path=\udcff*",
    "a glob of stars": "path=" + "*a" * 4_000,
    "an open glob": "path=[z-a",
    "no operator": "place",
    "only operators": "<>=!<>=!",
    "a tag as 1e400": "place>1e400",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return h.made(tmp_path_factory.mktemp("made") / "l.vlar")


def require_short(error: VlarError) -> None:
    h.require_one_line(error)
    assert len(error.message) < 1000
    assert error.message.encode()  # no half of a pair is left to print


@pytest.mark.parametrize("name", TEXTS)
def test_a_query(name: str, folder: Path):
    begin = time.process_time()
    with Library(folder, FakeModel()) as library:
        try:
            for hit in library.query(TEXTS[name], 3, min_probability=0):
                h.require_possible(hit)
        except VlarError as error:
            require_short(error)
    assert time.process_time() - begin < SOON_S


@pytest.mark.parametrize("name", WHERE)
def test_a_filter(name: str, folder: Path):
    begin = time.process_time()
    with Library(folder, FakeModel()) as library:
        for ask in (
            lambda: library.query("a cat", 3, where=WHERE[name], min_probability=0),
            lambda: library.query('"a" OR "b"', 3, where=[WHERE[name]], min_probability=0),
            lambda: library.nearest(h.one_row(1)[0], 3, where=WHERE[name]),
        ):
            try:
                ask()
            except VlarError as error:
                require_short(error)
    assert time.process_time() - begin < SOON_S


def test_dates_at_the_ends_of_time_answer(folder: Path):
    with Library(folder, FakeModel()) as library:
        for where, found in (
            ("added>9999-12-31", False),
            ("added<=9999-12-31", True),
            ("added<0001-01-01", False),
            ("added>=0001-01-01", True),
            ("added!=9999-12-31", True),
        ):
            assert bool(library.nearest(h.one_row(1)[0], 3, where=where)) == found, where


@pytest.mark.parametrize("k", [10**9, 2**63, 10**30])
def test_any_number_of_answers(k: int, folder: Path):
    with Library(folder, FakeModel()) as library:
        assert library.query("a cat", k, min_probability=0)
        assert len(library.nearest(h.one_row(1)[0], k)) == h.VIDEOS * h.WINDOWS
        assert library.query('"a" OR "b"', k, min_probability=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_vector_that_is_not_one(value: float, folder: Path):
    vector = np.full(DIM, value, np.float32)
    with Library(folder, FakeModel()) as library:
        with pytest.raises(VlarError) as error:
            library.nearest(vector)
        require_short(error.value)


def test_paths_and_tags_that_no_database_holds(tmp_path: Path):
    folder = h.made(tmp_path / "l.vlar")
    file = tmp_path / "\udcff.mp4"
    file.write_bytes(b"x")
    with Library(folder, FakeModel()) as library:
        assert library.remove(["\udcff.mp4", "*\udcff*", "x" * LONG]) == 0
        report = library.add(file)
        assert len(report.failed) == 1
        for tags in ({"place": "\udcff"}, {"\ud800": "x"}, {"place": "x" * LONG}):
            with pytest.raises(UsageError) as error:
                library.add(file, tags=tags)
            require_short(error.value)
        for video in (
            VectorVideo("/\udcff.mp4", [Window(0, 4)], h.one_row(1)),
            VectorVideo("/a.mp4", [Window(0, 4)], h.one_row(1), tags={"a": "\udcff"}),
            VectorVideo("/a.mp4", [Window(4, 0)], h.one_row(1)),
            VectorVideo("/a.mp4", [Window(0, float("inf"))], h.one_row(1)),
            VectorVideo("/a.mp4", [Window(0, 4)], h.one_row(1), duration_s=float("nan")),
        ):
            with pytest.raises(UsageError) as error:
                library.add_vectors([video])
            require_short(error.value)
        assert library.info().rows == h.VIDEOS * h.WINDOWS
        assert library.verify() == []


def test_many_long_tag_keys_are_not_all_listed(tmp_path: Path):
    folder = h.made(tmp_path / "l.vlar")
    h.sql(
        *(
            ("INSERT INTO tags VALUES (1, ?, 'x')", (f"{number}" + "k" * 5000,))
            for number in range(300)
        )
    )(folder)
    with Library(folder, FakeModel()) as library:
        with pytest.raises(VlarError) as error:
            library.query("a cat", where="plaze=gym")
        assert len(error.value.message) < 5000
        assert "and 290 more" in error.value.message
