from __future__ import annotations

import pytest

from vlar.errors import QueryError
from vlar.library.query.filters import check_keys, conditions, path_matches
from vlar.library.query.plan import QueryRequest, make_plan


@pytest.mark.parametrize("text", ["", "   ", "\n", "?!", "\0"])
def test_no_word(text: str):
    with pytest.raises(QueryError, match="no word"):
        make_plan(QueryRequest(text, 5))


@pytest.mark.parametrize("text", ["a", "跳舞", "7", " 踊る "])
def test_words_of_any_language(text: str):
    assert make_plan(QueryRequest(text, 1)).phrase == text.strip()


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one(k: int):
    with pytest.raises(QueryError, match=str(k)):
        make_plan(QueryRequest("a cat", k))


def test_unknown_key_names_the_known_and_the_nearest():
    with pytest.raises(
        QueryError, match=r"did you mean 'place'\? Known keys: path, .*, day, place"
    ):
        check_keys(conditions(["plaec=gym"]), ["place", "day"])
    check_keys(conditions(["path=x", "day=1"]), ["place", "day"])


PATH = "/home/me/cooking/take [2].mp4"


@pytest.mark.parametrize(
    "pattern",
    [
        PATH,
        "/home/me",
        "/home/me/",
        "/home/*",
        "/home/*.mp4",
        "cooking",
        "cooking/*",
        "me/cooking",
        "*.mp4",
        "take [2].mp4",
        "cooking/take*",
        "*",
        "/",
    ],
)
def test_path_pattern_that_matches(pattern: str):
    assert path_matches(PATH, pattern)


@pytest.mark.parametrize(
    "pattern", ["/home/m", "ooking", "cook", "*.avi", "/cooking", "COOKING", "take", "me/*.avi"]
)
def test_path_pattern_that_does_not(pattern: str):
    assert not path_matches(PATH, pattern)


def test_path_on_windows():
    assert path_matches("C:/videos/a.mp4", "C:/videos")
    assert path_matches("C:/videos/a.mp4", "videos/*.mp4")
