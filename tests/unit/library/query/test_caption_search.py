"""Captions in libraries: full-text search, fusion by ranks, the query language, upkeep."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from tests.unit.library.fakes import FakeCaptioner, FakeModel, tiny_video
from vlar.encoders.captions import Captioner, Captions, JoinedCaptioner, load_captioner, quote
from vlar.errors import QueryError
from vlar.library.library import Library
from vlar.library.query.caption_search import (
    quoted_in,
    reciprocal_rank_fusion,
    said,
    search_words,
    spelled,
)
from vlar.library.query.grammar import (
    And,
    Not,
    Phrase,
    Quote,
    Says,
    Then,
    is_expression,
    parse,
    show,
)
from vlar.library.query.plan import QueryReport
from vlar.types import Clip, Window

CAPTIONS = {
    1: "A man lifts a barbell.",
    2: "A woman is lifting a barbell and a dumbbell.",
    3: "A dog runs in the snow.",
    4: "",
}


def test_words_are_found_in_every_ending():
    found = said("lifting barbells", CAPTIONS)
    assert set(found) == {1, 2}
    assert all(value > 0.99 for value in found.values())


def test_a_share_of_the_words_counts():
    found = said("dumbbell barbell", CAPTIONS)
    assert found[2] > 0.99
    assert found[1] == pytest.approx(0.5, abs=0.01)
    assert said("a cat", CAPTIONS) == {}


def test_signs_of_the_search_language_are_words_here():
    assert said('barbell" OR NEAR(dog', CAPTIONS).keys() == {1, 2, 3}
    with pytest.raises(QueryError, match="no word"):
        said("...", CAPTIONS)


def test_little_words_count_only_alone():
    assert search_words("the of") == ["the", "of"]
    assert said("the", CAPTIONS).keys() == {3}


@given(st.text(max_size=40))
def test_any_text_is_looked_up_or_refused(text: str):
    try:
        found = said(text, CAPTIONS)
    except QueryError:
        assert not search_words(text)
    else:
        assert all(0 < value <= 1 for value in found.values())


def test_ranks_are_fused():
    found = reciprocal_rank_fusion([[1, 2, 3], [3, 1]])
    assert sorted(found, key=lambda row: -found[row]) == [1, 3, 2]
    assert found[2] == pytest.approx(1 / 62)
    assert found[1] == pytest.approx(1 / 61 + 1 / 62)


def test_words_of_captions_in_a_query():
    assert is_expression("says: barbell")
    assert not is_expression("he says nothing")
    assert parse("says: a red barbell") == Says("a red barbell")
    assert parse('SAYS:"a man"') == Says("a man")
    tree = parse('"a gym" AND NOT says: dog')
    assert tree == And((Phrase("a gym"), Not(Says("dog"))))
    for query in ("says: x", '"a gym" AND NOT says: dog', "says: a THEN says: b WITHIN 3s"):
        assert parse(show(parse(query))) == parse(query)


QUOTES = {
    1: 'says (en, 0.0-2.0 s): "Don\'t stop," says (en, 2.0-3.0 s): "NOW" a gym.',
    2: 'shows (0.0-2.0 s): "NOW: Emergency" shows (0.0-2.0 s): "exit\u3000\u51fa\u53e3" a gym.',
    3: "a man says (hello): stop now",
    4: 'hears (x): "stop" shows (1.0-2.0 s): "says (en): \'fire\'"',
}


@pytest.mark.parametrize(
    ("kind", "text", "ids"),
    [
        ("says", "dont stop", {1}), ("says", "DON\u2019T STOP! now", {1}),
        ("says", "stop dont", set()), ("says", "...", set()),
        ("says", "sto", set()), ("says", "a gym", set()), ("shows", "now", {2}),
        ("shows", "emergency exit", {2}), ("shows", "\u53e3", {2}), ("says", "fire", set()),
        ("shows", "fire", {4}), ("says", "hello", set()), ("says", "stop", {1}),
    ],
)  # fmt: skip
def test_quoted_words_are_found_in_order(kind: str, text: str, ids: set[int]):
    assert quoted_in(kind, text, QUOTES) == dict.fromkeys(ids, 1.0)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_found_where_it_was_said_and_nowhere_else(text: str, other: str):
    captions = {
        1: quote("says", 0, 1, text),
        2: quote("shows", 0, 1, f'{text} says (en): "{other}'),
    }
    assert quoted_in("says", other or "x", {2: captions[2]}) == {}
    if spelled(text):
        assert quoted_in("says", text, captions) == {1: 1.0}


def test_quotes_in_a_query():
    assert parse('says "a red door"') == Quote("a red door", "says")
    assert parse('SHOWS "exit" AND says: dog') == And((Quote("exit", "shows"), Says("dog")))
    tree = parse('says "go" THEN ("a man" AND NOT shows "stop") WITHIN 3s')
    assert isinstance(tree, Then)
    assert parse(show(tree)) == tree
    assert not is_expression("he says nothing and shows a card")
    for query in ('he says "x"', 'says "..."', 'says "', 'shows "" AND "a"', "says (x)"):
        if is_expression(query):
            refused(QueryError, "", parse, query)


# In a library


@pytest.fixture
def library(tmp_path: Path) -> Library:
    opened = Library(tmp_path / "l.vlar", FakeModel())
    for number in range(4):
        tiny_video(tmp_path / "videos" / f"{number}.mp4", number)
    opened.add(tmp_path / "videos", captions=FakeCaptioner())
    return opened


def found(library: Library, query: str, **more: object) -> list[tuple[str, float]]:
    hits = library.query(query, 20, min_probability=0, **more)  # type: ignore[arg-type]
    return [(Path(hit.path).stem, hit.start_s) for hit in hits]


def test_a_library_answers_by_its_captions(library: Library):
    reports: list[QueryReport] = []
    hits = library.query("says: two", 20, report=reports.append)
    assert any('says: "two"' in line for line in reports[0].lines())
    assert {Path(hit.path).stem for hit in hits} == {"2"}
    assert hits[0].caption.startswith("video two from second")
    assert hits[0].to_dict()["caption"] == hits[0].caption
    assert {name for name, _ in found(library, "says: one OR says: three")} == {"1", "3"}
    assert "2" not in {name for name, _ in found(library, '"a cat" AND NOT says: two')}
    assert found(library, "says: elephant") == []


def test_fusion_moves_up_what_captions_name(library: Library):
    plain = [name for name, _ in found(library, "video two", rerank=None)]
    hits = library.query("video two", 20, min_probability=0, rerank="captions")
    fused = [Path(hit.path).stem for hit in hits]
    assert sorted(plain) == sorted(fused)
    assert fused.index("2") <= plain.index("2")
    assert all(0 < hit.score <= 1 for hit in hits)


def test_captions_follow_their_recording(library: Library, tmp_path: Path):
    videos = tmp_path / "videos"
    (videos / "2.mp4").rename(videos / "5.mp4")
    shutil.copy(videos / "1.mp4", videos / "6.mp4")
    library.add(videos)
    assert {name for name, _ in found(library, "says: two")} == {"5"}
    hits = library.query("says: one", 20)
    assert {Path(copy.path).stem for hit in hits for copy in hit.also} | {
        Path(hit.path).stem for hit in hits
    } == {"1", "6"}
    library.remove(videos / "5.mp4")
    assert found(library, "says: two") == []
    library.compact()
    assert found(library, "says: three")


def test_recordings_without_captions_are_read_again(tmp_path: Path):
    model = FakeModel()
    library = Library(tmp_path / "l.vlar", model)
    video = tiny_video(tmp_path / "1.mp4", 1)
    library.add(video)
    with pytest.raises(QueryError, match="keeps no captions"):
        library.query("says: one")
    with pytest.raises(QueryError, match="keeps no captions"):
        library.query("one", rerank="captions", min_probability=0)
    done = model.encoded
    report = library.add(video, captions=FakeCaptioner())
    assert (report.updated, report.unchanged) == (1, 0)
    assert model.encoded > done
    assert library.query("says: one")
    done = model.encoded
    assert library.add(video, captions=FakeCaptioner()).unchanged == 1
    assert model.encoded == done


def test_a_library_without_captions_has_no_table_for_them(tmp_path: Path):
    library = Library(tmp_path / "l.vlar", FakeModel())
    library.add(tiny_video(tmp_path / "1.mp4", 1))
    with sqlite3.connect(tmp_path / "l.vlar" / "library.sqlite") as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "captions" not in names


def test_captions_of_others_do_not_act_on_a_terminal(library: Library, tmp_path: Path):
    library.close()
    with sqlite3.connect(tmp_path / "l.vlar" / "library.sqlite") as connection:
        connection.execute("UPDATE captions SET text = 'two \x1b[31mred' || char(10) || 'line'")
    with Library(tmp_path / "l.vlar", FakeModel()) as again:
        assert "\x1b" not in again.query("says: two")[0].caption


class Quoting(FakeCaptioner):
    """Says "go now" in windows that begin before 4 s, and shows "exit" in the later ones."""

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        early = quote("says", 1, 2, "Go now!", "en")
        late = quote("shows", 5, 6, "EXIT")
        return [(early if clip.window.start_s < 4 else late,) for clip in clips]


class Silent(FakeCaptioner):
    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        return [() for _ in clips]


def test_a_library_answers_what_is_said_and_shown(tmp_path: Path):
    library = Library(tmp_path / "l.vlar", FakeModel())
    video = tiny_video(tmp_path / "1.mp4", 1)
    library.add(video, captions=JoinedCaptioner([FakeCaptioner(), Quoting()]))
    hits = library.query('says "go now"', 20)
    assert hits
    assert all(hit.start_s < 4 for hit in hits)
    assert 'says (en, 1.0-2.0 s): "Go now!"' in hits[0].caption
    assert {hit.start_s >= 4 for hit in library.query('shows "exit"', 20)} == {True}
    assert library.query('says "go now" THEN shows "exit"', 20)
    assert not library.query('shows "exit" THEN says "go now"', 20)
    assert library.query('says "go" AND says: one', 20)
    assert not library.query('says "go" AND says "stop"', 20)
    assert not library.query('says "exit"', 20)


def test_a_silent_library_has_no_answer_and_one_without_captions_refuses(tmp_path: Path):
    library = Library(tmp_path / "l.vlar", FakeModel())
    video = tiny_video(tmp_path / "1.mp4", 1)
    library.add(video)
    for query, maker in (('says "x"', "speech:FOLDER"), ('shows "x"', "screen-text")):
        refused(QueryError, f"--captions {maker}", library.query, query)
    library.add(video, captions=Silent())
    assert library.query('says "x"') == []


def test_captioners_are_joined_by_their_names(tmp_path: Path):
    for name in ("a+b.json", "c.json"):
        (tmp_path / name).write_text('[{"path": "1.mp4", "sentence": "A man."}]')
    made: Captioner = load_captioner(f"file:{tmp_path}/a+b.json+file:{tmp_path}/c.json")
    assert made.name == f"file:{tmp_path}/a+b.json+file:{tmp_path}/c.json"
    clip = Clip(Path("1.mp4"), Window(0, 1), "video", np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1))
    assert made.caption([clip]) == [("A man.", "A man.")]
    assert load_captioner(made.name).fingerprint == made.fingerprint
