"""Words of names, tags and captions as a leg of a query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel
from tests.unit.library.query.test_newcomer_errors import WINDOWS
from vlar.errors import QueryError
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.query.written import content_words
from vlar.numeric import unit

NAMES = ("ridingBike_01", "a b", "swim", "café au lait", "x", "y", "z", "bike shop")


def library_of(folder: Path, names: tuple[str, ...] = NAMES, count: int = 30) -> Library:
    draw, library = np.random.default_rng(0), Library(folder / "l.vlar", FakeModel())
    every = [*names, *(f"clip{n}" for n in range(count))]
    library.add_vectors(
        VectorVideo(f"/example/films/{name}.mp4", WINDOWS, unit(draw.normal(size=(10, DIM))),
                    tags={"place": "gym hall"} if name == "x" else {})
        for name in every
    )  # fmt: skip
    return library


def test_all_content_words_win_and_none_leaves_the_order_untouched(tmp_path: Path):
    with library_of(tmp_path) as library:
        first, *others = library.query("riding a bike", 5, only=None, min_probability=0)
        seen = library.query("riding a bike", 500, min_probability=0, only="seen")
        plain = library.query("a tree", 20, only=None, min_probability=0)
        assert plain == library.query("a tree", 20, min_probability=0, only="seen")
    assert first.path.endswith("ridingBike_01.mp4")
    assert set(first.written) == {"riding", "bike"}
    assert first.found_by in ("written", "both")
    assert all(not hit.written or set(hit.written) == {"bike"} for hit in others
               if not hit.path.endswith("ridingBike_01.mp4"))  # fmt: skip
    same = {hit.row: hit.probability for hit in seen}
    assert first.probability == same.get(first.row, first.probability)
    assert "(written: riding bike)" in str(first)
    assert first.to_dict()["written"] == ["riding", "bike"]


def test_endings_accents_and_tags_are_found_and_little_words_are_not(tmp_path: Path):
    with library_of(tmp_path) as library:
        for text, name in (("swimming", "swim"), ("cafe", "café au lait"), ("gym", "x")):
            assert Path(library.query(text, 1, only=None).pop().path).stem == name
        assert library.query("films", 5, only="written") == []  # the folder of all
        assert library.query("a", 5, only=None) == library.query("a", 5, only="seen")
        written = library.query("riding bike", 50, only="written", min_probability=0.9)
    assert {Path(hit.path).stem for hit in written} == {"ridingBike_01", "bike shop"}
    assert Path(written[0].path).stem == "ridingBike_01"
    assert content_words("a person rides the bike") == ["rides", "bike"]
    assert content_words("of the") == []


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("GX010034", "GX010034", ("gx", "010034")),
        ("gx010035", "GX010035", ("gx", "010035")),
        ("clip7", "clip7", ("clip", "7")),
        ("take2b", "take2b", ("take", "2", "b")),
    ],
)
def test_names_with_digits_attached_are_first_by_all_their_words(
    tmp_path: Path, text: str, name: str, words: tuple[str, ...]
):
    with library_of(tmp_path, ("GX010034", "GX010035", "take2b")) as library:
        for only in ("written", None):
            first, *more = library.query(text, 50, only=only, min_probability=0)
            assert (Path(first.path).stem, first.written) == (name, words)
            assert {Path(hit.path).stem for hit in more if hit.written == words} == {name}
        hits = library.query("gx010036", 50, only="written", min_probability=0)
        assert {hit.written for hit in hits} == {("gx",)}  # nothing has its number


def test_a_partial_match_lifts_within_a_band(tmp_path: Path):
    with library_of(tmp_path) as library:
        plain = {h.row: h for h in library.query("bike race", 500, min_probability=0, only="seen")}
        both = library.query("bike race", 500, only=None, min_probability=0)
    lifted = [hit for hit in both if hit.written == ("bike",)]
    assert lifted
    for hit in lifted:
        if hit.row in plain:
            odds = [np.log(p / (1 - p)) for p in (plain[hit.row].score, hit.score)]
            assert 0 < odds[1] - odds[0] <= 0.7


def test_the_beginning_of_a_word_lifts_and_does_not_win(tmp_path: Path):
    with library_of(tmp_path, ("Fahrradtour_2019", "Fahrrad", "fahr")) as library:
        hits = library.query("fahrrad", 500, only="written", min_probability=0)
        assert library.query("fah", 5, only="written", min_probability=0) == []  # short
    shown = {Path(hit.path).stem: hit for hit in hits}
    assert {name: hit.written for name, hit in shown.items()} == {
        "Fahrrad": ("fahrrad",), "Fahrradtour_2019": ("fahrrad\u2026",),
    }  # fmt: skip
    assert Path(hits[0].path).stem == "Fahrrad"


def test_a_filter_holds_for_what_is_written(tmp_path: Path):
    with library_of(tmp_path) as library:
        hits = library.query(
            "riding a bike", 50, only=None, where=["path=*clip*"], min_probability=0
        )
        late = library.query("riding a bike", 1, only=None, where=["start_s>=8"], min_probability=0)
    assert all("clip" in hit.path for hit in hits)
    assert late[0].path.endswith("ridingBike_01.mp4")
    assert late[0].start_s >= 8


def test_what_cannot_be_searched_by_words_is_refused(tmp_path: Path):
    with library_of(tmp_path) as library:
        with pytest.raises(QueryError, match="only is"):
            library.query("a cat", only="all")
        with pytest.raises(QueryError, match="by one phrase"):
            library.query('"a" AND "b"', only="written")


def test_hostile_words_are_only_words(tmp_path: Path):
    with library_of(tmp_path, ("NEAR(a", 'x" OR "y', "-- drop", "é" * 200)) as library:
        for text in ("NEAR(x y)", "drop table", "x* OR y", "'; drop --", "\u202eabc"):
            assert isinstance(library.query(text, 3, only=None, min_probability=0), list)
